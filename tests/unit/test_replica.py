"""A replica on disk when things go wrong around it: copies, lost operations, changed files, full disks, shared keys."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin import Replica
from conjoin.errors import (
    BadWeightError,
    ChangedFileError,
    DamagedObjectError,
    DiskFullError,
    KeyFileError,
    LockedError,
    NonFiniteError,
    RemoteError,
    UsedKeyError,
)
from conjoin.kept_log import KeptLog
from conjoin.log import views
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.folder import FolderStore
from conjoin.store.home import new_home
from conjoin.store.ingest import ingest
from conjoin.store.reading import Readers
from conjoin.verification import verify


def checkpoint(folder: Path, seed: int) -> Path:
    folder.mkdir(exist_ok=True)
    draw = np.random.default_rng(seed)
    save_file({name: draw.standard_normal(8, np.float32) for name in "ab"}, folder / "model.safetensors")
    return folder


def founded(tmp_path: Path, adds: int = 0) -> Replica:
    replica = Replica.init(tmp_path / "north", checkpoint(tmp_path / "base", 0))
    for seed in range(1, adds + 1):
        replica.add(checkpoint(tmp_path / f"tuned{seed}", seed))
    return replica


def test_a_copy_of_a_replica_can_be_cloned_and_the_clone_reads(tmp_path):
    north = founded(tmp_path, 1)
    shutil.copytree(north.path, tmp_path / "copy")
    clone = Replica.clone(tmp_path / "copy", tmp_path / "clone")
    assert (clone.role, clone.root) == (None, north.root)
    assert "copy" in (Replica.open(tmp_path / "copy").status().copied or "")
    assert (north.status().copied, clone.status().copied) == (None, None)


def test_a_replica_whose_key_others_cannot_use_can_be_cloned(tmp_path):
    north = founded(tmp_path, 1)
    (north.path / ".conjoin" / "local" / "key").chmod(0o644)
    assert Replica.clone(north.path, tmp_path / "clone").role is None


def test_a_key_that_writes_elsewhere_makes_no_second_replica(tmp_path):
    north = founded(tmp_path)
    with pytest.raises(KeyFileError, match="already"):
        Replica.clone(north.path, tmp_path / "clone", key=north.path / ".conjoin" / "local" / "key")
    assert not (tmp_path / "clone").exists()


@pytest.mark.parametrize("place", [1, 2])
def test_a_lost_operation_is_named_mended_and_never_written_over(tmp_path, place):
    north = founded(tmp_path, 3)
    south = Replica.clone(north.path, tmp_path / "south")
    north.sync(south.path)
    lost = north.log.operations()[place].name
    (north.path / ".conjoin" / lost).unlink()
    north = Replica.open(north.path)
    with pytest.raises(DamagedObjectError, match="missing"):
        north.add(checkpoint(tmp_path / "late", 9))
    assert [item.name for item in north.fsck().damage] == [lost]
    if place == 1:
        north.sync(south.path)
    else:
        assert north.fsck(repair_from=south.path).repaired == (lost,)
    assert north.fsck().damage == ()
    north.add(checkpoint(tmp_path / "late", 9))
    assert (north.status().forks, north.status().damaged) == ((), ())


def test_a_lost_operation_of_another_author_is_missed_too(tmp_path):
    north = founded(tmp_path, 1)
    south = Replica.clone(north.path, tmp_path / "south")
    south.add(checkpoint(tmp_path / "other", 5))
    last = north.log.operations()[-1]
    (south.path / ".conjoin" / Replica.open(north.path).log.operations()[-1].name).unlink()
    (item,) = Replica.open(south.path).fsck().damage
    assert item.name.startswith("operation ")
    assert last.id not in item.name
    assert "sync" in item.hint


def test_a_damaged_operation_is_mended_by_sync_and_no_longer_reported(tmp_path):
    north = founded(tmp_path, 2)
    south = Replica.clone(north.path, tmp_path / "south")
    path = north.path / ".conjoin" / north.log.operations()[1].name
    path.write_bytes(b"x")
    north = Replica.open(north.path)
    assert len(north.status().damaged) == 1
    north.sync(south.path)
    assert north.status().damaged == ()


@pytest.mark.parametrize("way", ["sync", "fsck"])
def test_what_a_changed_file_held_comes_back_from_another_replica(tmp_path, way):
    north = founded(tmp_path)
    north.add(checkpoint(tmp_path / "tuned", 1), in_place=True)
    south = Replica.clone(north.path, tmp_path / "south")
    checkpoint(tmp_path / "tuned", 2)
    with pytest.raises(ChangedFileError):
        north.resolve("weight_average", tmp_path / "refused")
    assert len(north.fsck().damage) == 2
    if way == "sync":
        north.sync(south.path)
    else:
        assert len(north.fsck(repair_from=south.path).repaired) == 2
    assert north.fsck().damage == ()
    merged = north.resolve("weight_average", tmp_path / "merged")
    assert merged.output == south.resolve("weight_average", tmp_path / "same").output


def test_a_touched_file_is_still_read(tmp_path):
    north = founded(tmp_path)
    north.add(checkpoint(tmp_path / "tuned", 1), in_place=True)
    os.utime(tmp_path / "tuned" / "model.safetensors", (1, 1))
    assert north.fsck().damage == ()
    assert north.sync(Replica.clone(north.path, tmp_path / "south").path).objects_in == 0
    north.resolve("weight_average", tmp_path / "merged")


def test_an_operation_that_could_not_be_written_is_not_in_the_log(tmp_path, monkeypatch):
    north = founded(tmp_path, 1)
    before = north.root

    def full(store: FolderStore, name: str, data: bytes) -> None:
        raise DiskFullError("the disk is full", where=name)

    with monkeypatch.context() as broken:
        put = FolderStore.put
        broken.setattr(FolderStore, "put", lambda *given: full(*given) if given[1].startswith("ops/") else put(*given))
        with pytest.raises(DiskFullError):
            north.add(checkpoint(tmp_path / "late", 9))
    assert north.root == before == Replica.open(north.path).root
    north.add(checkpoint(tmp_path / "late", 9))
    assert len(north.visible) == 2


def test_status_while_others_write(tmp_path, monkeypatch):
    north = founded(tmp_path)
    real = os.lstat

    def vanishing(path, **options):
        if str(path).endswith("config.json"):
            raise FileNotFoundError(path)
        return real(path, **options)

    whole = north.status().size_bytes
    monkeypatch.setattr(os, "lstat", vanishing)
    assert 0 < north.status().size_bytes < whole


def test_a_refused_side_car_takes_the_weights_away_again(tmp_path):
    north = founded(tmp_path, 1)
    before = sorted(north.store.names(""))
    bad = tmp_path / "bad.safetensors"
    save_file({"a": np.full(8, np.nan, "<f4")}, bad)
    with pytest.raises(NonFiniteError):
        north.add(checkpoint(tmp_path / "late", 9), extras={"fisher": bad})
    assert sorted(north.store.names("")) == before
    north.add(checkpoint(tmp_path / "late", 9))
    assert north.fsck().damage == ()


def test_a_contribution_of_many_authors_is_retracted_within_the_limits_of_the_space(tmp_path, monkeypatch):
    monkeypatch.setattr("conjoin.founding.LIMITS", {"deps": 2, "operation_bytes": 65_536, "operations_per_author": 100})
    north = founded(tmp_path)
    others = [Replica.clone(north.path, tmp_path / name) for name in ("east", "south", "west")]
    tuned = checkpoint(tmp_path / "tuned", 1)
    digests = {other.add(tuned).contribution for other in others}
    for other in others:
        north.sync(other.path)
    (digest,) = digests
    assert not north.retract(digest).visible
    assert north.visible == ()


def test_a_damaged_retraction_never_brings_back_what_was_taken_out(tmp_path):
    north = founded(tmp_path, 2)
    gone = north.visible[0]
    north.retract(gone)
    north.resolve("weight_average", tmp_path / "before")
    name = next(operation.name for operation in north.log.operations() if operation.type == "retract")
    file = north.path / ".conjoin" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    north = Replica.open(north.path)
    with pytest.raises(DamagedObjectError, match="what is visible is not known"):
        north.resolve("weight_average", tmp_path / "out")
    with pytest.raises(DamagedObjectError, match="what is visible is not known"):
        verify(tmp_path / "before", north)
    assert not (tmp_path / "out").exists()


def test_mending_from_a_place_that_is_not_there_is_an_error_even_when_nothing_is_damaged(tmp_path):
    with pytest.raises(RemoteError):
        founded(tmp_path).fsck(repair_from=tmp_path / "nowhere")


def test_weights_may_be_numbers(tmp_path):
    north = founded(tmp_path)
    north.add(checkpoint(tmp_path / "one", 1), weight=2)
    assert [info.weight for info in north.contributions()] == ["2"]
    with pytest.raises(BadWeightError):
        north.add(checkpoint(tmp_path / "one", 1), weight=float("nan"))


def test_adding_the_same_weights_twice_says_so(tmp_path):
    north = founded(tmp_path)
    first = north.add(checkpoint(tmp_path / "one", 1))
    second = north.add(tmp_path / "one", weight="3")
    assert (first.same_weights, second.same_weights) == ((), (first.contribution,))


def test_a_key_is_let_in_once(tmp_path):
    north = founded(tmp_path)
    south = Replica.clone(north.path, tmp_path / "south")
    north = Replica.open(north.path)
    known = len(north.operations())
    assert north.invite(north.key) == north.space
    first = north.invite(south.key)
    assert len(north.operations()) == known
    assert north.invite(south.key, role="admin") != first
    assert north.invite(south.key) in (first, north.operations()[-1].id)
    assert len(north.operations()) == known + 1


def test_two_that_build_a_replica_in_one_place_do_not_mix(tmp_path):
    base = checkpoint(tmp_path / "base", 0)
    with new_home(tmp_path / "north"), pytest.raises(LockedError):
        Replica.init(tmp_path / "north", base)


def test_what_a_killed_init_left_is_cleared(tmp_path):
    base = checkpoint(tmp_path / "base", 0)
    left = tmp_path / "north" / ".conjoin-new"
    (left / "leaf" / "ab").mkdir(parents=True)
    (left / "local").mkdir()
    (left / "local" / "key").write_text("half a key")
    with Replica.init(tmp_path / "north", base) as north:
        assert north.fsck().damage == ()
    assert not left.exists()


class Meanwhile:
    """Progress that does something once, when the first bytes are about to move."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what = [what]

    def start(self, what: str, total_bytes: int) -> None:
        while self._what:
            self._what.pop()()

    def advance(self, done_bytes: int) -> None:
        pass


