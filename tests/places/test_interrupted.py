"""Whatever ends a visit to a place, both sides stay valid, and the next one moves exactly what is missing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conjoin.errors import DiskFullError, UnreachableError
from conjoin.replica import Replica
from conjoin.serving import Serving
from conjoin.sync import driver, open_remote, pace
from conjoin.sync.remotes import Remote
from conjoin.sync.remotes import bucket as bucket_room
from conjoin.sync.report import Skipped
from conjoin.wire.digest import Digest, leaf_digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, parse_leaf
from tests.peers.world import (
    CONJOIN,
    ENVIRONMENT,
    FULL,
    assert_same_objects,
    conjoin,
    copy_replica,
    member_of,
    objects,
    write_model,
)
from tests.places import servers
from tests.places.servers import BUCKET, S3
from tests.unit.places import small_disk

KILLS = 250 if FULL else 1
TENSORS, TENSOR_BYTES = 60 if FULL else 30, 16 * 1024
SECONDS_MAX = 60.0
Places = Callable[[], str]


@pytest.fixture
def founder(tmp_path: Path) -> Path:
    """A replica with one contribution, which nobody else has yet."""
    Replica.init(tmp_path / "founder", model(tmp_path, 0)).close()
    return tmp_path / "founder"


@pytest.fixture
def member(founder: Path, tmp_path: Path) -> Path:
    """Another replica of the founder's space, with the base alone."""
    return member_of(founder, tmp_path / "member")


@pytest.fixture(params=["folder", "bucket"])
def places(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Places]:
    """Makes new places: folders, or prefixes in moto's bucket."""

    def folder() -> str:
        made = tmp_path / f"place-{len(list(tmp_path.glob('place-*')))}"
        made.mkdir()
        return str(made)

    def bucket() -> str:
        numbers.append(len(numbers))
        return f"s3://{BUCKET}/{prefix}/{numbers[-1]}"

    numbers: list[int] = []
    if request.param == "bucket":
        moto: S3 = request.getfixturevalue("moto")
        for name, value in moto.environment.items():
            monkeypatch.setenv(name, value)
    yield folder if request.param == "folder" else bucket


def model(folder: Path, seed: int) -> Path:
    return write_model(folder / f"m{seed}.safetensors", seed, TENSORS, TENSOR_BYTES)


def add(replica: Path, seed: int = 1) -> None:
    Replica.open(replica).add(model(replica.parent, seed))


def held(place: Remote) -> set[str]:
    """The names that a place lists; each leaf among them must be what its name says."""
    names = set(place.names(""))
    for name in names:
        leaf = parse_leaf(name)
        assert leaf is None or leaf_digest(place.get(name)) == leaf
    return names


def settled(place: Remote) -> set[str]:
    """What a place holds when nothing that was on its way to it is taken any more."""
    found: list[set[str]] = []
    while len(found) < 3 or found[-1] != found[-2] or found[-2] != found[-3]:
        time.sleep(0.1)
        found.append(set(place.names("")))
    return held(place)


