"""From a ticket to a peer one can ask; knows which ways to reach peers there are, and speaks none of them."""

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

from conjoin.errors import (
    BadTicketError,
    ConjoinError,
    MissingExtraError,
    UnreachableError,
    WrongPeerError,
    WrongSpaceError,
)
from conjoin.sync.peers.base import Peer
from conjoin.sync.peers.handshake import Signer
from conjoin.sync.peers.lines import TicketLine
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
        MissingExtraError: the packages for it are not installed.
    """
    read: Ticket = parse_ticket(os.fspath(ticket))
    if space is not None and read.space != space:
        raise WrongSpaceError(
            f"this replica is of space {space[:12]}, the ticket is for {read.space[:12]}",
            where=read.where,
            hint="use it in a replica of that space; `conjoin clone TICKET DIR` makes one",
        )
    with ExitStack() as held:
        peer = TicketPeer(_line(read, signer, held))
        peer.space = read.space
        yield peer


def _line(ticket: Ticket, signer: Signer, held: ExitStack) -> TicketLine:
    """The first line that reaches the peer, over HTTPS or else iroh, and that `held` closes."""
    failures: list[ConjoinError] = []
    for make in _ways(ticket):
        with ExitStack() as attempt:
            try:
                line = make(ticket, signer)
                attempt.callback(line.close)
                line.dial()
            except (UnreachableError, WrongPeerError, MissingExtraError) as error:
                failures.append(error)
            else:
                held.push(attempt.pop_all())
                return line
    raise next((error for error in failures if isinstance(error, WrongPeerError)), failures[-1])


def _ways(ticket: Ticket) -> Generator[Callable[[Ticket, Signer], TicketLine]]:
    """What makes the lines that lead to a ticket's peer; the faster one first."""
    if ticket.addresses:
        from conjoin.sync.peers.https import HttpsLine

        yield HttpsLine
    if ticket.iroh is not None:
        from conjoin.sync.peers.iroh import IrohLine

        yield IrohLine
