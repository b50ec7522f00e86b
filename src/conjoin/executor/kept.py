"""Kept sums: running sums as files of a folder that may be removed at any time; no byte read from there is trusted.

A file says what its sums are of, and its digests cover all of it: one that is damaged, cut short or of another version
is as good as none. It appears under its name by one rename and is not made durable, for the same reason.
"""

import os
import struct
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin.errors import ConjoinError
from conjoin.hashing import leaf_digests
from conjoin.kernels import DrawKey, RunningSum
from conjoin.kernels.layout import SUM_PIECE, Packed
from conjoin.plan.tasks import Leaves
from conjoin.store.files import NotRegularError, make_directories, open_regular, read_at
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, is_digest, merkle_root, raw, sha256

_MAGIC = b"conjoin running 1\n"
_HEAD = struct.Struct(f"<{len(_MAGIC)}sI32s")
_HEADER_BYTES_MAX = 64 * 1024 * 1024
_LEAF_BYTES = 512 * 1024
"""What is hashed on its own here: small, so that the sums of one slice fill the lanes."""
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class Term:
    """What one contribution adds to a slice of a sum: leaves of its tensor, and the name of its draws, if any."""

    contribution: Digest
    leaves: Leaves
    key: DrawKey | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file says of itself: the sum's terms with their factors, its elements, words and the root of its bytes."""

    factors: Mapping[Term, float]
    elements: int
    words: int
    root: Digest
    offset: int


class KeptSums:
    """The running sums in a folder, one file for each place: a slice of a tensor and what is summed there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._count = 0

    def find(self, place: Digest) -> Kept | None:
        """What is kept for a place, its sums not read yet; None where that is nothing."""
        with suppress(OSError, NotRegularError, ConjoinError, ValueError, KeyError, TypeError):
            descriptor = open_regular(self.folder / place)
            try:
                return _read_header(descriptor, place)
            finally:
                os.close(descriptor)
        return None

    def load(self, place: Digest, kept: Kept) -> RunningSum | None:
        """The sums that were found for a place; None where they are damaged or others by now."""
        bounds, words = _arrays(kept.elements, kept.words)
        parts = _cut(bounds, words)
        with suppress(OSError, NotRegularError):
            descriptor = open_regular(self.folder / place)
            try:
                root = merkle_root(leaf_digests(parts, partial(_fill, descriptor, kept.offset, parts)))
            finally:
                os.close(descriptor)
            found = RunningSum(Packed(bounds, words), tuple(kept.factors.values()), kept.elements)
            if root == kept.root and found.is_whole():
                return found
        return None

    def save(self, place: Digest, factors: Mapping[Term, float], total: RunningSum) -> bool:
        """Keep sums in place of those that were kept; False where the disk refuses, and nothing is kept then."""
        parts = _cut(*total.packed)
        header = _encode_header(place, factors, total, merkle_root(leaf_digests(parts)))
        with self._lock:
            self._count += 1
            unfinished = self.folder / f".{os.getpid()}-{self._count}"
        try:
            make_directories(self.folder)
            descriptor = os.open(unfinished, _NEW_FLAGS, 0o600)
            try:
                for data in (memoryview(header), *parts):
                    written = 0
                    while written < len(data):
                        written += os.write(descriptor, data[written:])
            finally:
                os.close(descriptor)
            os.replace(unfinished, self.folder / place)
        except OSError:
            with suppress(OSError):
                os.unlink(unfinished)
            self.drop(place)
            return False
        return True

    def leaves(self) -> frozenset[Digest]:
        """The leaves of every term of every sum that is kept: to take a term out, its leaves are read again."""
        names: list[str] = []
        with suppress(OSError):
            names = [name for name in os.listdir(self.folder) if is_digest(name)]
        kept = filter(None, (self.find(Digest(name)) for name in names))
        return frozenset(leaf for one in kept for term in one.factors for leaf in term.leaves)

    def drop(self, place: Digest) -> None:
        """Keep nothing for a place."""
        with suppress(OSError):
            os.unlink(self.folder / place)

    def prune(self, places: Collection[Digest]) -> int:
        """Remove what belongs to no place of these and what a killed process left; returns the bytes that stay."""
        size_bytes = 0
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.name in places:
                        size_bytes += entry.stat(follow_symlinks=False).st_size
                    elif is_digest(entry.name) or entry.name.startswith("."):
                        os.unlink(entry.path)
        return size_bytes


def _arrays(elements: int, words: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint64]]:
    return np.empty((-(-elements // SUM_PIECE), 3), np.int16), np.empty(words, np.uint64)


def _cut(*arrays: npt.NDArray[Any]) -> list[memoryview]:
    """The bytes of arrays, in pieces that are hashed on their own."""
    data = [np.ascontiguousarray(array).view(np.uint8).reshape(-1).data for array in arrays]
    return [whole[at : at + _LEAF_BYTES] for whole in data for at in range(0, len(whole), _LEAF_BYTES)]


def _fill(descriptor: int, offset: int, parts: list[memoryview], index: int, start: int, stop: int) -> None:
    """Read a piece; one that the file does not have stays as it is, and its digest will differ."""
    read_at(descriptor, parts[index][start:stop], offset + sum(map(len, parts[:index])) + start)


def _encode_header(place: Digest, factors: Mapping[Term, float], total: RunningSum, root: Digest) -> bytes:
    terms = [
        {"contribution": t.contribution, "factor": factor.hex(), "key": list(t.key or ()), "leaves": list(t.leaves)}
        for t, factor in factors.items()
    ]
    value = {"elements": total.elements, "place": place, "root": root, "terms": terms, "words": len(total.packed.words)}
    header = canonical.encode(value)
    return _HEAD.pack(_MAGIC, len(header), raw(sha256(header))) + header


def _read_header(descriptor: int, place: Digest) -> Kept | None:
    """The header of a file that is as long as it says and belongs to the place."""
    head = bytearray(_HEAD.size)
    if read_at(descriptor, memoryview(head), 0) != len(head):
        return None
    magic, size, digest = _HEAD.unpack(head)
    if magic != _MAGIC or size > _HEADER_BYTES_MAX:
        return None
    header = bytearray(size)
    if read_at(descriptor, memoryview(header), len(head)) != size or raw(sha256(header)) != digest:
        return None
    value: Any = canonical.decode(bytes(header), "a running sum")
    if value["place"] != place:
        return None
    factors = {
        Term(term["contribution"], tuple(term["leaves"]), tuple(term["key"]) or None): float.fromhex(term["factor"])
        for term in value["terms"]
    }
    kept = Kept(factors, value["elements"], value["words"], value["root"], len(head) + size)
    bounds, words = -(-kept.elements // SUM_PIECE) * 6, kept.words * 8
    return kept if os.fstat(descriptor).st_size == kept.offset + bounds + words else None
