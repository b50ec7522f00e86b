"""Views: pure functions from a log to what it means; never look at time, files or the order of arrival.

Types and versions this software does not know are admitted and passed on, and change no view except that their dots
are in the causal context.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from conjoin.crdt import CausalContext, Dot, MergeState
from conjoin.log.genesis import Policy
from conjoin.log.log import Log
from conjoin.log.operation import Add, Member, Operation, Retract, Role
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest


@dataclass(frozen=True, slots=True)
class ContributionView:
    """A contribution, every `add` operation of it in causal order, and those of them that nobody retracted."""

    contribution: Contribution
    adds: tuple[Operation, ...]
    live: tuple[Operation, ...]

    @property
    def visible(self) -> bool:
        """Whether an add of it is live."""
        return bool(self.live)


@dataclass(frozen=True, slots=True)
class Fork:
    """Proof that an author wrote two histories: its operations that share one seq, ascending by id."""

    author: str
    seq: int
    operations: tuple[Digest, ...]


def dot_of(log: Log, operation: Operation) -> Dot:
    """The dot of an admitted operation: (author, seq), or (author#id, seq) where the author forked at this seq."""
    if len(log.chains()[operation.author][operation.seq]) == 1:
        return Dot(operation.author, operation.seq)
    return Dot(f"{operation.author}#{operation.id}", operation.seq)


def merge_state(log: Log) -> MergeState:
    """The OR-Set that the log's `add` and `retract` operations make.

    A fork found later renames its dots, so states of logs that differ about a fork are joined by joining the logs.
    """
    return log.derived("merge state", _merge_state)


def _merge_state(log: Log) -> MergeState:
    adds: dict[Dot, str] = {}
    tombstones: dict[Dot, frozenset[Dot]] = {}
    dots: list[Dot] = []
    for operation in log.operations():
        dot = dot_of(log, operation)
        dots.append(dot)
        match operation.meaning:
            case Add(contribution=contribution):
                adds[dot] = contribution.digest
            case Retract(adds=retracted):
                tombstones[dot] = frozenset(dot_of(log, log.get(add)) for add in retracted)
            case _:
                pass
    return MergeState(adds, tombstones, CausalContext.of(dots))


def visible(log: Log) -> tuple[Digest, ...]:
    """Digests of the visible contributions in canonical order."""
    return merge_state(log).visible()


def root(log: Log) -> Digest:
    """The root over the visible contributions."""
    return log.derived("root", lambda _: merge_state(log).root())


def contributions(log: Log) -> Mapping[Digest, ContributionView]:
    """Every contribution ever added, in canonical order, visible or not."""
    return log.derived("contributions", _contributions)


def _contributions(log: Log) -> Mapping[Digest, ContributionView]:
    retracted = {dot for dots in merge_state(log).tombstones.values() for dot in dots}
    found: dict[Digest, tuple[Contribution, list[Operation]]] = {}
    for operation in log.operations():
        if isinstance(operation.meaning, Add):
            contribution = operation.meaning.contribution
            found.setdefault(contribution.digest, (contribution, []))[1].append(operation)
    return {
        digest: ContributionView(
            contribution, tuple(adds), tuple(add for add in adds if dot_of(log, add) not in retracted)
        )
        for digest, (contribution, adds) in sorted(found.items())
    }


def members(log: Log) -> dict[str, Role]:
    """The founder and every key let in, ascending by key; a key let in both ways is an admin.

    In an open space other keys may write too; they are not members.
    """
    roles: dict[str, Role] = {}
    for operation in log.operations():
        if isinstance(operation.meaning, Member) and roles.get(operation.meaning.key) != "admin":
            roles[operation.meaning.key] = operation.meaning.role
    roles[log.founder] = "admin"
    return dict(sorted(roles.items()))


def policy(log: Log) -> Policy:
    """The policy that the genesis fixed."""
    return log.genesis.policy


def forks(log: Log) -> tuple[Fork, ...]:
    """Every place where an author wrote two operations of one seq, ascending by author and seq."""
    return tuple(_forks(log))


def signed_elsewhere(log: Log, author: str, count: int, last: Digest | None) -> Operation | None:
    """An operation of `author`, admitted or waiting, beside its first `count` ones, of which `last` is the last.

    None where the log shows no such operation.
    """
    chain = log.chains().get(author, {})
    beside = (log.get(one) for seq, ids in chain.items() if len(ids) > 1 or seq >= count - 1 for one in ids)
    waiting = (operation for operation in log.waiting() if operation.author == author)
    for operation in (*beside, *waiting):
        forked = len(chain.get(operation.seq, ())) > 1
        if forked or operation.seq >= count or (operation.seq == count - 1 and operation.id != last):
            return operation
    return None


def _forks(log: Log) -> Iterator[Fork]:
    for author, chain in sorted(log.chains().items()):
        for seq, operations in sorted(chain.items()):
            if len(operations) > 1:
                yield Fork(author, seq, tuple(sorted(operations)))
