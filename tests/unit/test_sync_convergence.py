"""Replicas that meet at dumb places reach the same operations and hold all visible content, whatever the order."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sync_world import DyingStore, RecordingRemote, Site, assert_complete, assert_kept_in_order

from conjoin.errors import DeviceError
from conjoin.log import views
from conjoin.sync.remotes import FolderRemote, MemoryRemote


def sites(count: int) -> list[Site]:
    first = Site.founding("site-0")
    return [first, *(Site.joining(f"site-{i}", first) for i in range(1, count))]


def assert_converged(everyone: list[Site]) -> None:
    assert len({frozenset(site.ids) for site in everyone}) == 1
    assert len({views.root(site.log) for site in everyone}) == 1
    assert all(site.holds_everything() for site in everyone)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_three_replicas_in_any_order(order: tuple[int, ...]) -> None:
    everyone = sites(3)
    for i, site in enumerate(everyone):
        site.add(f"model-{i}")
    place = MemoryRemote()
    for i in order:
        everyone[i].sync(place)
    for i in order[:-1]:
        everyone[i].sync(place)
    assert_converged(everyone)
    assert len(views.visible(everyone[0].log)) == 3


@pytest.mark.parametrize("seed", range(12))
def test_five_replicas_two_places_random_schedule(seed: int) -> None:
    chance = random.Random(seed)
    everyone = sites(5)
    places = [MemoryRemote("north"), MemoryRemote("south")]
    for step in range(25):
        site = chance.choice(everyone)
        action = chance.random()
        shown = views.visible(site.log)
        if action < 0.35:
            site.add(f"{site.name}-{step % 4}")
        elif action < 0.45 and shown:
            mine = {digest: site.own_adds(digest) for digest in shown}
            digest = next((digest for digest in shown if mine[digest]), None)
            if digest:
                site.write("retract", {"adds": mine[digest]})
        else:
            site.sync(chance.choice(places), push=chance.random() < 0.8)
    for _ in range(2):
        for site in everyone:
            for place in places:
                site.sync(place)
    assert_converged(everyone)


def test_a_second_sync_moves_nothing() -> None:
    first, second = sites(2)
    first.add("a", extras={"fisher": b"f" * 40})
    place = MemoryRemote()
    pushed = first.sync(place)
    assert (pushed.operations_out, pushed.operations_in, pushed.bytes_in) == (2, 0, 0)
    assert pushed.objects_out == len(place.objects)
    assert pushed.bytes_out == sum(map(len, place.objects.values()))
    pulled = second.sync(place)
    assert (pulled.operations_in, pulled.operations_out, pulled.bytes_out) == (1, 0, 0)
    assert pulled.root == views.root(first.log)
    assert pulled.missing == ()
    for site in (first, second):
        again = site.sync(place)
        assert (again.bytes_in, again.bytes_out, again.objects_in, again.objects_out) == (0, 0, 0, 0)
        assert (again.operations_in, again.operations_out, again.refused, again.failure) == (0, 0, (), None)


def test_a_shared_tensor_is_sent_once() -> None:
    first, second = sites(2)
    place = MemoryRemote()
    first.add("a", size_bytes=10_000)
    first.sync(place)
    second.sync(place)
    first.add("b", size_bytes=10_000)
    report = first.sync(place)
    leaves = [name for name in place.objects if name.startswith("leaf/")]
    assert len(leaves) == len(set(leaves)) == 5, "base, shared, config, a, b"
    assert 10_000 < report.bytes_out < 13_000


def test_retracted_content_is_not_moved() -> None:
    first, second = sites(2)
    gone = first.add("gone", size_bytes=50_000)
    first.retract(gone)
    kept = first.add("kept")
    place = MemoryRemote()
    assert first.sync(place).bytes_out < 20_000
    second.sync(place)
    assert views.visible(second.log) == (kept,)
    assert second.holds_everything()


def test_pull_without_push_leaves_the_remote_alone() -> None:
    first, second = sites(2)
    first.add("a")
    place = MemoryRemote()
    first.sync(place)
    second.add("b")
    before = dict(place.objects)
    report = second.sync(place, push=False)
    assert report.operations_in == 1
    assert place.objects == before


def test_content_comes_before_the_operation_that_needs_it_on_the_remote() -> None:
    first = Site.founding("first")
    for seed in "abc":
        first.add(seed, size_bytes=2000)
    place = RecordingRemote()
    first.sync(place)
    assert_kept_in_order(place.puts, place.objects)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_kill_at_any_write_leaves_a_valid_replica_that_resumes(threads: int) -> None:
    first = Site.founding("first")
    first.add("a", extras={"fisher": b"f"})
    first.add("b")
    place = MemoryRemote()
    first.sync(place)
    for die_at in itertools.count():
        second = Site.joining("second", first)
        second.store = DyingStore(die_at)
        try:
            second.sync(place, threads=threads)
        except DeviceError:
            persisted = {operation.name for operation in second.log.operations() if operation.type != "genesis"}
            assert set(second.store.names("ops/")) >= persisted, "the log is never ahead of the disk"
            contents = {name: second.store.get(name) for name in second.store.names("")}
            assert_complete(contents)
            second.store._left = 10**9
            here = {operation.name for operation in second.log.operations()}
            here |= {name for name in contents if not name.startswith("ops/")}
            lacking = set(place.objects) - here
            assert second.sync(place).bytes_in == sum(len(place.objects[name]) for name in lacking)
        else:
            break
        assert second.ids == first.ids
        assert second.holds_everything()
    assert die_at > 10


def test_sites_that_use_one_folder_at_the_same_time(tmp_path: Path) -> None:
    everyone = sites(4)
    for i, site in enumerate(everyone):
        site.add(f"model-{i}", size_bytes=20_000)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            reports = list(pool.map(lambda site: site.sync(FolderRemote(tmp_path), threads=2), everyone))
            assert all(report.refused == () and report.failure is None for report in reports)
    assert_converged(everyone)
    assert list((tmp_path / ".tmp").iterdir()) == []