def killed(replica: Path, place: str, at: int, count: Callable[[], int]) -> None:
    """Start `conjoin sync` and kill it when `count` has come to `at`."""
    environment = ENVIRONMENT | {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command = [*CONJOIN, "-C", str(replica), "-q", "sync", place]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    until = time.monotonic() + SECONDS_MAX
    while count() < at and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_pull_killed_at_any_moment_fetches_exactly_what_is_missing(
    founder: Path, member: Path, places: Places
) -> None:
    add(founder)
    place = places()
    Replica.open(founder).sync(place)
    whole, moments, partial = objects(founder), random.Random(5), 0
    for turn in range(KILLS):
        replica = copy_replica(member, member.parent / f"killed-{turn}")
        before = objects(replica)
        leaves = replica / ".conjoin" / "leaf"
        start = sum(1 for _ in leaves.glob("*/*"))
        killed(
            replica, place, start + moments.randint(1, TENSORS - 1), lambda at=leaves: sum(1 for _ in at.glob("*/*"))
        )
        kept = objects(replica) - before
        partial += 0 < len(kept) < len(whole - before)
        report = Replica.open(replica).sync(place)
        assert report.objects_in == len(whole - before - kept)
        assert not report.refused and not report.missing
        assert objects(replica) >= whole
        assert Replica.open(replica).fsck().damage == ()
        shutil.rmtree(replica)
    assert partial >= KILLS // 2


def test_a_push_killed_at_any_moment_sends_exactly_what_is_missing(founder: Path, places: Places) -> None:
    add(founder)
    whole, moments, partial = objects(founder), random.Random(6), 0
    for _ in range(KILLS):
        name = places()
        place = open_remote(name)
        killed(founder, name, moments.randint(1, 2 * TENSORS - 1), lambda at=place: sum(1 for _ in at.names("leaf/")))
        kept = settled(place)
        partial += 0 < len(kept) < len(whole)
        report = Replica.open(founder).sync(name)
        assert report.objects_out == len(whole - kept)
        assert report.failure is None and not report.refused
        assert held(place) == whole
    assert partial >= KILLS // 2


def lose(home: Path, leaves: int) -> None:
    """Take the newest content's manifest and so many of its leaves out of a replica or place."""
    manifest = max(home.glob("manifest/*"), key=lambda path: path.stat().st_mtime_ns)
    names = Manifest.decode(manifest.read_bytes(), Digest(manifest.name)).leaf_lengths()
    for name in [*map(leaf_name, list(names)[:leaves])]:
        (home / name).unlink()
    manifest.unlink()


@pytest.mark.parametrize("kind", ["folder", "peer"])
def test_what_is_resumed_says_what_it_skips(founder: Path, member: Path, tmp_path: Path, kind: str) -> None:
    add(founder)
    there = tmp_path / "place" if kind == "folder" else member
    there.mkdir(exist_ok=True)
    with ExitStack() as held:
        place = str(there) if kind == "folder" else str(held.enter_context(Serving(there)).ticket)
        Replica.open(founder).sync(place)
        home = there if kind == "folder" else there / ".conjoin"
        lose(home, 4)
        size_bytes = (TENSORS - 4) * TENSOR_BYTES
        report = Replica.open(founder).sync(place)
        assert report.objects_out == 4 + (kind == "folder"), "leaves, and in a place the manifest"
        assert report.skipped_out == Skipped(TENSORS - 4, size_bytes)
        lose(founder / ".conjoin", 3)
        said = conjoin("-C", founder, "sync", place)
        assert f"{TENSORS - 3} objects of the content (" in said and ") were here already" in said, said


def fill(disk: Path, but_bytes: int) -> Path:
    """A file that leaves so many bytes of a disk free."""
    stuffing = disk / "stuffing"
    stuffing.write_bytes(bytes(shutil.disk_usage(disk).free - but_bytes))
    return stuffing


HALF = TENSORS * TENSOR_BYTES // 2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    with small_disk(tmp_path / "disk", "size=8m") as folder:
        yield folder


def test_a_pull_onto_a_disk_that_is_really_full(founder: Path, disk: Path, places: Places) -> None:
    """Nothing is lost, nothing is there by half, and with space again exactly what is missing moves."""
    replica, place = member_of(founder, disk / "member"), places()
    add(founder)
    Replica.open(founder).sync(place)
    assert_full_then_whole(founder, replica, place, fill(disk, HALF))


def test_a_pull_from_a_live_peer_onto_a_disk_that_is_really_full(founder: Path, disk: Path) -> None:
    replica = member_of(founder, disk / "member")
    add(founder)
    with Serving(founder) as serving:
        assert_full_then_whole(founder, replica, str(serving.ticket), fill(disk, HALF))


def assert_full_then_whole(founder: Path, replica: Path, source: str, stuffing: Path) -> None:
    before, operations = objects(replica), len(Replica.open(replica).operations())
    with pytest.raises(DiskFullError) as caught:
        Replica.open(replica).sync(source)
    assert caught.value.hint
    kept = objects(replica) - before
    assert TENSORS // 4 < len(kept) < TENSORS
    assert not any(name.startswith(("ops/", "manifest/")) for name in kept), "content comes first"
    assert len(Replica.open(replica).operations()) == operations
    assert Replica.open(replica).fsck().damage == ()
    stuffing.unlink()
    report = Replica.open(replica).sync(source)
    assert report.objects_in == len(objects(founder) - before - kept)
    assert not report.refused and not report.missing and report.failure is None
    assert_same_objects(founder, replica)
    assert list((replica / ".conjoin" / "local" / "tmp").iterdir()) == []


def test_a_push_to_a_place_whose_disk_is_really_full(founder: Path, disk: Path) -> None:
    (disk / "place").mkdir()
    Replica.open(founder).sync(disk / "place")
    add(founder)
    place, stuffing = open_remote(disk / "place"), fill(disk, HALF)
    before = held(place)
    report = Replica.open(founder).sync(disk / "place")
    assert report.failure is not None and "full" in report.failure.what
    kept = held(place)
    assert before < kept < objects(founder)
    assert not any(name.startswith(("ops/", "manifest/")) for name in kept - before), "content comes first"
    stuffing.unlink()
    report = Replica.open(founder).sync(disk / "place")
    assert report.failure is None and report.objects_out == len(objects(founder) - kept)
    assert held(place) == objects(founder)


@pytest.mark.parametrize("announced", [True, False])
def test_a_push_to_a_live_peer_whose_disk_is_really_full(
    founder: Path, disk: Path, announced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before anything moves; where others fill the disk in between, it ends in the middle."""
    monkeypatch.setattr("conjoin.serving.ROOM_LEFT_BYTES", 0 if announced else -4 * HALF)
    taker = member_of(founder, disk / "taker")
    add(founder)
    before, stuffing = objects(taker), fill(disk, HALF)
    with Serving(taker) as serving:
        report = Replica.open(founder).sync(str(serving.ticket))
        kept = objects(taker)
        if announced:
            assert report.failure is not None and "there is room for" in report.failure.what
            assert kept == before
        else:
            assert report.refused and DiskFullError.code in report.refused[0].what
            assert before < kept < objects(founder)
        assert not any(name.startswith("manifest/") for name in kept - before), "leaves come first"
        assert Replica.open(taker).fsck().damage == ()
        stuffing.unlink()
        report = Replica.open(founder).sync(str(serving.ticket))
        assert report.failure is None and not report.refused
    assert_same_objects(founder, taker)


def bent_leaf(path: str, data: bytes, *, left: list[int]) -> bytes:
    """Flips the last bit of the first leaf that passes."""
    if "/leaf/" in path.partition("?")[0] and len(data) == TENSOR_BYTES and left:
        left.pop()
        return data[:-1] + bytes([data[-1] ^ 1])
    return data


@pytest.mark.parametrize("kind", ["bucket", "web"])
def test_a_bit_flipped_on_the_way_is_refused_and_fetched_again(
    kind: str,
    founder: Path,
    member: Path,
    rclone: S3,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Neither kind of place says anything of the bytes beside them; the digest in the name does."""
    add(founder)
    for name, value in rclone.environment.items():
        monkeypatch.setenv(name, value)
    place = f"s3://{BUCKET}/{prefix}"
    Replica.open(founder).sync(place)
    left = [1]
    port = urlsplit(rclone.endpoint).port
    if kind == "web":
        assert rclone.folder is not None
        port = request.getfixturevalue("shown_folder")
    assert port is not None
    with servers.bending(port, lambda path, data: bent_leaf(path, data, left=left)) as endpoint:
        source = place
        if kind == "web":
            source = f"{endpoint}/{prefix}"
        else:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        report = Replica.open(member).sync(source)
        assert left == []
        assert [refusal.code for refusal in report.refused] == ["E301"]
        assert len(report.missing) == 1
        assert Replica.open(member).fsck().damage == ()
        assert report.refused[0].name not in objects(member)
        again = Replica.open(member).sync(source)
    assert again.objects_in == 2, "the leaf that was refused, and the manifest that waited for it"
    assert not again.refused and not again.missing
    assert_same_objects(founder, member)


def test_a_bucket_that_falls_silent_in_the_middle_is_given_up_once(
    founder: Path, member: Path, rclone: S3, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each of its leaves, of which there can be thousands; what came is kept."""
    monkeypatch.setattr(bucket_room, "RETRIES_MAX", 0)
    monkeypatch.setattr(pace, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(driver, "IN_VAIN_MAX", 4)
    add(founder)
    for name, value in rclone.environment.items():
        monkeypatch.setenv(name, value)
    place = f"s3://{BUCKET}/{prefix}"
    Replica.open(founder).sync(place)
    port, before = urlsplit(rclone.endpoint).port, objects(member)
    assert port is not None
    came, again = [0], threading.Event()

    def silent(path: str, data: bytes) -> bytes:
        if "/leaf/" in path.partition("?")[0]:
            came[0] += 1
            if came[0] > TENSORS // 2:
                again.wait(SECONDS_MAX)
        return data

    with servers.bending(port, silent) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        report = Replica.open(member).sync(place)
        assert {refusal.code for refusal in report.refused} == {UnreachableError.code}
        assert TENSORS // 2 < came[0] <= TENSORS // 2 + driver.IN_VAIN_MAX + 4, "four are on their way at once"
        assert Replica.open(member).fsck().damage == ()
        kept = objects(member) - before
        again.set()
        report = Replica.open(member).sync(place)
    assert report.objects_in == len(objects(founder) - before - kept)
    assert_same_objects(founder, member)


@pytest.fixture
def shown_folder(rclone: S3) -> Iterator[int]:
    """A web server that shows rclone's bucket."""
    assert rclone.folder is not None
    with servers.rclone("http", rclone.folder) as port:
        yield port