def test_another_command_may_write_while_the_content_of_a_sync_arrives(tmp_path):
    here, place = founded(tmp_path), tmp_path / "place"
    there = Replica.clone(here.path, tmp_path / "there")
    place.mkdir()
    there.add(checkpoint(tmp_path / "theirs", 7))
    there.sync(place)
    mine = checkpoint(tmp_path / "mine", 8)

    report = here.sync(place, progress=Meanwhile(partial(Replica.open(here.path).add, mine)))

    assert (report.operations_in, report.failure, report.missing) == (1, None, ())
    assert here.visible == Replica.open(here.path).visible
    assert len(here.visible) == 2
    reader = Replica.clone(place, tmp_path / "reader")  # what was added meanwhile went out with its content
    assert reader.root == here.root
    assert reader.status().missing == ()


def test_another_command_may_write_while_an_add_reads(tmp_path):
    here = founded(tmp_path)
    one, two = (checkpoint(tmp_path / name, seed) for name, seed in (("one", 1), ("two", 2)))
    old = here.key

    def meanwhile() -> None:
        with Replica.open(here.path) as other:
            other.add(two)
            assert other.add(one).already is False
            other.rekey()

    added = here.add(one, weight="2", progress=Meanwhile(meanwhile))
    assert here.key != old
    again = here.add(one, weight="2", progress=Meanwhile(partial(Replica.open(here.path).add, one, weight="3")))
    assert (again.already, again.operation) == (True, added.operation)
    log = Replica.open(here.path).log
    adds = [one for one in log.operations() if one.type == "add"]
    assert [one.author == here.key for one in adds] == [False, False, True, True]
    assert (len(here.visible), views.forks(log), here.status().missing) == (4, (), ())


