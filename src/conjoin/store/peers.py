"""What a replica remembers of the peers and places it synced with: whom it can reach, when they met, what they lacked.

Kept in `local/`, so it never leaves the replica. All of it is a hint: nothing is believed because it stands here.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Self

from conjoin.errors import ConjoinError, DamagedPeersError
from conjoin.store.files import NotRegularError, read_whole, sync_directory, translated_os_errors, write_durably
from conjoin.store.lock import ReplicaLock, patiently
from conjoin.wire import canonical

FORMAT = "conjoin/peers/1"
PEERS_MAX = 128
"""More are not remembered: those that cannot be reached from here go first, then those not met for longest."""
TEXT_CHARS_MAX = 4096
NUMBER_MAX = 253_402_300_799
"""The last second of the year 9999: times and counts are bounded alike."""
FAILURE_CHARS_MAX = 200
LOCK_SECONDS = 2.0
_FILE_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """A peer or place that this replica synced with.

    Attributes:
        key: public key of a live peer; empty for a place.
        source: what `conjoin sync` takes to reach it, without any secret; empty where it only came here, or where the
            secret that was taken out is needed.
        where: how it is shown.
        met: when a sync with it was completed last, in seconds since the epoch.
        root: the root that it stated then; empty where it stated none.
        operations: operations that were here then.
        lacking: how many of them it did not have even then; None where that was not looked at.
        waiting: operations of it that were not admitted here, for want of their ancestors.
        failed: when reaching it failed last, in seconds since the epoch; 0 if it did not since it was reached.
        failure: why.
    """

    key: str
    source: str
    where: str
    met: int
    root: str = ""
    operations: int = 0
    lacking: int | None = None
    waiting: int = 0
    failed: int = 0
    failure: str = ""

    @property
    def identity(self) -> str:
        """What tells it from the others."""
        return self.key or self.where

    def behind(self, operations: int) -> int:
        """How many of the `operations` that are here by now it may not have, going by when they met."""
        return max(0, operations - self.operations) + (self.lacking or 0)

    @classmethod
    def from_json(cls, value: canonical.Json) -> Self:
        """The peer in a JSON value.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(value, dict) or set(value) != {field.name for field in fields(cls)}:
            raise ValueError("the fields of a peer are others")
        for name, item in value.items():
            if name in ("key", "source", "where", "root", "failure"):
                if not isinstance(item, str) or len(item) > TEXT_CHARS_MAX:
                    raise ValueError(f"{name} is no text, or too long a one")
            elif not (name == "lacking" and item is None) and (type(item) is not int or not 0 <= item <= NUMBER_MAX):
                raise ValueError(f"{name} is no number from 0 to {NUMBER_MAX}")
        if not (value["key"] or value["where"]):
            raise ValueError("it has no name")
        return cls(**value)


class KnownPeers:
    """The peers in the file `path`; several threads and processes may change it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[KnownPeer, ...]:
        """The known peers, the one met last first.

        Raises:
            DamagedPeersError: the file cannot be read.
        """
        try:
            found = _peers_in(read_whole(self._path, _FILE_BYTES_MAX) or b"")
        except FileNotFoundError:
            return ()
        except (ConjoinError, OSError, NotRegularError, ValueError) as cause:
            what = cause.what if isinstance(cause, ConjoinError) else str(cause)
            raise DamagedPeersError(
                f"what this replica remembers of its peers cannot be read: {what}",
                where=os.fspath(self._path),
                hint=f"sync with them again; the file is put aside as {self._aside.name} then",
            ) from cause
        return tuple(sorted(found, key=lambda peer: (-peer.met, peer.identity)))

    def met(self, peer: KnownPeer) -> None:
        """Remember that a sync with `peer` was completed; how to reach it stays known where `peer` does not say.

        Raises:
            StoreError: it could not be remembered.
        """
        if max(len(peer.source), len(peer.where)) > TEXT_CHARS_MAX:
            return

        def change(known: dict[str, KnownPeer]) -> None:
            before = known.get(peer.identity)
            if before is not None and not peer.source:
                kept = replace(peer, source=before.source, where=before.where)
                known[peer.identity] = replace(kept, failed=before.failed, failure=before.failure)
            else:
                known[peer.identity] = peer

        self._change(change)

    def failed(self, identity: str, when: int, why: str) -> None:
        """Remember that reaching a peer failed, if it is known.

        Raises:
            StoreError: it could not be remembered.
        """

        def change(known: dict[str, KnownPeer]) -> None:
            if identity in known:
                known[identity] = replace(known[identity], failed=when, failure=why[:FAILURE_CHARS_MAX])

        self._change(change)

    def forget(self, identity: str) -> None:
        """Remember a peer no longer.

        Raises:
            StoreError: it is still remembered.
        """

        def change(known: dict[str, KnownPeer]) -> None:
            known.pop(identity, None)

        self._change(change)

    @property
    def _aside(self) -> Path:
        return self._path.with_name(f"{self._path.stem}-damaged{self._path.suffix}")

    def _change(self, change: Callable[[dict[str, KnownPeer]], None]) -> None:
        with translated_os_errors(self._path), ExitStack() as held:
            patiently(LOCK_SECONDS, lambda: held.enter_context(ReplicaLock(self._path.with_suffix(".lock"))))
            try:
                known = {peer.identity: peer for peer in self.read()}
            except DamagedPeersError:
                os.replace(self._path, self._aside)
                known = {}
            change(known)
            peers = [asdict(peer) for peer in _fitting(known.values())]
            write_durably(self._path.parent, self._path, canonical.encode({"format": FORMAT, "peers": peers}))
            sync_directory(self._path.parent)


def _peers_in(data: bytes) -> list[KnownPeer]:
    """The peers in the bytes of the file; ValueError or a ConjoinError where it is another one."""
    match canonical.decode(data, "it"):
        case {"format": str(form), "peers": list(peers)} if form == FORMAT:
            return [KnownPeer.from_json(peer) for peer in peers]
        case _:
            raise ValueError(f"it is not of the format {FORMAT}")


def _fitting(known: Iterable[KnownPeer]) -> list[KnownPeer]:
    """As many as are remembered."""
    return sorted(known, key=lambda peer: (not peer.source, -peer.met, peer.identity))[:PEERS_MAX]
