"""Every place on the network passes the remote suite, against a real server where there is one to run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from conjoin.errors import CredentialsError, NoSuchPlaceError, ReadOnlyPlaceError
from conjoin.sync import open_remote
from conjoin.sync.remotes import FolderRemote, Remote
from conjoin.sync.remotes.bucket import BucketRemote
from conjoin.sync.remotes.generic import GenericRemote
from conjoin.sync.remotes.web import WebRemote
from conjoin.testing.remote_suite import RemoteSuite, leaf_of, some_objects
from tests.places import servers
from tests.places.servers import BUCKET, S3, SECRET


class TestRclone(RemoteSuite):
    """`rclone serve s3`."""

    @pytest.fixture
    def remote(self, url: str) -> Remote:
        remote = open_remote(url)
        assert isinstance(remote, BucketRemote)
        return remote


class TestRcloneAmongForeignFiles(RemoteSuite):
    """What others keep below the same prefix changes nothing."""

    @pytest.fixture
    def remote(self, url: str, folder: Path) -> Remote:
        for name in ("leaf/.DS_Store", "leaf/ab/Thumbs.db", "ops/README", f"manifest/{'g' * 64}", "x/y/z", "ops/ä b/%"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"foreign")
        return open_remote(url)


class TestMoto(RemoteSuite):
    """`moto_server`."""

    @pytest.fixture
    def remote(self, moto: S3, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Remote:
        for name, value in moto.environment.items():
            monkeypatch.setenv(name, value)
        return open_remote(f"s3://{BUCKET}/{prefix}/deeper")


class TestGoogle(RemoteSuite):
    """`gs://` against `moto_server`: obstore speaks Google's XML interface, which is that of S3."""

    @pytest.fixture
    def remote(self, moto: S3, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Remote:
        monkeypatch.setenv("GOOGLE_BASE_URL", moto.endpoint)
        monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
        monkeypatch.setenv("GOOGLE_BEARER_TOKEN", SECRET)
        return open_remote(f"gs://{BUCKET}/google/{prefix}")


AZURITE = os.environ.get("CONJOIN_AZURITE", "")


@pytest.fixture(scope="module")
def azure() -> Iterator[dict[str, str]]:
    with servers.azurite(AZURITE) as environment:
        yield environment


@pytest.mark.skipif(not AZURITE, reason="CONJOIN_AZURITE does not name azurite-blob")
class TestAzure(RemoteSuite):
    """`az://` against Microsoft's emulator, which is too large for every run.

    `npm install azurite`, then `CONJOIN_AZURITE=node_modules/.bin/azurite-blob pytest tests/places -k Azure`.
    """

    @pytest.fixture
    def remote(self, azure: dict[str, str], prefix: str, monkeypatch: pytest.MonkeyPatch) -> Remote:
        for name, value in azure.items():
            monkeypatch.setenv(name, value)
        return open_remote(f"az://{BUCKET}/{prefix}")

    def test_what_is_wrong_is_told(self, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(NoSuchPlaceError):
            list(open_remote("az://nowhere/p").names("ops/"))
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "YW5vdGhlciBrZXk=")
        with pytest.raises(CredentialsError, match="not accepted"):
            list(open_remote(f"az://{BUCKET}/p").names("ops/"))


class TestMemoryOfFsspec(RemoteSuite):
    """fsspec's file system in memory."""

    @pytest.fixture
    def remote(self, prefix: str) -> Iterator[Remote]:
        remote = open_remote(f"memory://{prefix}/place")
        assert isinstance(remote, GenericRemote)
        yield remote
        fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    folder = tmp_path_factory.mktemp("sftp")
    with servers.rclone("sftp", folder, "--user", "someone", "--pass", servers.SECRET) as port:
        yield port, folder


class TestSftp(RemoteSuite):
    """`rclone serve sftp`."""

    @pytest.fixture
    def remote(self, sftp: tuple[int, Path], prefix: str) -> Remote:
        remote = open_remote(f"sftp://someone:{servers.SECRET}@127.0.0.1:{sftp[0]}/{prefix}")
        assert isinstance(remote, GenericRemote)
        assert servers.SECRET not in remote.where
        return remote

    def test_the_layout_is_that_of_a_folder(self, remote: Remote, sftp: tuple[int, Path], prefix: str) -> None:
        objects = some_objects()
        for name, data in objects.items():
            remote.put(name, data)
        place = FolderRemote(sftp[1] / prefix)
        assert {name: place.get(name) for name in place.names("")} == objects
        assert list((sftp[1] / prefix / ".tmp").iterdir()) == []


@pytest.fixture(scope="module")
def webdav(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    folder, both = tmp_path_factory.mktemp("webdav"), str(certificate[0])
    options = ("--cert", both, "--key", both, "--user", "someone", "--pass", servers.SECRET)
    with servers.rclone("webdav", folder, *options) as port:
        yield port, folder


class TestWebdav(RemoteSuite):
    """`rclone serve webdav`, behind TLS of a private authority."""

    @pytest.fixture
    def remote(
        self,
        webdav: tuple[int, Path],
        certificate: tuple[Path, Path],
        prefix: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Remote:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
        remote = open_remote(f"webdav://someone:{servers.SECRET}@127.0.0.1:{webdav[0]}/{prefix}/deeper")
        assert isinstance(remote, GenericRemote)
        assert servers.SECRET not in remote.where
        return remote

    def test_the_layout_is_that_of_a_folder(self, remote: Remote, webdav: tuple[int, Path], prefix: str) -> None:
        objects = some_objects()
        for name, data in objects.items():
            remote.put(name, data)
        place = FolderRemote(webdav[1] / prefix / "deeper")
        assert {name: place.get(name) for name in place.names("")} == objects

    def test_a_wrong_password_is_told(self, remote: Remote, webdav: tuple[int, Path]) -> None:
        with pytest.raises(CredentialsError, match="not accepted") as caught:
            list(open_remote(f"webdav://someone:guessed-wrong@127.0.0.1:{webdav[0]}/p").names("ops/"))
        assert "guessed-wrong" not in str(caught.value)


class _Shown(FolderRemote):
    """A folder that is written on disk, and read through the web server that shows it."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self.web = open_remote(url)
        assert isinstance(self.web, WebRemote)
        self.names, self.folders, self.has, self.get = (  # type: ignore[method-assign]
            self.web.names,
            self.web.folders,
            self.web.has,
            self.web.get,
        )


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    folder, port = tmp_path_factory.mktemp("web"), servers.free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder), str(port)]
    with servers.running(command, port):
        yield port, folder


class TestWeb(RemoteSuite):
    """`python -m http.server`."""

    @pytest.fixture
    def remote(self, web: tuple[int, Path], prefix: str) -> Remote:
        (web[1] / prefix).mkdir()
        return _Shown(web[1] / prefix, f"http://127.0.0.1:{web[0]}/{prefix}/")


def test_a_web_server_takes_nothing(web: tuple[int, Path]) -> None:
    with pytest.raises(ReadOnlyPlaceError, match="cannot be written"):
        open_remote(f"http://127.0.0.1:{web[0]}").put(*leaf_of(b"x"))


def test_a_copy_by_rclone_is_a_valid_place(url: str, folder: Path, tmp_path: Path) -> None:
    objects = some_objects()
    place = open_remote(url)
    for name, data in objects.items():
        place.put(name, data)
    subprocess.run([servers.RCLONE, "--config", "", "copy", str(folder), str(tmp_path / "copy")], check=True)
    copy = open_remote(tmp_path / "copy")
    assert {name: copy.get(name) for name in copy.names("")} == objects
    assert sorted(os.listdir(tmp_path / "copy")) == ["leaf", "manifest", "ops"]
