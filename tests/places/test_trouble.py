"""What a user is told when a place cannot be used: what, where, a hint; never a traceback and never a secret."""

import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conjoin.errors import (
    AccessDeniedError,
    ConjoinError,
    CredentialsError,
    NoSuchPlaceError,
    ReadOnlyPlaceError,
    RemoteError,
    UnknownSourceError,
    UnreachableError,
)
from conjoin.sync import open_remote, pace
from conjoin.sync.remotes import bucket
from conjoin.sync.remotes.trouble import shown, trouble, without_secrets
from conjoin.testing.remote_suite import leaf_of
from tests.places.servers import BUCKET, KEY, S3, SECRET, free_port

LEAF, DATA = leaf_of(b"x")


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients give up soon."""
    monkeypatch.setattr(bucket, "RETRIES_MAX", 1)
    monkeypatch.setattr(pace, "IDLE_SECONDS", 0.5)
    for name, value in S3("http://127.0.0.1:9").environment.items():
        monkeypatch.setenv(name, value)


def told(kind: type[ConjoinError], ask: Callable[[], object]) -> str:
    """The text of the error that `ask` ends with."""
    with pytest.raises(kind) as caught:
        ask()
    text = str(caught.value)
    assert type(caught.value) is kind, text
    assert SECRET not in text
    assert "Debug source" not in text
    assert caught.value.where
    assert caught.value.hint
    assert caught.value.__suppress_context__, "a traceback would show what the client library said"
    return text


def test_a_bucket_that_is_not_there(s3: S3) -> None:
    remote = open_remote("s3://nowhere-to-be-found/p")
    assert "there is no such bucket" in told(NoSuchPlaceError, lambda: list(remote.names("ops/")))
    assert "there is no such bucket" in told(NoSuchPlaceError, lambda: list(remote.folders("ops/")))


def test_a_wrong_secret(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    remote = open_remote(f"s3://{BUCKET}/p")
    text = told(CredentialsError, lambda: list(remote.names("ops/")))
    assert "not accepted" in text
    assert "another-secret" not in text


def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service that would give them to a machine in the cloud is a port of loopback on which nobody listens."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    remote = open_remote(f"s3://{BUCKET}/p")
    assert "AWS_ACCESS_KEY_ID" in told(CredentialsError, lambda: list(remote.names("ops/")))


def test_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    assert "AZURE_STORAGE_ACCOUNT_NAME" in told(CredentialsError, lambda: open_remote("az://container/p"))


@pytest.mark.parametrize(
    ("scheme", "name", "value"),
    [
        ("gs", "GOOGLE_SERVICE_ACCOUNT", "/nowhere/key.json"),
        ("gs", "GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json"),
        ("az", "AZURE_STORAGE_ACCOUNT_KEY", "not base 64"),
        ("az", "AZURE_STORAGE_SAS_TOKEN", "no-pairs-in-it"),
    ],
)
def test_credentials_that_cannot_be_read(scheme: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "someone")
    monkeypatch.setenv(name, value)
    assert "cannot be read" in told(CredentialsError, lambda: open_remote(f"{scheme}://{BUCKET}/p"))


def test_a_google_bucket_that_is_not_there(moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BASE_URL", moto.endpoint)
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", SECRET)
    remote = open_remote("gs://nowhere-to-be-found/p")
    assert "there is no such bucket" in told(NoSuchPlaceError, lambda: list(remote.names("ops/")))


def test_a_place_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(507, b"") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        remote = open_remote(f"s3://{BUCKET}/p")
        assert "it is full" in told(RemoteError, lambda: list(remote.names("ops/")))


def test_webdav_without_a_server() -> None:
    with pytest.raises(UnknownSourceError, match="names no server") as caught:
        open_remote(f"webdav://someone:{SECRET}@/folder")
    assert SECRET not in str(caught.value)


def test_keys_and_region_come_from_the_files_of_the_command_line(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(f"[ward]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    (tmp_path / "config").write_text(f"[profile ward]\nregion = eu-west-1\nendpoint_url = {s3.endpoint}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "ward")
    assert list(open_remote(f"s3://{BUCKET}/none").names("ops/")) == []
    monkeypatch.setenv("AWS_PROFILE", "another")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    told(CredentialsError, lambda: list(open_remote(f"s3://{BUCKET}/none").names("ops/")))


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    remote = open_remote(f"s3://{BUCKET}/p")
    assert "nothing answers there" in told(UnreachableError, lambda: list(remote.names("ops/")))
    web = open_remote(f"http://127.0.0.1:{free_port()}/p")
    assert "nothing answers there" in told(UnreachableError, lambda: list(web.names("ops/")))
    assert "nothing answers there" in told(UnreachableError, lambda: web.get(LEAF))


def test_a_name_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://no-such-host.invalid")
    remote = open_remote(f"s3://{BUCKET}/p")
    assert "name cannot be resolved" in told(UnreachableError, lambda: list(remote.names("ops/")))
    web = open_remote("https://no-such-host.invalid/p")
    assert "name cannot be resolved" in told(UnreachableError, lambda: list(web.names("ops/")))


def test_what_answers_speaks_something_else(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = s3.environment["AWS_ENDPOINT_URL"].removeprefix("http://")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{plain}")
    remote = open_remote(f"s3://{BUCKET}/p")
    assert "does not speak as expected" in told(UnreachableError, lambda: list(remote.names("ops/")))
    web = open_remote(f"https://{plain}/p")
    assert "does not speak as expected" in told(UnreachableError, lambda: list(web.names("ops/")))
    monkeypatch.setenv("AWS_ENDPOINT_URL", plain)
    with pytest.raises(RemoteError, match=f"AWS_ENDPOINT_URL is '{plain}', which is no URL"):
        open_remote("s3://b/p")


@pytest.mark.parametrize(
    "endpoint", ["http://", "https://:0", "http:/foo", "http://a b", "http://h:99999", "http://[", "user:secret@host:9"]
)
def test_an_endpoint_that_is_no_url_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client library would panic."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(RemoteError, match=r"AWS_ENDPOINT_URL is .* no URL") as caught:
        open_remote("s3://b/p")
    assert "secret" not in caught.value.what


def test_a_page_that_is_cut_is_not_taken_as_whole() -> None:
    """Half of a listing would look like a place that holds half."""
    page = b"".join(b'<a href="%064x/">' % number for number in range(100))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as line:
                line.recv(4096)
                line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(page) + page[:4000])

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        web = open_remote(f"http://127.0.0.1:{listening.getsockname()[1]}/p")
        assert "the connection broke" in told(UnreachableError, lambda: list(web.folders("ops/")))
        thread.join()


def test_http_has_to_be_allowed(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    text = told(UnreachableError, lambda: list(open_remote(f"s3://{BUCKET}/p").names("ops/")))
    assert "AWS_ALLOW_HTTP=true" in text


class _Answers(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


@contextmanager
def answering(status: int, body: bytes = b"", *, length: int | None = None, tls: Path | None = None) -> Generator[str]:
    """A server that gives one answer to everything; with a `length` beyond the body it then falls silent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)
            if length is not None and length > len(body):
                silent.wait(20)

        do_GET = do_PUT = do_HEAD = _answer  # noqa: N815 (the library's names)

    silent = threading.Event()
    server = _Answers(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        silent.set()
        server.shutdown()
        thread.join()
        server.server_close()


def code(name: str) -> bytes:
    """S3's way of saying what is wrong."""
    return f'<?xml version="1.0"?><Error><Code>{name}</Code><Message>{SECRET}</Message></Error>'.encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "what"),
    [
        (403, code("AccessDenied"), AccessDeniedError, "access is denied"),
        (403, code("ExpiredToken"), CredentialsError, "not accepted"),
        (400, code("AuthorizationHeaderMalformed"), RemoteError, "AWS_REGION"),
        (301, code("PermanentRedirect"), RemoteError, "AWS_REGION"),
        (405, b"", ReadOnlyPlaceError, "takes no objects"),
        (503, code("SlowDown"), UnreachableError, "fails at the moment"),
    ],
)
def test_answers_of_s3(
    status: int, body: bytes, kind: type[ConjoinError], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status, body) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        remote = open_remote(f"s3://{BUCKET}/p")
        assert what in told(kind, lambda: list(remote.names("ops/")))


