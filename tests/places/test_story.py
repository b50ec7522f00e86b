"""What people do with a bucket, through the command line: meet, resolve on both sides, and trust nothing there."""

import filecmp
import json
from pathlib import Path

import pytest
from obstore.store import from_url

from conjoin.wire.digest import leaf_digest
from conjoin.wire.objects import parse_leaf
from tests.e2e.shell import InProcess
from tests.places import servers
from tests.places.servers import BUCKET, KEY, S3, SECRET


def assert_same_folder(one: Path, other: Path) -> None:
    """Both hold the same files with the same bytes, like `diff -r`."""
    names = sorted(path.relative_to(one).as_posix() for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other).as_posix() for path in other.rglob("*") if path.is_file())
    assert names
    assert filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


@pytest.mark.parametrize("server", ["rclone", "moto"])
def test_two_sites_meet_in_a_bucket(
    server: str,
    request: pytest.FixtureRequest,
    models: Path,
    prefix: str,
    here: InProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: S3 = request.getfixturevalue(server)
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    place = f"s3://{BUCKET}/{prefix}"
    north, south = tmp_path / "north", tmp_path / "south"
    here.ok("init", north, "--base", models / "base")
    here.ok("-C", north, "add", models / "north.safetensors")
    begun = here.ok("-C", north, "sync", place)
    assert "sent 2 operations" in begun and "a new meeting place is begun" in begun
    key = here.ok("-q", "clone", place, south).strip()
    here.ok("-C", north, "invite", key)
    assert "begun" not in here.ok("-C", north, "sync", place)
    here.ok("-C", south, "sync", place)
    here.ok("-C", south, "add", models / "south.safetensors", "--weight", "2")
    here.ok("-C", south, "sync", place)
    assert "received 1 operation" in here.ok("-C", north, "sync", place)
    assert "nothing new" in here.ok("-C", north, "sync", place)
    for site in (north, south):
        here.ok("-C", site, "resolve", "ties", "-p", "density=0.3", "-o", f"{site}-merged")
    assert_same_folder(tmp_path / "north-merged", tmp_path / "south-merged")


def test_a_site_that_may_only_read_gets_the_same_over_the_web(
    site: Path, folder: Path, models: Path, here: InProcess, tmp_path: Path
) -> None:
    with servers.rclone("http", folder) as port:
        web = f"http://127.0.0.1:{port}"
        here.ok("-q", "clone", web, tmp_path / "south")
        for name in ("north", "south"):
            here.ok("-q", "-C", tmp_path / name, "resolve", "linear", "-o", tmp_path / f"{name}-merged")
        assert_same_folder(tmp_path / "north-merged", tmp_path / "south-merged")
        here.ok("-q", "-C", tmp_path / "south", "add", models / "south.safetensors")
        result = here.run("-C", tmp_path / "south", "sync", web)
        assert result.status == 6
        assert "error[E514]" in result.stderr
        assert "web server only gives" in result.stderr


def test_a_flipped_bit_is_refused_and_named(
    site: Path, url: str, folder: Path, here: InProcess, tmp_path: Path
) -> None:
    leaf = max(folder.glob("leaf/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(leaf.read_bytes())
    data[len(data) // 2] ^= 1
    leaf.write_bytes(data)
    result = here.run("clone", url, tmp_path / "south")
    assert (result.status, "error[E301]" in result.stderr, leaf.name in result.stderr) == (4, True, True)
    assert "incomplete here" in result.stdout
    assert f"next: `conjoin -C {tmp_path / 'south'} sync {url}`" in result.stdout
    told = here.run("-C", tmp_path / "south", "sync", url)
    assert told.status == 4
    assert "error[E301]" in told.stderr
    assert leaf.name in told.stderr
    assert not (tmp_path / "south" / ".conjoin" / leaf.relative_to(folder)).exists()
    name = leaf.relative_to(folder).as_posix()
    from_url(url, client_options={"allow_http": True}).delete(name)
    here.ok("-C", site, "sync", url)
    assert leaf_digest(leaf.read_bytes()) == parse_leaf(name), "whoever has the object puts it back"
    assert "received" in here.ok("-C", tmp_path / "south", "sync", url)


def test_a_storage_that_withholds_is_told_as_missing(
    site: Path, url: str, folder: Path, here: InProcess, tmp_path: Path
) -> None:
    for path in folder.glob("leaf/*/*"):
        path.unlink()
    cloned = here.run("clone", url, tmp_path / "south", "--json")
    assert len(json.loads(cloned.stdout)["missing"]) == 3
    report = json.loads(here.ok("-C", tmp_path / "south", "sync", url, "--json"))["sources"][0]
    assert len(report["missing"]) == 3
    assert report["refused"] == []
    assert here.run("-C", tmp_path / "south", "resolve", "linear", "-o", tmp_path / "out").status != 0


def test_foreign_names_are_passed_over(site: Path, url: str, folder: Path, here: InProcess, tmp_path: Path) -> None:
    for name in (
        "README",
        "ops/notes.txt",
        "leaf/ab/.DS_Store",
        f"ops/{'a' * 64}/1-2",
        "manifest/old",
        "photos/cat.jpg",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"foreign")
    here.ok("-q", "clone", url, tmp_path / "south")
    report = json.loads(here.ok("-C", tmp_path / "south", "sync", url, "--json"))["sources"][0]
    assert (report["refused"], report["missing"], report["failure"]) == ([], [], None)
    assert all(parse_leaf(path.relative_to(folder).as_posix()) for path in folder.glob("leaf/*/????????????????*"))


def test_a_reader_without_the_right_to_write_pulls(
    site: Path, rclone: S3, url: str, models: Path, here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rclone.folder is not None
    with servers.rclone("s3", rclone.folder.parent, "--auth-key", f"{KEY},{SECRET}", "--read-only") as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        here.ok("-q", "clone", url, tmp_path / "south")
        here.ok("-q", "-C", tmp_path / "south", "add", models / "south.safetensors")
        result = here.run("-C", tmp_path / "south", "sync", url)
    assert result.status == 6
    assert "cannot be written" in result.stderr
    assert SECRET not in result.stderr + result.stdout
