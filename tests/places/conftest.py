"""Servers shared by all tests of places, and a fresh prefix in one of their buckets."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import lay_out
from tests.e2e.shell import InProcess
from tests.places import servers
from tests.places.servers import BUCKET, S3


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing of the machine's own configuration takes part, and no service of a cloud is ever asked for keys."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """rclone as an S3 server, with its bucket's folder to look into."""
    with servers.rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[S3]:
    """moto as an S3 server."""
    with servers.moto_s3() as server:
        yield server


@pytest.fixture
def s3(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server that rclone is, configured in the environment."""
    for name, value in rclone.environment.items():
        monkeypatch.setenv(name, value)
    return rclone


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def url(s3: S3, prefix: str) -> str:
    """A fresh meeting place in rclone's bucket."""
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture
def folder(s3: S3, prefix: str) -> Path:
    """The folder in which rclone keeps the objects of `url`."""
    assert s3.folder is not None
    return s3.folder / prefix


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base/, north.safetensors, south.safetensors and west.safetensors."""
    return lay_out(tmp_path_factory.mktemp("models"))


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """The command line in this process, 80 columns wide and without colour."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    return InProcess(capsys)


@pytest.fixture
def site(models: Path, url: str, here: InProcess, tmp_path: Path) -> Path:
    """A replica with one contribution, whose meeting place at `url` has all of it."""
    here.ok("-q", "init", tmp_path / "north", "--base", models / "base", "--open")
    here.ok("-q", "-C", tmp_path / "north", "add", models / "north.safetensors")
    here.ok("-q", "-C", tmp_path / "north", "sync", url)
    return tmp_path / "north"
