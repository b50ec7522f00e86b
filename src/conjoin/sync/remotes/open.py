"""From what a user names as a source to a remote; makes nothing and never guesses what was meant."""

import os
import re
from pathlib import Path

from conjoin.errors import UnknownSourceError
from conjoin.sync.remotes.base import Remote
from conjoin.sync.remotes.folder import FolderRemote
from conjoin.sync.remotes.replica import HOME, ReplicaRemote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://")
_OBJECT_FOLDERS = {"ops", "manifest", "leaf"}
_IGNORED = {"lost+found", "System Volume Information", "Thumbs.db", "desktop.ini"}


def open_remote(source: str | os.PathLike[str]) -> Remote:
    """The remote that `source` names: a replica directory, or a folder that is a meeting place or empty.

    Raises:
        UnknownSourceError: it is neither; the hint says what to do.
    """
    text = os.fspath(source)
    scheme = _SCHEME.match(text)
    if scheme:
        raise UnknownSourceError(
            f"{scheme.group(1)}:// sources are not supported in this version",
            where=text,
            hint="copy the meeting place with rclone or rsync and sync with the copy: any copy of the folder is valid",
        )
    path = Path(text)
    if path.name == HOME and (path / "local").is_dir():
        path = path.absolute().parent
    if (path / HOME).is_dir():
        return ReplicaRemote(path)
    if not path.exists():
        raise UnknownSourceError(
            f"there is no {text}",
            where=text,
            hint=f"name a replica's directory, or make a meeting place first: mkdir {text}",
        )
    if not path.is_dir():
        raise UnknownSourceError(
            f"{text} is not a folder",
            where=text,
            hint="name a replica's directory, or a folder",
        )
    _check_meeting_place(path, text)
    return FolderRemote(path)


def _check_meeting_place(path: Path, text: str) -> None:
    """Return if `path` has ops/, or holds nothing but what an interrupted first sync and file managers leave."""
    try:
        found = sorted(entry.name for entry in os.scandir(path))
    except OSError as cause:
        reason = os.strerror(cause.errno).lower() if cause.errno else str(cause)
        raise UnknownSourceError(f"{text} cannot be read: {reason}", where=text) from cause
    if "ops" in found and (path / "ops").is_dir():
        return
    foreign = [name for name in found if name not in _OBJECT_FOLDERS | _IGNORED and not name.startswith(".")]
    if foreign:
        raise UnknownSourceError(
            f"{text} is neither a replica nor a meeting place: it holds {foreign[0]}"
            + (f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""),
            where=text,
            hint="a replica holds .conjoin/; a meeting place is a folder that starts out empty: mkdir it",
        )
