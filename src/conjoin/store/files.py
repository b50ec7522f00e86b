"""Files done carefully: checked reads and durable, atomic writes, with the system's failures as conjoin's errors.

Knows nothing about objects. Never follows a symlink, never waits on a pipe, never leaves a half-written file under its
name.
"""

import errno
import os
import secrets
import stat
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from mmap import ALLOCATIONGRANULARITY, mmap
from pathlib import Path
from typing import TypeAlias

from conjoin.errors import DeviceError, DiskFullError, ReadOnlyError, StoreError

if sys.platform != "win32":
    import fcntl

Bytes: TypeAlias = bytes | bytearray | memoryview
"""Something to write."""

PAGE_BYTES = max(4096, ALLOCATIONGRANULARITY)
DIRECT_BYTES_MIN = 256 * 1024
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_SAFE_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_DIRECT = getattr(os, "O_DIRECT", 0)
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PREADV = hasattr(os, "preadv")
_no_direct: set[int] = set()
_seek_lock = threading.Lock()


class NotRegularError(Exception):
    """The path is a symlink, directory, device or pipe; `args[0]` says which."""


def reason(cause: OSError | NotRegularError) -> str:
    """Why a file could not be read, in the words of a message."""
    return os.strerror(cause.errno).lower() if isinstance(cause, OSError) and cause.errno else str(cause)


def translated(cause: OSError, where: str | os.PathLike[str]) -> StoreError:
    """The error of ours that says what the operating system refused."""
    named = cause.filename if isinstance(cause.filename, str) else os.fspath(where)
    if cause.errno in _READ_ONLY:
        return ReadOnlyError(
            f"the directory cannot be written: {reason(cause)}",
            where=named,
            hint="check the owner and permissions, or whether the disk is mounted read-only",
        )
    if cause.errno in _FULL:
        return DiskFullError(
            f"the disk is full: {reason(cause)}; what was half-written has been removed",
            where=named,
            hint="free space, raise the quota or file size limit, and run the command again",
        )
    return DeviceError(
        f"the operating system failed: {reason(cause)}",
        where=named,
        hint="check the disk and the path, then run the command again",
    )


@contextmanager
def translated_os_errors(where: str | os.PathLike[str]) -> Generator[None]:
    """Turn an `OSError` of the body into ReadOnlyError, DiskFullError or DeviceError; `where` names the place."""
    try:
        yield
    except OSError as cause:
        raise translated(cause, where) from cause


def cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1  # pragma: no cover - macOS, Windows


def open_regular(path: str | os.PathLike[str], *, directory: int | None = None) -> int:
    """Open a regular file for reading without following a symlink or waiting on a pipe.

    Args:
        path: the file.
        directory: descriptor of a folder that a relative `path` starts from.

    Raises:
        NotRegularError: it is something else.
        OSError: it cannot be opened.
    """
    if not hasattr(os, "O_NOFOLLOW") and stat.S_ISLNK(os.lstat(path).st_mode):  # pragma: no cover
        raise NotRegularError("a symlink")
    try:
        descriptor = os.open(path, _READ_FLAGS | _SAFE_FLAGS, dir_fd=directory)
    except OSError as cause:
        if cause.errno in {errno.ELOOP, errno.EMLINK}:
            raise NotRegularError("a symlink") from cause
        if cause.errno == errno.ENXIO:
            raise NotRegularError("a socket or pipe") from cause
        raise
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise NotRegularError("a directory")
    raise NotRegularError("a pipe" if stat.S_ISFIFO(kind) else "a device or socket")


def read_at(descriptor: int, into: memoryview, offset: int) -> int:
    """Read at `offset` until `into` is full or the file ends; returns the number of bytes read."""
    done, size = 0, len(into)
    while done < size:
        if _PREADV:
            count = os.preadv(descriptor, [into[done:] if done else into], offset + done)
        else:  # pragma: no cover - Windows
            with _seek_lock:
                os.lseek(descriptor, offset + done, os.SEEK_SET)
                piece = os.read(descriptor, size - done)
            count = len(piece)
            into[done : done + count] = piece
        if count == 0:
            break
        done += count
    return done


