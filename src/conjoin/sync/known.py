"""What a sync tells of a peer or place that is worth remembering; secrets are taken out, and nothing is reached."""

import os
import time
from contextlib import suppress

from conjoin.errors import ConjoinError, RemoteError, TrustError, UnknownSourceError
from conjoin.store.peers import KnownPeer, KnownPeers
from conjoin.sync.peers.dialling import is_ticket
from conjoin.sync.peers.ticket import parse_ticket
from conjoin.sync.remotes.trouble import shown
from conjoin.sync.report import SyncReport

KEY_CHARS_MIN = 8


def named_by(source: str) -> KnownPeer:
    """The peer or place that `conjoin sync` reaches by `source`, never met so far.

    Raises:
        BadTicketError: it looks like a ticket and is none.
    """
    if is_ticket(source):
        ticket = parse_ticket(source).without_invite
        return KnownPeer(ticket.key, str(ticket), ", ".join(ticket.places), 0)
    if "://" not in source:
        place = os.path.abspath(source)
        return KnownPeer("", place, place, 0)
    return KnownPeer("", source if shown(source) == source else "", shown(source), 0)


def known_as(peers: KnownPeers, name: str) -> KnownPeer:
    """The remembered peer or place that `name` is: its key or 8 or more characters of it, a ticket, a folder, a URL.

    Raises:
        UnknownSourceError: none is, or several are.
        BadTicketError: `name` looks like a ticket and is none.
        DamagedPeersError: what is remembered cannot be read.
    """
    known = {peer.identity: peer for peer in peers.read()}
    found = [peer for key, peer in known.items() if len(name) >= KEY_CHARS_MIN and key.startswith(name.lower())]
    exact = known.get(name) or known.get(named_by(name).identity)
    if exact is None and len(found) != 1:
        raise UnknownSourceError(
            f"{len(found)} peers are known whose key begins so" if found else "no such peer or place is remembered",
            where=shown(name),
            hint="`conjoin status` lists those that are",
        )
    return exact or found[0]


def remember_met(peers: KnownPeers, source: str, report: SyncReport, operations: int) -> None:
    """Remember a sync that was completed when `operations` were here."""
    peer = named_by(source)
    lacking = operations if report.failure is not None and report.lacking_there is None else report.lacking_there
    met = KnownPeer(
        peer.key,
        peer.source,
        peer.where,
        int(time.time()),
        root=report.root_there or "",
        operations=operations,
        lacking=lacking,
        waiting=report.waiting,
    )
    with suppress(ConjoinError):  # a hint that cannot be kept fails no sync
        peers.met(met)


def remember_failed(peers: KnownPeers, source: str, error: RemoteError | TrustError) -> None:
    """Remember that a known peer or place could not be synced with."""
    with suppress(ConjoinError):
        peers.failed(named_by(source).identity, int(time.time()), error.what)