class Stages:
    """Progress that keeps what each stage is called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def start(self, what: str, total_bytes: int) -> None:
        self.called.append(what)

    def advance(self, done_bytes: int) -> None:
        pass


def test_what_a_sync_moves_is_called_by_its_title(tmp_path):
    here, place, sent, taken = founded(tmp_path), tmp_path / "place", Stages(), Stages()
    place.mkdir()
    title = "chest, north, with a longer title than a bar has room for"
    added = here.add(checkpoint(tmp_path / "mine", 8), title=title).contribution
    here.sync(place, progress=sent)
    Replica.clone(place, tmp_path / "there", progress=taken)
    name = f"{added[:8]} “{title[:24]}”"
    assert sent.called[0] == "pushing the base"
    assert any(what.startswith(f"pushing {name}") for what in sent.called)
    assert taken.called[0] == "pulling the base"
    assert any(what.startswith(f"pulling {name}") for what in taken.called)


class Stopping:
    """Progress that does something when all bytes of so many checkpoints have moved, and then stops the command."""

    def __init__(self, what: Callable[[], object] = lambda: None, *, checkpoints: int = 1) -> None:
        self._what = what
        self._left = checkpoints
        self._left_bytes = 0

    def start(self, what: str, total_bytes: int) -> None:
        self._left -= 1
        self._left_bytes = total_bytes

    def advance(self, done_bytes: int) -> None:
        self._left_bytes -= done_bytes
        if self._left == self._left_bytes == 0:
            self._what()
            raise StoppedError


class StoppedError(Exception):
    """The command was stopped."""


def test_a_failed_add_leaves_nothing_and_takes_nothing_away(tmp_path):
    here, model = founded(tmp_path, 1), checkpoint(tmp_path / "m", 3)
    objects = set(here.store.names(""))
    with pytest.raises(StoppedError):
        here.add(model, progress=Stopping())
    assert set(here.store.names("")) == objects
    with pytest.raises(StoppedError):  # the base's own tensors
        here.add(tmp_path / "base", progress=Stopping())
    assert (set(here.store.names("")), here.fsck().damage) == (objects, ())


def test_a_failed_add_leaves_what_somebody_else_counts_on(tmp_path):
    here = founded(tmp_path)
    other, model = Replica.open(here.path), checkpoint(tmp_path / "m", 3)
    objects = set(here.store.names("leaf/"))
    with other.reading(), pytest.raises(StoppedError):
        here.add(model, progress=Stopping())
    assert set(here.store.names("leaf/")) > objects, "a sync may have seen them"
    assert here.gc(grace_seconds=0).objects
    assert set(here.store.names("leaf/")) == objects


def test_an_add_that_fails_when_it_signs_leaves_nothing(tmp_path, monkeypatch):
    """Somebody else may keep the lock for too long, or the disk be full."""
    here, model = founded(tmp_path), checkpoint(tmp_path / "m", 3)
    objects = set(here.store.names(""))
    monkeypatch.setattr(here, "_sign", Mock(side_effect=StoppedError))
    with pytest.raises(StoppedError):
        here.add(model)
    assert set(here.store.names("")) == objects


def test_two_readers_of_one_object_know_of_each_other(tmp_path):
    readers = Readers(tmp_path / "readers")
    with readers.reading():
        assert not readers.others()
        with readers.reading():
            assert readers.others()
        assert not readers.others()


@pytest.mark.parametrize("way", ["add", "add of what is kept", "content alone"])
def test_a_failed_add_leaves_what_somebody_else_was_done_with_meanwhile(tmp_path, way):
    here = founded(tmp_path)
    other, model = Replica.open(here.path), checkpoint(tmp_path / "m", 3)
    (side := tmp_path / "side").mkdir()
    save_file({"c": np.ones(8, np.float32)}, side / "model.safetensors")
    meanwhile = (
        partial(ingest, open_checkpoint(model), other.store) if way == "content alone" else partial(other.add, model)
    )
    with pytest.raises(StoppedError):
        if way == "add of what is kept":
            here.add(model, extras={"fisher": side}, progress=Stopping(meanwhile, checkpoints=2))
        else:
            here.add(model, progress=Stopping(meanwhile))
    assert here.fsck().damage == ()
    again = Replica.open(here.path)
    assert (len(again.visible), again.status().missing) == (way != "content alone", ())
    assert len([name for name in again.store.names("manifest/")]) == 3


def test_gc_does_not_sweep_below_an_add(tmp_path, monkeypatch):
    monkeypatch.setattr("conjoin.replica.GC_SECONDS", 0.0)
    here = founded(tmp_path)

    def meanwhile() -> None:
        with pytest.raises(LockedError, match="is reading"):
            Replica.open(here.path).gc(grace_seconds=0)

    here.add(checkpoint(tmp_path / "one", 1), progress=Meanwhile(meanwhile))
    assert here.gc(grace_seconds=0).objects == 0


def test_what_others_write_pack_and_remove_is_noticed(tmp_path):
    here = founded(tmp_path)
    seen = Replica.open(here.path)
    here.add(checkpoint(tmp_path / "a", 1))
    before = seen.log
    seen.refresh()
    assert seen.visible == here.visible
    assert seen.log is before, "what is new is admitted to the log that was read"
    last = seen.log.head_of(here.key)
    (here.path / ".conjoin" / last.name).unlink()
    seen.refresh()
    assert not seen.log.has(last.id)


def kept_away(replica: Replica, operation: str) -> bytes:
    """Take an operation out of a replica's folder, as a disk that went back in time does; returns its bytes."""
    path = replica.path / ".conjoin" / operation
    data = path.read_bytes()
    path.unlink()
    return data


