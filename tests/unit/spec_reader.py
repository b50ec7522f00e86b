"""Reads and answers what docs/spec says of frames, comparisons, differences and segments, with nothing of this library.

What it cannot read it refuses with the code that the page names. Only the blocks of zstd are left to a library.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Check = Callable[[Any], bool]


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


# ------------------------------------------------------------------------------------------------ frames
def _hex(chars: int) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{chars}}}", value) is not None


def _integer(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _text(chars_max: int) -> Check:
    marks = "[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
    return lambda value: isinstance(value, str) and len(value) <= chars_max and re.search(marks, value) is None


def _items(check: Check, count_max: int) -> Check:
    return lambda value: isinstance(value, list) and len(value) <= count_max and all(map(check, value))


def _pair(first: Check, second: Check) -> Check:
    return lambda value: isinstance(value, list) and len(value) == 2 and first(value[0]) and second(value[1])


def _fields(**checks: Check) -> Check:
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == checks.keys()
        and all(check(value[name]) for name, check in checks.items())
    )


def _any(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _is(wanted: object) -> Check:
    return lambda value: value is wanted or (isinstance(wanted, str) and value == wanted)


_POINTS = _items(_pair(_integer(0, 9_999_999_999), _hex(16)), 1024)
_HOLDINGS = _items(_pair(_hex(16), _POINTS), 4096)
_BOUND = _any(_is(""), _hex(16))
_RANGE = _fields(end=_BOUND, fingerprint=_any(_is(None), _hex(64)), holdings=_HOLDINGS, start=_BOUND)
_FLAG = _any(_is(True), _is(False))
_NAMES = _items(_text(200), 8192)
_DELTA = _any(_is(None), _fields(base=_hex(64), item_bytes=_integer(1, 8)))


def _ranges(value: Any) -> bool:
    return (
        _items(_RANGE, 4096)(value)
        and all(not one["end"] or one["start"] < one["end"] for one in value)
        and all(one["end"] and one["end"] <= other["start"] for one, other in pairwise(value))
    )


_HEADERS: dict[str, dict[str, Check]] = {
    "found": {"holdings": _HOLDINGS, "ranges": _ranges, "root": _hex(64), "wanted": _NAMES},
    "get": {"delta": _DELTA, "name": _text(200)},
    "hello": {
        "holdings": _HOLDINGS,
        "nonce": _hex(32),
        "protocol": _is("conjoin/peer/1"),
        "ranges": _ranges,
        "send": _FLAG,
        "space": _hex(64),
    },
    "object": {"delta": _DELTA, "name": _text(200)},
    "offer": {"last": _FLAG},
    "put": {"delta": _DELTA, "name": _text(200)},
    "refused": {"code": _text(10), "what": _text(1000)},
    "take": {},
    "taken": {"operations": _integer(0, 9_999_999_999), "root": _hex(64)},
    "wanted": {"names": _NAMES, "refused": _items(_pair(_hex(64), _text(10)), 4096)},
}


def read_frame(frame: bytes) -> tuple[dict[str, Any], bytes, list[bytes]]:
    """The header of a frame, its body, and the operations in that where it holds some."""
    if len(frame) < 4:
        raise Refused("E504", "length")
    (size,) = struct.unpack(">I", frame[:4])
    text, body = frame[4 : 4 + size], frame[4 + size :]
    if size > 1024 * 1024 or len(text) < size:
        raise Refused("E504", "header")
    try:
        header = json.loads(text)
    except ValueError as cause:
        raise Refused("E504", "JSON") from cause
    if _canonical(header) != text:
        raise Refused("E504", "not canonical")
    kind = header.get("type") if isinstance(header, dict) else None
    if not isinstance(kind, str) or kind not in _HEADERS or not _fields(type=_is(kind), **_HEADERS[kind])(header):
        raise Refused("E504", "fields")
    if body and kind not in ("found", "offer", "object", "put"):
        raise Refused("E504", "body")
    return header, body, _operations(body) if kind in ("found", "offer") else []


def _operations(body: bytes) -> list[bytes]:
    found: list[bytes] = []
    place = 0
    while place < len(body):
        if place + 4 > len(body):
            raise Refused("E504", "length of an operation")
        (size,) = struct.unpack_from(">I", body, place)
        place += 4 + size
        if place > len(body):
            raise Refused("E504", "operation")
        found.append(body[place - size : place])
    if len(found) > 4096 or len(body) > 4_210_688:
        raise Refused("E504", "operations")
    return found


# ------------------------------------------------------------------------------------------------ segments
_SEGMENT = re.compile("seg/([0-9a-f]{64})/([0-9]{10})-([0-9]{10})-([0-9a-f]{64})")
_TYPE = "application/vnd.conjoin.operation.v1+json"


def is_segment(name: str) -> bool:
    """Whether a segment can have this name."""
    match = _SEGMENT.fullmatch(name)
    return match is not None and match[2] <= match[3]


def read_segment(name: str, data: bytes) -> list[str]:
    """The ids of the operations in a segment; of their fields only those are looked at that the page names."""
    match = _SEGMENT.fullmatch(name)
    assert match is not None
    author, first, last, end = match[1], int(match[2]), int(match[3]), match[4]
    count = last - first + 1
    if count > 1024 or len(data) > 4_194_304 or data.count(b"\n") != count or not data.endswith(b"\n"):
        raise Refused("E301", "S1 and S2")
    operations = [_operation(line) for line in data[:-1].split(b"\n")]
    before = None
    for place, (operation, fields) in enumerate(operations):
        if (fields["author"], fields["seq"]) != (author, first + place) or fields["space"] is None:
            raise Refused("E301", "S4 and S5")
        if place and fields["prev"] != before:
            raise Refused("E301", "S6")
        before = operation
    if before != end:
        raise Refused("E301", "S7")
    return [operation for operation, _ in operations]


def _operation(envelope: bytes) -> tuple[str, dict[str, Any]]:
    """The id and the fields of an operation whose signature verifies (operations.md sections 2 and 3)."""
    try:
        outer = json.loads(envelope)
        (signature,) = outer["signatures"]
        payload = base64.b64decode(outer["payload"], validate=True)
        fields = json.loads(payload)
        signed = {"keyid": fields["author"], "sig": signature["sig"]}
        again = {"payload": outer["payload"], "payloadType": _TYPE, "signatures": [signed]}
        if _canonical(again) != envelope or _canonical(fields) != payload:
            raise Refused("E401", "spelling")
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(fields["author"]))
        proof = base64.b64decode(signature["sig"], validate=True)
    except (ValueError, KeyError, TypeError) as cause:
        raise Refused("E401", "no operation") from cause
    try:
        key.verify(proof, f"DSSEv1 {len(_TYPE)} {_TYPE} {len(payload)} ".encode("ascii") + payload)
    except InvalidSignature as cause:
        raise Refused("E404", "signature") from cause
    return hashlib.sha256(payload).hexdigest(), fields


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


# ------------------------------------------------------------------------------------------------ comparisons
class Held:
    """What a replica holds: operations as envelopes, and of them what peers.md section 4 names. None is judged."""

    def __init__(self, space: str, envelopes: list[bytes], nonce: str) -> None:
        self._space = space
        self._nonce = bytes.fromhex(nonce)
        self._fields = {name: fields for name, fields in map(_operation, envelopes)}
        self._envelopes = dict(zip(self._fields, envelopes, strict=True))
        self._authors = {self._short(author): author for author in {f["author"] for f in self._fields.values()}}
        followed = {fields["prev"] for fields in self._fields.values()}
        self._ends: dict[str, list[list[Any]]] = {}
        self._height: dict[str, int] = {}
        for name, fields in self._fields.items():  # they come in causal order
            if name not in followed:
                self._ends.setdefault(self._short(fields["author"]), []).append([fields["seq"], self._short(name)])
            parents = [parent for parent in (fields["prev"], *fields["deps"]) if parent is not None]
            self._height[name] = 1 + max((self._height[parent] for parent in parents), default=-1)

    def answer(self, hello: dict[str, Any], root: str, wanted: list[str]) -> tuple[dict[str, Any], list[bytes]]:
        """The header of `found`, and the operations that come with it."""
        if hello["space"] != self._space:
            raise Refused("E402", "another space")
        ranges = [part for asked in hello["ranges"] for part in self._smaller(asked)]
        question = {author: theirs for asked in hello["ranges"] for author, theirs in self._differing(asked)}
        question |= dict(hello["holdings"])
        given = {name for author, theirs in question.items() for name in self._lacking(author, theirs)}
        order = sorted(given if hello["send"] else (), key=lambda name: (self._height[name], *self._place(name)))
        header = {
            "holdings": [[author, self._points(author)] for author in question],
            "ranges": ranges,
            "root": root,
            "type": "found",
            "wanted": wanted if hello["ranges"] else [],
        }
        return header, [self._envelopes[name] for name in order]

    def _short(self, name: str) -> str:
        return hashlib.sha256(self._nonce + bytes.fromhex(name)).hexdigest()[:16]

    def _points(self, author: str) -> list[list[Any]]:
        return sorted(sorted(self._ends.get(author, []), key=lambda point: point[1])[:512])

    def _fingerprint(self, inside: list[str]) -> str:
        return hashlib.sha256(_canonical([[author, sorted(self._ends[author])] for author in inside])).hexdigest()

    def _inside(self, start: str, end: str) -> list[str]:
        return sorted(author for author in self._ends if author >= start and (not end or author < end))

    def _smaller(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """What is said of a range that differs."""
        inside = self._inside(asked["start"], asked["end"])
        if asked["fingerprint"] in (None, self._fingerprint(inside)):
            return []
        if len(inside) <= 1 or sum(len(self._ends[author]) for author in inside) <= 16:
            return [{**asked, "fingerprint": None, "holdings": [[author, self._points(author)] for author in inside]}]
        count = min(16, len(inside))
        cuts = [inside[len(inside) * part // count] for part in range(1, count)]
        return [
            {"end": end, "fingerprint": self._fingerprint(self._inside(start, end)), "holdings": [], "start": start}
            for start, end in pairwise([asked["start"], *cuts, asked["end"]])
        ]

    def _differing(self, asked: dict[str, Any]) -> list[tuple[str, list[list[Any]]]]:
        """The authors of a listed range of whom something else is held, with what whoever asks holds."""
        if asked["fingerprint"] is not None:
            return []
        listed = dict(asked["holdings"])
        every = dict.fromkeys([*listed, *self._inside(asked["start"], asked["end"])])
        return [(one, listed.get(one, [])) for one in every if listed.get(one, []) != self._points(one)]

    def _lacking(self, author: str, theirs: list[list[Any]]) -> set[str]:
        """What is held of an author by no one who holds `theirs`."""
        chain = [name for name, fields in self._fields.items() if fields["author"] == self._authors.get(author)]
        known = [name for name in chain if [self._fields[name]["seq"], self._short(name)] in theirs]
        ahead = theirs and not known and min(theirs)[0] > 0
        return set() if ahead else set(chain) - self._covered(known)

    def _covered(self, known: list[str]) -> set[str]:
        covered: set[str] = set()
        for name in known:
            at: str | None = name
            while at is not None:
                covered.add(at)
                at = self._fields[at]["prev"]
        return covered

    def _place(self, name: str) -> tuple[str, int, str]:
        fields = self._fields[name]
        return fields["author"], fields["seq"], name
