"""One sync with a live peer, by the side that begins it: what to ask and what to make of the answers, without I/O.

A session is a generator, as a visit is (`sync.visit`): it yields questions to the peer (`Ask`) and requests to the
replica's own store (`sync.requests`), and whoever drives it sends the answers back in. Whatever the answers are, what
`sync.visit` promises holds after every step. The other side is `sync.host`.

1. Hello: where do we differ? A small difference comes with the first answer.
2. Pull the content that the new operations need, then take them.
3. Offer what the peer lacks; send the content that it asks for; tell it to take the operations.
"""

from collections.abc import Container, Generator, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from conjoin.errors import ConjoinError, MissingObjectError, PeerRefusedError, ProtocolError
from conjoin.log import Log, Operation, parse
from conjoin.sync.messages import (
    NAMES_MAX,
    OPERATIONS_BYTES_MAX,
    OPERATIONS_MAX,
    Answer,
    Found,
    Hello,
    Holding,
    Offer,
    Put,
    Question,
    Refused,
    Take,
    Taken,
    Wanted,
)
from conjoin.sync.pulling import (
    Offered,
    Outcome,
    Taking,
    bytes_of,
    labelled,
    labels,
    offer,
    pull,
    skipping,
    wanted_leaves,
)
from conjoin.sync.reconcile import Comparison, first_of, fitting, full
from conjoin.sync.requests import Failures, PushLeaves, Read, Request
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import parse_manifest

HELLOS_MAX = 10_000
"""A peer that always has something new is left after so many questions; what it gave is kept."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the peer. Answer: its message, or the error that came in place of one."""

    question: Question


Steps = Generator[Request | Ask, Any, None]
A = TypeVar("A", bound=Answer)


def session(log: Log, outcome: Outcome, nonce: str, *, push: bool = True, taking: Taking = nullcontext) -> Steps:
    """The questions and requests of one sync of the replica whose log is `log`.

    `nonce` is 16 random bytes in hex, new for every session. `taking` makes the block in which
    operations are taken.

    Raises:
        PeerRefusedError: the peer does not answer this replica.
        ProtocolError: it answers what it may not. What was kept before stays valid.
        RemoteError: it cannot be reached.
    """
    talk = _Talk(log, nonce, outcome)
    ahead = yield from talk.learn()
    complete = yield from pull(log, ahead, Offered(_Everything()), outcome, taking)
    if push:
        try:
            yield from talk.give(complete)
        except ConjoinError as error:
            outcome.failure = error


class _Everything(Container[str]):
    """What a peer may have is not listed: it is asked for each object, and says so if it has none."""

    def __contains__(self, _: object) -> bool:
        return True


