"""Reads differences between leaves as docs/spec/peers.md section 8 says, and nothing of the library; keeps nothing.

What it cannot read it refuses with the code that the page names. Only the frame's blocks are left to a library.
"""

from __future__ import annotations

import hashlib
import struct

import zstandard


class Refused(Exception):  # noqa: N818 - the word of the page
    """What the page says is refused, with the code of the refusal."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(f"{code} {what}")
        self.code = code


def read_difference(body: bytes, base: bytes, item_bytes: int, digest: str, size_bytes: int) -> bytes:
    """The leaf whose difference from `base` is `body`; it has this digest and this length."""
    size = len(base)
    if item_bytes not in (1, 2, 4, 8) or size % item_bytes:
        raise Refused("E504", "item_bytes")
    planes = _content(body, size)
    items = size // item_bytes
    changed = bytearray(size)
    for plane in range(item_bytes):
        changed[plane::item_bytes] = planes[plane * items : (plane + 1) * items]
    number = int.from_bytes(changed, "little") ^ int.from_bytes(base, "little")
    leaf = number.to_bytes(size, "little")
    if len(leaf) != size_bytes or hashlib.sha256(b"\0" + leaf).hexdigest() != digest:
        raise Refused("E301", "not the leaf")
    return leaf


def _content(body: bytes, size_bytes: int) -> bytes:
    """What the one frame in `body` holds: so many bytes, which are never exceeded."""
    _check_frame(body, size_bytes)
    try:
        content = zstandard.ZstdDecompressor().stream_reader(body).read(size_bytes + 1)
    except zstandard.ZstdError as cause:
        raise Refused("E504", "blocks") from cause
    if len(content) != size_bytes:
        raise Refused("E504", "length")
    return content


def _check_frame(body: bytes, size_bytes: int) -> None:
    """One frame of RFC 8878 and nothing else, without a dictionary, that asks for no more memory than it may."""
    place = 5
    if body[:4] != bytes.fromhex("28b52ffd") or len(body) < place:
        raise Refused("E504", "no frame")
    flags = body[4]
    single, checksum = flags >> 5 & 1, flags >> 2 & 1
    if flags & 0x08:
        raise Refused("E504", "reserved bit")
    if not single:
        window = 1 << 10 + (_at(body, place, 1) >> 3)
        if window + (window >> 3) * (body[place] & 7) > 8 * 1024 * 1024:
            raise Refused("E504", "window")
        place += 1
    width = (0, 1, 2, 4)[flags & 3]
    if _at(body, place, width):
        raise Refused("E504", "dictionary")
    place += width
    width = (single, 2, 4, 8)[flags >> 6]
    stated = _at(body, place, width) + (256 if width == 2 else 0)
    if width and stated != size_bytes:
        raise Refused("E504", "stated size")
    place += width
    last = 0
    while not last:
        header = _at(body, place, 3)
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        if kind == 3:
            raise Refused("E504", "block type")
        place += 3 + (1 if kind == 1 else length)
    if place + 4 * checksum != len(body):
        raise Refused("E504", "end")


def _at(body: bytes, place: int, width: int) -> int:
    if place + width > len(body):
        raise Refused("E504", "cut")
    return struct.unpack("<Q", body[place : place + width].ljust(8, b"\0"))[0]
