"""The command that answers live peers: serve; prints a ticket, then a line for whoever came and went."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.options import SPACES, AsJson, Quiet, Shell, Where, epilog
from conjoin.errors import UsageError

if TYPE_CHECKING:
    from conjoin.serving import Serving
    from conjoin.sync.peers.sessions import Visitor


class Transport(StrEnum):
    """Over what peers are answered."""

    https = "https"
    iroh = "iroh"
    both = "both"


Over = Annotated[
    Transport,
    typer.Option("--transport", help="Over what peers are answered; iroh goes by UDP, and through NAT with --relay."),
]
Relay = Annotated[
    str,
    typer.Option(
        "--relay",
        metavar="none|default|URL",
        help="Which relay iroh uses where machines cannot reach each other; default: those of n0.",
    ),
]
Bind = Annotated[
    str,
    typer.Option(
        "--bind", metavar="HOST:PORT", help="Where to listen. Port 0 takes a free one, host 0.0.0.0 all interfaces."
    ),
]
Address = Annotated[
    list[str] | None,
    typer.Option("--address", metavar="HOST:PORT", help="Where others reach it, where that is not --bind."),
]
Inviting = Annotated[
    bool, typer.Option("--invite", help="Whoever shows this ticket first becomes a member. Only admins can.")
]
Expires = Annotated[str, typer.Option("--expires", metavar="TIME", help="How long the invite is good: 30m, 24h, 7d.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=SPACES,
        epilog=epilog(
            "conjoin -C site-a serve --invite",
            "conjoin serve --bind 0.0.0.0:4433 --address models.example.org:4433",
            "conjoin serve --bind 0.0.0.0:0 --transport iroh --relay https://relay.example.org",
        ),
    )(serve)


def serve(
    ctx: typer.Context,
    bind: Bind = "127.0.0.1:0",
    address: Address = None,
    transport: Over = Transport.https,
    relay: Relay = "none",
    invite: Inviting = False,
    expires: Expires = "24h",
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Let other replicas sync with this one over the network, until Ctrl-C.

    Prints a ticket: others give it to `conjoin clone` and `conjoin sync`. Both sides prove their keys. In a closed
    space only members are answered, and whoever has a ticket with an invite. Other commands may work in this replica
    meanwhile. Needs `pip install 'conjoin[net]'`.

    With `--transport iroh` peers are dialled by key, also through NAT where a relay is named: the relay passes on what
    it cannot read, and learns both addresses, when and how much. Needs `pip install 'conjoin[p2p]'`, there as here.
    """
    from conjoin.serving import Serving

    shell = Shell.of(ctx, where, as_json, quiet)
    printing = threading.Lock()

    def tell(visitor: "Visitor") -> None:
        if not (shell.as_json or shell.quiet):
            from conjoin.apps.cli.render import show

            with printing:
                show([visit(visitor)])
                sys.stdout.flush()

    def turned_away(key: str, why: str) -> None:
        if not (shell.as_json or shell.quiet):
            with printing:
                sys.stdout.write(turning(key, why) + "\n")
                sys.stdout.flush()

    with until_interrupted() as ended:
        with shell.replica() as replica:
            path, name = replica.path, replica.name
        serving = Serving(
            path,
            bind=bind,
            transports=transports(transport, relay),
            relay=relay,
            addresses=address or (),
            invite_seconds=inviting(expires) if invite else None,
            tell=tell,
            turned_away=turned_away,
        )
        with serving:
            with printing:
                shell.tell(
                    described(serving),
                    brief=str(serving.ticket),
                    human=lambda: [*panel(serving, name, expires if invite else ""), "waiting for peers; Ctrl-C ends"],
                )
                sys.stdout.flush()
            while not ended.wait(0.5):  # a signal is noticed between two waits, whatever the system
                pass


def inviting(expires: str) -> float:
    """How many seconds an invite is good for.

    Raises:
        UsageError: it is no time, or none at all.
    """
    from conjoin.apps.cli.upkeep import duration

    seconds = duration(expires)
    if seconds <= 0:
        raise UsageError(f"--expires is {expires!r}", hint="name a time above zero, such as 24h")
    return seconds


@contextmanager
def until_interrupted(interrupt: Callable[[], None] = lambda: None) -> Generator[threading.Event]:
    """A block that is told to end by Ctrl-C or a termination instead of ending so: by an event, and by a call."""
    ended = threading.Event()

    def end(number: int, frame: object) -> None:  # noqa: ARG001
        ended.set()
        interrupt()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def transports(chosen: Transport, relay: str) -> tuple[str, ...]:
    """What a replica is served over.

    Raises:
        UsageError: a relay is named that nothing would use.
    """
    if chosen is Transport.https and relay != "none":
        raise UsageError(f"--relay {relay} is for iroh, and peers are answered over https", hint="--transport iroh")
    return ("https", "iroh") if chosen is Transport.both else (chosen.value,)


def described(serving: "Serving") -> dict[str, Any]:
    """What `--json` tells of a replica that is served."""
    ticket = serving.ticket
    return {
        "ticket": str(ticket),
        "addresses": ticket.addresses,
        "key": ticket.key,
        "space": ticket.space,
        "certificate": ticket.certificate,
        "iroh": ticket.iroh,
        "invite": bool(ticket.invite),
    }


def panel(serving: "Serving", name: str, expires: str) -> Iterable[Any]:
    """What people are told of a replica that is served; `expires` says how long its invite is good, if it has one."""
    from conjoin.apps.cli.render import short

    ticket = serving.ticket
    named = f" ({name})" if name else ""
    yield f"serving space {short(ticket.space)}{named} at {', '.join(ticket.places)}"
    if expires:
        yield f"the ticket makes one new member, within {expires}: give it to nobody else"
    if expires or serving.is_open:
        yield from ("", "  on the other machine, once:", f"conjoin clone {ticket} DIR", "")
        yield from ("  and then as often as you like:", f"conjoin -C DIR sync {ticket.without_invite}", "")
    else:
        yield from ("", "  in a member's replica, as often as it likes:", f"conjoin -C DIR sync {ticket}", "")
        yield "this ticket makes nobody a member: one with --invite does, or `conjoin invite KEY`"


def turning(key: str, why: str) -> str:
    """What is said of a peer that may not ask."""
    when = time.strftime("%H:%M:%S")
    return f"{when} key {key} was turned away: it is not a member, and {why}; `conjoin invite {key}` lets it in"


def visit(visitor: "Visitor") -> str:
    """What is said of a peer that came or went."""
    from conjoin.apps.cli.render import count, short, size

    peer = f"{time.strftime('%H:%M:%S')} peer {short(visitor.key)}"
    if not visitor.ended:
        return f"{peer} is here"
    came = f"{count(visitor.operations_in, 'operation')} and {size(visitor.bytes_in)} came"
    went = f"{count(visitor.operations_out, 'operation')} and {size(visitor.bytes_out)} went"
    said = [f"{peer}: {came}, {went}"]
    if faults := visitor.strikes + visitor.refused:
        said.append(f"refused {count(faults, 'time')}, the last: {visitor.complaint}")
    if visitor.ended != "done":
        said.append(visitor.ended)
    return "; ".join(said)
