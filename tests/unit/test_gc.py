"""Gc on replicas on disk: what goes, what stays and for how long, and how what went comes back."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin import Replica
from conjoin.errors import DamagedObjectError, LockedError, MissingObjectError
from conjoin.verification import verify
from conjoin.wire.digest import leaf_digest
from conjoin.wire.objects import leaf_name, manifest_name


def checkpoint(folder: Path, seed: int, *, shared: int = 0) -> Path:
    """A model of two tensors, of which `b` is drawn from `shared`."""
    folder.mkdir(exist_ok=True)
    tensors = {
        name: np.random.default_rng(number).standard_normal(8, np.float32)
        for name, number in (("a", seed), ("b", shared))
    }
    save_file(tensors, folder / "model.safetensors")
    return folder


def founded(tmp_path: Path, adds: int = 0, *, in_place: bool = False) -> Replica:
    replica = Replica.init(tmp_path / "north", checkpoint(tmp_path / "base", 1000))
    for seed in range(1, adds + 1):
        replica.add(checkpoint(tmp_path / f"tuned{seed}", seed), title=f"tuned{seed}", in_place=in_place)
    return replica


def contents(replica: Replica) -> dict[str, bytes]:
    """Every file of a replica's store."""
    home = replica.path / ".conjoin"
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for kind in ("leaf", "manifest", "ops")
        for path in (home / kind).rglob("*")
        if path.is_file()
    }


def age(replica: Replica, days: float) -> None:
    """Make every file of a replica older."""
    then = time.time() - days * 86_400
    for path in (replica.path / ".conjoin").rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


def test_nothing_goes_while_everything_is_needed(tmp_path):
    north = founded(tmp_path, 2)
    before = contents(north)
    report = north.gc(grace_seconds=0)
    assert (report.freed, report.size_bytes, report.later_bytes) == ((), 0, 0)
    assert contents(north) == before


def test_what_was_retracted_goes_after_the_grace_and_only_what_is_its_own(tmp_path):
    north = founded(tmp_path, 2)
    gone = next(info for info in north.contributions() if info.title == "tuned1")
    own = north.inventory.manifest(gone.weights).by_name["a"].leaves
    shared = north.inventory.manifest(gone.weights).by_name["b"].leaves
    before = contents(north)
    expected = {manifest_name(gone.weights), *map(leaf_name, own)}
    north.retract(gone.digest)
    retracted = contents(north).keys() - before.keys()

    report = north.gc()
    assert report.freed == ()
    assert report.later_bytes == sum(len(before[name]) for name in expected)
    assert north.status().unneeded_bytes == 0

    age(north, 2)
    would = north.gc(dry_run=True)
    assert contents(north).keys() == before.keys() | retracted
    assert north.status().unneeded_bytes == would.size_bytes > 0
    report = north.gc()
    (freed,) = report.freed
    assert (freed.content, freed.contributions, freed.title) == (gone.weights, (gone.digest,), "tuned1")
    assert (freed.why, freed.objects) == ("retracted", 2)
    assert report.size_bytes == would.size_bytes == sum(len(before[name]) for name in expected)
    assert contents(north).keys() == (before.keys() | retracted) - expected
    assert all(north.store.has(leaf_name(leaf)) for leaf in shared)
    again = north.gc(grace_seconds=0)
    assert (again.freed, again.size_bytes) == ((), 0)
    assert north.fsck().damage == ()
    north.resolve("weight_average", tmp_path / "out")


def test_a_late_retraction_of_old_content_begins_the_grace(tmp_path):
    north = founded(tmp_path, 1)
    age(north, 30)
    north.retract(north.visible[0])
    assert north.gc().freed == ()
    assert len(north.gc(grace_seconds=0).freed) == 1


def test_content_of_two_contributions_stays_until_both_are_retracted(tmp_path):
    north = founded(tmp_path, 1)
    second = north.add(tmp_path / "tuned1", weight="2")
    first = next(digest for digest in north.visible if digest != second.contribution)
    north.retract(first)
    assert north.gc(grace_seconds=0).freed == ()
    north.retract(second.contribution)
    (freed,) = north.gc(grace_seconds=0).freed
    assert freed.contributions == tuple(sorted((first, second.contribution)))


def test_leaves_that_no_manifest_names_go_after_the_grace(tmp_path):
    north = founded(tmp_path, 1)
    name = leaf_name(leaf_digest(b"left"))
    north.store.put(name, b"left")
    assert north.gc().freed == ()
    age(north, 2)
    (freed,) = north.gc().freed
    assert (freed.content, freed.objects, freed.size_bytes) == (None, 1, 4)
    assert not north.store.has(name)


