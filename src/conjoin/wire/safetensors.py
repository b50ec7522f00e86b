"""Safetensors headers to values and back: a strict gate that refuses whatever has two readings. Never opens a file.

The format: 8 bytes little-endian header length, a JSON object, the tensors' bytes. The gate accepts a subset of what
the safetensors library accepts, so that nothing goes further that two readers could see differently.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

from conjoin.errors import MalformedCheckpointError, UnsupportedDtypeError
from conjoin.wire.canonical import unread
from conjoin.wire.dtype import DTYPES
from conjoin.wire.manifest import TENSORS_MAX, name_problem, shape_problem

LENGTH_BYTES = 8
HEADER_BYTES_MAX = 8 * 1024 * 1024
METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}
_DIGITS_MAX = 20
_AGAIN = "get the file again from where it came, or write it again with the safetensors library"


@dataclass(frozen=True, slots=True)
class TensorSlot:
    """One tensor of a file: name, dtype name, shape, and its bytes [start, stop) counted from the file's first byte."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """Size of the tensor's data in bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header: tensors in file order, the `__metadata__` strings, and where in the file the data begins."""

    slots: tuple[TensorSlot, ...]
    metadata: dict[str, str]
    data_start: int


def header_length(first8: bytes, file_bytes: int, where: str) -> int:
    """Length in bytes of the JSON header that follows the first 8 bytes.

    Args:
        first8: the file's first 8 bytes, fewer if it has fewer.
        file_bytes: the file's size.
        where: the file, as errors name it.

    Raises:
        MalformedCheckpointError: the file is too short or cut off, or the length is nonsense or over the limit.
    """
    if len(first8) < LENGTH_BYTES:
        _refuse(f"it is not a safetensors file: {file_bytes} bytes are too few", where)
    length = int.from_bytes(first8[:LENGTH_BYTES], "little")
    room = file_bytes - LENGTH_BYTES
    if length < 2 or (length > room and length > HEADER_BYTES_MAX):
        _refuse(
            f"it is not a safetensors file: it declares a header of {length} bytes and has {max(room, 0)} more bytes",
            where,
        )
    if length > HEADER_BYTES_MAX:
        _refuse(f"the header of {length} bytes is over the limit of {HEADER_BYTES_MAX}", where)
    if length > room:
        _refuse(f"the file is cut off: its header needs {length} bytes and {max(room, 0)} are there", where)
    return length


def parse_header(head: bytes, file_bytes: int, where: str) -> Header:
    """Read a header strictly.

    Args:
        head: the file's first bytes, at least to the end of the header.
        file_bytes: the file's size.
        where: the file, as errors name it.

    Raises:
        MalformedCheckpointError: the header breaks the format, a limit, or leaves room for two readings.
        UnsupportedDtypeError: a tensor has a dtype conjoin cannot carry.
    """
    length = header_length(head[:LENGTH_BYTES], file_bytes, where)
    data_start = LENGTH_BYTES + length
    document = _read_json(head[LENGTH_BYTES:data_start], where)
    metadata = _read_metadata(document.pop(METADATA, {}), where)
    if len(document) > TENSORS_MAX:
        _refuse(f"{len(document)} tensors are over the limit of {TENSORS_MAX}", where)
    slots = [_read_slot(name, item, data_start, where) for name, item in document.items()]
    slots.sort(key=lambda slot: (slot.start, slot.stop, slot.name))
    _check_cover(slots, data_start, file_bytes, where)
    return Header(tuple(slots), metadata, data_start)


def encode_header(
    tensors: Sequence[tuple[str, str, Sequence[int]]], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, dict[str, int], int]:
    """The first bytes of a safetensors file that holds `tensors`, as the safetensors library writes them.

    The library writes several metadata keys in an order of chance; here they are in ascending order.

    Args:
        tensors: (name, dtype name, shape) in any order.
        metadata: the `__metadata__` strings; None leaves the field out.

    Returns:
        The length field and header, the absolute offset of every tensor by name, and the size of the whole file.
    """
    ordered = sorted(tensors, key=lambda tensor: (-DTYPES[tensor[1]].file_rank, tensor[0]))
    document: dict[str, object] = {} if metadata is None else {METADATA: dict(sorted(metadata.items()))}
    offsets: dict[str, int] = {}
    position = 0
    for name, dtype, shape in ordered:
        end = position + prod(shape) * DTYPES[dtype].item_bytes
        document[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        offsets[name] = position
        position = end
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    data_start = LENGTH_BYTES + len(text)
    head = len(text).to_bytes(LENGTH_BYTES, "little") + text
    return head, {name: data_start + offset for name, offset in offsets.items()}, data_start + position


class _TwoReadingsError(ValueError):
    """JSON that other readers may understand differently."""


def _refuse(what: str, where: str, hint: str = _AGAIN) -> NoReturn:
    raise MalformedCheckpointError(what, where=where, hint=hint)


def _at(where: str, name: object) -> str:
    return f"{where}: tensor {name!r:.90}"


def _read_json(text: bytes, where: str) -> dict[str, Any]:
    """The header's JSON object; one reading only: no repeated keys, floats, signs, constants or bytes around it."""
    if text[:1] != b"{":
        _refuse(f"it is not a safetensors file: the header begins with {text[:8]!r} and not with '{{'", where)
    body = text.rstrip(b" ")
    if body[-1:] != b"}":
        _refuse("the header is not one JSON object padded with spaces", where)
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_plain_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except (ValueError, RecursionError) as cause:
        raise MalformedCheckpointError(
            f"the header is not strict JSON: {unread(cause)}", where=where, hint=_AGAIN
        ) from cause
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise _TwoReadingsError(f"the name {key!r:.90} stands twice in one object")
        value[key] = item
    return value


