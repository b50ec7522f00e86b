"""Plausible bugs of a protocol like this one, as patches of the product; each is what one would write by reflex."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import pytest

import conjoin.sync.host as host_room
import conjoin.sync.pulling as pulling_room
from conjoin.crdt.orset import root_of
from conjoin.errors import BrokenChainError, NotPermittedError
from conjoin.log import Add, Log, Operation, views
from conjoin.log.waiting import WaitingRoom
from conjoin.sync import reconcile, session
from conjoin.sync.messages import Holding, Wanted
from conjoin.sync.requests import WantedLeaf
from conjoin.testing.simulator import node as node_room
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import manifest_name

Mutant = Callable[[pytest.MonkeyPatch], None]


def _checking(patch: pytest.MonkeyPatch, check: Callable[[Log, Operation], None]) -> None:
    """Judge an operation by what is known here, too, before it is admitted."""
    admit = Log._admit

    def judged(log: Log, operation: Operation) -> None:
        check(log, operation)
        admit(log, operation)

    patch.setattr(Log, "_admit", judged)


def first_seen_wins(patch: pytest.MonkeyPatch) -> None:
    """Of two operations of one author and number the first to arrive counts."""

    def check(log: Log, operation: Operation) -> None:
        if log.chains().get(operation.author, {}).get(operation.seq):
            raise BrokenChainError("number taken")

    _checking(patch, check)


def known_retracted_refused(patch: pytest.MonkeyPatch) -> None:
    """An add of content that is known to be retracted is refused when it arrives."""

    def check(log: Log, operation: Operation) -> None:
        if isinstance(operation.meaning, Add):
            view = views.contributions(log).get(operation.meaning.contribution.digest)
            if view is not None and not view.visible:
                raise NotPermittedError("retracted")

    _checking(patch, check)


def local_rate_limit(patch: pytest.MonkeyPatch) -> None:
    """An author from whom much came lately is not listened to."""
    recent: dict[int, list[str]] = {}

    def check(log: Log, operation: Operation) -> None:
        last = recent.setdefault(id(log), [])
        last.append(operation.author)
        if last[-12:].count(operation.author) > 8:
            raise NotPermittedError("too many")

    _checking(patch, check)


def own_key_not_watched(patch: pytest.MonkeyPatch) -> None:
    """A restored backup goes on signing with its numbers from before."""
    patch.setattr(views, "signed_elsewhere", lambda *_: None)


def hello_deletes(patch: pytest.MonkeyPatch) -> None:
    """What the other side of a hello does not list of an author, it has deleted."""
    learn = session._Talk.learn

    def trusting(talk: Any) -> Generator[Any, Any, Log]:
        ahead = yield from learn(talk)
        now = reconcile.Comparison(ahead, talk._nonce)
        gone = {now._authors[one] for one, other in talk._theirs.items() if one in now._authors and not other.points}
        if not gone:
            return ahead
        kept = Log(ahead.space)
        for operation in ahead.operations():
            if operation.author not in gone or operation.space is None:
                kept.offer(operation)
        talk._log._ancestry = kept.copy()._ancestry
        talk._log._in_order = None
        return kept

    patch.setattr(session._Talk, "learn", trusting)


def hello_proves_holding(patch: pytest.MonkeyPatch) -> None:
    """A point that is not known here still proves that everything below its number is held there."""
    patch.setattr(reconcile.Comparison, "lacking", _by_counter)


def _by_counter(comparison: Any, others: Iterable[Any]) -> list[Operation]:
    """Only what lies beyond the greatest number that the other side states."""
    found: list[Operation] = []
    for other in others:
        author = comparison._authors.get(other.author)
        top = max((seq for seq, _ in other.points), default=-1)
        if author is not None:
            chain = comparison._log.chains()[author]
            found += [comparison._log.get(one) for seq, there in chain.items() if seq > top for one in there]
    nodes = comparison._log.ancestry.nodes
    return sorted(found, key=lambda o: (nodes[o.id].height, o.author, o.seq, o.id))


def ends_compared_by_number(patch: pytest.MonkeyPatch) -> None:
    """Two sides that have as many operations of an author have the same ones."""
    point = reconcile.Comparison._point
    patch.setattr(reconcile.Comparison, "_point", lambda self, operation: (point(self, operation)[0], "0" * 16))
    patch.setattr(reconcile.Comparison, "_find", _find_by_number)


def _find_by_number(comparison: Any, short: str, point: tuple[int, str]) -> Digest | None:
    author = comparison._authors.get(short)
    there = comparison._log.chains()[author].get(point[0], ()) if author is not None else ()
    return there[0] if there else None


def unsorted_heads(patch: pytest.MonkeyPatch) -> None:
    """The table of heads is in the order in which the authors were met."""
    made = reconcile.Comparison.__init__

    def make(comparison: Any, log: Log, nonce: str) -> None:
        made(comparison, log, nonce)
        comparison._order = list(comparison._points)

    patch.setattr(reconcile.Comparison, "__init__", make)


def unsorted_ends(patch: pytest.MonkeyPatch) -> None:
    """The ends of a fork are told in the order in which they came."""
    patch.setattr(reconcile.Comparison, "holding", lambda self, author: Holding(author, self._points.get(author, ())))


def root_in_order_of_arrival(patch: pytest.MonkeyPatch) -> None:
    """The root is over what is visible, in the order in which it came."""

    def root(log: Log) -> Digest:
        seen = set(views.visible(log))
        nodes = log.ancestry.nodes.values()
        came = [node.operation.meaning.contribution.digest for node in nodes if isinstance(node.operation.meaning, Add)]
        return root_of([Digest(f"{at:08x}{one[8:]}") for at, one in enumerate(dict.fromkeys(came)) if one in seen])

    patch.setattr(views, "root", root)


def one_branch_of_a_fork(patch: pytest.MonkeyPatch) -> None:
    """Of a fork the branch with the least end is told to others."""
    beyond = reconcile.Comparison._beyond

    def one(comparison: Any, author: str, known: Any) -> list[Operation]:
        chain = comparison._log.chains()[author]
        return [o for o in beyond(comparison, author, known) if o.id == min(chain[o.seq])]

    patch.setattr(reconcile.Comparison, "_beyond", one)


def waiting_room_forgets(patch: pytest.MonkeyPatch) -> None:
    """What should wait is dropped, and said to wait."""
    patch.setattr(WaitingRoom, "enter", lambda *_: True)


def operations_before_content(patch: pytest.MonkeyPatch) -> None:
    """Operations are kept first, then the content that they need is pulled."""

    def pull(log: Log, ahead: Log, offered: Any, outcome: Any, taking: Any) -> Generator[Any, Any, Any]:
        yield from pulling_room.take(log, ahead, outcome)
        return (yield from ordered(log, ahead, offered, outcome, taking))

    ordered = pulling_room.pull
    patch.setattr(session, "pull", pull)


def leaves_not_verified(patch: pytest.MonkeyPatch) -> None:
    """A leaf that came is kept as it is."""
    patch.setattr(WantedLeaf, "check", lambda *_: None)


def manifest_before_leaves(patch: pytest.MonkeyPatch) -> None:
    """A manifest is kept when it comes, and its leaves when they come."""
    put = host_room.Host._put_manifest

    def hasty(host: Any, digest: Digest, data: bytes) -> Wanted:
        host._store.put(manifest_name(Manifest.decode(data, digest).digest), data)
        return put(host, digest, data)

    patch.setattr(host_room.Host, "_put_manifest", hasty)


def waited_not_persisted(patch: pytest.MonkeyPatch) -> None:
    """What waits when a peer's offer lets it in is admitted and not kept: what this simulator found."""

    def take(log: Log, ahead: Log, outcome: Any) -> Generator[Any, Any, None]:
        fresh = [operation for operation in ahead.operations() if not log.has(operation.id)]
        for operation in fresh:
            yield pulling_room.Persist(operation)
        for operation in (*fresh, *ahead.waiting()):
            log.offer(operation)
        outcome.operations_in += len(fresh)

    patch.setattr(pulling_room, "take", take)
    patch.setattr(host_room, "take", take)


def acknowledged_before_kept(patch: pytest.MonkeyPatch) -> None:
    """An operation counts before its bytes are on the disk, and a full disk is passed over."""

    def persist(node: Any, operation: Operation) -> None:
        if not node.disk.full and node.disk.crash_in is None:
            node.disk.put(operation.name, operation.envelope)

    patch.setattr(node_room.Node, "_persist", persist)


MUTANTS: tuple[Mutant, ...] = (
    first_seen_wins,
    known_retracted_refused,
    local_rate_limit,
    own_key_not_watched,
    hello_deletes,
    hello_proves_holding,
    ends_compared_by_number,
    unsorted_heads,
    unsorted_ends,
    root_in_order_of_arrival,
    one_branch_of_a_fork,
    waiting_room_forgets,
    operations_before_content,
    leaves_not_verified,
    manifest_before_leaves,
    waited_not_persisted,
    acknowledged_before_kept,
)
