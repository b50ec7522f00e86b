"""Processes of the command line, and replicas served by them; nothing that was started here outlives its block."""

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from conjoin.errors import UnreachableError
from conjoin.sync.peers.ticket import parse_ticket

PATIENCE_SECONDS = 15.0
"""So long a process that was asked to end may take."""


class Processes:
    """Starts `conjoin` in processes of its own. A context manager: none of them outlives it, however it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[str]] = []
        self._closed = False

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """A process that runs `conjoin ARGUMENTS`; its output can be read."""
        command = [sys.executable, "-m", "conjoin", *map(str, arguments)]
        with self._lock:
            assert not self._closed
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            self._started.append(process)
            return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            for process in self._started:
                process.kill()
            for process in self._started:
                process.communicate()


class Served:
    """A replica that a `conjoin serve` of its own answers for, at an address that it keeps.

    Attributes:
        replica: its directory.
        ticket: what others reach it by.
    """

    def __init__(self, replica: Path, processes: Processes) -> None:
        self.replica = replica
        self.ticket = ""
        self._processes = processes
        self._bind = "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """Number of its process; None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process; `wait` waits until it serves."""
        self._process = self._processes.start("-C", self.replica, "-q", "serve", "--bind", self._bind)

    def wait(self) -> None:
        """Read the ticket that the process prints when it serves.

        Raises:
            UnreachableError: it ended instead.
        """
        assert self._process is not None and self._process.stdout is not None
        self.ticket = self._process.stdout.readline().strip()
        if not self.ticket:
            _, said = self._process.communicate()
            raise UnreachableError(f"`conjoin serve` ended at once: {said.strip()}", where=str(self.replica))
        self._bind = parse_ticket(self.ticket).addresses[0]

    def kill(self) -> None:
        """End the process as `kill -9` does: it can do nothing about it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def end(self) -> None:
        """Ask the process to end, as Ctrl-C does."""
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE_SECONDS)
        self._process = None
