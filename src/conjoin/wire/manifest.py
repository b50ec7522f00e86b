"""Manifest: what tensors a checkpoint holds and the digests of their leaves; holds no tensor data.

Names, dtypes and digests are ASCII that needs no escape in JSON, so the canonical bytes are spelled here directly.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Self

from conjoin.errors import DamagedObjectError, MalformedOperationError
from conjoin.wire import canonical
from conjoin.wire.digest import LEAF_BYTES, Digest, is_digest, leaf_sizes, merkle_root, merkle_root_of
from conjoin.wire.dtype import DTYPES, Dtype

FORMAT = "conjoin/manifest/1"
MANIFEST_BYTES_MAX = 64 * 1024 * 1024
TENSORS_MAX = 20_000
RANK_MAX = 8
DIM_MAX = 2**40
SIZE_BYTES_MAX = 2**50
_LEAF_CHARS = 67
"""A leaf's digest in a list: 64 characters, two quotes and a comma."""
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,256}")
_FIELDS = {"dtype", "leaves", "name", "shape"}


def name_problem(name: object) -> str | None:
    """Why `name` may not name a tensor or file, or None."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        return "names are 1 to 256 of A-Z a-z 0-9 _ . -"
    if ".." in name or name.startswith("."):
        return "names may not start with a dot or contain two dots in a row"
    return None


def shape_problem(shape: object) -> str | None:
    """Why `shape` may not be a shape, or None."""
    if not isinstance(shape, list | tuple):
        return "a shape is a list of non-negative integers"
    if len(shape) > RANK_MAX:
        return f"rank {len(shape)} is over {RANK_MAX}"
    elements = 1
    for dim in shape:
        if type(dim) is not int or dim < 0:
            return "a shape is a list of non-negative integers"
        if dim >= DIM_MAX:
            return "a dimension is too large"
        elements *= dim or 1
    return "the tensor is too large" if elements * 8 > SIZE_BYTES_MAX else None


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: name without a `name_problem`, dtype name, shape, and the digests of its 4 MiB leaves in order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    leaves: tuple[Digest, ...]

    @property
    def kind(self) -> Dtype:
        """The dtype's properties."""
        return DTYPES[self.dtype]

    @property
    def elements(self) -> int:
        """Number of elements; 1 for rank 0."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Size of the tensor's data in bytes."""
        return self.elements * self.kind.item_bytes

    @cached_property
    def root(self) -> Digest:
        """Merkle root over the tensor's leaves."""
        return merkle_root(self.leaves)

    def leaf_sizes(self) -> list[int]:
        """Length in bytes of each leaf."""
        return leaf_sizes(self.size_bytes)


