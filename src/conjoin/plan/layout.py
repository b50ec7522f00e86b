"""Layout: which output file holds which tensor at which byte, and which side files come along; opens no file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from conjoin.errors import UsageError
from conjoin.wire.beside import goes_beside
from conjoin.wire.dtype import DTYPES
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.safetensors import encode_header

INDEX_NAME = "model.safetensors.index.json"
RECEIPT_NAME = "conjoin.json"
SIDE_FOLDER = "sidecars"
SIDE_NAME = f"{SIDE_FOLDER}/sidecars.safetensors"
CONFIG_NAME = "config.json"
METADATA = {"format": "pt"}

_BESIDE = re.compile(rf"{re.escape(SIDE_NAME)}|{SIDE_FOLDER}/asset-[0-9a-f]{{16}}\.json")
_TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
_DTYPE_KEYS = ("torch_dtype", "dtype")


@dataclass(frozen=True, slots=True)
class OutTensor:
    """One tensor of the output: name, dtype name and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Size of the tensor's data in bytes."""
        return prod(self.shape) * DTYPES[self.dtype].item_bytes


@dataclass(frozen=True, slots=True)
class Shard:
    """One output file: name, the bytes before the data, absolute offset of each tensor, size of the whole file."""

    name: str
    head: bytes
    offsets: Mapping[str, int]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SideFile:
    """One file copied from the base; `config_dtype` is the dtype that its config must name instead, or None."""

    entry: TensorEntry
    config_dtype: str | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.entry.name


def require_shard_size(shard_size_bytes: int) -> None:
    """Refuse a limit that no file can keep.

    Raises:
        UsageError: the shard size is not positive.
    """
    if shard_size_bytes <= 0:
        raise UsageError(f"the shard size is {shard_size_bytes} bytes", hint="give a positive size, for example 5GB")


def lay_out_shards(tensors: Sequence[OutTensor], shard_size_bytes: int) -> tuple[Shard, ...]:
    """Assign tensors, in the order given, to files of at most `shard_size_bytes` of data each.

    A tensor is never cut; one larger than the limit gets a file of its own.
    """
    parts: list[list[OutTensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if parts[-1] and filled + tensor.size_bytes > shard_size_bytes:
            parts.append([])
            filled = 0
        parts[-1].append(tensor)
        filled += tensor.size_bytes
    shards: list[Shard] = []
    for number, part in enumerate(parts, 1):
        name = "model.safetensors" if len(parts) == 1 else f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        head, offsets, size_bytes = encode_header([(t.name, t.dtype, t.shape) for t in part], METADATA)
        shards.append(Shard(name, head, offsets, size_bytes))
    return tuple(shards)


def side_shard_of(tensors: Sequence[OutTensor]) -> Shard:
    """The file for what strategies write beside the tensors."""
    head, offsets, size_bytes = encode_header([(t.name, t.dtype, t.shape) for t in tensors], {})
    return Shard(SIDE_NAME, head, offsets, size_bytes)


def is_beside(name: object) -> bool:
    """Whether a file of that name is one that a merge writes beside the tensors."""
    return isinstance(name, str) and _BESIDE.fullmatch(name) is not None


def encode_index(shards: Sequence[Shard], tensors: Sequence[OutTensor]) -> bytes | None:
    """The index file that says which shard holds which tensor, or None for a single shard."""
    if len(shards) == 1:
        return None
    weight_map = {name: shard.name for shard in shards for name in shard.offsets}
    value = {"metadata": {"total_size": sum(tensor.size_bytes for tensor in tensors)}, "weight_map": weight_map}
    return _pretty(value)


def choose_side_files(files: Manifest | None, config_dtype: str | None) -> tuple[SideFile, ...]:
    """The base's files that come along: those whose names may, whatever the founder of the space put there.

    Args:
        files: the base's files, or None.
        config_dtype: the output's float dtype where it differs from the base's; config.json then names it.
    """
    if files is None:
        return ()
    return tuple(
        SideFile(entry, config_dtype if entry.name == CONFIG_NAME else None)
        for entry in files.tensors
        if goes_beside(entry.name)
    )


def rewrite_config(data: bytes, dtype: str) -> bytes:
    """A config.json that names another dtype: `torch_dtype` and `dtype` at any depth, keys sorted, two spaces deep.

    Where the file names no dtype, or is not a JSON object, its bytes stay as they are.
    """
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return data
    return _pretty(value) if isinstance(value, dict) and _set_dtype(value, _TORCH_NAMES[dtype]) else data


def _set_dtype(value: dict[str, Any], name: str) -> bool:
    """Set the dtype in a config and the configs inside it; whether there was one to set."""
    changed = False
    pending = [value]
    while pending:
        item = pending.pop()
        pending += [inner for inner in item.values() if isinstance(inner, dict)]
        for key in _DTYPE_KEYS:
            if item.get(key) in _TORCH_NAMES.values():
                item[key] = name
                changed = True
    return changed


def _pretty(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
