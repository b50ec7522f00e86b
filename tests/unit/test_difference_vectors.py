"""docs/spec/vectors/differences.json, read from the page's text alone and by the library, in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.peer_world import host_of
from tests.unit.spec_reader import Refused, read_difference
from tests.unit.sync_world import Site

from conjoin.errors import ConjoinError
from conjoin.store.memory import MemoryStore
from conjoin.sync import messages
from conjoin.sync.coding import decode_delta, encode_delta
from conjoin.sync.host import Host
from conjoin.sync.messages import Delta, Get, Object, Offer, Put, Question, Wanted, decode, encode
from conjoin.sync.peers import Peer
from conjoin.sync.requests import WantedLeaf
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import leaf_digest
from conjoin.wire.dtype import DTYPES
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import leaf_name, manifest_name

TOP = Path(__file__).parents[2]
VECTORS = json.loads((TOP / "docs/spec/vectors/differences.json").read_text("ascii"))
GOOD, BAD, WHOLE = (
    pytest.mark.parametrize("vector", VECTORS[kind], ids=lambda vector: vector["why"])
    for kind in ("good", "bad", "whole")
)


def bytes_of(value: dict) -> bytes:
    return bytes.fromhex(value["hex"]) * value["times"]


@GOOD
def test_a_reader_of_the_page_and_the_library_read_the_same(vector: dict) -> None:
    base, leaf, packed = bytes_of(vector["base"]), bytes_of(vector["leaf"]), bytes.fromhex(vector["packed_hex"])
    item_bytes = vector["item_bytes"]
    assert DTYPES[vector["dtype"]].item_bytes == item_bytes
    assert leaf_digest(leaf) == vector["digest"]
    assert read_difference(packed, base, item_bytes, vector["digest"], len(leaf)) == leaf
    assert decode_delta(packed, base, item_bytes) == leaf


@GOOD
def test_what_the_library_writes_is_read_from_the_page(vector: dict) -> None:
    """Not the same frame: what zstd writes may differ from version to version."""
    base, leaf = bytes_of(vector["base"]), bytes_of(vector["leaf"])
    packed = encode_delta(leaf, base, vector["item_bytes"])
    assert (packed is not None) == vector["worth_it"]
    if packed is not None:
        assert read_difference(packed, base, vector["item_bytes"], vector["digest"], len(leaf)) == leaf


@BAD
def test_a_reader_of_the_page_and_the_library_refuse_the_same(vector: dict) -> None:
    base, packed, item_bytes = bytes_of(vector["base"]), bytes.fromhex(vector["packed_hex"]), vector["item_bytes"]
    digest, size_bytes = vector["digest"], vector["size_bytes"]
    with pytest.raises(Refused) as refused:
        read_difference(packed, base, item_bytes, digest, size_bytes)
    assert refused.value.code == vector["code"]
    with pytest.raises(ConjoinError) as caught:
        WantedLeaf(digest, size_bytes).check(decode_delta(packed, base, item_bytes))
    assert caught.value.code == vector["code"]


# ------------------------------------------------------------------------------------------------ between peers
class Answering:
    """A line to a peer that gives this one answer to whoever takes a difference, and a damaged leaf to others."""

    where, key = "the peer", "0" * 64

    def __init__(self, answer: messages.Answer) -> None:
        self._answer = answer

    def exchange(self, frame: bytes) -> bytes:
        question = decode(frame)
        assert isinstance(question, Get)
        return encode(self._answer if question.delta else Object(question.name, b"damaged"))

    def close(self) -> None:
        pass


def store_of(*leaves: bytes) -> MemoryStore:
    store = MemoryStore()
    for leaf in leaves:
        store.put(leaf_name(leaf_digest(leaf)), leaf)
    return store


def asking_host(digest: str, size_bytes: int, base: bytes) -> tuple[Site, Host]:
    """A host that has `base` and asks for a leaf, because an operation needs it that was offered."""
    site, writer = Site.founding("asked"), Site.founding("asked")
    site.store.put(leaf_name(leaf_digest(base)), base)
    manifest = Manifest.of([TensorEntry("w", "U8", (size_bytes,), (digest,))])
    contribution = Contribution(manifest.digest, site.log.genesis.base, "1")
    writer.write("add", {"contribution": contribution.to_json(), "license": "", "time": "", "title": ""})
    host = host_of(site)
    new = tuple(one.envelope for one in writer.log.operations() if not site.log.has(one.id))
    assert host.answer(Offer(new, last=True)) == Wanted((manifest_name(manifest.digest),))
    asked = host.answer(Put(manifest_name(manifest.digest), manifest.encode()))
    assert asked == Wanted((leaf_name(digest),))
    return site, host


def sent(host: Host, question: Question) -> messages.Message:
    return decode(host.exchange(encode(question)))


@GOOD
def test_peers_take_it_both_ways(vector: dict) -> None:
    base, leaf, packed = bytes_of(vector["base"]), bytes_of(vector["leaf"]), bytes.fromhex(vector["packed_hex"])
    name, delta = leaf_name(vector["digest"]), Delta(leaf_digest(base), vector["item_bytes"])
    wanted = WantedLeaf(vector["digest"], len(leaf), delta.base, delta.item_bytes)
    pulled, moved = Peer(Answering(Object(name, packed, delta))).pull_leaf(wanted, store_of(base))
    assert (pulled, moved) == (leaf, len(packed))
    if leaf == base:
        return  # whoever has the base has the leaf, and asks for nothing
    site, host = asking_host(vector["digest"], len(leaf), base)
    assert sent(host, Put(name, packed, delta)) == Wanted(())
    assert site.store.get(name) == leaf
    answer = sent(host, Get(name, delta))
    assert isinstance(answer, Object)
    if vector["worth_it"]:
        assert answer.delta == delta
        assert read_difference(answer.data, base, delta.item_bytes, vector["digest"], len(leaf)) == leaf
    else:
        assert answer == Object(name, leaf)


@BAD
def test_peers_refuse_it_both_ways_and_keep_nothing(vector: dict) -> None:
    base, packed = bytes_of(vector["base"]), bytes.fromhex(vector["packed_hex"])
    name, delta = leaf_name(vector["digest"]), Delta(leaf_digest(base), vector["item_bytes"])
    wanted = WantedLeaf(vector["digest"], vector["size_bytes"], delta.base, delta.item_bytes)
    with pytest.raises(ConjoinError) as caught:
        wanted.check(Peer(Answering(Object(name, packed, delta))).pull_leaf(wanted, store_of(base))[0])
    assert caught.value.code == vector["code"]
    site, host = asking_host(vector["digest"], vector["size_bytes"], base)
    answer = sent(host, Put(name, packed, delta))
    assert isinstance(answer, messages.Refused)
    assert answer.code == vector["code"]
    assert not site.store.has(name)


@WHOLE
def test_what_cannot_be_coded_is_sent_as_it_is(vector: dict) -> None:
    base, leaf = bytes_of(vector["base"]), bytes_of(vector["leaf"])
    delta = Delta(leaf_digest(base), vector["item_bytes"])
    site = Site.founding("asked")
    site.store = store_of(base, leaf)
    name = leaf_name(leaf_digest(leaf))
    assert sent(host_of(site), Get(name, delta)) == Object(name, leaf)


def test_an_answer_with_another_base_than_was_asked_for_is_refused() -> None:
    vector = VECTORS["good"][0]
    base, packed, item_bytes = bytes_of(vector["base"]), bytes.fromhex(vector["packed_hex"]), vector["item_bytes"]
    wanted = WantedLeaf(vector["digest"], len(base), leaf_digest(base), item_bytes)
    for delta in (Delta(leaf_digest(b"another"), item_bytes), Delta(leaf_digest(base), 1)):
        answer = Object(wanted.name, packed, delta)
        with pytest.raises(ConjoinError) as caught:
            Peer(Answering(answer)).pull_leaf(wanted, store_of(base))
        assert caught.value.code == "E504"


def test_a_base_that_is_not_there_and_a_leaf_nobody_asked_for() -> None:
    vector = VECTORS["good"][0]
    base, leaf, packed = bytes_of(vector["base"]), bytes_of(vector["leaf"]), bytes.fromhex(vector["packed_hex"])
    site, host = asking_host(vector["digest"], len(leaf), base)
    name, item_bytes = leaf_name(vector["digest"]), vector["item_bytes"]
    answer = sent(host, Put(name, packed, Delta(leaf_digest(b"another"), item_bytes)))
    assert isinstance(answer, messages.Refused)
    assert answer.code == "E302"
    answer = sent(host_of(site), Put(name, packed, Delta(leaf_digest(base), item_bytes)))
    assert isinstance(answer, messages.Refused)
    assert answer.code == "E504"


def test_the_corpus_holds_every_width_and_both_refusals() -> None:
    assert {vector["item_bytes"] for vector in VECTORS["good"]} == {1, 2, 4, 8}
    assert {"BF16", "F16", "F32", "I64"} <= {vector["dtype"] for vector in VECTORS["good"]}
    assert {vector["code"] for vector in VECTORS["bad"]} == {"E301", "E504"}
    whys = [vector["why"] for kind in VECTORS.values() for vector in kind]
    assert len(set(whys)) == len(whys) > 50
