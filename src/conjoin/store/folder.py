"""A store in a folder, the same for a replica's `.conjoin` and a meeting place; trusts no byte and follows no symlink.

Every file is written under another name, made durable, renamed, and its folder made durable. What does not have an
object's name is left alone.
"""

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from conjoin.errors import DeviceError
from conjoin.progress import SILENT, Progress
from conjoin.store.base import Place, check_leaf, check_object, damaged, is_object, missing, size_limit
from conjoin.store.files import (
    Bytes,
    NotRegularError,
    make_directories,
    open_regular,
    read_at,
    read_whole,
    reason,
    remove_abandoned,
    sync_directory,
    translated,
    translated_os_errors,
    write_durably,
)
from conjoin.wire.digest import Digest
from conjoin.wire.objects import TOP, leaf_name, parse_leaf

__all__ = ["FolderStore", "translated_os_errors"]

DEPTH_MAX = 2
"""Slashes in an object's name: a foreign tree of folders is not walked any deeper."""
_ABSENT = {errno.ENOENT, errno.ENOTDIR}
_UNFINISHED = re.compile(r"[0-9]+-[0-9a-f]+")


class FolderStore:
    """Objects as files below `root`; unfinished files stand in `temporary`, on the same file system.

    Attributes:
        root: the folder that holds ops/, seg/, fork/, manifest/ and leaf/.
        bytes_written: size of all objects this instance has written.
    """

    def __init__(self, root: str | os.PathLike[str], temporary: str | os.PathLike[str] | None = None) -> None:
        """A store below `root`; nothing is made before the first `put`. `temporary` defaults to `root/.tmp`."""
        self.root = Path(root)
        self.bytes_written = 0
        self._temporary = Path(temporary) if temporary is not None else self.root / ".tmp"
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._made: set[Path] = set()
        self._unsynced: set[Path] = set()
        self._batches = 0
        self._records: list[list[str]] = []

    def has(self, name: str) -> bool:
        """See `Store`."""
        return is_object(name) and _is_regular(f"{self.root}/{name}")

    def get(self, name: str, *, trusted: bool = False) -> bytes:
        """See `Store`; `trusted` skips the check of the bytes, for those who check them anyway."""
        if not is_object(name):
            raise missing(name)
        with self._reading(name):
            data = read_whole(self.root / name, size_limit(name))
        if data is None:
            raise damaged(name, f"the file is over the limit of {size_limit(name)} bytes for such an object")
        if not trusted:
            check_object(name, data)
        return data

    def read_leaf(self, digest: Digest, into: memoryview, *, trusted: bool = False) -> int:
        """See `Store`."""
        name = leaf_name(digest)
        with self._reading(name):
            descriptor = open_regular(self.root / name)
            try:
                size = os.fstat(descriptor).st_size
                if size > len(into):
                    raise damaged(name, f"the leaf has {size} bytes and at most {len(into)} were expected")
                done = read_at(descriptor, into[:size], 0)
            finally:
                os.close(descriptor)
        if not trusted:
            check_leaf(digest, into[:done])
        return done

    def place(self, digest: Digest) -> Place | None:
        """See `store.base.place_of`."""
        try:
            descriptor = open_regular(f"{self.root}{os.sep}{leaf_name(digest)}")  # a tenth of the cost of a Path
        except (OSError, NotRegularError):
            return None
        return Place(descriptor, 0, os.fstat(descriptor).st_size, None)

    def put(self, name: str, data: Bytes) -> None:
        """See `Store`."""
        assert is_object(name), name
        target = self.root / name
        with translated_os_errors(target):
            if not _is_regular(target):
                self._write(name, target, data)
            self._settle(name, target.parent)

    def replace(self, name: str, data: Bytes) -> None:
        """Put an object in place of a damaged one of the same name; the caller has checked `data`.

        Raises: as `put`.
        """
        assert is_object(name), name
        target = self.root / name
        with translated_os_errors(target):
            self._write(name, target, data, new=False)
            self._settle(name, target.parent)

    def names(self, prefix: str) -> Iterator[str]:
        """See `Store`."""
        for top in TOP:
            if top.startswith(prefix) or prefix.startswith(f"{top}/"):
                yield from self._walk(top, prefix)

    def remove(self, name: str) -> None:
        """See `Store`."""
        assert is_object(name), name
        target = self.root / name
        with translated_os_errors(target):
            try:
                os.unlink(target)
            except OSError as cause:
                if cause.errno not in _ABSENT:
                    raise
            else:
                sync_directory(target.parent)

    def discard(self, files: Mapping[str, int], progress: Progress = SILENT) -> None:
        """Forget many objects, those that are not here as well; durable when it returns.

        Args:
            files: their names with their sizes in bytes, of which `progress` is told.
            progress: told about the bytes freed.
        """
        changed: set[Path] = set()
        for name, size_bytes in files.items():
            assert is_object(name), name
            target = self.root / name
            with translated_os_errors(target), suppress(FileNotFoundError):
                os.unlink(target)
                changed.add(target.parent)
            progress.advance(size_bytes)
        for folder in sorted(changed):
            with translated_os_errors(folder):
                sync_directory(folder)

    @contextmanager
    def batch(self) -> Generator[None]:
        """A block in which the folders of new leaves are made durable together, at the latest when it ends."""
        with self._lock:
            self._batches += 1
        try:
            yield
        finally:
            with self._lock:
                self._batches -= 1
            with translated_os_errors(self.root):
                self._flush()

    @contextmanager
    def recording(self) -> Generator[list[str]]:
        """A block that notes the names of the objects that are newly written meanwhile, in their order."""
        written: list[str] = []
        with self._lock:
            self._records.append(written)
        try:
            yield written
        finally:
            with self._lock:
                self._records = [others for others in self._records if others is not written]

    def sweep(self, older_than_s: float = 0.0) -> int:
        """Remove unfinished files that a killed process left; returns how many.

        Args:
            older_than_s: leave younger files alone, as on another machine's disk. A file that is being written by a
                process of this machine is left alone anyhow.
        """
        removed = 0
        newest = time.time() - older_than_s
        if self._linked(self._temporary):  # whoever put the symlink there would choose what is removed
            return 0
        with suppress(FileNotFoundError), os.scandir(self._temporary) as entries:
            for entry in entries:
                if _UNFINISHED.fullmatch(entry.name) is None:
                    continue
                with suppress(OSError):
                    if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime <= newest:
                        removed += remove_abandoned(entry.path)
        return removed

    def _write(self, name: str, target: Path, data: Bytes, *, new: bool = True) -> None:
        if not parse_leaf(name):  # whatever it names is durable before it is
            self._flush()
        self._make(self._temporary)
        self._make(target.parent)
        try:
            write_durably(self._temporary, target, data)
        except FileNotFoundError:  # a folder was removed behind our back
            self._made.clear()
            self._make(self._temporary)
            self._make(target.parent)
            write_durably(self._temporary, target, data)
        with self._lock:
            self.bytes_written += len(data)
            for written in self._records if new else ():
                written.append(name)

    def _make(self, directory: Path) -> None:
        if directory in self._made:
            return
        if link := self._linked(directory):
            raise DeviceError(
                "the folder is a symlink, and nothing is written through one",
                where=str(link),
                hint="remove the symlink, or replace it by the folder it leads to",
            )
        changed = make_directories(directory)
        # Whoever made the folders between here and the root may not have made their names durable yet.
        changed += [folder for folder in directory.parents if folder.is_relative_to(self.root)]
        with self._lock:
            self._unsynced.update(changed)
            self._made.add(directory)

    def _linked(self, directory: Path) -> Path | None:
        """The first symlink on the way from the root to `directory`, itself included, or None."""
        way = [folder for folder in directory.parents if self.root in folder.parents]
        return next((folder for folder in [*reversed(way), directory] if folder.is_symlink()), None)

    def _settle(self, name: str, directory: Path) -> None:
        """Make the object's name durable now, or with the others of the batch."""
        with self._lock:
            self._unsynced.add(directory)
            later = self._batches > 0 and parse_leaf(name) is not None
        if not later:
            self._flush()

    def _flush(self) -> None:
        with self._flushing:  # whoever comes second returns only when the first is done: its folder may be among these
            with self._lock:
                waiting, self._unsynced = self._unsynced, set()
            try:
                for directory in sorted(waiting):
                    sync_directory(directory)
            except BaseException:
                with self._lock:
                    self._unsynced |= waiting
                raise

    @contextmanager
    def _reading(self, name: str) -> Generator[None]:
        try:
            yield
        except NotRegularError as cause:
            raise damaged(name, f"the object is {cause} and not a regular file") from cause
        except OSError as cause:
            if cause.errno in _ABSENT:
                raise missing(name) from cause
            raise DeviceError(
                f"the object cannot be read: {reason(cause)}",
                where=str(self.root / name),
                hint="check the disk and the file's permissions, then run the command again",
            ) from cause

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        """Objects below `folder`, ascending, looking only where `prefix` can match."""
        try:
            with os.scandir(self.root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as cause:
            if cause.errno in _ABSENT:
                return
            raise DeviceError(
                f"the folder cannot be read: {reason(cause)}",
                where=str(self.root / folder),
                hint="check the disk and the folder's permissions, then run the command again",
            ) from cause
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                matches = name.startswith(prefix) or prefix.startswith(f"{name}/")
                if matches and name.count("/") < DEPTH_MAX:
                    yield from self._walk(name, prefix)
            elif name.startswith(prefix) and is_object(name) and entry.is_file(follow_symlinks=False):
                yield name


def _is_regular(path: str | os.PathLike[str]) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError as cause:
        if cause.errno in _ABSENT:
            return False
        raise translated(cause, path) from cause