def test_leaves_stay_while_the_manifest_that_may_name_them_is_on_its_way(tmp_path):
    north = founded(tmp_path, 1)
    weights = north.contributions()[0].weights
    home = north.path / ".conjoin"
    (home / manifest_name(weights)).unlink()
    assert north.gc(grace_seconds=0).freed == ()
    (home / manifest_name(north.base)).write_bytes(b"{}")
    with pytest.raises(DamagedObjectError):
        north.gc(grace_seconds=0)
    assert north.status().unneeded_bytes is None


def test_files_added_in_place_stay_and_the_notes_on_them_go(tmp_path):
    north = founded(tmp_path, 2, in_place=True)
    first = next(info for info in north.contributions() if info.title == "tuned1")
    files = {path: path.read_bytes() for path in tmp_path.glob("tuned*/*")}
    north.retract(first.digest)
    (freed,) = north.gc(grace_seconds=0).freed
    assert (freed.contributions, freed.objects) == ((first.digest,), 1)
    assert north.store.references.manifests() == {info.weights for info in north.contributions() if info.visible}
    assert {path: path.read_bytes() for path in tmp_path.glob("tuned*/*")} == files
    north.resolve("weight_average", tmp_path / "out")
    assert north.fsck().damage == ()


def test_a_note_that_other_content_leans_on_stays(tmp_path):
    """What a sync brings is not copied again where a file outside has it."""
    north = founded(tmp_path)
    south = Replica.clone(north.path, tmp_path / "south")
    north.add(checkpoint(tmp_path / "tuned1", 1, shared=5), title="tuned1", in_place=True)
    south.add(checkpoint(tmp_path / "other", 9, shared=5), title="other")
    north.sync(south.path)
    held = next(info for info in north.contributions() if info.title == "other")
    shared = north.inventory.manifest(held.weights).by_name["b"].leaves[0]
    assert not (north.path / ".conjoin" / leaf_name(shared)).exists()
    north.retract(next(info.digest for info in north.contributions() if info.title == "tuned1"))
    north.gc(grace_seconds=0)
    assert north.store.has(leaf_name(shared))
    assert north.fsck().damage == ()


def test_what_went_comes_back_when_another_adds_it_at_the_same_time(tmp_path):
    north = founded(tmp_path, 1)
    south = Replica.clone(north.path, tmp_path / "south")
    digest = north.visible[0]
    weights = north.contributions()[0].weights
    south.add(tmp_path / "tuned1", title="mine too")
    north.retract(digest)
    assert north.visible == ()
    assert north.gc(grace_seconds=0).size_bytes > 0
    assert not north.store.has(manifest_name(weights))
    report = north.sync(south.path)
    assert report.missing == ()
    assert north.visible == (digest,)
    assert north.fsck().damage == ()
    assert north.gc(grace_seconds=0).freed == ()
    north.resolve("weight_average", tmp_path / "out")


def test_a_merge_of_what_went_is_no_longer_verified_here(tmp_path):
    north = founded(tmp_path, 2)
    north.resolve("weight_average", tmp_path / "out")
    verify(tmp_path / "out", north, recompute=True)
    north.retract(north.visible[0])
    north.gc(grace_seconds=0)
    with pytest.raises(MissingObjectError, match="not in this replica"):
        verify(tmp_path / "out", north)


def test_gc_gives_way_to_who_reads_and_not_to_readers_that_were_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("conjoin.replica.GC_SECONDS", 0.1)
    north = founded(tmp_path, 1)
    north.retract(north.visible[0])
    with north.reading(), pytest.raises(LockedError, match=f"process {os.getpid()} is reading"):
        north.gc(grace_seconds=0)
    left = north.path / ".conjoin" / "local" / "reading" / "99999-00"
    left.write_text("99999\n")
    assert len(north.gc(grace_seconds=0).freed) == 1
    assert list(left.parent.iterdir()) == []


def test_kept_running_sums_keep_what_they_would_read_again(tmp_path):
    north = founded(tmp_path, 3)
    north.resolve("weight_average", tmp_path / "first", running=True)
    north.retract(north.visible[0])
    report = north.gc(grace_seconds=0)
    assert [freed.objects for freed in report.freed] == [1]  # the manifest: the leaves are needed to take it out
    north.resolve("weight_average", tmp_path / "second", running=True)
    shutil.rmtree(north.path / ".conjoin" / "local" / "running")
    (left,) = north.gc(grace_seconds=0).freed
    assert (left.content, left.objects) == (None, 1)
