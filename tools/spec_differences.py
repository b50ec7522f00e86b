"""The differences of docs/spec/vectors: leaves, bases and frames of zstd between them; draws nothing at random.

What libzstd writes differs from version to version, so its frames stand here as 1.5.7 wrote them; all other frames are
put together block by block (RFC 8878).
"""

import hashlib
import zlib
from typing import Any

from conjoin.errors import ConjoinError
from conjoin.sync.coding import decode_delta, encode_delta
from conjoin.sync.requests import WantedLeaf
from conjoin.wire.digest import leaf_digest

Value = dict[str, Any]
RAW, RLE, RESERVED = 0, 1, 3
MAGIC = bytes.fromhex("28b52ffd")
BLOCK_BYTES_MAX = 128 * 1024
SINGLE_SEGMENT, RESERVED_BIT, DICTIONARY = 0x20, 0x08, 0x01
LEAF_BYTES_MAX = 4 * 1024 * 1024
LIBZSTD = {
    "trained": (
        "28b52ffd600003dd060006d62086322131101d001d001f000ac22e3b573a08ab7aab00e57c7195932b29a9426443370d"
        "cd81be6541c242f4d5415250dddbdc8aa7d273e4dd30f39f4e0184c686d4b53ba7699b4a63ec74d36ae2ceeedd75107c"
        "e50622918f5f474340545c7968c0884d01329ddc0cc5e59b5c9132b77414288476226fc6c3d40940b5dc17c6e0925a01"
        "2100fab9023b2b04635de1b48b4c25817a1fdb6d4eb4101c6d43a42546662c04bd02035ead0d132b40cfee26ad35c230"
        "08ac9d81c163250ba6dd0305797c01abd54f1045f5c692d00a4fc95a9d89545dc0f62b6802"
    ),
    "BF16": "28b52ffd600000cd00007801000000000300000000020000000002001ba4009474d601",
    "F16": "28b52ffd600000cd00007801000000000300000000020000000002001ba4009474d601",
    "F32": "28b52ffd600001cd00007801000000000300000000020000000002007b4005a0a4b30e",
    "F64": "28b52ffd600001cd0000780100000000030000000002000000000200bc40059668d601",
    "I32": "28b52ffd600000c500007801000000000300000000020000000002003c40014b34eb",
    "I64": "28b52ffd600001cd0000780100000000030000000002000000000200bc40059668d601",
    "U8": "28b52ffd20c8b5000078010000000003000000000200000000010036a1661d",
    "checksum": "28b52ffd2480050100a001000200030001000200030001000200030001000a5002009426d7e49a5c010130ed0e",
}
"""`zstandard.ZstdCompressor(level=1).compress(planes)` by libzstd 1.5.7; `checksum` with `write_checksum=True`."""


def noise(label: str, size_bytes: int) -> bytes:
    """Bytes that follow from a label and do not compress."""
    return hashlib.shake_128(b"conjoin/spec/" + label.encode("ascii")).digest(size_bytes)


def tuned(base: bytes, item_bytes: int, every: int) -> bytes:
    """A base in which the low byte of one item in `every` is another one, and that of some more by two bits."""
    leaf = bytearray(base)
    for place in range(0, len(leaf), item_bytes * every):
        leaf[place] ^= 1 + place // item_bytes % 3
    return bytes(leaf)


