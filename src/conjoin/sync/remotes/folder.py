"""A meeting place in a plain folder, which may be copied, carried on a stick or shared on a network; locks nothing."""

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from conjoin.errors import ConjoinError, RemoteError, StoreError
from conjoin.store.base import is_object
from conjoin.store.files import NotRegularError, read_whole, reason
from conjoin.store.folder import FolderStore
from conjoin.sync.remotes.base import is_folder, missing_object
from conjoin.wire.manifest import MANIFEST_BYTES_MAX

TEMPORARY = ".tmp"
UNFINISHED_SECONDS_MAX = 24 * 3600
"""Unfinished files of others are left alone for this long; what is older was left by a writer that died."""
_ABSENT = {errno.ENOENT, errno.ENOTDIR}


class FolderRemote:
    """Objects directly below `path` (`ops/`, `manifest/`, `leaf/`); files that are no objects are never touched."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.where = os.fspath(path)
        self._store = FolderStore(self.path, self.path / TEMPORARY)
        self._swept = False
        self._lock = Lock()

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """See `Remote`."""
        with as_remote_error(self.where, "listed"):
            yield from (name for name in self._store.names(prefix) if name > after)

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Remote`."""
        with as_remote_error(self.where, "listed"):
            try:
                entries = list(os.scandir(self.path / prefix))
            except (FileNotFoundError, NotADirectoryError):
                return
            for entry in entries:
                if is_folder(prefix, entry.name) and entry.is_dir(follow_symlinks=False):
                    yield entry.name

    def has(self, name: str) -> bool:
        """See `Remote`."""
        with as_remote_error(self.where, "read"):
            return self._store.has(name)

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """See `Remote`."""
        target = self.path / name
        if not is_object(name):
            raise missing_object(name, self.where)
        try:
            data = read_whole(target, size_bytes_max)
        except NotRegularError as cause:
            raise RemoteError(f"the object is {cause} and not a regular file", where=os.fspath(target)) from cause
        except OSError as cause:
            if cause.errno in _ABSENT:
                raise missing_object(name, self.where) from cause
            raise RemoteError(f"the object cannot be read: {reason(cause)}", where=os.fspath(target)) from cause
        if data is None:
            raise RemoteError(f"the object has more than {size_bytes_max} bytes", where=os.fspath(target))
        return data

    def put(self, name: str, data: bytes) -> None:
        """See `Remote`."""
        with as_remote_error(self.where, "written"):
            self._sweep_once()
            self._store.put(name, data)

    def _sweep_once(self) -> None:
        with self._lock:
            if not self._swept:
                self._store.sweep(UNFINISHED_SECONDS_MAX)
                self._swept = True


@contextmanager
def as_remote_error(where: str, done: str) -> Generator[None]:
    """Say that it is the remote, not the replica's own directory, that cannot be `done` (listed, read, written)."""
    try:
        yield
    except (StoreError, OSError) as cause:
        what = cause.what if isinstance(cause, ConjoinError) else str(cause)
        at = cause.where if isinstance(cause, ConjoinError) else None
        hint = cause.hint if isinstance(cause, ConjoinError) else None
        raise RemoteError(f"{where} cannot be {done}: {what}", where=at, hint=hint) from cause
