"""Replicas on disk, real servers beside them, and lines that are cut, bent or watched; what the tests here share."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from conjoin.replica import Replica
from conjoin.store.instance import create_instance
from conjoin.store.keys import SigningKey, load_key

FULL = os.environ.get("CONJOIN_PEERS") == "full"
"""Many more moments and attacks than in CI."""
SMALL_BYTES = 64 * 1024
CONJOIN = (sys.executable, "-m", "conjoin")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
    "OPENBLAS_NUM_THREADS": "1",
}


def write_model(path: Path, seed: int, tensors: int = 4, tensor_bytes: int = SMALL_BYTES) -> Path:
    """A checkpoint of one leaf per tensor; with the same numbers of tensors and bytes they fit together."""
    random = np.random.default_rng(seed)
    names = {f"t{number:03}": tensor_bytes // 4 for number in range(tensors)}
    save_file({name: random.normal(0, 0.02, size).astype(np.float32) for name, size in names.items()}, path)
    return path


def conjoin(*arguments: str | Path, status: int = 0) -> str:
    """Run the command line; returns what it wrote to stdout."""
    done = subprocess.run(
        [*CONJOIN, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, timeout=120
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


class Server:
    """A real `conjoin serve`."""

    def __init__(self, replica: Path, *options: str, quiet: bool = True) -> None:
        self.replica = replica
        self._options = options
        self._quiet = quiet
        self.process: subprocess.Popen[str]
        self.ticket = ""
        self.errors = replica.parent / f"{replica.name}-errors"

    def start(self) -> Server:
        quiet = ["-q"] if self._quiet else []
        command = [*CONJOIN, "-C", str(self.replica), *quiet, "serve", *self._options]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=ENVIRONMENT)
        if self._quiet:
            self.ticket = self.line("conjoin:")
        return self

    def line(self, words: str) -> str:
        """The next line that it writes with these words in it."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if words in line:
                return line.strip()
        raise AssertionError(self.errors.read_text())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def memory_kb(self, what: str) -> int:
        """`VmRSS` or `VmHWM` of the server."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1])
        raise AssertionError(what)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(30) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy_replica(source: Path, target: Path) -> Path:
    """A copy that believes to be an original, with the same key."""
    shutil.copytree(source, target)
    marker = target / ".conjoin" / "local" / "instance"
    marker.unlink()
    create_instance(marker)
    return target


def objects(replica: Path, kind: str = "") -> set[str]:
    """The names of the objects that lie in a replica."""
    home = replica / ".conjoin"
    folders = [kind] if kind else ["leaf", "manifest", "ops", "seg"]
    return {str(p.relative_to(home)) for folder in folders for p in (home / folder).rglob("*") if p.is_file()}


def assert_same_objects(first: Path, second: Path) -> None:
    """`diff -r` finds no difference between what two replicas hold."""
    for kind in ("leaf", "manifest", "ops"):
        command = ["diff", "-r", first / ".conjoin" / kind, second / ".conjoin" / kind]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def report_of(text: str) -> dict[str, object]:
    """The one report in what `sync --json` wrote."""
    (report,) = json.loads(text)["sources"]
    return report


def key_of(replica: Path) -> SigningKey:
    return load_key(replica / ".conjoin" / "local" / "key")


def member_of(founder: Path, path: Path) -> Path:
    """Another replica of the founder's space, whose key is let in."""
    Replica.clone(founder, path).close()
    return path


class Proxy:
    """A TCP line to a server; `bend` may change the bytes that come from there."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.passed = 0
        self.flip_after: int | None = None
        self.flipped = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._carry, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, bent: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if bent:
                    self.passed += len(data)
                    if self.flip_after is not None and self.passed > self.flip_after:
                        data = data[:-1] + bytes([data[-1] ^ 1])
                        self.flip_after = None
                        self.flipped += 1
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
