"""The header gate: equal bytes with the safetensors library, and a refusal for whatever has two readings."""

import json
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from conjoin.errors import ConjoinError, InputError, MalformedCheckpointError, UnsupportedDtypeError
from conjoin.wire.dtype import DTYPES
from conjoin.wire.safetensors import HEADER_BYTES_MAX, Header, encode_header, header_length, parse_header

NUMPY = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "BF16": ml_dtypes.bfloat16,
    "I32": "<i4", "U32": "<u4", "F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8",
}  # fmt: skip
FILE = "some/model.safetensors"


def file_of(document: Any, data: bytes = b"", pad: bytes = b"") -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(text + pad)) + text + pad + data


def parse(content: bytes) -> Header:
    length = header_length(content[:8], len(content), FILE)
    return parse_header(content[: 8 + length], len(content), FILE)


def entry(dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def refused(content: bytes, *words: str, kind: type[ConjoinError] = MalformedCheckpointError) -> None:
    with pytest.raises(kind) as caught:
        parse(content)
    text = str(caught.value)
    for word in (FILE, *words):
        assert word in text
    assert caught.value.hint


tensor_names = st.text("abcxyz0189_-", min_size=1, max_size=8)
shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)
metadata_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(
    tensors=st.dictionaries(tensor_names, st.tuples(st.sampled_from(sorted(DTYPES)), shapes), max_size=6),
    metadata=st.one_of(st.none(), st.dictionaries(metadata_texts, metadata_texts, max_size=1)),
)
def test_headers_are_byte_equal_to_the_library_and_read_back(tensors, metadata):
    assume(tensors or metadata != {})  # for this the library writes `{},"__metadata__":{}}`, which is no JSON
    arrays = {name: np.zeros(shape, NUMPY[dtype]) for name, (dtype, shape) in tensors.items()}
    content = safetensors.numpy.save(arrays, metadata)
    head, offsets, file_bytes = encode_header([(n, d, s) for n, (d, s) in tensors.items()], metadata)
    assert content[: len(head)] == head
    assert file_bytes == len(content)
    header = parse(content)
    assert header.data_start == len(head)
    assert header.metadata == (metadata or {})
    assert {s.name: (s.dtype, s.shape, s.start) for s in header.slots} == {
        name: (dtype, shape, offsets[name]) for name, (dtype, shape) in tensors.items()
    }


def test_several_metadata_keys_are_ascending():
    metadata = {"b": "2", "a": "1", "é": "\n\x00\x7f"}
    head, _, _ = encode_header([], metadata)
    document = json.loads(head[8:])
    assert list(document["__metadata__"].items()) == sorted(metadata.items())
    assert parse(head).metadata == metadata


def test_no_tensors():
    head, offsets, size = encode_header([])
    assert head == safetensors.numpy.save({})
    assert (offsets, size) == ({}, len(head))
    assert parse(head).slots == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "too few"),
        (b"\x01\x02", "too few"),
        (b"hello world, this is text", "not a safetensors file"),
        (struct.pack("<Q", 0), "not a safetensors file"),
        (struct.pack("<Q", 1) + b"{", "not a safetensors file"),
        (struct.pack("<Q", 2**63) + b"{}", "not a safetensors file"),
        (struct.pack("<Q", 100) + b"{}", "cut off"),
        (struct.pack("<Q", HEADER_BYTES_MAX + 1) + b"{" + b" " * HEADER_BYTES_MAX, "over the limit of 8388608"),
        (file_of(b" {}"), "begins with"),
        (file_of(b"\n{}"), "begins with"),
        (file_of(b"\xef\xbb\xbf{}"), "begins with"),
        (file_of(b"[]"), "begins with"),
        (file_of(b"{}", pad=b"\n"), "padded with spaces"),
        (file_of(b"{}", pad=b"\x00"), "padded with spaces"),
        (file_of(b"{}{}"), "not strict JSON"),
        (file_of(b'{"a":NaN}'), "not strict JSON"),
        (file_of(b'{"\xff":1}'), "not strict JSON"),
        (file_of(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "not strict JSON"),
        (file_of(b'{"a":' + b"9" * 5000 + b"}"), "64-bit"),
        (file_of({"__metadata__": {"a": 1}}), "__metadata__"),
        (file_of({"__metadata__": None}), "__metadata__"),
        (file_of({"__metadata__": ["a"]}), "__metadata__"),
        (file_of({"__metadata__": {"a": {}}}), "__metadata__"),
        (file_of(b'{"__metadata__":{"a":"\\ud800"}}'), "surrogate"),
        (file_of(b'{"__metadata__":{"a":"1","a":"2"}}'), "stands twice"),
        (file_of({}, b"x"), "1 bytes after"),
    ],
)
def test_refuses_what_is_no_header(content, words):
    refused(content, words)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (3, "other fields"),
        ({"dtype": "U8", "shape": [4]}, "other fields"),
        (entry() | {"extra": 1}, "other fields"),
        (entry(shape=4), "shape"),
        (entry(shape=[True, 4]), "shape"),
        (entry(shape=["4"]), "shape"),
        (entry(shape=[1] * 9, offsets=(0, 1)), "rank 9 is over 8"),
        (entry(shape=[2**40], offsets=(0, 2**40)), "too large"),
        (entry(shape=[2**40, 0], offsets=(0, 0)), "too large"),
        (entry(shape=[2**39, 2**39], offsets=(0, 4)), "too large"),
        (entry(offsets=[0]), "two integers"),
        (entry(offsets=[0, 2, 4]), "two integers"),
        (entry(offsets=[False, 4]), "two integers"),
        (entry(offsets="04"), "two integers"),
        (entry(offsets=[4, 0]), "ends before"),
        (entry(offsets=[0, 3]), "takes 4 bytes"),
        (entry(dtype="F32", shape=[]), None),
        (entry(shape=[3], offsets=[1, 4]), "hole"),
        (entry(shape=[5], offsets=[0, 5]), "cut off"),
        (entry(shape=[3], offsets=[0, 3]), "after its last tensor"),
    ],
)
def test_refuses_what_is_no_tensor(item, words):
    content = file_of({"layer.0": item}, bytes(4))
    if words is None:
        assert parse(content).slots[0].shape == ()
    elif words == "after its last tensor":
        refused(content, words)
    else:
        refused(content, words, "layer.0")


