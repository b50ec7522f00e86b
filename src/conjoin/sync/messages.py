"""The messages two peers exchange, bytes ↔ values; each is a question or the answer to one, and none is believed here.

A frame is the length of a header (4 bytes, big-endian), the header (canonical JSON), then the body: operations, each
with its length before it, or the bytes of one object. What carries frames keeps their ends apart.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from conjoin.errors import ProtocolError, TrustError
from conjoin.log.fields import exact_fields, hex_field, integer_field, text_field
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, parse_digest
from conjoin.wire.manifest import MANIFEST_BYTES_MAX
from conjoin.wire.objects import SEQ_MAX

PROTOCOL = "conjoin/peer/1"
HEADER_BYTES_MAX = 1024 * 1024
OPERATIONS_BYTES_MAX = 4 * 1024 * 1024
"""Operations in one message; a larger difference takes several."""
OPERATIONS_MAX = 4096
FRAME_BYTES_MAX = 4 + HEADER_BYTES_MAX + MANIFEST_BYTES_MAX
"""A header and the largest object. What carries frames reads no more than this of one."""
SMALL_FRAME_BYTES_MAX = 4 + HEADER_BYTES_MAX + OPERATIONS_BYTES_MAX + 4 * OPERATIONS_MAX
"""No frame is larger but one that holds a manifest."""
SHORT_CHARS = 16
NONCE_CHARS = 32
RANGES_MAX = 4096
AUTHORS_MAX = 4096
POINTS_MAX = 1024
NAMES_MAX = 8192
NAME_CHARS_MAX = 200
CODE_CHARS_MAX = 10
WHAT_CHARS_MAX = 1000
_LENGTH = struct.Struct(">I")

T = TypeVar("T")
Fields = Mapping[str, canonical.Json]
Point = tuple[int, str]
"""A seq and the short id of an operation there: whoever states it says that it holds this and all before it."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one side holds of one author, whose key is given as a short id; no points: nothing."""

    author: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The authors whose short ids lie from `start` up to and without `end` (empty: without end).

    Either the fingerprint of what one side holds there, or all of it.
    """

    start: str
    end: str
    fingerprint: Digest | None
    holdings: tuple[Holding, ...] = ()


@dataclass(frozen=True, slots=True)
class Hello:
    """Compare what we hold. Answer: `Found`.

    Attributes:
        space: id of the genesis.
        nonce: 16 random bytes in hex, under which short ids are made, so that nobody can prepare two that are equal.
        ranges: of authors, to find out which differ.
        holdings: of authors that are known to differ.
        send: whether operations are wanted with the answer.
    """

    space: Digest
    nonce: str
    ranges: tuple[Range, ...] = ()
    holdings: tuple[Holding, ...] = ()
    send: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """Where we differ, and operations that the asker lacks, in causal order.

    Attributes:
        root: root of what is visible to the one who answers.
        ranges: ranges in which we differ, in smaller parts.
        holdings: what the one who answers holds of authors of whom we hold different things.
        wanted: names of manifests that the one who answers needs and lacks; only where ranges were asked about.
        operations: envelopes; where there are more than a message has room for, say hello again.
    """

    root: Digest
    ranges: tuple[Range, ...]
    holdings: tuple[Holding, ...]
    wanted: tuple[str, ...]
    operations: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """Operations that you lack, in causal order. Answer: `Wanted`, with manifests if these are the `last`."""

    operations: tuple[bytes, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is lacking before offered operations are taken: names of manifests, or of leaves of one manifest.

    Attributes:
        names: objects to send, at most `NAMES_MAX` at a time.
        refused: ids of operations that were refused, with the code of the rule they broke.
    """

    names: tuple[str, ...]
    refused: tuple[tuple[Digest, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A leaf is, or may be, sent as its difference from a leaf of the same length (`sync.coding`).

    Attributes:
        base: digest of the other leaf, which whoever receives has.
        item_bytes: size of the items whose bytes go into planes: 1, 2, 4 or 8.
    """

    base: Digest
    item_bytes: int


@dataclass(frozen=True, slots=True)
class Put:
    """One object that was wanted. Answer: `Wanted`, of a manifest the leaves that are lacking."""

    name: str
    data: bytes
    delta: Delta | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """That is all I can give: take the operations that I offered. Answer: `Taken`."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The offered operations are durable.

    Attributes:
        operations: how many were new.
        root: root of what is visible now.
    """

    operations: int
    root: Digest


@dataclass(frozen=True, slots=True)
class Get:
    """Give me an object, as `delta` if that is shorter. Answer: `Object`."""

    name: str
    delta: Delta | None = None


@dataclass(frozen=True, slots=True)
class Object:
    """The bytes of an object, to be judged by its name."""

    name: str
    data: bytes
    delta: Delta | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The question was not answered; `code` is an error's code, `what` says why in a sentence."""

    code: str
    what: str


Question = Hello | Offer | Put | Take | Get
Answer = Found | Wanted | Taken | Object | Refused
Message = Question | Answer


def encode(message: Message) -> bytes:
    """The frame of a message."""
    return b"".join(encode_parts(message))


def encode_parts(message: Message) -> tuple[bytes, bytes]:
    """The frame of a message in two parts, for those who can send them one after the other: an object is not copied."""
    kind, fields, body = _WRITERS[type(message)]
    header = canonical.encode({"type": kind, **fields(message)})
    return _LENGTH.pack(len(header)) + header, body(message)


def decode(frame: bytes | memoryview) -> Message:
    """The message in a frame.

    Raises:
        ProtocolError: it is none, or breaks a limit.
    """
    view = memoryview(frame)
    size = _LENGTH.unpack_from(view)[0] if len(view) >= _LENGTH.size else HEADER_BYTES_MAX + 1
    if size > min(HEADER_BYTES_MAX, len(view) - _LENGTH.size):
        raise ProtocolError(f"a message of {len(view)} bytes has no header of at most {HEADER_BYTES_MAX} bytes")
    start = _LENGTH.size + size
    try:
        header = canonical.decode(bytes(view[_LENGTH.size : start]), "header")
        kind = header.get("type") if isinstance(header, dict) else None
        if not isinstance(kind, str) or kind not in _READERS:
            raise ProtocolError(f"messages of type {kind!r:.40} are not known here", hint="update the older side")
        names, read = _READERS[kind]
        fields = exact_fields(header, (*names, "type"), f"message {kind}")
        return read(fields, view[start:])
    except TrustError as cause:
        raise ProtocolError(f"a message cannot be read: {cause.what}") from cause


def _items(value: canonical.Json, read: Callable[[canonical.Json], T], count_max: int) -> tuple[T, ...]:
    if not isinstance(value, list) or len(value) > count_max:
        raise ProtocolError(f"not a list of at most {count_max} items: {value!r:.80}")
    return tuple(read(item) for item in value)


def _pair(value: canonical.Json) -> tuple[Any, Any]:
    first, second = _items(value, lambda item: item, 2) if isinstance(value, list) and len(value) == 2 else (None, None)
    return first, second


def _bound(value: canonical.Json) -> str:
    return "" if value == "" else hex_field(value, SHORT_CHARS, "bound")


def _flag(value: canonical.Json) -> bool:
    if not isinstance(value, bool):
        raise ProtocolError(f"neither true nor false: {value!r:.80}")
    return value


def _point(value: canonical.Json) -> Point:
    seq, short = _pair(value)
    return integer_field(seq, 0, SEQ_MAX, "seq"), hex_field(short, SHORT_CHARS, "short id")


def _holding(value: canonical.Json) -> Holding:
    author, points = _pair(value)
    return Holding(hex_field(author, SHORT_CHARS, "author"), _items(points, _point, POINTS_MAX))


def _range(value: canonical.Json) -> Range:
    fields = exact_fields(value, ("end", "fingerprint", "holdings", "start"), "range")
    given = fields["fingerprint"]
    return Range(
        _bound(fields["start"]),
        _bound(fields["end"]),
        None if given is None else parse_digest(given, "fingerprint"),
        _items(fields["holdings"], _holding, AUTHORS_MAX),
    )


def _ranges(value: canonical.Json) -> tuple[Range, ...]:
    """Ranges that ascend and do not overlap: comparing them costs no more than comparing everything once."""
    ranges = _items(value, _range, RANGES_MAX)
    if any(r.end and r.end <= r.start for r in ranges) or any(
        not a.end or b.start < a.end for a, b in pairwise(ranges)
    ):
        raise ProtocolError("ranges overlap or do not ascend")
    return ranges


def _delta(value: canonical.Json) -> Delta | None:
    if value is None:
        return None
    fields = exact_fields(value, ("base", "item_bytes"), "delta")
    return Delta(parse_digest(fields["base"], "base"), integer_field(fields["item_bytes"], 1, 8, "item_bytes"))


def _name(value: canonical.Json) -> str:
    return text_field(value, NAME_CHARS_MAX, "name")


def _refusal(value: canonical.Json) -> tuple[Digest, str]:
    operation, code = _pair(value)
    return parse_digest(operation, "operation"), text_field(code, CODE_CHARS_MAX, "code")


def _envelopes(body: memoryview) -> tuple[bytes, ...]:
    """The operations in a body, each with its length before it."""
    if len(body) > OPERATIONS_BYTES_MAX + _LENGTH.size * OPERATIONS_MAX:
        raise ProtocolError(f"over {OPERATIONS_BYTES_MAX} bytes of operations in one message")
    data = bytes(body)
    found: list[bytes] = []
    place, end = 0, len(data)
    while place < end:
        size = _LENGTH.unpack_from(data, place)[0] if place + _LENGTH.size <= end else end
        place += _LENGTH.size
        if size > end - place or len(found) == OPERATIONS_MAX:
            raise ProtocolError(f"an operation reaches beyond its message, or there are over {OPERATIONS_MAX}")
        found.append(data[place : place + size])
        place += size
    return tuple(found)


def _pack(operations: Sequence[bytes]) -> bytes:
    return b"".join(part for envelope in operations for part in (_LENGTH.pack(len(envelope)), envelope))


def _no_body(fields: Fields, body: memoryview) -> Fields:
    if len(body):
        raise ProtocolError(f"{len(body)} bytes follow a message that has none")
    return fields


def _read_hello(fields: Fields, body: memoryview) -> Hello:
    f = _no_body(fields, body)
    if f["protocol"] != PROTOCOL:
        raise ProtocolError(
            f"the other side speaks {f['protocol']!r:.40}, this one {PROTOCOL}", hint="update the older"
        )
    return Hello(
        parse_digest(f["space"], "space"),
        hex_field(f["nonce"], NONCE_CHARS, "nonce"),
        _ranges(f["ranges"]),
        _items(f["holdings"], _holding, AUTHORS_MAX),
        _flag(f["send"]),
    )


def _read_found(f: Fields, body: memoryview) -> Found:
    return Found(
        parse_digest(f["root"], "root"),
        _ranges(f["ranges"]),
        _items(f["holdings"], _holding, AUTHORS_MAX),
        _items(f["wanted"], _name, NAMES_MAX),
        _envelopes(body),
    )


def _read_wanted(fields: Fields, body: memoryview) -> Wanted:
    f = _no_body(fields, body)
    return Wanted(_items(f["names"], _name, NAMES_MAX), _items(f["refused"], _refusal, OPERATIONS_MAX))


def _read_taken(fields: Fields, body: memoryview) -> Taken:
    f = _no_body(fields, body)
    return Taken(integer_field(f["operations"], 0, SEQ_MAX, "operations"), parse_digest(f["root"], "root"))


def _read_get(fields: Fields, body: memoryview) -> Get:
    f = _no_body(fields, body)
    return Get(_name(f["name"]), _delta(f["delta"]))


def _read_refused(fields: Fields, body: memoryview) -> Refused:
    f = _no_body(fields, body)
    return Refused(text_field(f["code"], CODE_CHARS_MAX, "code"), text_field(f["what"], WHAT_CHARS_MAX, "what"))


def _read_take(fields: Fields, body: memoryview) -> Take:
    _no_body(fields, body)
    return Take()


_READERS: Mapping[str, tuple[tuple[str, ...], Callable[[Fields, memoryview], Message]]] = {
    "found": (("holdings", "ranges", "root", "wanted"), _read_found),
    "get": (("delta", "name"), _read_get),
    "hello": (("holdings", "nonce", "protocol", "ranges", "send", "space"), _read_hello),
    "object": (("delta", "name"), lambda f, body: Object(_name(f["name"]), bytes(body), _delta(f["delta"]))),
    "offer": (("last",), lambda f, body: Offer(_envelopes(body), _flag(f["last"]))),
    "put": (("delta", "name"), lambda f, body: Put(_name(f["name"]), bytes(body), _delta(f["delta"]))),
    "refused": (("code", "what"), _read_refused),
    "take": ((), _read_take),
    "taken": (("operations", "root"), _read_taken),
    "wanted": (("names", "refused"), _read_wanted),
}


def _ranges_json(ranges: Sequence[Range]) -> canonical.Json:
    return [
        {"end": r.end, "fingerprint": r.fingerprint, "holdings": _holdings_json(r.holdings), "start": r.start}
        for r in ranges
    ]


def _holdings_json(holdings: Sequence[Holding]) -> canonical.Json:
    return [[h.author, [[seq, short] for seq, short in h.points]] for h in holdings]


def _hello_json(m: Hello) -> canonical.Json:
    ranges, holdings = _ranges_json(m.ranges), _holdings_json(m.holdings)
    fixed = {"nonce": m.nonce, "protocol": PROTOCOL, "send": m.send, "space": m.space}
    return {**fixed, "holdings": holdings, "ranges": ranges}


def _found_json(m: Found) -> canonical.Json:
    ranges, holdings = _ranges_json(m.ranges), _holdings_json(m.holdings)
    return {"holdings": holdings, "ranges": ranges, "root": m.root, "wanted": list(m.wanted)}


def _name_json(m: Get | Object | Put) -> canonical.Json:
    delta = None if m.delta is None else {"base": m.delta.base, "item_bytes": m.delta.item_bytes}
    return {"delta": delta, "name": m.name}


_WRITERS: Mapping[type, tuple[str, Callable[[Any], canonical.Json], Callable[[Any], bytes]]] = {
    Found: ("found", _found_json, lambda m: _pack(m.operations)),
    Get: ("get", _name_json, lambda _: b""),
    Hello: ("hello", _hello_json, lambda _: b""),
    Object: ("object", _name_json, lambda m: m.data),
    Offer: ("offer", lambda m: {"last": m.last}, lambda m: _pack(m.operations)),
    Put: ("put", _name_json, lambda m: m.data),
    Refused: ("refused", lambda m: {"code": m.code, "what": m.what}, lambda _: b""),
    Take: ("take", lambda _: {}, lambda _: b""),
    Taken: ("taken", lambda m: {"operations": m.operations, "root": m.root}, lambda _: b""),
    Wanted: ("wanted", lambda m: {"names": list(m.names), "refused": [list(r) for r in m.refused]}, lambda _: b""),
}