def trained(base: bytes, item_bytes: int) -> bytes:
    """A base of which many items differ, in their low bits: enough for a frame with entropy-coded literals."""
    low = noise("steps", len(base) // item_bytes)
    leaf = bytearray(base)
    for place, step in zip(range(0, len(leaf), item_bytes), low, strict=True):
        leaf[place] ^= step & step >> 4 & 7
    return bytes(leaf)


def planes_of(leaf: bytes, base: bytes, item_bytes: int) -> bytes:
    """The planes of a difference: of every item the first byte, then of every item the second, and so on."""
    changed = bytes(one ^ other for one, other in zip(leaf, base, strict=True))
    return b"".join(changed[place::item_bytes] for place in range(item_bytes))


def header(size_bytes: int | None, *, flags: int = 0, window: int = 0, dictionary: bytes = b"") -> bytes:
    """The beginning of a frame: with the size of what it unpacks to, or else with the exponent of its window."""
    if size_bytes is None:
        return MAGIC + bytes([flags, window << 3]) + dictionary
    return MAGIC + bytes([0xC0 | SINGLE_SEGMENT | flags]) + dictionary + size_bytes.to_bytes(8, "little")


def block(kind: int, data: bytes, times: int = 1, *, last: bool = True) -> bytes:
    """A block that is stored as it is, or holds one byte so many times."""
    size_bytes = times if kind == RLE else len(data)
    return (size_bytes << 3 | kind << 1 | last).to_bytes(3, "little") + data


def framed(planes: bytes) -> bytes:
    """A frame that states its size, in one stored block."""
    return header(len(planes)) + block(RAW, planes)


def zeros(size_bytes: int) -> bytes:
    """Blocks that hold so many zeros."""
    whole, rest = divmod(size_bytes, BLOCK_BYTES_MAX)
    sizes = [BLOCK_BYTES_MAX] * whole + [rest] * (rest > 0)
    return b"".join(block(RLE, b"\0", size, last=place == len(sizes)) for place, size in enumerate(sizes, 1))


def repeated(data: bytes, times: int = 1) -> Value:
    """Bytes as they stand in the file."""
    return {"hex": data.hex(), "times": times}


def good() -> list[Value]:
    """Differences that must be read."""
    made: list[Value] = []

    def put(why: str, dtype: str, item_bytes: int, base: bytes, leaf: bytes, packed: bytes, times: int = 1) -> None:
        assert decode_delta(packed, base * times, item_bytes) == leaf * times, why
        made.append(
            {
                "why": why,
                "dtype": dtype,
                "item_bytes": item_bytes,
                "base": repeated(base, times),
                "leaf": repeated(leaf, times),
                "digest": leaf_digest(leaf * times),
                "packed_hex": packed.hex(),
                "worth_it": encode_delta(leaf * times, base * times, item_bytes) is not None,
            }
        )

    base = noise("trained", 1024)
    put("BF16, much of it changed", "BF16", 2, base, trained(base, 2), bytes.fromhex(LIBZSTD["trained"]))
    for dtype, item_bytes, size_bytes in (
        ("BF16", 2, 256),
        ("F16", 2, 256),
        ("F32", 4, 512),
        ("F64", 8, 512),
        ("I32", 4, 256),
        ("I64", 8, 512),
        ("U8", 1, 200),
    ):
        base = noise(dtype, size_bytes)
        put(
            f"{dtype}, a frame of libzstd",
            dtype,
            item_bytes,
            base,
            tuned(base, item_bytes, 5),
            bytes.fromhex(LIBZSTD[dtype]),
        )
    base = noise("checksum", 128)
    put("a frame with a checksum", "BF16", 2, base, tuned(base, 2, 7), bytes.fromhex(LIBZSTD["checksum"]))
    base = noise("equal", 300)
    equal = header(300) + zeros(300)
    put("equal leaves", "F32", 4, base, base, equal)
    steps = bytes(one ^ other for one, other in zip(b"basebase", b"\1\0\0\0\1\0\0\0", strict=True))
    plane = LEAF_BYTES_MAX // 4 // BLOCK_BYTES_MAX
    whole = b"".join(
        block(RLE, b"\1" if place < plane else b"\0", BLOCK_BYTES_MAX, last=place == 4 * plane - 1)
        for place in range(4 * plane)
    )
    put("the largest leaf", "F32", 4, b"basebase", steps, header(LEAF_BYTES_MAX) + whole, LEAF_BYTES_MAX // 8)
    put("one element", "BF16", 2, b"\x80\x3f", b"\x81\x3f", framed(b"\1\0"))
    base, leaf = noise("base", 96), noise("another", 96)
    put(
        "leaves that have nothing in common: longer than the leaf",
        "F32",
        4,
        base,
        leaf,
        framed(planes_of(leaf, base, 4)),
    )
    planes = planes_of(leaf, base, 2)
    parts = block(RAW, planes[:40], last=False) + block(RAW, planes[40:], last=False) + block(RAW, b"")
    put("several blocks, the last one empty", "F16", 2, base, leaf, header(96) + parts)
    put("the frame does not state its size", "I16", 2, base, base, header(None) + zeros(96))
    put("a window of 8 MiB", "I16", 2, base, base, header(None, window=13) + zeros(96))
    return made


def bad() -> list[Value]:
    """What is refused: what is no difference of a leaf as long as the base (E504), or gives another leaf (E301)."""
    base = noise("base", 128)
    leaf = tuned(base, 2, 3)
    planes = planes_of(leaf, base, 2)
    changed = bytes(one ^ other for one, other in zip(leaf, base, strict=True))
    fine = framed(planes)
    other = bytes([base[0] ^ 0x80]) + base[1:]
    checked = bytes.fromhex(LIBZSTD["checksum"])
    checked_base = noise("checksum", 128)
    cases: list[tuple[str, str, int, bytes, bytes]] = [
        ("E301", "another base, by one bit", 2, other, fine),
        ("E301", "the planes of items of 4 bytes", 2, base, framed(planes_of(leaf, base, 4))),
        ("E301", "read with items of 4 bytes", 4, base, fine),
        ("E301", "no planes", 2, base, framed(changed)),
        ("E301", "planes of the leaf itself", 2, base, framed(planes_of(leaf, bytes(128), 2))),
        ("E301", "one bit of a plane", 2, base, framed(planes[:-1] + bytes([planes[-1] ^ 1]))),
        ("E301", "the base itself", 2, base, header(128) + zeros(128)),
        ("E504", "a base that is shorter", 2, base[:-2], fine),
        ("E504", "a base that is longer", 2, base + b"\0\0", fine),
        ("E504", "items of 3 bytes", 3, base, fine),
        ("E504", "items that do not fit the length", 8, base[:-4], framed(planes[:-4])),
        ("E504", "nothing", 2, base, b""),
        ("E504", "the leaf itself", 2, base, leaf),
        ("E504", "planes in no frame", 2, base, planes),
        ("E504", "a stream of zlib", 2, base, zlib.compress(planes)),
        ("E504", "the magic number of an older format", 2, base, b"\x27" + fine[1:]),
        ("E504", "states one byte more than the leaf has", 2, base, header(129) + block(RAW, planes + b"\0")),
        ("E504", "states one byte less", 2, base, header(127) + block(RAW, planes[:-1])),
        ("E504", "states the right size and holds one byte more", 2, base, header(128) + block(RAW, planes + b"\0")),
        ("E504", "states the right size and holds one byte less", 2, base, header(128) + block(RAW, planes[:-1])),
        ("E504", "states 2^60 bytes", 2, base, header(1 << 60) + block(RAW, planes)),
        ("E504", "states no size and holds one byte more", 2, base, header(None) + block(RAW, planes + b"\0")),
        ("E504", "states no size and holds one byte less", 2, base, header(None) + block(RAW, planes[:-1])),
        ("E504", "states no size and holds 64 MiB", 2, base, header(None, window=13) + zeros(64 * 1024 * 1024)),
        ("E504", "a window over 8 MiB", 2, base, header(None, window=14) + block(RAW, planes)),
        ("E504", "cut within the header", 2, base, fine[:7]),
        ("E504", "cut after the header", 2, base, fine[:13]),
        ("E504", "cut by one byte", 2, base, fine[:-1]),
        ("E504", "the last block is missing, which is empty", 2, base, header(128) + block(RAW, planes, last=False)),
        ("E504", "the checksum is missing", 2, checked_base, checked[:-4]),
        ("E504", "the checksum is wrong", 2, checked_base, checked[:-1] + bytes([checked[-1] ^ 1])),
        ("E504", "one byte follows", 2, base, fine + b"\0"),
        ("E504", "a second frame follows", 2, base, fine + fine),
        ("E504", "a skippable frame follows", 2, base, fine + skippable(b"")),
        ("E504", "a skippable frame comes first", 2, base, skippable(b"") + fine),
        ("E504", "a skippable frame alone, of the right size", 2, base, skippable(planes)),
        ("E504", "a dictionary", 2, base, header(128, flags=DICTIONARY, dictionary=b"\7") + block(RAW, planes)),
        ("E504", "the reserved bit", 2, base, header(128, flags=RESERVED_BIT) + block(RAW, planes)),
        ("E504", "the reserved type of a block", 2, base, header(128) + block(RESERVED, planes)),
    ]
    made: list[Value] = []
    for code, why, item_bytes, like, packed in cases:
        wanted = tuned(checked_base, 2, 7) if like == checked_base else leaf
        made.append(
            {
                "why": why,
                "code": code,
                "item_bytes": item_bytes,
                "base": repeated(like),
                "size_bytes": len(wanted),
                "digest": leaf_digest(wanted),
                "packed_hex": packed.hex(),
            }
        )
        assert refusal_of(made[-1], like) == code, why
    return made


def skippable(data: bytes) -> bytes:
    """A frame that readers of zstd pass over."""
    return bytes.fromhex("502a4d18") + len(data).to_bytes(4, "little") + data


def refusal_of(vector: Value, base: bytes) -> str:
    """The code of the error with which a difference is refused here."""
    try:
        data = decode_delta(bytes.fromhex(vector["packed_hex"]), base, vector["item_bytes"])
        WantedLeaf(vector["digest"], vector["size_bytes"]).check(data)
    except ConjoinError as error:
        return error.code
    return ""


def whole() -> list[Value]:
    """Leaves that are sent as they are, whatever was asked for."""
    cases = [
        ("asked for in items of 3 bytes", 3, bytes(96), bytes(96)),
        ("the length is no multiple of the item's", 8, bytes(100), bytes(100)),
        ("the base is longer", 2, bytes(98), bytes(96)),
        ("the base is shorter", 2, bytes(94), bytes(96)),
    ]
    for why, item_bytes, base, leaf in cases:
        assert encode_delta(leaf, base, item_bytes) is None, why
    return [
        {"why": why, "item_bytes": item_bytes, "base": repeated(base), "leaf": repeated(leaf)}
        for why, item_bytes, base, leaf in cases
    ]


def differences() -> Value:
    """Everything in the file."""
    return {"good": good(), "bad": bad(), "whole": whole()}
