"""Waiting room: operations whose ancestors have not arrived; bounded, and refuses newcomers when it is full."""

from collections.abc import Iterable

from conjoin.log.operation import Operation
from conjoin.wire.digest import Digest

OPERATIONS_MAX = 10_000
SIZE_BYTES_MAX = 16 * 1024 * 1024


class WaitingRoom:
    """Operations by id, and by the ancestors they wait for, in order of arrival; the latest arrivals are dropped."""

    def __init__(self, operations_max: int = OPERATIONS_MAX, size_bytes_max: int = SIZE_BYTES_MAX) -> None:
        self._operations_max = operations_max
        self._size_bytes_max = size_bytes_max
        self._size_bytes = 0
        self._operations: dict[Digest, Operation] = {}
        self._waiting_for: dict[Digest, dict[Digest, None]] = {}

    def __contains__(self, operation: Digest) -> bool:
        return operation in self._operations

    def __len__(self) -> int:
        return len(self._operations)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What waits, in order of arrival."""
        return tuple(self._operations.values())

    @property
    def wanted(self) -> Iterable[Digest]:
        """The ids that something waits for and that do not wait here themselves."""
        return (wanted for wanted in self._waiting_for if wanted not in self._operations)

    def copy(self) -> "WaitingRoom":
        """Another room of the same size in which the same operations wait."""
        copy = WaitingRoom(self._operations_max, self._size_bytes_max)
        copy._size_bytes = self._size_bytes
        copy._operations = dict(self._operations)
        copy._waiting_for = {wanted: dict(waiting) for wanted, waiting in self._waiting_for.items()}
        return copy

    def enter(self, operation: Operation, absent: Iterable[Digest]) -> bool:
        """Let `operation` wait for the ids `absent`; False when there is no room for it."""
        size_bytes = self._size_bytes + len(operation.envelope)
        if len(self._operations) >= self._operations_max or size_bytes > self._size_bytes_max:
            return False
        self._size_bytes = size_bytes
        self._operations[operation.id] = operation
        for wanted in absent:
            self._waiting_for.setdefault(wanted, {})[operation.id] = None
        return True

    def waiting_for(self, wanted: Digest) -> tuple[Operation, ...]:
        """What waits for `wanted`, in order of arrival."""
        waiting = self._waiting_for.get(wanted)
        return tuple(self._operations[one] for one in waiting) if waiting else ()

    def leave(self, operation: Operation) -> None:
        """Take `operation` out, if it waits here."""
        if self._operations.pop(operation.id, None) is None:
            return
        self._size_bytes -= len(operation.envelope)
        for wanted in operation.parents:
            others = self._waiting_for.get(wanted)
            if others is not None:
                others.pop(operation.id, None)
                if not others:
                    del self._waiting_for[wanted]
