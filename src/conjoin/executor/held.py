"""Held: whole tensors in memory, given to a run as they lie; copies, verifies and computes nothing."""

from collections.abc import Sequence

from conjoin.executor.reader import Bytes
from conjoin.executor.slices import Slice
from conjoin.plan.tasks import Leaves, Task


class HeldTensors:
    """The bytes of tensors by the digests of their leaves, read-only; read as a `SliceReader`."""

    def __init__(self) -> None:
        self._tensors: dict[Leaves, Bytes] = {}

    def hold(self, leaves: Leaves, data: Bytes) -> None:
        """Hold a tensor whose leaves the caller has hashed; one that is held already stays."""
        self._tensors.setdefault(leaves, data)

    def tensor(self, leaves: Leaves) -> Bytes:
        """The bytes of a tensor that is held."""
        return self._tensors[leaves]

    def take_over(self, other: "HeldTensors") -> None:
        """Hold everything that `other` holds too; no byte of it is read."""
        self._tensors = {**other._tensors, **self._tensors}  # noqa: SLF001 (its own kind)

    def read(self, wanted: Sequence[tuple[Task, Slice]]) -> list[list[Bytes]]:
        """The bytes of slices from each of their tasks' `reads`."""
        return [
            [self._tensors[row][part.start * task.item_bytes : part.stop * task.item_bytes] for row in task.reads]
            for task, part in wanted
        ]

    def open(self, task: Task, part: Slice, *, unproven: bool = False) -> None:
        """Nothing is read in pieces: a piece of what is held is no nearer than the whole."""
