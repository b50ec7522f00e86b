"""Files with a private key of a connection: made once, for their owner only; knows nothing of what is in them."""

import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from conjoin.errors import KeyFileError
from conjoin.store.files import NotRegularError, open_regular, read_whole, sync_directory, translated_os_errors

FILE_BYTES_MAX = 16 * 1024


def provide_private(path: Path, make: Callable[[], bytes], what: str) -> bytes:
    """What the file `path` holds, which is made if it is not there; `what` names it.

    Raises:
        KeyFileError: it is no regular file, or others can read it.
        StoreError: it could not be written.
    """
    with translated_os_errors(path):
        if not os.path.lexists(path):
            unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                os.write(descriptor, make())
                os.fsync(descriptor)
                with suppress(FileExistsError):  # of two that make it at once, one gives its name to it
                    os.link(unfinished, path)
            finally:
                os.close(descriptor)
                os.unlink(unfinished)
            sync_directory(path.parent)
        return _read(path, what)


def damaged(path: Path, what: str) -> KeyFileError:
    """The error for a file that does not hold what was written to it."""
    return _refused(path, f"{what} of this replica is damaged")


def _read(path: Path, what: str) -> bytes:
    try:
        descriptor = open_regular(path)
        try:
            mode = os.fstat(descriptor).st_mode
        finally:
            os.close(descriptor)
        data = read_whole(path, FILE_BYTES_MAX)
    except NotRegularError as cause:
        raise damaged(path, what) from cause
    if sys.platform != "win32" and mode & 0o077:
        raise _refused(path, f"others than its owner can read the private key of {what}")
    return data or b""


def _refused(path: Path, what: str) -> KeyFileError:
    hint = "remove the file: another one is made, and tickets given out before no longer work"
    return KeyFileError(what, where=str(path), hint=hint)