class _Talk:
    """What the two sides said so far."""

    def __init__(self, log: Log, nonce: str, outcome: Outcome) -> None:
        self._log = log
        self._nonce = nonce
        self._outcome = outcome
        self._theirs: dict[str, Holding] = {}
        self._wanted: tuple[str, ...] = ()
        self._unsaid = False
        self._hellos = 0

    # ------------------------------------------------------------------------------------------------ learning
    def learn(self) -> Generator[Request | Ask, Any, Log]:
        """The log that ours would be with everything the peer has: a copy, or the same if there is nothing new."""
        ahead = self._log
        while self._hellos < HELLOS_MAX:
            before, self._unsaid = len(ahead), False
            ahead = yield from self._compared(ahead)
            if not self._unsaid or len(ahead) == before:
                break
        return ahead

    def _compared(self, ahead: Log) -> Generator[Request | Ask, Any, Log]:
        """`ahead` with what one comparison finds that the peer has."""
        mine = Comparison(ahead, self._nonce)
        left = mine.opening()
        whole = len(left) == 1
        while self._hellos < HELLOS_MAX:
            asked = first_of(left)
            found = yield from self._hello(Hello(self._log.space, self._nonce, asked, send=whole))
            ahead = self._taken_in(ahead, found.operations)
            smaller, listed = mine.compare(found.ranges)
            self._theirs |= {holding.author: holding for holding in listed}
            left = (*smaller, *left[len(asked) :])
            if not left:
                break
        while self._hellos < HELLOS_MAX:
            now = Comparison(ahead, self._nonce)
            unknown = fitting(now.ladder(other.author) for other in self._theirs.values() if not now.knows(other))
            if not unknown:
                break
            found = yield from self._hello(Hello(self._log.space, self._nonce, holdings=unknown))
            before = len(ahead)
            ahead = self._taken_in(ahead, found.operations)
            if len(ahead) == before:
                break
        return ahead

    def _hello(self, question: Hello) -> Generator[Request | Ask, Any, Found]:
        self._hellos += 1
        found = yield from ask(question, Found)
        self._unsaid = self._unsaid or full(found.holdings)
        self._theirs |= {holding.author: holding for holding in found.holdings}
        self._outcome.root_there = found.root
        if question.ranges:
            self._wanted = found.wanted
        return found

    def _taken_in(self, ahead: Log, envelopes: Sequence[bytes]) -> Log:
        grown = ahead.copy() if envelopes and ahead is self._log else ahead
        for envelope in envelopes:
            try:
                operation = parse(envelope)
            except ConjoinError as error:
                self._outcome.refuse("an operation", error)
            else:
                offer(grown, operation, self._outcome)
        return grown

    # ------------------------------------------------------------------------------------------------ giving
    def give(self, complete: Mapping[Digest, Manifest]) -> Steps:
        """Offer what the peer lacks, send the content it asks for, and let it take the operations."""
        now = Comparison(self._log, self._nonce)
        operations = now.lacking(self._theirs.values())
        self._outcome.lacking_there = len(operations)
        if not operations and not self._wanted:
            return
        wanted = Wanted(())
        refusals: set[Digest] = set()
        for batch, last in batches(operations):
            wanted = yield from ask(Offer(tuple(o.envelope for o in batch), last), Wanted)
            for refused, code in wanted.refused:
                refusals.add(refused)
                self._outcome.refuse(refused, PeerRefusedError(f"the peer refuses it: {code}"))
        called = labels(self._log)
        for name in wanted.names:
            manifest = complete.get(parse_manifest(name) or Digest(""))
            if manifest is not None:
                what = called.get(manifest.digest, manifest.digest[:8])
                yield from self._give_content(name, what, manifest, complete.get(self._log.genesis.base))
        taken = yield from ask(Take(), Taken)
        self._outcome.operations_out = min(taken.operations, len(operations))
        self._outcome.lacking_there = sum(operation.id in refusals for operation in operations)
        self._outcome.root_there = taken.root

    def _give_content(self, name: str, called: str, manifest: Manifest, base: Manifest | None) -> Steps:
        data = bytes_of((yield Read(name)))
        every = wanted_leaves(manifest, base)
        before: frozenset[str] | None = None
        while True:
            wanted = yield from ask(Put(name, data), Wanted)
            lacking = frozenset(wanted.names)
            if not lacking or lacking == before:
                return
            leaves = tuple(leaf for leaf in every if leaf.name in lacking)
            if before is None and len(lacking) < NAMES_MAX:  # otherwise this is not all that it lacks
                self._outcome.skipped_out = skipping(self._outcome.skipped_out, every, leaves)
            before = lacking
            what = labelled(f"pushing {called}", every, leaves)
            failures: Failures = yield PushLeaves(what, leaves)
            for leaf_name, error in failures.items():
                self._outcome.refuse(leaf_name, error, here=isinstance(error, MissingObjectError))


def ask(question: Question, kind: type[A]) -> Generator[Request | Ask, Any, A]:
    """The peer's answer, which is of this kind or an error."""
    answer = yield Ask(question)
    if isinstance(answer, ConjoinError):
        raise answer
    if isinstance(answer, Refused):
        raise PeerRefusedError(f"the peer refuses: {answer.what} ({answer.code})")
    if not isinstance(answer, kind):
        raise ProtocolError(f"the peer answers {type(question).__name__} with {type(answer).__name__}")
    return answer


def batches(operations: Iterable[Operation]) -> Generator[tuple[list[Operation], bool]]:
    """The operations in messages that have room for them, the last one marked; one empty message for none."""
    batch: list[Operation] = []
    size_bytes = 0
    for operation in operations:
        size_bytes += len(operation.envelope)
        if batch and (size_bytes > OPERATIONS_BYTES_MAX or len(batch) == OPERATIONS_MAX):
            yield batch, False
            batch, size_bytes = [], len(operation.envelope)
        batch.append(operation)
    yield batch, True
