"""Slices: how a tensor is cut for workers, what a slice costs in memory; reads and computes nothing."""

from dataclasses import dataclass

from conjoin.plan.plan import Plan
from conjoin.plan.tasks import Task
from conjoin.strategies.base import BLOCK_ELEMENTS, Scope
from conjoin.wire.digest import LEAF_BYTES

PIECE_BYTES = 8 * 1024 * 1024
"""Read for one piece: with the result it stays in a core's own cache, or nearly."""
RUN_ELEMENTS = 16 * 1024
"""Neighbours that a sample takes together."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Elements [start, stop) of a tensor, C order. A slice for a worker starts at whole leaves and canonical blocks."""

    start: int
    stop: int

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return self.stop - self.start


def slice_elements(task: Task, scope: Scope | None) -> int:
    """Elements of a full slice of the task's tensor: whole leaves on the reading and on the writing side."""
    if scope is Scope.MATRIX:
        return max(task.elements, 1)
    elements = LEAF_BYTES // min(task.item_bytes, task.out_item_bytes)
    assert elements % BLOCK_ELEMENTS == 0
    return elements


def scope_of(plan: Plan, task: Task) -> Scope | None:
    """The scope of the task's strategy, None where none runs."""
    return None if task.group is None else plan.groups[task.group].strategy.scope


def cut(task: Task, scope: Scope | None) -> list[Slice]:
    """The slices of a task's tensor; none for an empty tensor."""
    return _cut(Slice(0, task.elements), slice_elements(task, scope))


def cost_bytes(task: Task, scope: Scope | None, extra: int = 0) -> int:
    """Bytes of buffers that one slice takes while it is worked on: everything read, the result, `extra` per element."""
    elements = min(slice_elements(task, scope), task.elements)
    return elements * (len(task.reads) * task.item_bytes + task.out_item_bytes + extra)


def read_bytes(task: Task, part: Slice) -> int:
    """Bytes that are read for one slice."""
    return part.elements * task.item_bytes * len(task.reads)


def pieces(task: Task, part: Slice) -> list[Slice]:
    """A slice in pieces of whole canonical blocks, each worked on before the next one is read."""
    blocks = PIECE_BYTES // max(len(task.reads) * task.item_bytes * BLOCK_ELEMENTS, 1)
    return _cut(part, max(blocks, 1) * BLOCK_ELEMENTS)


def sampled(part: Slice, every: int) -> list[Slice]:
    """The first of so many runs of a slice, again and again."""
    return [Slice(run.start, min(run.start + RUN_ELEMENTS, run.stop)) for run in _cut(part, every * RUN_ELEMENTS)]


def _cut(part: Slice, step: int) -> list[Slice]:
    return [Slice(start, min(start + step, part.stop)) for start in range(part.start, part.stop, step)]
