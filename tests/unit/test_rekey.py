"""Copies, restored backups and snapshots of replicas: noticed, given a new key, and no dot is used twice."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from conjoin import Replica
from conjoin.errors import CopiedReplicaError, KeyFileError, NotPermittedError, UsedKeyError
from conjoin.log import views
from conjoin.store.home import Home
from conjoin.store.instance import create_instance
from conjoin.store.keys import create_key


def checkpoint(folder: Path, seed: int) -> Path:
    if not folder.exists():
        folder.mkdir(parents=True)
        save_file({"a": np.random.default_rng(seed).standard_normal(4, np.float32)}, folder / "model.safetensors")
    return folder


def copied(source: Path, target: Path, *, marked: bool = False) -> Path:
    """A copy in place of whatever is at `target`; `marked`: one that nothing in it gives away, as a snapshot."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    if marked:
        create_instance(target / ".conjoin" / "local" / "instance")
    return target


@pytest.fixture
def north(tmp_path):
    (tmp_path / "meeting").mkdir()
    return Replica.init(tmp_path / "north", checkpoint(tmp_path / "base", 0))


def test_a_snapshot_put_back_is_noticed_by_a_sync_and_takes_a_new_key(north, tmp_path):
    south = Replica.clone(north.path, tmp_path / "south")
    copied(south.path, tmp_path / "snapshot")
    south.add(checkpoint(tmp_path / "one", 1))
    south.sync(tmp_path / "meeting")
    south = Replica.open(copied(tmp_path / "snapshot", south.path, marked=True))
    assert south.status().key_used_elsewhere is None
    report = south.sync(tmp_path / "meeting")
    assert report.operations_in == 1
    assert report.key_used_elsewhere is not None
    assert report.key_used_elsewhere.startswith(f"ops/{south.key}/0000000000-")
    assert south.status().key_used_elsewhere == report.key_used_elsewhere
    old = south.key
    with pytest.raises(UsedKeyError):
        south.retract(south.visible[0])
    with pytest.raises(UsedKeyError):
        south.invite(north.key)
    with pytest.raises(UsedKeyError, match="conjoin rekey"):
        Replica.open(south.path).add(tmp_path / "one", weight="2")

    done = south.rekey()
    assert (done.before, done.role, done.operation, done.wanted) == (old, None, None, "member")
    assert south.key == done.key != old
    assert Replica.open(south.path).status().key_used_elsewhere is None
    north.invite(done.key)
    north.sync(tmp_path / "meeting")
    assert south.sync(tmp_path / "meeting").key_used_elsewhere is None
    south.add(tmp_path / "one", weight="2")
    assert views.forks(south.log) == ()


def test_operations_that_another_put_into_a_replica_are_noticed_as_well(north, tmp_path):
    south = Replica.clone(north.path, tmp_path / "south")
    north.sync(south.path)
    copied(south.path, tmp_path / "snapshot")
    south.add(checkpoint(tmp_path / "one", 1))
    north.sync(south.path)
    south = Replica.open(copied(tmp_path / "snapshot", south.path, marked=True))
    north.sync(south.path)
    with pytest.raises(UsedKeyError):
        south.add(checkpoint(tmp_path / "two", 2))


def test_the_original_notices_what_a_copy_signed(north, tmp_path):
    north.sync(tmp_path / "meeting")
    copy = Replica.open(copied(north.path, tmp_path / "copy", marked=True))
    copy.add(checkpoint(tmp_path / "one", 1))
    north.add(checkpoint(tmp_path / "two", 2))
    copy.sync(tmp_path / "meeting")
    assert north.sync(tmp_path / "meeting").key_used_elsewhere is not None
    assert len(views.forks(north.log)) == 1
    assert north.rekey().operation is None


def test_an_own_operation_that_was_lost_here_comes_back_without_suspicion(north, tmp_path):
    digests = [north.add(checkpoint(tmp_path / name, seed)).operation for seed, name in enumerate("xyz", 1)]
    north.sync(tmp_path / "meeting")
    (north.path / ".conjoin" / north.log.get(digests[1]).name).unlink()
    north = Replica.open(north.path)
    assert north.sync(tmp_path / "meeting").key_used_elsewhere is None
    (north.path / ".conjoin" / north.log.get(digests[2]).name).unlink()
    north = Replica.open(north.path)
    assert north.sync(tmp_path / "meeting").key_used_elsewhere is None  # it is known to have been signed here
    north.add(checkpoint(tmp_path / "more", 9))


def test_a_copied_directory_becomes_a_replica_of_its_own(north, tmp_path):
    copy = Replica.open(copied(north.path, tmp_path / "copy"))
    with pytest.raises(CopiedReplicaError, match="conjoin rekey"):
        copy.add(checkpoint(tmp_path / "one", 1))
    done = copy.rekey()
    assert (done.role, done.operation, done.wanted) == (None, None, "admin")
    north.invite(done.key, role="admin")
    copy.sync(north.path)
    assert copy.role == "admin"
    copy.add(tmp_path / "one")
    north.add(tmp_path / "one", weight="2")
    north.sync(copy.path)
    copy.sync(north.path)
    assert copy.root == north.root
    assert views.forks(copy.log) == ()


