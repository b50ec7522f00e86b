"""Who reads a replica's content right now, so that none of it is removed meanwhile; reads and removes no content.

Every reader holds a lock on a file of its own, which the operating system gives back when the reader is killed.
"""

import os
import secrets
from collections.abc import Container, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from conjoin.errors import LockedError, StoreError
from conjoin.store.files import make_directories, translated_os_errors
from conjoin.store.lock import ReplicaLock


class Readers:
    """The readers of one replica: a folder of lock files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: set[str] = set()

    @contextmanager
    def reading(self) -> Generator[None]:
        """A block that reads content for long. Where nothing can be written, nothing is noted and nothing promised."""
        mark = self._mark()
        try:
            yield
        finally:
            if mark is not None:
                path, lock = mark
                self._own.discard(path.name)
                lock.__exit__(None, None, None)
                with suppress(OSError):
                    os.unlink(path)

    def others(self) -> bool:
        """Whether somebody reads besides the one who asks, or that cannot be told."""
        if len(self._own) > 1:
            return True
        try:
            self.require_none(but=self._own)
        except (LockedError, StoreError):
            return True
        return False

    def require_none(self, *, but: Container[str] = ()) -> None:
        """Return if nobody reads; what killed readers left is removed.

        Args:
            but: names of marks that do not count.

        Raises:
            LockedError: somebody does.
            StoreError: the folder cannot be read.
        """
        with translated_os_errors(self._folder):
            names = sorted(os.listdir(self._folder)) if self._folder.is_dir() else []
        for name in names:
            if name in but:
                continue
            path = self._folder / name
            try:
                with ReplicaLock(path), suppress(OSError):
                    os.unlink(path)
            except LockedError as cause:
                raise LockedError(
                    f"process {name.partition('-')[0]} is reading this replica's content",
                    where=os.fspath(path),
                    hint="wait until it is done and run the command again",
                ) from cause

    def _mark(self) -> tuple[Path, ReplicaLock] | None:
        """A lock file of this reader's own, held; None where none can be made."""
        path = self._folder
        try:
            make_directories(self._folder)
            while True:
                path = self._folder / f"{os.getpid()}-{secrets.token_hex(8)}"
                lock = ReplicaLock(path)
                with suppress(LockedError):
                    lock.__enter__()
                    if path.exists():  # nobody took it for what a killed reader left, just before it was locked
                        self._own.add(path.name)
                        return path, lock
                    lock.__exit__(None, None, None)
        except (OSError, StoreError):
            with suppress(OSError):
                path.unlink()
        return None
