"""Places that drip are given up by the pace that live peers are held to, whatever their kind; a slow line is not."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from conjoin.errors import UnreachableError
from conjoin.sync import open_remote, pace
from conjoin.sync.remotes import bucket
from conjoin.sync.remotes.base import Remote
from conjoin.sync.remotes.generic import GenericRemote
from conjoin.sync.remotes.hub import HubRemote
from conjoin.testing.remote_suite import leaf_of
from conjoin.wire.digest import LEAF_BYTES
from tests.places import servers
from tests.places.local_hub import BUCKET as HUB_BUCKET
from tests.places.local_hub import LocalApi
from tests.places.servers import BUCKET, S3

LEAF, DATA = leaf_of(b"x")
HONEST_BYTES_PER_SECOND = 50_000
AT_ONCE = 4
HEADS = {
    "half a head": b"HTTP/1.1 200 OK\r\nx: ",
    "a head": b"HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: 1000000\r\n\r\n",
}


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long; whoever drips is not idle."""
    monkeypatch.setattr(bucket, "RETRIES_MAX", 0)
    monkeypatch.setattr(pace, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 0.4)
    monkeypatch.setattr(pace, "RATE_BYTES_PER_SECOND", 2**26)
    for name, value in S3("http://127.0.0.1:9").environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=HEADS)
def endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that drips in the head of its answer or in the body."""
    with servers.dripping(HEADS[request.param]) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found)
        yield found


def given_up(ask: Callable[[], object], where: str) -> str:
    """What is told when `ask` ends, which it does soon."""
    began = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        ask()
    assert time.monotonic() - began < 2.0
    assert where in caught.value.what
    assert "run the command again" in (caught.value.hint or "")
    return caught.value.what


def test_a_web_server_that_drips(endpoint: str) -> None:
    place = open_remote(endpoint)
    assert "listed: it is too slow" in given_up(lambda: list(place.names("ops/")), endpoint)
    given_up(lambda: place.get(LEAF, LEAF_BYTES), endpoint)


def test_a_bucket_that_drips(endpoint: str) -> None:
    url = f"s3://{BUCKET}/p"
    place = open_remote(url)
    for ask in (lambda: list(place.names("ops/")), lambda: list(place.folders("ops/"))):
        given_up(ask, url)
    given_up(lambda: place.get(LEAF, LEAF_BYTES), url)


@pytest.mark.parametrize("kind", ["bucket", "web"])
def test_an_object_that_drips_is_told_as_too_slow(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit of the library comes first: bytes do come, and the client's whole time is far away."""
    monkeypatch.setattr(bucket, "MANIFEST_BYTES_MAX", 2**33)
    with servers.dripping(HEADS["a head"]) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found)
        where = found if kind == "web" else f"s3://{BUCKET}/p"
        place = open_remote(where)
        assert "it is too slow" in given_up(lambda: place.get(LEAF, LEAF_BYTES), where)


def test_the_hub_that_drips(endpoint: str) -> None:
    """Its library has no limit of time at all."""
    place = HubRemote(LocalApi(endpoint=endpoint, token=False), HUB_BUCKET, "", "hf://buckets/x/y")
    for ask in (lambda: list(place.names("ops/")), lambda: place.get(LEAF)):
        assert "it is too slow" in given_up(ask, "hf://buckets/x/y")


class Stuck(LocalFileSystem):
    """Files on a line that stands still from some call on."""

    cachable = False

    def __init__(self, call: str) -> None:
        super().__init__()
        self.call = call
        self.over = threading.Event()
        self.asked: list[str] = []

    def _do(self, call: str) -> None:
        self.asked.append(call)
        if call == self.call:
            self.over.wait(20)

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        self._do("info")
        return super().info(path, **options)

    def ls(self, path: str, detail: bool = False, **options: Any) -> list[Any]:
        self._do("ls")
        return super().ls(path, detail, **options)

    def open(self, path: str, *arguments: Any, **options: Any) -> Any:
        self._do("open")
        return super().open(path, *arguments, **options)


@pytest.mark.parametrize(
    ("call", "ask"),
    [
        ("info", lambda place: place.has(LEAF)),
        ("ls", lambda place: list(place.names("ops/"))),
        ("open", lambda place: place.get(LEAF)),
        ("open", lambda place: place.put(*leaf_of(b"y"))),
    ],
)
def test_a_file_system_that_stands_still(
    call: str, ask: Callable[[Remote], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up once and then not asked again: there is only one line to it."""
    monkeypatch.setattr("conjoin.sync.remotes.generic.WRITE_SECONDS_MAX", 0.4)
    GenericRemote(LocalFileSystem(), str(tmp_path), "sftp://place").put(LEAF, DATA)
    files = Stuck(call)
    place = GenericRemote(files, str(tmp_path), "sftp://place")
    try:
        assert "it is too slow" in given_up(lambda: ask(place), "sftp://place")
        asked = len(files.asked)
        assert "it is too slow" in given_up(lambda: place.has(LEAF), "sftp://place")
        assert len(files.asked) == asked
    finally:
        files.over.set()


def test_a_slow_line_that_keeps_the_pace() -> None:
    """Four leaves, manifests or pages at once on one line of 50 kB/s are in time at every moment."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in USUAL.items():
            patched.setattr(pace, name, value)
        each = HONEST_BYTES_PER_SECOND / AT_ONCE
        for seconds in (1, 30, 60, 100, 1000, 6000):
            assert pace.seconds_left(time.monotonic() - seconds, int(seconds * each)) > 0
        assert pace.seconds_left(time.monotonic() - 60, 60) < 0
        assert pace.seconds_max(bucket.PAGE_BYTES) > bucket.PAGE_BYTES / each


USUAL = {name: getattr(pace, name) for name in ("IDLE_SECONDS", "PATIENCE_SECONDS", "RATE_BYTES_PER_SECOND")}
