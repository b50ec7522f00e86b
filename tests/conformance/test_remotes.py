"""Every remote passes the remote suite."""

import os
import shutil
from pathlib import Path

import pytest

from conjoin.store.memory import MemoryStore
from conjoin.sync.remotes import FolderRemote, MemoryRemote, Remote, StoreRemote
from conjoin.testing.remote_suite import RemoteSuite, some_objects


class TestMemoryRemote(RemoteSuite):
    @pytest.fixture
    def remote(self) -> Remote:
        return MemoryRemote()


class TestFolderRemote(RemoteSuite):
    @pytest.fixture
    def remote(self, tmp_path: Path) -> Remote:
        return FolderRemote(tmp_path / "place")


class TestFolderRemoteAmongForeignFiles(RemoteSuite):
    """What file managers, version control and mistakes leave in a shared folder changes nothing."""

    @pytest.fixture
    def remote(self, tmp_path: Path) -> Remote:
        for name in (".DS_Store", "leaf/.DS_Store", "leaf/ab/Thumbs.db", "ops/README", f"manifest/{'g' * 64}", "x/y/z"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"foreign")
        digest = "c" * 64
        (tmp_path / "manifest" / digest).mkdir()
        os.symlink("/etc/hostname", tmp_path / "manifest" / ("d" * 64))
        os.mkfifo(tmp_path / "manifest" / ("e" * 64))
        return FolderRemote(tmp_path)


class TestStoreRemote(RemoteSuite):
    """A store as a remote; its store refuses manifests and operations that are none, so only leaves go in here."""

    @pytest.fixture
    def remote(self) -> Remote:
        return StoreRemote(MemoryStore(), "store")

    def test_gives_back_what_was_put(self, remote: Remote) -> None:
        leaves = {name: data for name, data in some_objects().items() if name.startswith("leaf/")}
        for name, data in leaves.items():
            remote.put(name, data)
        assert {name: remote.get(name) for name in remote.names("")} == leaves


def test_a_copy_of_a_folder_is_a_valid_remote(tmp_path: Path) -> None:
    place = FolderRemote(tmp_path / "place")
    objects = some_objects()
    for name, data in objects.items():
        place.put(name, data)
    shutil.copytree(tmp_path / "place", tmp_path / "copy", ignore=shutil.ignore_patterns(".tmp"))
    copy = FolderRemote(tmp_path / "copy")
    assert {name: copy.get(name) for name in copy.names("")} == objects


def test_nothing_unfinished_stays_in_a_folder(tmp_path: Path) -> None:
    place = FolderRemote(tmp_path)
    for name, data in some_objects().items():
        place.put(name, data)
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_a_folder_sweeps_only_what_a_writer_left_long_ago(tmp_path: Path) -> None:
    (tmp_path / ".tmp").mkdir()
    old, young = tmp_path / ".tmp" / "1-0ab", tmp_path / ".tmp" / "2-0cd"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    name, data = next(iter(some_objects().items()))
    FolderRemote(tmp_path).put(name, data)
    assert young.exists()
    assert not old.exists()