def test_a_sync_that_fails_while_it_takes_leaves_no_lock(tmp_path, monkeypatch):
    here, place = founded(tmp_path), tmp_path / "place"
    there = Replica.clone(here.path, tmp_path / "there")
    there.add(checkpoint(tmp_path / "theirs", 7))
    place.mkdir()
    there.sync(place)

    def full(store: FolderStore, name: str, data: bytes) -> None:
        if name.startswith("ops/"):
            raise DiskFullError("the disk is full")
        put(store, name, data)

    put = FolderStore.put
    with monkeypatch.context() as patch, pytest.raises(DiskFullError) as kept:
        patch.setattr(FolderStore, "put", full)
        here.sync(place)
    assert kept.value.__traceback__ is not None, "whoever keeps the error keeps no lock"
    Replica.open(here.path).add(checkpoint(tmp_path / "mine", 8))
    assert here.sync(place).operations_in == 1


def test_what_a_failed_sync_left_on_the_disk_is_read_before_the_next_signature(tmp_path, monkeypatch):
    here, place = founded(tmp_path, 2), tmp_path / "place"
    place.mkdir()
    here.sync(place)
    first, second = (one.name for one in here.log.operations() if one.type == "add")
    use = here.path / ".conjoin" / "local" / "key-use"
    use.unlink()  # the whole disk went back to before both
    kept_away(here, first), kept_away(here, second)
    here = Replica.open(here.path)
    put = FolderStore.put

    def full_after_one(store: FolderStore, name: str, data: bytes) -> None:
        if name == second:
            raise DiskFullError("the disk is full")
        put(store, name, data)

    with monkeypatch.context() as patch, pytest.raises(DiskFullError):
        patch.setattr(FolderStore, "put", full_after_one)
        here.sync(place)
    with pytest.raises(UsedKeyError):
        here.add(checkpoint(tmp_path / "late", 9))
    assert views.forks(Replica.open(here.path).log) == ()


