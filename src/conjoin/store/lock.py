"""One writer per replica: a lock file held by the operating system, so that a killed holder never leaves it locked."""

import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from conjoin.errors import LockedError
from conjoin.store.files import translated_os_errors

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)

T = TypeVar("T")


class ReplicaLock:
    """A context manager that holds the lock file `path`; the file stays and says who held it last."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take the lock at once or not at all.

        Raises:
            LockedError: another process, or another Replica object of this one, holds it.
            ReadOnlyError: the lock file cannot be written.
        """
        with translated_os_errors(self._path):
            descriptor = os.open(self._path, _FLAGS, 0o600)
            try:
                self._take(descriptor)
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, descriptor: int) -> None:
        """Take the lock without waiting."""
        try:
            if sys.platform == "win32":  # pragma: no cover
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as cause:
            raise self._locked(descriptor) from cause

    def _locked(self, descriptor: int) -> LockedError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() if hasattr(os, "pread") else ""
        who = f"process {holder}" if holder.isdigit() else "another process"
        return LockedError(
            f"{who} is writing to this replica",
            where=str(self._path),
            hint="wait until it is done and run the command again",
        )


def patiently(seconds: float, attempt: Callable[[], T]) -> T:
    """What `attempt` gives, as soon as nobody else holds the lock that it takes; LockedError after so long."""
    until = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except LockedError:
            if time.monotonic() > until:
                raise
        time.sleep(0.02 + secrets.randbelow(20) / 1000)
