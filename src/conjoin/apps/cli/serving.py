"""The command that answers live peers: serve; prints a ticket, then a line for whoever came and went."""

import signal
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.options import SPACES, AsJson, Quiet, Shell, Where, epilog

if TYPE_CHECKING:
    from conjoin.serving import Serving
    from conjoin.sync.peers.sessions import Visitor


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=SPACES,
        epilog=epilog(
            "conjoin -C site-a serve --invite",
            "conjoin serve --bind 0.0.0.0:4433 --address models.example.org:4433",
        ),
    )(serve)


def serve(
    ctx: typer.Context,
    bind: Annotated[
        str,
        typer.Option(
            "--bind", metavar="HOST:PORT", help="Where to listen. Port 0 takes a free one, host 0.0.0.0 all interfaces."
        ),
    ] = "127.0.0.1:0",
    address: Annotated[
        list[str] | None,
        typer.Option("--address", metavar="HOST:PORT", help="Where others reach it, where that is not --bind."),
    ] = None,
    invite: Annotated[
        bool, typer.Option("--invite", help="Whoever shows this ticket first becomes a member. Only admins can.")
    ] = False,
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="How long the invite is good: 30m, 24h, 7d.")
    ] = "24h",
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Let other replicas sync with this one over the network, until Ctrl-C.

    Prints a ticket: others give it to `conjoin clone` and `conjoin sync`. Both sides prove their keys. In a closed
    space only members are answered, and whoever has a ticket with an invite. Other commands may work in this replica
    meanwhile. Needs `pip install 'conjoin[net]'`.
    """
    from conjoin.apps.cli.upkeep import duration
    from conjoin.serving import Serving

    shell = Shell.of(ctx, where, as_json, quiet)
    ended = threading.Event()
    printing = threading.Lock()

    def end(number: int, frame: object) -> None:  # noqa: ARG001
        ended.set()

    def tell(visitor: "Visitor") -> None:
        if not (shell.as_json or shell.quiet):
            from conjoin.apps.cli.render import show

            with printing:
                show([_line(visitor)])
                sys.stdout.flush()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with shell.replica() as replica:
            path, name = replica.path, replica.name
        serving = Serving(
            path,
            bind=bind,
            addresses=address or (),
            invite_seconds=duration(expires) if invite else None,
            tell=tell,
        )
        with serving:
            ticket = serving.ticket
            value = {
                "ticket": str(ticket),
                "addresses": ticket.addresses,
                "key": ticket.key,
                "space": ticket.space,
                "certificate": ticket.certificate,
                "invite": invite,
            }
            with printing:
                shell.tell(value, brief=str(ticket), human=lambda: _panel(serving, name, expires if invite else ""))
                sys.stdout.flush()
            while not ended.wait(0.5):  # a signal is noticed between two waits, whatever the system
                pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _panel(serving: "Serving", name: str, expires: str) -> Iterable[Any]:
    from conjoin.apps.cli.render import short

    ticket = serving.ticket
    named = f" ({name})" if name else ""
    yield f"serving space {short(ticket.space)}{named} at {', '.join(ticket.addresses)}"
    if expires:
        yield f"the ticket makes one new member, within {expires}: give it to nobody else"
    yield from ("", "  on the other machine, once:", f"conjoin clone {ticket} DIR", "")
    yield from ("  and then as often as you like:", f"conjoin -C DIR sync {ticket.without_invite}", "")
    yield "waiting for peers; Ctrl-C ends"


def _line(visitor: "Visitor") -> str:
    """What is said of a peer that came or went."""
    from conjoin.apps.cli.render import count, short, size

    peer = f"{time.strftime('%H:%M:%S')} peer {short(visitor.key)}"
    if not visitor.ended:
        return f"{peer} is here"
    came = f"{count(visitor.operations_in, 'operation')} and {size(visitor.bytes_in)} came"
    went = f"{count(visitor.operations_out, 'operation')} and {size(visitor.bytes_out)} went"
    return f"{peer}: {came}, {went}" + ("" if visitor.ended == "done" else f"; {visitor.ended}")
