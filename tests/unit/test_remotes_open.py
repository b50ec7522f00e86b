"""Which folders can be synced with, and what a user is told about the others."""

import os
import subprocess
from pathlib import Path

import pytest
from sync_world import Site

from conjoin.errors import MissingObjectError, RemoteError, UnknownSourceError
from conjoin.sync import open_remote
from conjoin.sync.remotes import FolderRemote, ReplicaRemote
from conjoin.testing.remote_suite import leaf_of, some_objects


def test_an_empty_folder_is_a_meeting_place(tmp_path: Path) -> None:
    assert isinstance(open_remote(str(tmp_path)), FolderRemote)


def test_what_systems_leave_in_a_folder_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "lost+found").mkdir()
    assert isinstance(open_remote(tmp_path), FolderRemote)


@pytest.mark.parametrize("started", ["leaf", "ops", "manifest"])
def test_an_interrupted_first_sync_is_a_meeting_place(tmp_path: Path, started: str) -> None:
    (tmp_path / started).mkdir()
    (tmp_path / ".tmp").mkdir()
    assert isinstance(open_remote(tmp_path), FolderRemote)


def test_a_place_with_a_readme_is_a_meeting_place(tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "README.txt").write_text("ours")
    assert isinstance(open_remote(tmp_path), FolderRemote)


def test_a_replica_is_found_by_its_folder_or_its_home(tmp_path: Path) -> None:
    (tmp_path / "a" / ".conjoin" / "local").mkdir(parents=True)
    for source in (tmp_path / "a", tmp_path / "a" / ".conjoin"):
        remote = open_remote(source)
        assert isinstance(remote, ReplicaRemote)
        assert remote.where == str(tmp_path / "a")


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://b", "https://host/x", "hf://buckets/o/n", "file:///tmp"])
def test_urls_are_said_to_be_unsupported(url: str) -> None:
    with pytest.raises(UnknownSourceError, match="not supported in this version") as caught:
        open_remote(url)
    assert "copy" in (caught.value.hint or "")
    assert caught.value.exit_status == 6


def test_a_missing_folder_names_mkdir(tmp_path: Path) -> None:
    with pytest.raises(UnknownSourceError) as caught:
        open_remote(tmp_path / "nowhere")
    assert f"mkdir {tmp_path / 'nowhere'}" in (caught.value.hint or "")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UnknownSourceError, match="not a folder"):
        open_remote(tmp_path / "model.safetensors")


def test_a_checkpoint_folder_is_no_source(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnknownSourceError, match=r"holds config\.json and 2 more"):
        open_remote(tmp_path)


def test_a_symlink_or_pipe_in_place_of_an_object_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    place = FolderRemote(tmp_path / "place")
    name, data = leaf_of(b"x")
    target = tmp_path / "place" / name
    target.parent.mkdir(parents=True)
    os.symlink(secret, target)
    assert list(place.names("leaf/")) == []
    with pytest.raises(RemoteError, match="symlink"):
        place.get(name)
    target.unlink()
    os.mkfifo(target)
    with pytest.raises(RemoteError, match="pipe"):
        place.get(name)
    target.unlink()
    target.mkdir()
    with pytest.raises(RemoteError, match="directory"):
        place.get(name)
    target.rmdir()
    with pytest.raises(MissingObjectError):
        place.get(name)
    place.put(name, data)
    assert place.get(name) == data


def test_deep_foreign_folders_are_not_walked_for_ever(tmp_path: Path) -> None:
    place = FolderRemote(tmp_path)
    objects = some_objects()
    for name, data in objects.items():
        place.put(name, data)
    here = os.open(tmp_path / "ops", os.O_RDONLY)
    try:
        for _ in range(1500):
            os.mkdir("d", dir_fd=here)
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        os.close(here)
        assert set(place.names("")) == set(objects)
    finally:  # too deep for shutil.rmtree, which pytest would use
        subprocess.run(["rm", "-rf", str(tmp_path / "ops")], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RemoteError, match="cannot be written"):
            FolderRemote(tmp_path).put(*leaf_of(b"x"))
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_whose_disk_is_gone(tmp_path: Path) -> None:
    """The place is a file by now: listing finds nothing, writing says so as an error of the remote."""
    place = FolderRemote(tmp_path / "place")
    (tmp_path / "place").write_bytes(b"")
    assert list(place.names("")) == []
    with pytest.raises(RemoteError, match="cannot be written"):
        place.put(*leaf_of(b"x"))


def test_a_sync_reports_a_folder_that_became_unwritable(tmp_path: Path) -> None:
    site = Site.founding("first")
    site.add("a")
    (tmp_path / ".tmp").write_bytes(b"a file where the folder for unfinished files should be")
    report = site.sync(FolderRemote(tmp_path))
    assert isinstance(report.failure, RemoteError)
    assert str(tmp_path) in report.failure.what
    assert report.operations_out == 0