@pytest.mark.parametrize("resolution_ns", [10**9, 2 * 10**9])
def test_no_fork_where_the_times_of_folders_are_coarse(tmp_path, monkeypatch, resolution_ns):
    times = KeptLog._folder_times
    monkeypatch.setattr(
        KeptLog, "_folder_times", lambda kept: tuple((name, at - at % resolution_ns) for name, at in times(kept))
    )
    one = founded(tmp_path)
    other = Replica.open(one.path)
    for seed in range(1, 5):
        (one if seed % 2 else other).add(checkpoint(tmp_path / f"m{seed}", seed))
    log = Replica.open(one.path).log
    assert (len(log), views.forks(log)) == (5, ())


def test_a_new_key_of_another_process_is_noticed_under_the_lock(tmp_path):
    here, place = founded(tmp_path), tmp_path / "place"
    there = Replica.clone(here.path, tmp_path / "there")
    there.add(checkpoint(tmp_path / "theirs", 7))
    place.mkdir()
    there.sync(place)
    old = here.key
    here.sync(place, progress=Meanwhile(lambda: Replica.open(here.path).rekey()))
    assert here.key != old
    here.add(checkpoint(tmp_path / "mine", 8))
    log = Replica.open(here.path).log
    assert views.forks(log) == ()
    assert [one.author for one in log.operations() if one.type == "add"] == [there.key, here.key]


def test_gc_waits_for_a_sync_that_is_done_soon(tmp_path):
    here = founded(tmp_path, 1)
    other = Replica.open(here.path)
    reading = threading.Event()

    def read() -> None:
        with other.reading():
            reading.set()
            time.sleep(0.3)

    thread = threading.Thread(target=read)
    thread.start()
    reading.wait()
    here.gc(grace_seconds=0)
    thread.join()