@dataclass(frozen=True)
class Manifest:
    """The tensors of one checkpoint, sorted by name. Its digest is the checkpoint's content digest."""

    tensors: tuple[TensorEntry, ...]

    @classmethod
    def of(cls, tensors: Iterable[TensorEntry]) -> Self:
        """A manifest of `tensors` in any order."""
        return cls(tuple(sorted(tensors, key=lambda entry: entry.name)))

    @cached_property
    def digest(self) -> Digest:
        """Content digest: Merkle root over (name, dtype, shape, tensor root) sorted by name."""
        return merkle_root_of(map(_summary, self.tensors))

    @cached_property
    def by_name(self) -> dict[str, TensorEntry]:
        """The tensors by name."""
        return {entry.name: entry for entry in self.tensors}

    @cached_property
    def described(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Name, dtype and shape of every tensor: manifests in which these are equal fit each other."""
        return tuple((entry.name, entry.dtype, entry.shape) for entry in self.tensors)

    @property
    def size_bytes(self) -> int:
        """Size of all tensors' data in bytes."""
        return sum(entry.size_bytes for entry in self.tensors)

    def leaf_lengths(self) -> dict[Digest, int]:
        """Every distinct leaf with its length in bytes."""
        return {leaf: size for t in self.tensors for leaf, size in zip(t.leaves, t.leaf_sizes(), strict=True)}

    def encode(self) -> bytes:
        """The canonical bytes stored under `manifest/<digest>`."""
        tensors = ",".join(
            f'{{"dtype":"{t.dtype}","leaves":{_quoted(t.leaves)},"name":"{t.name}","shape":{_listed(t.shape)}}}'
            for t in self.tensors
        )
        return f'{{"format":"{FORMAT}","tensors":[{tensors}]}}'.encode("ascii")

    @classmethod
    def decode(cls, data: bytes, expected: Digest) -> "Manifest":
        """Read manifest bytes and check them against the digest they were asked for by.

        Raises:
            DamagedObjectError: the bytes are not a manifest, break a limit, or have another digest.
        """
        try:
            manifest = _read(data)
        except MalformedOperationError as cause:
            raise DamagedObjectError(f"manifest is damaged: {cause.what}", where=f"manifest/{expected}") from cause
        if manifest.digest != expected:
            raise DamagedObjectError(f"manifest has digest {manifest.digest}", where=f"manifest/{expected}")
        return manifest


@lru_cache(maxsize=1)
def _read(data: bytes) -> Manifest:
    """The manifest in `data`. The last one is kept: a store reads it to check it, and then its caller reads it."""
    if len(data) > MANIFEST_BYTES_MAX:
        raise MalformedOperationError(f"{len(data)} bytes are over the limit of {MANIFEST_BYTES_MAX}")
    # What no manifest of this size can hold is refused unread: other JSON may take a hundred times its memory.
    brackets, braces, commas = (data.count(mark) for mark in (b"[", b"{", b","))
    commas_max = 2 * RANK_MAX * TENSORS_MAX + len(data) // _LEAF_CHARS
    if brackets > 2 * TENSORS_MAX + 1 or braces > TENSORS_MAX + 1 or commas > commas_max:
        raise MalformedOperationError(f"it is no {FORMAT} document of at most {TENSORS_MAX} tensors")
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as cause:
        raise MalformedOperationError(f"it is not JSON: {canonical.unread(cause)}") from cause
    if not isinstance(value, dict) or set(value) != {"format", "tensors"} or value["format"] != FORMAT:
        raise MalformedOperationError(f"it is not a {FORMAT} document")
    if not isinstance(value["tensors"], list) or len(value["tensors"]) > TENSORS_MAX:
        raise MalformedOperationError(f"`tensors` is not a list of at most {TENSORS_MAX}")
    entries = tuple(_read_entry(item) for item in value["tensors"])
    names = [entry.name for entry in entries]
    if names != sorted(set(names)):
        raise MalformedOperationError("tensors are not sorted by name without repetition")
    manifest = Manifest(entries)
    if manifest.encode() != data:
        raise MalformedOperationError("it is not canonical JSON: encoding its value again gives other bytes")
    return manifest


def _read_entry(item: object) -> TensorEntry:
    if not isinstance(item, dict) or item.keys() != _FIELDS:
        raise MalformedOperationError("a tensor entry has other fields than dtype, leaves, name, shape")
    name, dtype, shape, leaves = item["name"], item["dtype"], item["shape"], item["leaves"]
    problem = name_problem(name) or shape_problem(shape)
    if problem is None and (not isinstance(dtype, str) or dtype not in DTYPES):
        problem = "unknown dtype"
    if problem is None and (not isinstance(leaves, list) or not all(map(is_digest, leaves))):
        problem = "leaves is not a list of SHA-256 digests of 64 lower-case hex characters"
    if problem is not None:
        raise MalformedOperationError(f"tensor {name!r:.80}: {problem}")
    size_bytes = prod(shape) * DTYPES[dtype].item_bytes
    if -(-size_bytes // LEAF_BYTES) != len(leaves):
        raise MalformedOperationError(f"tensor {name}: {len(leaves)} leaves do not fit {size_bytes} bytes")
    return TensorEntry(name, dtype, tuple(shape), tuple(leaves))


def _summary(entry: TensorEntry) -> bytes:
    """The canonical bytes of what the content digest is made of."""
    root, shape = merkle_root(entry.leaves), _listed(entry.shape)
    return f'{{"dtype":"{entry.dtype}","name":"{entry.name}","root":"{root}","shape":{shape}}}'.encode("ascii")


def _listed(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _quoted(leaves: tuple[Digest, ...]) -> str:
    return '["' + '","'.join(leaves) + '"]' if leaves else "[]"
