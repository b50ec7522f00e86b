"""Slices: how a tensor is cut for workers, what a slice costs in memory; reads and computes nothing."""

from dataclasses import dataclass
from math import lcm

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


def slice_elements(task: Task, scope: Scope | None, together: int = 1) -> int:
    """Elements of a full slice of the task's tensor: whole leaves on the reading and on the writing side.

    Args:
        task: the tensor.
        scope: of its strategy.
        together: neighbours that no slice parts.
    """
    if scope is Scope.MATRIX:
        return max(task.elements, 1)
    beside = [side.task.item_bytes for side in task.sides if side.elementwise]
    elements = LEAF_BYTES // min(task.item_bytes, task.out_item_bytes, *beside)
    assert elements % BLOCK_ELEMENTS == 0
    return lcm(elements, together)


def scope_of(plan: Plan, task: Task) -> Scope | None:
    """The scope of the task's strategy, None where none runs."""
    return None if task.group is None else plan.groups[task.group].strategy.scope


def together_of(plan: Plan, task: Task) -> int:
    """Neighbours that the task's strategy wants in one slice, 1 where it does not care."""
    if task.group is None:
        return 1
    group = plan.groups[task.group]
    return group.strategy.together(group.params, task.shape)


def cut(task: Task, scope: Scope | None, together: int = 1) -> list[Slice]:
    """The slices of a task's tensor; none for an empty tensor."""
    return _cut(Slice(0, task.elements), slice_elements(task, scope, together))


def cost_bytes(task: Task, scope: Scope | None, together: int = 1, extra: int = 0) -> int:
    """Bytes of buffers that one slice takes while it is worked on: everything read, the result, `extra` per element."""
    part = Slice(0, min(slice_elements(task, scope, together), task.elements))
    wide = 8 * (len(task.sources) + 2) if scope is Scope.MATRIX else 0  # task vectors, their sum and a factor, float64
    return read_bytes(task, part) + part.elements * (task.out_item_bytes + extra + wide)


def read_bytes(task: Task, part: Slice) -> int:
    """Bytes that are read for one slice."""
    beside = sum(read_bytes(side, cut) for side, cut in sides_of(task, part))
    return part.elements * task.item_bytes * len(task.reads) + beside


def sides_of(task: Task, part: Slice) -> list[tuple[Task, Slice]]:
    """What goes with a slice: the side tasks, each with the same slice or the whole of it."""
    return [(side.task, part if side.elementwise else Slice(0, side.task.elements)) for side in task.sides]


def pieces(task: Task, part: Slice, together: int = 1) -> list[Slice]:
    """A slice in pieces of whole canonical blocks, each worked on before the next one is read."""
    beside = sum(len(side.task.reads) * side.task.item_bytes for side in task.sides if side.elementwise)
    least = lcm(BLOCK_ELEMENTS, together)
    count = PIECE_BYTES // max((len(task.reads) * task.item_bytes + beside) * least, 1)
    return _cut(part, max(count, 1) * least)


def sampled(part: Slice, every: int) -> list[Slice]:
    """The first of so many runs of a slice, again and again."""
    return [Slice(run.start, min(run.start + RUN_ELEMENTS, run.stop)) for run in _cut(part, every * RUN_ELEMENTS)]


def _cut(part: Slice, step: int) -> list[Slice]:
    return [Slice(start, min(start + step, part.stop)) for start in range(part.start, part.stop, step)]
