"""One-time invites that a replica gave out: their hashes and when they end, in a file; the invites themselves nowhere.

An invite is forgotten before what it allows is done, so that it never works twice, whatever crashes.
"""

import secrets
from pathlib import Path

from conjoin.errors import ConjoinError, NotPermittedError
from conjoin.store.files import NotRegularError, read_whole, sync_directory, translated_os_errors, write_durably
from conjoin.sync.peers.handshake import hash_of_invite
from conjoin.sync.peers.ticket import INVITE_CHARS
from conjoin.wire import canonical

FORMAT = "conjoin/invites/1"
INVITES_MAX = 1000
_FILE_BYTES_MAX = 256 * 1024


class Invites:
    """The invites in the file `path`; whoever changes them holds the replica's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def give(self, now: float, seconds: float) -> str:
        """A new invite, good for so many seconds from `now`, which is in seconds since the epoch.

        Raises:
            NotPermittedError: too many are open.
            StoreError: it could not be remembered.
        """
        known = self._read(now)
        if len(known) >= INVITES_MAX:
            raise NotPermittedError(
                f"{len(known)} invites are open, no more are given", hint="wait until some of them end"
            )
        invite = secrets.token_hex(INVITE_CHARS // 2)
        self._write({**known, hash_of_invite(invite): int(now + seconds)})
        return invite

    def use(self, invite: str, now: float) -> bool:
        """Whether an invite is good; from now on it is not."""
        known = self._read(now)
        if known.pop(hash_of_invite(invite), None) is None:
            return False
        self._write(known)
        return True

    def _read(self, now: float) -> dict[str, int]:
        """The open invites; a damaged file holds none."""
        try:
            value = canonical.decode(read_whole(self._path, _FILE_BYTES_MAX) or b"", "the invites")
        except (ConjoinError, OSError, NotRegularError):
            return {}
        match value:
            case {"format": str(form), "invites": dict(invites)} if form == FORMAT:
                return {k: end for k, end in invites.items() if isinstance(end, int) and end > now}
            case _:
                return {}

    def _write(self, invites: dict[str, int]) -> None:
        with translated_os_errors(self._path):
            data = canonical.encode({"format": FORMAT, "invites": invites})
            write_durably(self._path.parent, self._path, data)
            sync_directory(self._path.parent)