def read_whole(path: str | os.PathLike[str], limit_bytes: int, *, directory: int | None = None) -> bytes | None:
    """The bytes of a small regular file, or None when it is larger than `limit_bytes`.

    Raises:
        NotRegularError: it is no regular file.
        OSError: it cannot be read.
    """
    descriptor = open_regular(path, directory=directory)
    try:
        left = os.fstat(descriptor).st_size
        if left > limit_bytes:
            return None
        pieces: list[bytes] = []
        while left and (piece := os.read(descriptor, left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)  # of a single piece no copy is made
    finally:
        os.close(descriptor)


def aligned_buffer(size_bytes: int) -> memoryview:
    """A page-aligned writable buffer, good for writes that go past the page cache."""
    return memoryview(mmap(-1, size_bytes))


def write_durably(temporary: Path, target: Path, data: Bytes) -> None:
    """Write `data` to `target` so that a crash leaves either all of it or what was there before.

    The caller makes the directory entry durable with `sync_directory(target.parent)`.

    Args:
        temporary: existing folder on the same file system for the unfinished file.
        target: the final path; replaced if it exists.
        data: the bytes; large page-aligned buffers bypass the page cache where the file system can.

    Raises:
        OSError: it could not be written; the unfinished file is removed.
    """
    unfinished = temporary / f"{os.getpid()}-{secrets.token_hex(8)}"
    try:
        if not (_fit_for_direct(data) and _write_direct(unfinished, data)):
            _write(unfinished, data, 0)
        os.replace(unfinished, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def remove_abandoned(path: str | os.PathLike[str]) -> bool:
    """Remove an unfinished file that no process is writing any more; whether it was removed.

    Raises:
        OSError: it cannot be opened or removed.
    """
    descriptor = os.open(path, _READ_FLAGS | _SAFE_FLAGS)
    try:
        if not _hold(descriptor, wait=False):
            return False
        os.unlink(path)
    finally:
        os.close(descriptor)
    return True


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Make the names in a directory durable; does nothing where the system has no such call."""
    if sys.platform == "win32":  # pragma: no cover
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as cause:
        if cause.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


def make_directories(path: Path) -> list[Path]:
    """Make `path` and its missing parents; returns the folders whose entries `sync_directory` must make durable."""
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
    return [directory.parent for directory in missing]


def _fit_for_direct(data: Bytes) -> bool:
    """Whether a write past the page cache is possible and worth it."""
    size = len(data)
    if not _DIRECT or size < DIRECT_BYTES_MIN or size % PAGE_BYTES:
        return False
    import ctypes

    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(data)) % PAGE_BYTES == 0
    except TypeError:  # it is read-only, as `bytes` are, which never begin where a page does
        return False


def _write_direct(path: Path, data: Bytes) -> bool:
    """Write with O_DIRECT; False, with nothing left behind, when this file system cannot do it."""
    device = os.stat(path.parent).st_dev
    if device in _no_direct:
        return False
    try:
        _write(path, data, _DIRECT)
    except OSError as cause:
        if cause.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
        _no_direct.add(device)
        with suppress(FileNotFoundError):
            os.unlink(path)
        return False
    return True


def _hold(descriptor: int, *, wait: bool) -> bool:
    """Mark an open file as being written until it is closed or its process ends; False where another one holds it."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:  # a file system without such marks
            pass
    return True


def _create(path: Path, flags: int) -> int:
    """A descriptor of a new file that is marked as being written, and that nobody took for abandoned before."""
    while True:
        descriptor = os.open(path, _NEW_FLAGS | flags, 0o666)
        _hold(descriptor, wait=True)
        if os.path.lexists(path):
            return descriptor
        os.close(descriptor)


def _write(path: Path, data: Bytes, flags: int) -> None:
    """Write all of `data` to a new file and make it durable."""
    descriptor = _create(path, flags)
    try:
        view, done = memoryview(data), 0
        while done < len(view):
            done += os.write(descriptor, view[done:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
