"""Sinks: where finished bytes of tensors go; a sink is told when a tensor is whole and decides nothing."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from conjoin.plan.layout import OutTensor
from conjoin.plan.tasks import Leaves, Task


class Sink(Protocol):
    """A place for the output's tensors. Any thread writes; slices arrive in any order and never overlap."""

    def write(self, name: str, offset_bytes: int, data: memoryview) -> None:
        """Keep `data` at `offset_bytes` of the tensor `name`."""
        ...

    def finish(self, task: Task, leaves: Leaves) -> None:
        """All bytes of the task's tensors have been written; `leaves` are the digests of its leaves."""
        ...

    def warn(self, text: str) -> None:
        """A strategy has something to say that belongs into the receipt."""
        ...


class MemorySink:
    """The output's tensors as byte arrays in memory."""

    def __init__(self, tensors: tuple[OutTensor, ...]) -> None:
        self.arrays: Mapping[str, npt.NDArray[np.uint8]] = {t.name: np.empty(t.size_bytes, np.uint8) for t in tensors}
        self.warnings: set[str] = set()

    def write(self, name: str, offset_bytes: int, data: memoryview) -> None:
        """See `Sink`."""
        self.arrays[name][offset_bytes : offset_bytes + len(data)] = np.frombuffer(data, np.uint8)

    def finish(self, task: Task, leaves: Leaves) -> None:
        """See `Sink`."""

    def warn(self, text: str) -> None:
        """See `Sink`."""
        self.warnings.add(text)
