"""The instance marker: tells a replica directory from a copy, because two writers with one key would fork the log.

It holds a random number and the inodes of its own file and folder. A copied or restored directory has other inodes. A
snapshot of the whole disk keeps them and is not noticed here; the log shows the fork as soon as both copies sync.
"""

import os
import re
import secrets
from pathlib import Path

from conjoin.errors import CopiedReplicaError
from conjoin.store.files import NotRegularError, read_whole, sync_directory, translated_os_errors

_MARKER = re.compile(rb"([0-9a-f]{32}) ([0-9]{1,20}) ([0-9]{1,20})\n")
_MARKER_BYTES_MAX = 200


def create_instance(path: str | os.PathLike[str]) -> str:
    """Write a new marker at `path`, in place of any other, and return its random number as 32 hex characters.

    Raises:
        StoreError: it could not be written.
    """
    marker = Path(path)
    number = secrets.token_hex(16)
    with translated_os_errors(marker):
        unfinished = marker.with_name(f"{marker.name}.{secrets.token_hex(8)}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, f"{number} {os.fstat(descriptor).st_ino} {_inode(marker.parent)}\n".encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(unfinished, marker)
        sync_directory(marker.parent)
    return number


def check_instance(path: str | os.PathLike[str]) -> str:
    """Check that the marker at `path` lies where it was written; returns its random number.

    Raises:
        CopiedReplicaError: the marker is missing, damaged, or in a copy of the directory.
    """
    marker = Path(path)
    try:
        data = read_whole(marker, _MARKER_BYTES_MAX) or b""
    except FileNotFoundError as cause:
        raise _copied(marker, "the marker of this replica's directory is missing") from cause
    except NotRegularError as cause:
        raise _copied(marker, f"the marker of this replica's directory is {cause}") from cause
    with translated_os_errors(marker):
        here = (_inode(marker), _inode(marker.parent))
    match = _MARKER.fullmatch(data)
    if match is None:
        raise _copied(marker, "the marker of this replica's directory is damaged")
    if (int(match[2]), int(match[3])) != here:
        raise _copied(marker, "this directory is a copy of a replica, or was restored from a backup")
    return match[1].decode("ascii")


def _inode(path: Path) -> int:
    return os.stat(path, follow_symlinks=False).st_ino


def _copied(marker: Path, what: str) -> CopiedReplicaError:
    return CopiedReplicaError(
        what,
        where=str(marker),
        hint="`conjoin rekey` makes it a replica of its own, with a key of its own; reading it works without that",
    )
