"""From a ticket to a peer one can ask; knows which ways to reach peers there are, and speaks none of them."""

import os
from collections.abc import Generator
from contextlib import closing, contextmanager

from conjoin.errors import BadTicketError, WrongSpaceError
from conjoin.sync.peers.base import Peer
from conjoin.sync.peers.handshake import Signer
from conjoin.sync.peers.ticket import PREFIX, Ticket, parse_ticket
from conjoin.wire.digest import Digest


class TicketPeer(Peer):
    """The peer of a ticket, and the space that it serves."""

    space: Digest


def is_ticket(source: str | os.PathLike[str]) -> bool:
    """Whether what a user names as a source is a ticket."""
    return isinstance(source, str) and source.startswith(PREFIX)


def named(source: str) -> str:
    """How reports name a source: a ticket by the peer it names, for it is long and can hold a secret."""
    try:
        return parse_ticket(source).where if is_ticket(source) else source
    except BadTicketError:
        return f"{PREFIX}…"


@contextmanager
def dial(ticket: str | os.PathLike[str], signer: Signer, space: Digest | None = None) -> Generator[TicketPeer]:
    """A block with a line to the peer of a ticket, over which both have proven their keys.

    Args:
        ticket: as `conjoin serve` printed it.
        signer: the key to show.
        space: which space is wanted; None takes the ticket's.

    Raises:
        BadTicketError: it is no ticket.
        WrongSpaceError: it is for another space.
        UnreachableError, WrongPeerError, PeerRefusedError: see there.
    """
    from conjoin.sync.peers.https import HttpsLine

    read: Ticket = parse_ticket(os.fspath(ticket))
    if space is not None and read.space != space:
        raise WrongSpaceError(
            f"this replica is of space {space[:12]}, the ticket is for {read.space[:12]}", where=read.where
        )
    with closing(HttpsLine(read, signer)) as line:
        peer = TicketPeer(line.dial())
        peer.space = read.space
        yield peer
