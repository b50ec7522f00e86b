"""Digests and Merkle trees against the vectors of docs/spec, recomputed here with hashlib and recursion alone."""

import hashlib
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conjoin.crdt import root_of
from conjoin.errors import DamagedObjectError, MalformedOperationError
from conjoin.wire.digest import (
    LEAF_BYTES,
    Digest,
    LeafHasher,
    is_digest,
    leaf_digest,
    leaf_sizes,
    merkle_root,
    parse_digest,
    tagged,
)
from conjoin.wire.manifest import Manifest, TensorEntry

VECTORS = json.loads((Path(__file__).parents[2] / "docs/spec/vectors/digests.json").read_text("ascii"))


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def plain_merkle(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1 as it is written there."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha(b"\x01" + plain_merkle(leaves[:k]) + plain_merkle(leaves[k:]))


def plain_leaf(data: bytes) -> bytes:
    return sha(b"\x00" + data)


@pytest.mark.parametrize("vector", VECTORS["leaf"])
def test_leaf(vector: dict) -> None:
    data = bytes.fromhex(vector["data_hex"])
    assert leaf_digest(data) == vector["digest"] == plain_leaf(data).hex()


@pytest.mark.parametrize("vector", VECTORS["merkle"], ids=lambda v: f"{len(v['leaves_hex'])} leaves")
def test_merkle(vector: dict) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in vector["leaves_hex"]]
    assert merkle_root([leaf_digest(leaf) for leaf in leaves]) == vector["root"]
    assert plain_merkle([plain_leaf(leaf) for leaf in leaves]).hex() == vector["root"]


def test_the_corpus_holds_the_sizes_that_matter() -> None:
    assert [len(v["leaves_hex"]) for v in VECTORS["merkle"]] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [*range(1, 20), 63, 64, 65, 100])
def test_pairing_neighbours_is_the_recursive_tree(count: int) -> None:
    leaves = [leaf_digest(bytes([i])) for i in range(count)]
    assert merkle_root(leaves) == plain_merkle([bytes.fromhex(leaf) for leaf in leaves]).hex()


@pytest.mark.parametrize("vector", VECTORS["manifest"])
def test_manifest(vector: dict) -> None:
    data = vector["canonical"].encode("ascii")
    manifest = Manifest.decode(data, vector["digest"])
    assert [entry.root for entry in manifest.tensors] == vector["tensor_roots"]
    leaves = []
    for tensor in json.loads(data)["tensors"]:
        root = plain_merkle([bytes.fromhex(leaf) for leaf in tensor["leaves"]]).hex()
        value = {"dtype": tensor["dtype"], "name": tensor["name"], "root": root, "shape": tensor["shape"]}
        leaves.append(plain_leaf(json.dumps(value, separators=(",", ":"), sort_keys=True).encode()))
    assert plain_merkle(leaves).hex() == vector["digest"]


@pytest.mark.parametrize("vector", VECTORS["root"], ids=lambda v: f"{len(v['visible'])} visible")
def test_root(vector: dict) -> None:
    assert root_of(reversed(vector["visible"])) == vector["root"]
    assert plain_merkle([plain_leaf(bytes.fromhex(d)) for d in sorted(vector["visible"])]).hex() == vector["root"]


@pytest.mark.parametrize("vector", VECTORS["seed"])
def test_seed(vector: dict) -> None:
    parts = (bytes.fromhex(vector[name]) for name in ("space", "root", "recipe"))
    assert sha(b"conjoin/seed/1" + b"".join(parts)).hex() == vector["seed"]


def test_contribution_seed() -> None:
    vector = VECTORS["contribution_seed"]
    parts = (bytes.fromhex(vector[name]) for name in ("space", "base", "recipe"))
    assert sha(b"conjoin/seed/contribution/1" + b"".join(parts)).hex() == vector["seed"]


def test_tagged_is_the_tag_before_the_data() -> None:
    assert tagged("tag", b"a", b"b") == sha(b"tagab").hex()


def test_leaves_are_cut_at_four_mebibytes() -> None:
    assert leaf_sizes(0) == []
    assert leaf_sizes(1) == [1]
    assert leaf_sizes(LEAF_BYTES) == [LEAF_BYTES]
    assert leaf_sizes(2 * LEAF_BYTES + 7) == [LEAF_BYTES, LEAF_BYTES, 7]


@pytest.mark.parametrize("text", [None, 1, "", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_what_is_no_digest_is_refused(text: object) -> None:
    assert not is_digest(text)
    with pytest.raises(MalformedOperationError):
        parse_digest(text)


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"0,", b'"a",'])
def test_what_is_no_manifest_costs_no_memory(piece: bytes) -> None:
    data = b'{"format":"conjoin/manifest/1","tensors":[' + piece * 2_000_000 + b"0]}"
    tracemalloc.start()
    with pytest.raises(DamagedObjectError, match="at most 20000 tensors"):
        Manifest.decode(data, Digest("0" * 64))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_the_largest_manifests_are_read() -> None:
    leaf = leaf_digest(b"x")
    many = [TensorEntry(f"t{number:05}", "U8", (1,) * 8, (leaf,)) for number in range(20_000)]
    for manifest in (Manifest.of(many), Manifest.of([TensorEntry("t", "U8", (4 << 34,), (leaf,) * (4 << 12))])):
        assert Manifest.decode(manifest.encode(), manifest.digest) == manifest


@given(st.binary(max_size=200), st.integers(1, 60))
def test_a_leaf_in_pieces_has_the_digest_of_the_whole(data: bytes, piece: int) -> None:
    hasher = LeafHasher()
    for start in range(0, len(data), piece):
        hasher.update(data[start : start + piece])
    assert hasher.digest() == leaf_digest(data)
