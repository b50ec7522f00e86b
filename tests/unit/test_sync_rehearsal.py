"""A rehearsed sync says what the real one moves, and changes nothing on either side."""

from __future__ import annotations

import pytest
from tests.unit.peer_world import host_of
from tests.unit.sync_world import Site
from tests.unit.test_sync_session import Wire

from conjoin.sync import synchronise_with
from conjoin.sync.peers import Peer
from conjoin.sync.rehearsal import rehearse
from conjoin.sync.remotes import MemoryRemote


def image(*sites: Site) -> list[object]:
    return [(site.ids, sorted(site.store.names("")), list(site.events)) for site in sites]


@pytest.fixture
def sites() -> tuple[Site, Site]:
    """Two sites of a space; each has something of a few megabytes that the other lacks."""
    first = Site.founding("first")
    second = Site.joining("second", first)
    synchronise_with(second.log, second.store, Peer(Wire(host_of(first))), persist_operation=second.persist)
    first.add("theirs", size_bytes=9_000_000)
    second.add("mine", size_bytes=5_000_000, extras={"fisher": b"f" * 1000})
    return first, second


def test_with_a_peer_it_says_what_moves(sites: tuple[Site, Site]) -> None:
    first, second = sites
    before = image(first, second)
    told = rehearse(second.log, second.store, Peer(Wire(host_of(first))))
    assert image(first, second) == before
    real = synchronise_with(second.log, second.store, Peer(Wire(host_of(first))), persist_operation=second.persist)
    assert (told.operations_in, told.operations_out) == (real.operations_in, real.operations_out) == (1, 1)
    assert (told.objects_in, told.root, told.missing) == (real.objects_in, real.root, ())
    assert real.bytes_in <= told.bytes_in + 2000
    assert 0.99 * real.bytes_out <= told.bytes_out <= real.bytes_out + 2000
    again = rehearse(second.log, second.store, Peer(Wire(host_of(first))))
    assert (again.operations_in, again.operations_out, again.objects_in, again.objects_out) == (0, 0, 0, 0)


def test_with_a_place_it_says_what_moves(sites: tuple[Site, Site]) -> None:
    first, second = sites
    place = MemoryRemote()
    first.sync(place)
    objects, before = dict(place.objects), image(second)
    told = rehearse(second.log, second.store, place)
    assert (place.objects, image(second)) == (objects, before)
    real = second.sync(place)
    assert (told.operations_in, told.operations_out) == (real.operations_in, real.operations_out) == (1, 1)
    assert (told.objects_in, told.objects_out, told.root) == (real.objects_in, real.objects_out, real.root)
    assert abs(told.bytes_out - real.bytes_out) < 2000
    assert abs(told.bytes_in - real.bytes_in) < 2000