def test_an_admin_whose_key_signs_nowhere_else_lets_the_new_key_in_at_once(north, tmp_path):
    old = north.key
    done = north.rekey()
    assert done.operation is not None
    assert north.log.get(done.operation).author == old
    assert (north.role, done.role) == ("admin", "admin")
    north = Replica.open(north.path)
    assert north.key == done.key
    assert north.add(checkpoint(tmp_path / "one", 1)).operation
    assert Home.of(north.path).kept_key(old).stat().st_mode & 0o777 == 0o600


def test_the_only_admin_restored_from_a_backup_can_let_itself_in_when_asked_to(north, tmp_path):
    old = north.key
    copied(north.path, tmp_path / "backup")
    north.add(checkpoint(tmp_path / "one", 1))
    north.sync(tmp_path / "meeting")
    north = Replica.open(copied(tmp_path / "backup", north.path))
    first = north.rekey()
    assert first.operation is None
    north.sync(tmp_path / "meeting")
    done = north.rekey(sign_in=True)
    assert done.operation is not None
    assert north.log.get(done.operation).author == old
    assert north.log.get(done.operation).seq == 2
    assert north.role == "admin"
    assert views.forks(north.log) == ()


def test_signing_in_without_any_admins_key_is_refused_and_changes_nothing(north, tmp_path):
    south = Replica.clone(north.path, tmp_path / "south")
    before = south.key
    with pytest.raises(NotPermittedError):
        south.rekey(sign_in=True)
    assert Replica.open(south.path).key == before


def test_a_replica_with_a_users_key_takes_one_of_its_own(tmp_path):
    users = create_key(tmp_path / "users")
    north = Replica.init(tmp_path / "north", checkpoint(tmp_path / "base", 0), key=users.path)
    text = users.path.read_bytes()
    done = north.rekey()
    assert Replica.open(north.path).key == done.key != users.public
    assert users.path.read_bytes() == text
    users.path.unlink()
    assert Replica.open(north.path).role == "admin"


def test_a_replica_whose_key_is_lost_takes_a_new_one(north):
    (north.path / ".conjoin" / "local" / "key").unlink()
    north = Replica.open(north.path)
    with pytest.raises(KeyFileError, match="`conjoin rekey` gives this replica a new key"):
        _ = north.key
    status = north.status()
    assert (status.key, status.role, status.key_used_elsewhere) == (None, None, None)
    assert "E606" in (status.key_unreadable or "")
    done = north.rekey()
    assert (done.before, done.role) == (None, None)
    assert Replica.open(north.path).key == done.key


def test_a_damaged_memory_of_the_key_counts_as_used(north, tmp_path):
    path = north.path / ".conjoin" / "local" / "key-use"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UsedKeyError):
        north.add(checkpoint(tmp_path / "one", 1))
    assert north.rekey().operation is None


EPISODES = st.lists(
    st.tuples(
        st.sampled_from(["restore", "snapshot", "copy", "rekey", "nothing"]),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=20, deadline=None)
@given(episodes=EPISODES)
def test_no_history_with_restored_backups_uses_a_dot_twice(episodes, tmp_path_factory):
    """A snapshot that was put back syncs before it writes, with a place that has seen one of its later operations."""
    top = tmp_path_factory.mktemp("history")
    near, far = top / "near", top / "far"
    near.mkdir()
    far.mkdir()
    Replica.init(top / "0", checkpoint(top / "base", 0), open=True).sync(near)
    places = [top / "0"]
    weights = itertools.count(1)
    for what, which, before, after in episodes:
        place = places[which % len(places)]
        backup = copied(place, top / "backup")
        for number in range(before):
            write(place, next(weights), far if number else near)
        if what in ("restore", "snapshot"):
            copied(backup, place, marked=what == "snapshot")
            if what == "snapshot":
                Replica.open(place).sync(near)
        elif what == "copy":
            place = copied(place, top / str(len(places)))
            places.append(place)
        elif what == "rekey":
            with_new_key(place, lambda replica: replica.sync(near))
            Replica.open(place).rekey()
        for _ in range(after):
            write(place, next(weights), near)
    for place in (*places, *places):
        with_new_key(place, lambda replica: replica.sync(near))
        with_new_key(place, lambda replica: replica.sync(far))
    dots: dict[tuple[str, str], set[str]] = {}
    for path in top.rglob("ops/*/*"):
        dots.setdefault((path.parent.name, path.name[:10]), set()).add(path.name[11:])
    assert all(len(ids) == 1 for ids in dots.values())
    assert all(len(Replica.open(place).log) == len(dots) for place in places)


def write(place: Path, number: int, meeting: Path) -> None:
    """Add a contribution and bring it to a meeting place."""
    with_new_key(place, lambda replica: replica.add(checkpoint(meeting.parent / "model", 1), weight=str(number)))
    with_new_key(place, lambda replica: replica.sync(meeting))


def with_new_key(place: Path, act) -> None:
    """Act, after a rekey where that is asked for; never more than once."""
    try:
        act(Replica.open(place))
    except (CopiedReplicaError, UsedKeyError):
        Replica.open(place).rekey()
        act(Replica.open(place))
