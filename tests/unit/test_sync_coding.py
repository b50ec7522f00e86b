"""Leaves as differences: exact for any bytes, bounded for hostile ones, and shorter where it matters."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.peer_world import host_of
from tests.unit.sync_world import Site, keep_content
from tests.unit.test_sync_session import Wire, assert_equal

from conjoin.errors import ProtocolError
from conjoin.log import views
from conjoin.sync import synchronise_with
from conjoin.sync.coding import decode_delta, encode_delta
from conjoin.sync.messages import Delta, Get, Object, decode, encode
from conjoin.sync.peers import Peer
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest
from conjoin.wire.objects import leaf_name


def noise(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


@given(st.binary(max_size=400), st.binary(max_size=400), st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=200, deadline=None)
def test_what_is_decoded_is_what_was_encoded(leaf: bytes, base: bytes, item_bytes: int) -> None:
    base = (base * 401)[: len(leaf)] if base else bytes(len(leaf))
    packed = encode_delta(leaf, base, item_bytes)
    if packed is not None:
        assert decode_delta(packed, base, item_bytes) == leaf
        assert len(packed) < len(leaf)


def test_a_fine_tune_is_short_and_noise_is_not_coded() -> None:
    base = np.frombuffer(noise("base", 1 << 20), np.uint16)
    tuned = base ^ (np.frombuffer(noise("steps", 1 << 20), np.uint16) % 23 == 0)
    packed = encode_delta(tuned.astype(np.uint16).tobytes(), base.tobytes(), 2)
    assert packed is not None and len(packed) < 0.1 * base.nbytes
    assert encode_delta(noise("a", 1 << 16), noise("b", 1 << 16), 4) is None
    assert encode_delta(b"abc", b"abcd", 1) is None
    assert encode_delta(b"abc" * 100, b"abc" * 100, 8) is None


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"junk" * 10,
        zstandard.compress(bytes(10**8)),
        zstandard.compress(bytes(99)),
        zstandard.compress(b"x" * 100)[:-4],
    ],
    ids=["nothing", "junk", "bomb", "short", "cut"],
)
def test_a_hostile_delta_is_refused_before_it_takes_memory(packed: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_delta(packed, bytes(100), 4)
    with pytest.raises(ProtocolError):
        decode_delta(zstandard.compress(bytes(100)), bytes(100), 3)


def tuned_site(founder: Site, name: str, flips: int) -> tuple[Site, bytes]:
    """A site with one contribution that differs from the base in few elements."""
    site = Site.joining(name, founder)
    base = b"base" * 100
    data = bytearray(base)
    for place in range(flips):
        data[place * 7 % len(data)] ^= 1
    weights = keep_content(site.store, {"w": bytes(data), "shared": b"s" * 300})
    contribution = Contribution(weights, founder.log.genesis.base, "1", {})
    site.write("add", {"contribution": contribution.to_json(), "license": "", "time": "", "title": name})
    return site, bytes(data)


def test_a_leaf_like_one_of_the_base_travels_as_a_difference_both_ways() -> None:
    """Pushed to a host that has the base, and pulled from it by a third site."""
    founder = Site.founding("founder")
    site, _ = tuned_site(founder, "tuner", 3)
    moved = Recording(host_of(founder))
    report = synchronise_with(site.log, site.store, Peer(moved), persist_operation=site.persist)
    assert report.operations_out == 1
    assert len(moved.deltas) == 1
    third = Site.joining("third", founder)
    moved = Recording(host_of(founder))
    synchronise_with(third.log, third.store, Peer(moved), persist_operation=third.persist)
    assert len(moved.deltas) == 1
    assert_equal(founder, site, third)
    assert len(views.visible(third.log)) == 1


def test_a_side_without_the_base_gets_whole_leaves() -> None:
    founder = Site.founding("founder")
    site, _ = tuned_site(founder, "tuner", 3)
    synchronise_with(site.log, site.store, Peer(Wire(host_of(founder))), persist_operation=site.persist)
    for name in list(founder.store.names("leaf/")):
        if founder.store.get(name) == b"base" * 100:
            founder.store.remove(name)
    third = Site.joining("third", founder)
    moved = Recording(host_of(founder))
    report = synchronise_with(third.log, third.store, Peer(moved), persist_operation=third.persist)
    assert not moved.deltas
    assert report.missing == (founder.log.genesis.base,)


def test_a_leaf_whose_delta_lies_comes_whole() -> None:
    founder = Site.founding("founder")
    site, _ = tuned_site(founder, "tuner", 3)
    synchronise_with(site.log, site.store, Peer(Wire(host_of(founder))), persist_operation=site.persist)
    third = Site.joining("third", founder)

    class Lying(Wire):
        lies = 0

        def exchange(self, frame: bytes) -> bytes:
            answer = decode(super().exchange(frame))
            if isinstance(answer, Object) and answer.delta is not None:
                answer = Object(answer.name, zstandard.compress(bytes(400)), answer.delta)
                self.lies += 1
            return encode(answer)

    lying = Lying(host_of(founder))
    report = synchronise_with(third.log, third.store, Peer(lying), persist_operation=third.persist)
    assert (report.refused, report.missing) == ((), ())
    assert lying.lies
    other = host_of(founder).answer(Get(leaf_name(Digest("a" * 64)), Delta(Digest("b" * 64), 2)))
    assert not isinstance(other, Object)


class Recording(Wire):
    """Keeps the objects that came or went as differences."""

    def __init__(self, host: object) -> None:
        super().__init__(host)  # type: ignore[arg-type]
        self.deltas: list[object] = []

    def exchange(self, frame: bytes) -> bytes:
        answer = super().exchange(frame)
        for message in (decode(frame), decode(answer)):
            if getattr(message, "data", None) is not None and message.delta is not None:  # type: ignore[union-attr]
                self.deltas.append(message)
        return answer
