"""Real servers of objects on loopback, each a process of its own that ends with the test session; no place far away."""

import base64
import hashlib
import hmac
import http.client
import http.server
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

RCLONE = shutil.which("rclone", path=Path(sys.executable).parent.as_posix()) or "rclone"
KEY, SECRET = "test-key", "a-secret-that-must-not-be-shown"
BUCKET = "hospital"
START_SECONDS_MAX = 60


@dataclass(frozen=True)
class S3:
    """A server that speaks S3, and its bucket's folder on disk where it has one."""

    endpoint: str
    folder: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a user of it sets."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], port: int) -> Generator[None]:
    """Run a server until the block ends; it has begun to listen on `port` when the block starts."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                assert time.monotonic() < limit, f"{command[0]} does not listen"
                time.sleep(0.05)
        yield
    finally:
        process.kill()  # asked to end, rclone waits for idle connections first
        process.wait(timeout=30)


@contextmanager
def rclone(kind: str, folder: Path, *options: str) -> Generator[int]:
    """`rclone serve KIND` of a folder; gives the port."""
    port = free_port()
    command = [RCLONE, "serve", kind, "--addr", f"127.0.0.1:{port}", "--config", "", "--dir-cache-time", "1s", *options]
    with running([*command, str(folder)], port):
        yield port


@contextmanager
def rclone_s3(folder: Path) -> Generator[S3]:
    """`rclone serve s3`: ignores conditional puts and breaks range reads."""
    (folder / BUCKET).mkdir()
    with rclone("s3", folder, "--auth-key", f"{KEY},{SECRET}") as port:
        yield S3(f"http://127.0.0.1:{port}", folder / BUCKET)


@contextmanager
def moto_s3() -> Generator[S3]:
    """`moto_server`: AWS's answers, nearly to the letter; believes every key."""
    port = free_port()
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS_MAX)
        asked.request("PUT", f"/{BUCKET}")
        assert asked.getresponse().status == 200
        asked.close()
        yield S3(f"http://127.0.0.1:{port}")


ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account that every azurite has; its documentation prints the key."""


@contextmanager
def azurite(program: str) -> Generator[dict[str, str]]:
    """`azurite-blob` with one container; gives what a user of it sets."""
    port = free_port()
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--disableTelemetry"]
    with running([program, *options, "--skipApiVersionCheck", "--silent"], port):
        path, date, version = f"/{ACCOUNT}/{BUCKET}", formatdate(usegmt=True), "2021-08-06"
        signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}{path}\nrestype:container"
        mac = hmac.new(base64.b64decode(ACCOUNT_KEY), signed.encode(), hashlib.sha256).digest()
        headers = {
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}",
            "Content-Length": "0",
            "x-ms-date": date,
            "x-ms-version": version,
        }
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS_MAX)
        asked.request("PUT", f"{path}?restype=container", headers=headers)
        assert asked.getresponse().status == 201
        asked.close()
        yield {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
            "AZURE_ALLOW_HTTP": "true",
        }


@contextmanager
def bending(port: int, bend: Callable[[str, bytes], bytes]) -> Generator[str]:
    """A faulty line to an HTTP server: what it answers to a GET of a path goes through `bend`; gives the endpoint."""

    class Line(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _carry(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS_MAX)
            asked.request(self.command, self.path, body, dict(self.headers))
            answer = asked.getresponse()
            data = answer.read()
            asked.close()
            if self.command == "GET" and answer.status == 200:
                data = bend(self.path, data)
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length)
            with suppress(OSError):  # whoever waited too long is gone
                self.end_headers()
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = _carry  # noqa: N815 (the library's names)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Line)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def dripping(head: bytes, tls: Path | None = None) -> Generator[str]:
    """A server that says `head` to every request and then a byte now and then, for ever; gives the endpoint."""
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)

    def drip(line: socket.socket) -> None:
        with line, suppress(OSError):
            client = line if context is None else context.wrap_socket(line, server_side=True)
            while not client.recv(1 << 16).endswith((b"\r\n\r\n", b"}")):
                pass
            client.sendall(head)
            while not over.wait(0.05):
                client.sendall(b"x")

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listening.accept()[0],), daemon=True).start()

    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
