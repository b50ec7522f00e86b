"""Real servers of objects on loopback, each a process of its own that ends with the test session; no place far away."""

import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
