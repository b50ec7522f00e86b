"""Epidemic exchange: a replica syncs again and again with one of its peers drawn at random; serves nobody.

Whom it knows is what it remembers of earlier syncs, and whom it was told. It finds nobody by itself.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conjoin.errors import ConjoinError, DamagedPeersError, StoreError, WrongSpaceError
from conjoin.inventory import PeerInfo
from conjoin.progress import SILENT, Progress
from conjoin.replica import PathLike, Replica
from conjoin.sync import SyncReport, is_ticket
from conjoin.sync.gossip import Partners
from conjoin.sync.known import named_by
from conjoin.sync.peers.ticket import parse_ticket
from conjoin.wire.digest import Digest


@dataclass(frozen=True, slots=True)
class Round:
    """One round of gossip.

    Attributes:
        number: 1 for the first one.
        peer: whom this replica synced with; None where it knew nobody, or nobody who did not fail lately.
        report: what came of it.
        error: why nothing did.
        root: of this replica afterwards.
        visible: how many contributions are visible.
        peers: everybody it knows, with what they had when they met last.
    """

    number: int
    peer: PeerInfo | None
    report: SyncReport | None
    error: ConjoinError | None
    root: Digest
    visible: int
    peers: tuple[PeerInfo, ...]


class Gossip:
    """The rounds of one replica.

    Args:
        path: the replica's directory.
        named: tickets and meeting places to sync with, besides those that the replica remembers.
        every_seconds: the interval between two rounds.
        chance: a random number from 0 up to and without 1.
        clock: seconds that never go back.

    Raises:
        BadTicketError: one of `named` looks like a ticket and is none.
        WrongSpaceError: a ticket is for another space.
        NoReplicaError: there is no replica.
    """

    def __init__(
        self,
        path: PathLike,
        named: Sequence[str] = (),
        *,
        every_seconds: float = 30.0,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replica = Replica.open(path)
        self._partners = Partners(every_seconds, chance)
        self._clock = clock
        self._rounds = 0
        self._named = {named_by(source).identity: source for source in named}
        for source in filter(is_ticket, named):
            ticket = parse_ticket(source)
            if ticket.space != self._replica.space:
                what = f"this replica is of space {self._replica.space[:12]}, the ticket is for {ticket.space[:12]}"
                raise WrongSpaceError(
                    what, where=ticket.where, hint="gossip with replicas of one space; `-C DIR` names another replica"
                )

    def pause(self) -> float:
        """How many seconds to wait before the next round."""
        return self._partners.pause()

    def came(self, key: str) -> None:
        """A peer came by itself, so it is there."""
        self._partners.reached(key)

    def round(self, progress: Progress = SILENT) -> Round:
        """Sync with one peer, if there is one. What goes wrong is told in the result, and never raised.

        Raises:
            StoreError: the replica cannot even be read.
        """
        self._rounds += 1
        with self._replica as replica:
            replica.refresh()
            known = {_identity(peer): peer for peer in self.peers()}
            sources = {name: self._named.get(name, peer.source) for name, peer in known.items()}
            chosen = self._partners.draw([name for name, source in sources.items() if source], self._clock())
            report, error = None, None
            if chosen is not None:
                report, error = self._sync(chosen, sources[chosen], progress)
            return Round(
                number=self._rounds,
                peer=known[chosen] if chosen is not None else None,
                report=report,
                error=error,
                root=replica.root,
                visible=len(replica.visible),
                peers=self.peers(),
            )

    def peers(self) -> tuple[PeerInfo, ...]:
        """Everybody whom the replica remembers or was told of, but itself."""
        try:
            remembered = self._replica.peers()
        except DamagedPeersError:  # the next sync that is completed begins a new file
            remembered = ()
        known = {_identity(peer) for peer in remembered}
        never = (named_by(source) for name, source in self._named.items() if name not in known)
        told = (PeerInfo.of(peer, len(self._replica.log)) for peer in never)
        return tuple(peer for peer in (*remembered, *told) if peer.key != self._replica.key)

    def _sync(self, name: str, source: str, progress: Progress) -> tuple[SyncReport | None, ConjoinError | None]:
        try:
            report = self._replica.sync(source, progress=progress)
        except ConjoinError as error:
            if not isinstance(error, StoreError):  # the other kind is this replica's own trouble
                self._partners.failed(name, self._clock())
            return None, error
        self._partners.reached(name)
        return report, None


def _identity(peer: PeerInfo) -> str:
    return peer.key or peer.where