def _plain_integer(text: str) -> int:
    if text.startswith("-") or len(text) > _DIGITS_MAX:
        raise _TwoReadingsError(f"the number {text:.40} is not a non-negative 64-bit integer")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise _TwoReadingsError(f"the number {text:.40} is not an integer")


def _read_metadata(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        _refuse("`__metadata__` is not an object of strings", where)
    metadata: dict[str, str] = dict(value)
    try:
        "".join([*metadata, *metadata.values()]).encode("utf-8")
    except UnicodeEncodeError:
        _refuse("`__metadata__` holds half a character (a lone surrogate)", where)
    return metadata


def _read_slot(name: str, item: object, data_start: int, where: str) -> TensorSlot:
    """One tensor's entry, checked by itself."""
    at = _at(where, name)
    if problem := name_problem(name):
        _refuse(f"the tensor's name is refused: {problem}", at, "rename the tensor and write the file again")
    if not isinstance(item, dict) or set(item) != _FIELDS:
        _refuse("its entry has other fields than dtype, shape and data_offsets", at)
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsupportedDtypeError(
            f"dtype {dtype!r:.40} is not one of {', '.join(DTYPES)}",
            where=at,
            hint="convert the tensor to one of these dtypes (quantised weights: use the original checkpoint)",
        )
    if not isinstance(shape, list) or (problem := shape_problem(shape)):
        _refuse(f"its shape {shape!r:.90} is refused: {shape_problem(shape)}", at)
    if not isinstance(offsets, list) or len(offsets) != 2 or any(type(offset) is not int for offset in offsets):
        _refuse(f"its data_offsets {offsets!r:.60} are not two integers", at)
    start, stop = offsets
    if start > stop:
        _refuse(f"its data begins at {start} and ends before that, at {stop}", at)
    size = prod(shape) * DTYPES[dtype].item_bytes
    if stop - start != size:
        _refuse(f"its shape {shape} of {dtype} takes {size} bytes and its data_offsets give {stop - start}", at)
    return TensorSlot(name, dtype, tuple(shape), data_start + start, data_start + stop)


def _check_cover(slots: Sequence[TensorSlot], data_start: int, file_bytes: int, where: str) -> None:
    """Refuse tensors that overlap, leave holes, or do not end where the file ends."""
    position = data_start
    for slot in slots:
        at = _at(where, slot.name)
        if slot.stop > file_bytes:
            _refuse(f"the file is cut off: the tensor ends at byte {slot.stop} and the file at {file_bytes}", at)
        if slot.start < position:
            _refuse(f"its data overlaps another tensor's: it begins at {slot.start}, the other ends at {position}", at)
        if slot.start > position:
            _refuse(f"there is a hole before it: bytes {position} to {slot.start} belong to no tensor", at)
        position = slot.stop
    if position != file_bytes:
        _refuse(f"the file has {file_bytes - position} bytes after its last tensor", where)