@pytest.mark.parametrize(("status", "kind"), [(403, AccessDeniedError), (404, RemoteError), (500, UnreachableError)])
def test_a_web_server_that_lists_nothing(status: int, kind: type[ConjoinError]) -> None:
    with answering(status) as endpoint:
        text = told(kind, lambda: list(open_remote(endpoint).names("ops/")))
        assert ("autoindex" in text) == (status in {403, 404})


def test_a_place_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b"half", length=8) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        remote = open_remote(f"s3://{BUCKET}/p")
        with pytest.raises(RemoteError):
            remote.get(LEAF)


def test_an_object_beyond_the_limit_is_not_read() -> None:
    """It is announced as large as a disk and never sent: whoever read it would wait."""
    with answering(200, b"start", length=10**12) as endpoint, pytest.raises(RemoteError, match="more than 1000 bytes"):
        open_remote(endpoint).get(LEAF, 1000)


def test_tls(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    both, authority = certificate
    with answering(200, b'<a href="' + LEAF[5:7].encode() + b'/">', tls=both) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        text = told(UnreachableError, lambda: list(open_remote(f"s3://{BUCKET}/p").names("ops/")))
        assert "certificate cannot be verified" in text
        assert "certificate cannot be verified" in told(
            UnreachableError, lambda: list(open_remote(endpoint).folders("leaf/"))
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert list(open_remote(endpoint).folders("leaf/")) == [LEAF[5:7]]
        assert open_remote(endpoint).has(LEAF)


def test_what_is_not_known_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "tell-nobody")
    error = OSError("odd: https://me:hidden@host/x?sig=hidden tell-nobody <xml>hidden\nDebug: hidden")
    assert without_secrets(str(error)) == "odd: https://host/x …"
    found = trouble(error, "sftp://host/x", "read", at=LEAF)
    assert found.what == "sftp://host/x cannot be read: odd: https://host/x …"
    assert found.where == f"sftp://host/x: {LEAF}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("../site-b", "../site-b"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("sftp://me:hidden@host:22/a", "sftp://me:…@host:22/a"),
        ("sftp://me@host/a", "sftp://me@host/a"),
        ("https://host/a?sig=hidden#hidden", "https://host/a?…"),
        ("ftp://[", "ftp://…"),
    ],
)
def test_a_source_is_shown_without_its_secrets(source: str, expected: str) -> None:
    assert shown(source) == expected
