"""Log: the grow-only set of admitted operations of one space and a bounded waiting room; forgets nothing it admitted.

Merge of two logs is offering each the other's operations, in any order and as often as one likes.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

from conjoin.errors import BrokenChainError, ConjoinError, UnknownDigestError, WaitingForAncestorsError, WrongSpaceError
from conjoin.log.admission import admit, check_space
from conjoin.log.ancestry import Ancestry, Past
from conjoin.log.genesis import Genesis
from conjoin.log.operation import Operation, parse
from conjoin.log.waiting import OPERATIONS_MAX, SIZE_BYTES_MAX, WaitingRoom
from conjoin.wire.digest import Digest

REFUSED_MAX = 100_000
T = TypeVar("T")

Status = Literal["admitted", "known", "waiting", "refused", "dropped"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operation that was refused, and why. Final: it depends on the operation and its ancestors only."""

    operation: Operation
    error: ConjoinError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an offered operation, and of those that waited for it.

    Attributes:
        status: `admitted`; `known` (was admitted before); `waiting` for ancestors; `refused`; or `dropped` (it would
            have to wait and the waiting room is full: offer it again later).
        operation: what was offered; None when it could not even be read.
        error: why it was refused or dropped, or what it waits for.
        admitted: everything this offer admitted, in causal order: the offered operation, then what waited for it.
        refused: everything that had waited and is refused now.
    """

    status: Status
    operation: Operation | None = None
    error: ConjoinError | None = None
    admitted: tuple[Operation, ...] = ()
    refused: tuple[Refusal, ...] = ()


class Log:
    """The admitted operations of one space.

    Args:
        space: id of the genesis, which may arrive later.
        waiting_operations_max: how many operations may wait for their ancestors.
        waiting_bytes_max: how many bytes of envelopes may wait.
        refused_max: how many refused ids are remembered; an older one that comes back is judged again, to the same
            verdict.
    """

    def __init__(
        self,
        space: Digest,
        *,
        waiting_operations_max: int = OPERATIONS_MAX,
        waiting_bytes_max: int = SIZE_BYTES_MAX,
        refused_max: int = REFUSED_MAX,
    ) -> None:
        self.space = space
        self._ancestry = Ancestry()
        self._room = WaitingRoom(waiting_operations_max, waiting_bytes_max)
        self._refused: dict[Digest, ConjoinError] = {}
        self._refused_max = refused_max
        self._in_order: tuple[Operation, ...] | None = None
        self._derived: dict[str, Any] = {}
        self._founding: tuple[str, Genesis] | None = None

    @classmethod
    def founded_by(cls, genesis: Operation) -> Self:
        """The log of the space that `genesis` founds, with it admitted.

        Raises:
            WrongSpaceError: the operation is not a genesis.
        """
        if genesis.space is not None:
            raise WrongSpaceError(f"a space is founded by a genesis, not by an operation of type {genesis.type!r}")
        log = cls(genesis.id)
        log.offer(genesis)
        return log

    def copy(self) -> "Log":
        """Another log of the same operations, admitted, waiting and refused, which grows by itself."""
        copy = Log(self.space, refused_max=self._refused_max)
        copy._ancestry = self._ancestry.copy()
        copy._room = self._room.copy()
        copy._refused = dict(self._refused)
        copy._in_order = self._in_order
        copy._derived = dict(self._derived)
        copy._founding = self._founding
        return copy

    def offer(self, offered: bytes | Operation) -> Verdict:
        """Offer an envelope, or an operation that `parse` returned. Never raises for what a peer could send."""
        try:
            operation = parse(offered) if isinstance(offered, bytes) else offered
        except ConjoinError as error:
            # The id is not remembered: another envelope of the same payload may well be signed properly.
            return Verdict("refused", error=error)
        nodes = self._ancestry.nodes
        if operation.id in nodes:
            return Verdict("known", operation)
        try:
            check_space(operation, self.space)
        except WrongSpaceError as error:
            return Verdict("refused", operation, error)
        absent = [parent for parent in operation.parents if parent not in nodes]
        if absent:
            lost = next((parent for parent in absent if parent in self._refused), None)
            if lost is not None:
                return self._refuse(operation, _after_refused(operation, lost, self._refused[lost]))
            return self._wait(operation, absent)
        try:
            self._admit(operation)
        except ConjoinError as error:
            return self._refuse(operation, error)
        if not self._room.waiting_for(operation.id):
            return Verdict("admitted", operation, None, (operation,))
        admitted, refused = self._release(operation)
        return Verdict("admitted", operation, None, (operation, *admitted), refused)

    def _wait(self, operation: Operation, absent: Sequence[Digest]) -> Verdict:
        known = operation.id in self._room
        if known or self._room.enter(operation, absent):
            what = f"operation waits for {len(absent)} ancestors, the first is {absent[0]}"
            return Verdict("waiting", operation, WaitingForAncestorsError(what, where=operation.name))
        what = (
            f"operation would wait for {absent[0]}, but {len(self._room)} operations wait already and the room is full"
        )
        hint = "sync again: operations whose ancestors are here are always taken"
        return Verdict("dropped", operation, WaitingForAncestorsError(what, where=operation.name, hint=hint))

    def _admit(self, operation: Operation) -> None:
        if operation.space is not None:
            admit(operation, self.past_of(operation.parents))
        self._ancestry.put(operation)
        self._room.leave(operation)
        self._in_order = None
        self._derived.clear()

    def _release(self, cause: Operation) -> tuple[tuple[Operation, ...], tuple[Refusal, ...]]:
        """Judge what waited for `cause`, and what waited for that, and so on."""
        admitted: list[Operation] = []
        refused: list[Refusal] = []
        pending = deque(self._room.waiting_for(cause.id))
        while pending:
            operation = pending.popleft()
            if operation.id not in self._room or not all(self.has(parent) for parent in operation.parents):
                continue
            try:
                self._admit(operation)
            except ConjoinError as error:
                verdict = self._refuse(operation, error)
                refused += [Refusal(operation, error), *verdict.refused]
                continue
            admitted.append(operation)
            pending.extend(self._room.waiting_for(operation.id))
        return tuple(admitted), tuple(refused)

    def _refuse(self, operation: Operation, error: ConjoinError) -> Verdict:
        """Refuse `operation` and whatever waits for it."""
        self._remember_refused(operation, error)
        refused: list[Refusal] = []
        pending = deque([(operation, error)])
        while pending:
            lost, why = pending.popleft()
            for waiting in self._room.waiting_for(lost.id):
                self._room.leave(waiting)
                consequence = _after_refused(waiting, lost.id, why)
                self._remember_refused(waiting, consequence)
                refused.append(Refusal(waiting, consequence))
                pending.append((waiting, consequence))
        return Verdict("refused", operation, error, refused=tuple(refused))

    def _remember_refused(self, operation: Operation, error: ConjoinError) -> None:
        self._room.leave(operation)
        self._refused[operation.id] = error
        if len(self._refused) > self._refused_max:
            del self._refused[next(iter(self._refused))]

    def __len__(self) -> int:
        return len(self._ancestry.nodes)

    def has(self, operation: Digest) -> bool:
        """Whether the operation with this id is admitted."""
        return operation in self._ancestry.nodes

    def get(self, operation: Digest) -> Operation:
        """The admitted operation with this id.

        Raises:
            UnknownDigestError: there is none.
        """
        node = self._ancestry.nodes.get(operation)
        if node is None:
            raise UnknownDigestError(f"no admitted operation has the id {operation}")
        return node.operation

    @property
    def genesis(self) -> Genesis:
        """The body of the genesis.

        Raises:
            UnknownDigestError: the genesis has not arrived yet.
        """
        meaning = self.get(self.space).meaning
        assert isinstance(meaning, Genesis), "the operation whose id is the space is a genesis"
        return meaning

    @property
    def founder(self) -> str:
        """The author of the genesis, who is the first admin.

        Raises:
            UnknownDigestError: the genesis has not arrived yet.
        """
        return self.get(self.space).author

    @property
    def ancestry(self) -> Ancestry:
        """The graph of the admitted operations."""
        return self._ancestry

    def past_of(self, parents: Sequence[Digest]) -> Past:
        """The causal past of an operation with these admitted parents."""
        if self._founding is None:
            self._founding = self.founder, self.genesis
        return Past(self._ancestry, *self._founding, parents)

    def operations(self) -> tuple[Operation, ...]:
        """The admitted operations in causal order: ascending by (height, author, seq, id), however they came in."""
        if self._in_order is None:
            nodes = sorted(
                self._ancestry.nodes.values(),
                key=lambda node: (node.height, node.operation.author, node.operation.seq, node.operation.id),
            )
            self._in_order = tuple(node.operation for node in nodes)
        return self._in_order

    def derived(self, name: str, make: Callable[["Log"], T]) -> T:
        """What `make` makes of the admitted operations, kept under `name` until another one is admitted."""
        if name not in self._derived:
            self._derived[name] = make(self)
        return self._derived[name]

    def heads(self) -> tuple[Digest, ...]:
        """The operations that no other one names, ascending."""
        return tuple(sorted(self._ancestry.heads))

    def chains(self) -> Mapping[str, Mapping[int, Sequence[Digest]]]:
        """For each author and seq the admitted operations there, in no order; several where the author forked."""
        return self._ancestry.chains

    def head_of(self, author: str) -> Operation | None:
        """The author's operation of highest seq; of several, the one with the least id; None if it wrote nothing."""
        chain = self._ancestry.chains.get(author)
        return self.get(min(chain[len(chain) - 1])) if chain else None  # seqs are 0, 1, … without a gap

    def waiting(self) -> tuple[Operation, ...]:
        """The operations that wait for ancestors, in order of arrival."""
        return self._room.operations

    def wanted(self) -> tuple[Digest, ...]:
        """The ids of ancestors that something waits for and that have not arrived, ascending."""
        return tuple(sorted(wanted for wanted in self._room.wanted if not self.has(wanted)))


def _after_refused(operation: Operation, ancestor: Digest, why: ConjoinError) -> BrokenChainError:
    first = why.what if not isinstance(why, BrokenChainError) else "it was refused"
    return BrokenChainError(f"ancestor {ancestor} was refused: {first}", where=operation.name)
