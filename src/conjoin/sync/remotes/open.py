"""From what a user names as a source to a remote; makes nothing and never guesses what was meant."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from conjoin.errors import BadTicketError, UnknownSourceError, UsageError
from conjoin.store.files import reason
from conjoin.sync.remotes.base import Remote
from conjoin.sync.remotes.folder import FolderRemote
from conjoin.sync.remotes.replica import HOME, ReplicaRemote
from conjoin.wire.objects import TOP

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://")
_TICKET = re.compile(r"eyJ[\w-]{200}")
_IGNORED = {"lost+found", "System Volume Information", "Thumbs.db", "desktop.ini"}


def open_remote(source: str | os.PathLike[str]) -> Remote:
    """The remote that `source` names: a replica directory, a folder that is a meeting place or empty, or a URL.

    Raises:
        UsageError: it is the empty text.
        BadTicketError: it is a ticket that lacks its beginning.
        UnknownSourceError: it is none of them; the hint says what to do.
        MissingExtraError: a URL needs a package that is not installed.
        RemoteError: a URL's place is not configured as it should be.
    """
    text = os.fspath(source)
    require_named(text)
    match = _SCHEME.match(text)
    if match and match.group(1).lower() != "file":
        return _open_url(text, match.group(1).lower())
    if match:
        text = unquote(urlsplit(text).path)
    if _TICKET.match(text):
        raise BadTicketError("this looks like a ticket without its beginning", hint="a ticket begins with `conjoin:`")
    path = Path(text)
    if path.name == HOME and os.path.isdir(path / "local"):
        path = path.absolute().parent
    if os.path.isdir(path / HOME):
        return ReplicaRemote(path)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UnknownSourceError(
            f"there is no {text}",
            where=text,
            hint=f"name a replica's directory or a meeting place; to begin one, make its folder first: mkdir -p {text}",
        ) from None
    except OSError as cause:
        raise UnknownSourceError(f"{text} cannot be read: {reason(cause)}", where=text) from cause
    if not os.path.isdir(path):
        raise UnknownSourceError(
            f"{text} is not a folder",
            where=text,
            hint="name a replica's directory, or a folder",
        )
    _check_meeting_place(path, text)
    return FolderRemote(path)


def require_named(source: str) -> None:
    """Return unless `source` is the empty text, which as a path would be the current folder.

    Raises:
        UsageError: it is.
    """
    if not source:
        raise UsageError(
            "a SOURCE is the empty text", hint="if a file or command was to give it, as a ticket, look whether it did"
        )


def _open_url(url: str, scheme: str) -> Remote:
    """The remote at a URL. What only places on the network need is imported here and not before."""
    from conjoin.sync.remotes import bucket, generic, hub, web

    if scheme in bucket.SCHEMES:
        return bucket.open_bucket(url)
    if scheme in web.SCHEMES:
        return web.open_web(url)
    if scheme == "hf":
        return hub.open_hub(url)
    return generic.open_generic(url)


def _check_meeting_place(path: Path, text: str) -> None:
    """Return if `path` has ops/, or holds nothing but what an interrupted first sync and file managers leave."""
    try:
        found = sorted(entry.name for entry in os.scandir(path))
    except OSError as cause:
        raise UnknownSourceError(f"{text} cannot be read: {reason(cause)}", where=text) from cause
    if "ops" in found and (path / "ops").is_dir():
        return
    foreign = [name for name in found if name not in {*TOP, *_IGNORED} and not name.startswith(".")]
    if foreign:
        raise UnknownSourceError(
            f"{text} is neither a replica nor a meeting place: it holds {foreign[0]}"
            + (f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""),
            where=text,
            hint="a replica holds .conjoin/; a meeting place is a folder that starts out empty: mkdir it",
        )
