"""Slices: how a tensor is cut for workers, what a slice costs in memory, how its bytes are read; computes nothing."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conjoin.errors import DamagedObjectError
from conjoin.plan.plan import Plan
from conjoin.plan.tasks import Leaves, Task
from conjoin.store.base import Store
from conjoin.strategies.base import BLOCK_ELEMENTS, Scope
from conjoin.wire.digest import LEAF_BYTES, Digest
from conjoin.wire.objects import leaf_name

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Slice:
    """Elements [start, stop) of a tensor, C order. `start` is a multiple of whole leaves and of canonical blocks."""

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
    step = slice_elements(task, scope)
    return [Slice(start, min(start + step, task.elements)) for start in range(0, task.elements, step)]


def cost_bytes(task: Task, scope: Scope | None) -> int:
    """Bytes of buffers that one slice takes while it is worked on: everything read, and the result."""
    elements = min(slice_elements(task, scope), task.elements)
    return elements * (len(task.reads) * task.item_bytes + task.out_item_bytes)


def read_bytes(task: Task, part: Slice) -> int:
    """Bytes that are read for one slice."""
    return part.elements * task.item_bytes * len(task.reads)


class Reader:
    """Reads slices into buffers that each thread keeps for itself; a leaf is verified when a run first reads it."""

    def __init__(self, store: Store, *, trusted: bool) -> None:
        self._store = store
        self._trusted = trusted
        self._verified: set[Digest] = set()
        self._local = threading.local()

    def read(self, task: Task, part: Slice) -> list[Bytes]:
        """The bytes of one slice from each of the task's `reads`, read-only; valid until this thread reads again.

        Sources that share all leaves of the slice share the array.

        Raises:
            MissingObjectError, DamagedObjectError, ChangedFileError: a leaf is not here or not what its digest says.
        """
        size = part.elements * task.item_bytes
        first = part.start * task.item_bytes // LEAF_BYTES
        count = -(-size // LEAF_BYTES)
        buffers = self._buffers(len(task.reads), size)
        known: dict[Leaves, Bytes] = {}
        arrays: list[Bytes] = []
        for leaves in task.reads:
            wanted = leaves[first : first + count]
            array = known.get(wanted)
            if array is None:
                array = known[wanted] = buffers[len(known)][:size]
                self._fill(wanted, array.data)
                array.flags.writeable = False
            arrays.append(array)
        return arrays

    def _fill(self, leaves: Sequence[Digest], into: memoryview) -> None:
        for number, leaf in enumerate(leaves):
            view = into[number * LEAF_BYTES : (number + 1) * LEAF_BYTES]
            length = self._store.read_leaf(leaf, view, trusted=self._trusted or leaf in self._verified)
            if length != len(view):
                raise DamagedObjectError(
                    f"the leaf has {length} bytes and the tensor needs {len(view)} here",
                    where=leaf_name(leaf),
                    hint="`conjoin fsck` lists every damaged object",
                )
            self._verified.add(leaf)

    def _buffers(self, count: int, size: int) -> list[Bytes]:
        """At least `count` buffers of at least `size` bytes, kept by the thread from slice to slice."""
        kept: list[Bytes] = getattr(self._local, "kept", [])
        for index in range(count):
            if index == len(kept):
                kept.append(np.empty(size, np.uint8))
            elif len(kept[index]) < size:
                kept[index] = np.empty(size, np.uint8)
        self._local.kept = kept
        return kept