@pytest.mark.parametrize(
    "text", ["[0,4.0]", "[0,4e0]", "[-0,4]", "[0,1E400]", "[0,99999999999999999999999]", "[-1,3]", "[0,Infinity]"]
)
def test_refuses_numbers_that_are_not_plain_integers(text):
    refused(file_of(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":' + text.encode() + b"}}", bytes(4)), "strict JSON")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F4", "C64", "f32", "", "int4", None, 7, ["F32"]])
def test_names_the_dtype_it_cannot_carry(dtype):
    refused(file_of({"a": entry(dtype=dtype)}, bytes(4)), repr(dtype), "'a'", kind=UnsupportedDtypeError)


@pytest.mark.parametrize(
    "name", ["..", "../a", "a/b", "a\0b", "a\nb", "", "a..b", ".hidden", "ä", "a b", "x" * 257, "a\\b", "C:", "\u202e"]
)
def test_refuses_names_that_could_be_paths_or_look_alike(name):
    refused(file_of({name: entry()}, bytes(4)), "name is refused")


def test_refuses_names_that_stand_twice_at_any_level():
    one = b'{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
    refused(file_of(b'{"a":' + one + b',"a":' + one + b"}", bytes(4)), "'a' stands twice")
    refused(file_of(b'{"a":' + one + b',"\\u0061":' + one + b"}", bytes(4)), "'a' stands twice")
    inner = b'{"dtype":"U8","shape":[4],"data_offsets":[0,4],"shape":[2,2]}'
    refused(file_of(b'{"a":' + inner + b"}", bytes(4)), "'shape' stands twice")


def test_refuses_tensors_that_share_bytes():
    both = {"a": entry(), "b": entry(offsets=(2, 6))}
    refused(file_of(both, bytes(6)), "overlaps", "'b'")
    refused(file_of({"a": entry(), "b": entry()}, bytes(4)), "overlaps")


def test_refuses_a_hole_between_tensors():
    refused(file_of({"a": entry(), "b": entry(offsets=(5, 9))}, bytes(9)), "hole", "'b'")


def test_counts_tensors():
    empty = {f"t{i}": entry(shape=[0], offsets=(0, 0)) for i in range(20_000)}
    assert len(parse(file_of(empty)).slots) == 20_000
    refused(file_of(empty | {"one.more": entry(shape=[0], offsets=(0, 0))}), "20001 tensors")


SAMPLE = safetensors.numpy.save(
    {"w": np.arange(6, dtype="<f4").reshape(2, 3), "b.x": np.zeros((0, 2), "i1"), "s": np.array(3, "<f8")}, {"k": "v"}
)
HEAD = 8 + struct.unpack("<Q", SAMPLE[:8])[0]


def check_against_the_library(content: bytes) -> None:
    """Either an InputError, or the same tensors as the library sees."""
    try:
        ours = parse(content)
    except InputError:
        return
    seen = {
        name: (str(spec["dtype"]), tuple(spec["shape"]), bytes(spec["data"])) for name, spec in deserialize(content)
    }
    short = {"F32": "float32", "F64": "float64", "I8": "int8", "U8": "uint8", "F16": "float16", "BF16": "bfloat16"}
    mine = {s.name: (s.dtype, s.shape, content[s.start : s.stop]) for s in ours.slots}
    assert {n: (short.get(d, d), sh, b) for n, (d, sh, b) in mine.items()} == {
        n: (short.get(d, d), sh, b) for n, (d, sh, b) in seen.items()
    }


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_refused_or_read_as_the_library_does(bit):
    for place in range(HEAD):
        content = bytearray(SAMPLE)
        content[place] ^= 1 << bit
        check_against_the_library(bytes(content))


def test_cut_off_anywhere_is_refused():
    for length in range(len(SAMPLE)):
        with pytest.raises(InputError):
            parse(SAMPLE[:length])


@settings(max_examples=300)
@given(
    place=st.integers(0, HEAD),
    drop=st.integers(0, 12),
    insert=st.one_of(
        st.binary(max_size=12),
        st.sampled_from([b'"a":', b"{}", b"[", b"1e1", b"-0", b'"w":{"dtype":"F32"},', b"\\u0077", b"  ", b"null"]),
    ),
    repair=st.booleans(),
)
def test_any_edit_is_refused_or_read_as_the_library_does(place, drop, insert, repair):
    content = SAMPLE[:place] + insert + SAMPLE[place + drop :]
    if repair and place >= 8:
        content = struct.pack("<Q", HEAD - 8 + len(insert) - min(drop, len(SAMPLE) - place)) + content[8:]
    check_against_the_library(content)


def test_the_library_refuses_what_we_let_in_never():
    """The gate lets in a subset: every sample it lets in, the library reads."""
    for content in (SAMPLE, file_of({}), file_of({"a": entry()}, bytes(4)), file_of({"a": entry()}, bytes(4), b"   ")):
        parse(content)
        deserialize(content)
    with pytest.raises(SafetensorError):
        deserialize(file_of({"a": entry(offsets=(1, 5))}, bytes(4)))
