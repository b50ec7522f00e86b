"""Reader: brings the bytes of slices and verifies every leaf once in a run; computes nothing."""

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from conjoin.errors import DamagedObjectError
from conjoin.executor.slices import Slice
from conjoin.hashing import leaf_digests
from conjoin.plan.tasks import Leaves, Task
from conjoin.store.base import Place, Store, place_of
from conjoin.store.files import read_at
from conjoin.wire.digest import LEAF_BYTES, Digest
from conjoin.wire.objects import leaf_name

Bytes = npt.NDArray[np.uint8]

_APART_BYTES = 320
_OPEN_MAX = 64
"""Leaves that are open at once."""


class Reader:
    """Reads slices into a buffer that each thread keeps for itself; a leaf is verified once in a run.

    That is when it is first read whole. What the store keeps a copy of is not verified again; a file outside is where
    it looks changed since.
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
        distinct = [_distinct(task, part) for task, part in wanted]
        sizes = [part.elements * task.item_bytes for task, part in wanted]
        rooms = [room_bytes(size) * len(some) for size, some in zip(sizes, distinct, strict=True)]
        buffer = self.buffer(sum(rooms))
        found: list[list[Bytes]] = []
        leaves: list[tuple[Digest, memoryview]] = []
        position = 0
        for (task, part), size, some in zip(wanted, sizes, distinct, strict=True):
            arrays: dict[Leaves, Bytes] = {}
            for row in some:
                array = arrays[row] = buffer[position : position + size]
                position += room_bytes(size)
                leaves += zip(row, cut_leaves(array.data), strict=True)
                array.flags.writeable = False
            found.append([arrays[leaves_of(whole, task, part)] for whole in task.reads])
        for start in range(0, len(leaves), _OPEN_MAX):
            self._fill(leaves[start : start + _OPEN_MAX])
        return found

    def open(self, task: Task, part: Slice, *, unproven: bool = False) -> "OpenSlice | None":
        """A slice to be read in pieces; None where it is better read whole, since a leaf is still to be verified.

        Args:
            task: whose tensor it is of.
            part: the slice.
            unproven: the bytes may be wrong, so none is verified.
        """
        leaves = list(dict.fromkeys(leaf for row in _distinct(task, part) for leaf in row))
        if len(leaves) > _OPEN_MAX:
            return None
        if not (unproven or self._trusted) and any(leaf not in self._verified for leaf in leaves):
            return None
        opened = OpenSlice(self, task, part)
        for leaf in leaves:
            place = place_of(self._store, leaf)
            if place is not None:
                opened.places[leaf] = place
            if place is None or not (unproven or self._is_proven(leaf, place)):
                opened.close()
                return None
        return opened

    def _fill(self, leaves: Sequence[tuple[Digest, memoryview]]) -> None:
        """Read leaves, those that are to be verified side by side."""
        with ExitStack() as stack:
            unproven: list[tuple[Digest, memoryview, Place]] = []
            for leaf, into in leaves:
                place = place_of(self._store, leaf)
                if place is None:
                    self.read_by_store(leaf, into)
                    continue
                stack.callback(os.close, place.descriptor)
                if not self._is_proven(leaf, place):
                    unproven.append((leaf, into, place))
                elif not _read_here(place, into, 0):
                    self.read_by_store(leaf, into)
            digests = leaf_digests([into for _, into, _ in unproven], partial(_fill_piece, unproven))
            for (leaf, into, place), actual in zip(unproven, digests, strict=True):
                if actual == leaf and place.size_bytes == len(into):
                    self._verified[leaf] = place.stamp
                else:
                    self.read_by_store(leaf, into)

    def _is_proven(self, leaf: Digest, place: Place) -> bool:
        if leaf in self._verified:
            return self._verified[leaf] == place.stamp
        return self._trusted and place.stamp is None

    def read_by_store(self, leaf: Digest, into: memoryview) -> None:
        """Let the store read a leaf, which knows other places and says what is wrong."""
        length = self._store.read_leaf(leaf, into, trusted=self._trusted or leaf in self._verified)
        if length != len(into):
            raise DamagedObjectError(
                f"the leaf has {length} bytes and the tensor needs {len(into)} here",
                where=leaf_name(leaf),
                hint="`conjoin fsck` lists every damaged object",
            )
        self._verified.setdefault(leaf, None)

    def buffer(self, size: int) -> Bytes:
        """At least `size` bytes, kept by the calling thread from read to read."""
        kept: Bytes | None = getattr(self._local, "kept", None)
        if kept is None or len(kept) < size:
            self._local.kept = kept = None
            self._local.kept = kept = np.empty(size, np.uint8)
        return kept


class OpenSlice:
    """A slice whose leaves need no proof, to be read in pieces; a context manager that closes its files."""

    def __init__(self, reader: Reader, task: Task, part: Slice) -> None:
        self.places: dict[Digest, Place] = {}
        self._rows = _distinct(task, part)
        self._reader = reader
        self._task = task
        self._part = part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for place in self.places.values():
            os.close(place.descriptor)

    def read(self, parts: Sequence[Slice]) -> list[Bytes]:
        """Some ranges of the slice put together, from each of the task's `reads`; valid until the thread's next read.

        Sources that share all leaves of the slice share the array.

        Raises:
            MissingObjectError, DamagedObjectError, ChangedFileError: see `Reader.read`.
        """
        item_bytes = self._task.item_bytes
        size = sum(part.elements for part in parts) * item_bytes
        buffer = self._reader.buffer(room_bytes(size) * len(self._rows))
        arrays: dict[Leaves, Bytes] = {}
        for number, row in enumerate(self._rows):
            start = number * room_bytes(size)
            array = arrays[row] = buffer[start : start + size]
            into, done = array.data, 0
            for part in parts:
                length = part.elements * item_bytes
                self._read(row, (part.start - self._part.start) * item_bytes, into[done : done + length])
                done += length
            array.flags.writeable = False
        return [arrays[leaves_of(whole, self._task, self._part)] for whole in self._task.reads]

    def _read(self, row: Leaves, start: int, into: memoryview) -> None:
        """Read bytes of one source from `start` of the slice on."""
        done = 0
        while done < len(into):
            leaf, offset = row[(start + done) // LEAF_BYTES], (start + done) % LEAF_BYTES
            some = into[done : done + LEAF_BYTES - offset]
            if not _read_here(self.places[leaf], some, offset):
                whole = np.empty(self._leaf_bytes((start + done) // LEAF_BYTES), np.uint8).data
                self._reader.read_by_store(leaf, whole)
                some[:] = whole[offset : offset + len(some)]
            done += len(some)

    def _leaf_bytes(self, index: int) -> int:
        return min(LEAF_BYTES, self._part.elements * self._task.item_bytes - index * LEAF_BYTES)


def parts_of(arrays: Sequence[Bytes], item_bytes: int, start: int, parts: Sequence[Slice]) -> list[Bytes]:
    """The same as `OpenSlice.read`, of a slice that begins at element `start` and has been read whole."""
    ranges = [slice((part.start - start) * item_bytes, (part.stop - start) * item_bytes) for part in parts]
    return [a[ranges[0]] if len(ranges) == 1 else np.concatenate([a[some] for some in ranges]) for a in arrays]


def room_bytes(size: int) -> int:
    """Bytes kept for an array: leaves that stand at like places of a cache would push each other out."""
    return -(-size // 64) * 64 + _APART_BYTES


def cut_leaves(data: memoryview) -> list[memoryview]:
    """The leaves of a slice's bytes."""
    return [data[start : start + LEAF_BYTES] for start in range(0, len(data), LEAF_BYTES)]


def leaves_of(whole: Leaves, task: Task, part: Slice) -> Leaves:
    """The leaves of a slice, which begins at a whole one."""
    first, last = part.start * task.item_bytes // LEAF_BYTES, -(-part.stop * task.item_bytes // LEAF_BYTES)
    return whole[first:last]


def _distinct(task: Task, part: Slice) -> list[Leaves]:
    """The leaves of a slice from each source, those of equal sources once."""
    return list(dict.fromkeys(leaves_of(whole, task, part) for whole in task.reads))


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
