"""Which folders can be synced with, and what a user is told about the others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sync_world import Site

from conjoin.errors import MissingExtraError, MissingObjectError, RemoteError, UnknownSourceError, UsageError
from conjoin.sync import open_remote
from conjoin.sync.remotes import FolderRemote, ReplicaRemote
from conjoin.testing.remote_suite import leaf_of, some_objects


def test_an_empty_folder_is_a_meeting_place(tmp_path: Path) -> None:
    assert isinstance(open_remote(str(tmp_path)), FolderRemote)


def test_the_empty_text_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError):
        open_remote("")


def test_a_name_that_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownSourceError, match="file name too long"):
        open_remote(tmp_path / ("x" * 5000))


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


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    remote = open_remote(f"file://{tmp_path}/a%20b")
    assert isinstance(remote, FolderRemote)
    assert remote.path == tmp_path / "a b"


@pytest.mark.parametrize("url", ["hf://org/model", "hf://datasets/org/name", "hf://buckets/org", "s3://", "https://"])
def test_urls_that_name_no_place(url: str) -> None:
    with pytest.raises(UnknownSourceError) as caught:
        open_remote(url)
    assert "write " in (caught.value.hint or "")
    assert caught.value.exit_status == 6


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UnknownSourceError, match="carrier-pigeon:// is no kind of place"):
        open_remote("carrier-pigeon://loft/place")


@pytest.mark.parametrize("url", ["s3://key:hidden@bucket", "s3://bucket/x?secret=hidden", "https://me:hidden@host/x"])
def test_a_url_with_secrets_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UnknownSourceError, match="holds") as caught:
        open_remote(url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "package", "install"),
    [
        ("s3://bucket/x", "obstore", "conjoin[cloud]"),
        ("https://host/x", "obstore", "conjoin[cloud]"),
        ("memory://x", "fsspec", "conjoin[cloud]"),
        ("hf://buckets/o/n", "huggingface_hub", "conjoin[hf]"),
    ],
)
def test_what_a_url_needs_is_named(url: str, package: str, install: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=package) as caught:
        open_remote(url)
    assert f"pip install '{install}'" in (caught.value.hint or "")


def test_nothing_for_urls_is_loaded_before_one_is_given(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom conjoin.sync import open_remote\n"
        f"open_remote({str(tmp_path)!r})\n"
        "print([n for n in ('obstore', 'fsspec', 'huggingface_hub', 'ssl') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_folder_names_mkdir(tmp_path: Path) -> None:
    with pytest.raises(UnknownSourceError) as caught:
        open_remote(tmp_path / "nowhere")
    assert f"mkdir -p {tmp_path / 'nowhere'}" in (caught.value.hint or "")
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
