"""Slices: how a tensor is cut for workers, what a slice costs in memory, how its bytes are read; computes nothing."""

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from conjoin.errors import DamagedObjectError
from conjoin.hashing import leaf_digests
from conjoin.plan.plan import Plan
from conjoin.plan.tasks import Leaves, Task
from conjoin.store.base import Place, Store, place_of
from conjoin.store.files import read_at
from conjoin.strategies.base import BLOCK_ELEMENTS, Scope
from conjoin.wire.digest import LEAF_BYTES, Digest
from conjoin.wire.objects import leaf_name

Bytes = npt.NDArray[np.uint8]

_APART_BYTES = 320
_OPEN_MAX = 64
"""Leaves that are open at once."""


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


def cost_bytes(task: Task, scope: Scope | None, extra: int = 0) -> int:
    """Bytes of buffers that one slice takes while it is worked on: everything read, the result, `extra` per element."""
    elements = min(slice_elements(task, scope), task.elements)
    return elements * (len(task.reads) * task.item_bytes + task.out_item_bytes + extra)


def read_bytes(task: Task, part: Slice) -> int:
    """Bytes that are read for one slice."""
    return part.elements * task.item_bytes * len(task.reads)


class Reader:
    """Reads slices into a buffer that each thread keeps for itself; a leaf is verified once in a run.

    That is when it is first read. What the store keeps a copy of is not verified again; a file outside is where it
    looks changed since.
    """

    def __init__(self, store: Store, *, trusted: bool) -> None:
        self._store = store
        self._trusted = trusted
        self._verified: dict[Digest, tuple[int, ...] | None] = {}
        self._local = threading.local()

    def read(self, wanted: Sequence[tuple[Task, Slice]]) -> list[list[Bytes]]:
        """The bytes of slices from each of their tasks' `reads`, read-only; valid until this thread reads again.

        Sources that share all leaves of a slice share the array. The leaves of all slices are hashed side by side.

        Raises:
            MissingObjectError, DamagedObjectError, ChangedFileError: a leaf is not here or not what its digest says.
        """
        sizes = [part.elements * task.item_bytes for task, part in wanted]
        buffer = self._buffer(
            sum(room_bytes(size) * len(task.reads) for (task, _), size in zip(wanted, sizes, strict=True))
        )
        found: list[list[Bytes]] = []
        leaves: list[tuple[Digest, memoryview]] = []
        position = 0
        for (task, part), size in zip(wanted, sizes, strict=True):
            first, count = part.start * task.item_bytes // LEAF_BYTES, -(-size // LEAF_BYTES)
            known: dict[Leaves, Bytes] = {}
            for whole in task.reads:
                some = whole[first : first + count]
                if some not in known:
                    array = known[some] = buffer[position : position + size]
                    position += room_bytes(size)
                    leaves += zip(some, cut_leaves(array.data), strict=True)
                    array.flags.writeable = False
            found.append([known[whole[first : first + count]] for whole in task.reads])
        for start in range(0, len(leaves), _OPEN_MAX):
            self._fill(leaves[start : start + _OPEN_MAX])
        return found

    def _fill(self, leaves: Sequence[tuple[Digest, memoryview]]) -> None:
        """Read leaves, those that are to be verified side by side."""
        with ExitStack() as stack:
            unproven: list[tuple[Digest, memoryview, Place]] = []
            for leaf, into in leaves:
                place = place_of(self._store, leaf)
                if place is None:
                    self._read_by_store(leaf, into)
                    continue
                stack.callback(os.close, place.descriptor)
                if not self._is_proven(leaf, place):
                    unproven.append((leaf, into, place))
                elif not _read_here(place, into, 0):
                    self._read_by_store(leaf, into)
            digests = leaf_digests([into for _, into, _ in unproven], partial(_fill_piece, unproven))
            for (leaf, into, place), actual in zip(unproven, digests, strict=True):
                if actual == leaf and place.size_bytes == len(into):
                    self._verified[leaf] = place.stamp
                else:
                    self._read_by_store(leaf, into)

    def _is_proven(self, leaf: Digest, place: Place) -> bool:
        if leaf in self._verified:
            return self._verified[leaf] == place.stamp
        return self._trusted and place.stamp is None

    def _read_by_store(self, leaf: Digest, into: memoryview) -> None:
        """Let the store read a leaf, which knows other places and says what is wrong."""
        length = self._store.read_leaf(leaf, into, trusted=self._trusted or leaf in self._verified)
        if length != len(into):
            raise DamagedObjectError(
                f"the leaf has {length} bytes and the tensor needs {len(into)} here",
                where=leaf_name(leaf),
                hint="`conjoin fsck` lists every damaged object",
            )
        self._verified.setdefault(leaf, None)

    def _buffer(self, size: int) -> Bytes:
        """At least `size` bytes, kept by the thread from call to call."""
        kept: Bytes | None = getattr(self._local, "kept", None)
        if kept is None or len(kept) < size:
            self._local.kept = kept = None
            self._local.kept = kept = np.empty(size, np.uint8)
        return kept


def room_bytes(size: int) -> int:
    """Bytes kept for an array: leaves that stand at like places of a cache would push each other out."""
    return -(-size // 64) * 64 + _APART_BYTES


def cut_leaves(data: memoryview) -> list[memoryview]:
    """The leaves of a slice's bytes."""
    return [data[start : start + LEAF_BYTES] for start in range(0, len(data), LEAF_BYTES)]


def _fill_piece(leaves: Sequence[tuple[Digest, memoryview, Place]], index: int, start: int, stop: int) -> None:
    """Read one piece; where that fails, the digest will differ and the store says why."""
    _, into, place = leaves[index]
    _read_here(place, into[start:stop], start)


def _read_here(place: Place, into: memoryview, start: int) -> bool:
    """Read from a leaf's place on, and say whether it could be."""
    size = len(into)
    try:
        return start + size <= place.size_bytes and read_at(place.descriptor, into, place.offset + start) == size
    except OSError:
        return False
