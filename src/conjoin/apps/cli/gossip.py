"""The command that keeps a replica in epidemic exchange: gossip; shows who has what, and decides nothing."""

import json
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.options import SPACES, AsJson, Quiet, Shell, Where, epilog, plain
from conjoin.apps.cli.serving import (
    Address,
    Bind,
    Expires,
    Inviting,
    Over,
    Relay,
    Transport,
    described,
    inviting,
    panel,
    transports,
    turning,
    until_interrupted,
    visit,
)
from conjoin.errors import ConjoinError, DamagedPeersError, UsageError

if TYPE_CHECKING:
    from rich.live import Live

    from conjoin.gossiping import Gossip, Round
    from conjoin.serving import Serving
    from conjoin.sync.peers.sessions import Visitor


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=SPACES,
        epilog=epilog(
            "conjoin gossip",
            "conjoin gossip conjoin:TICKET s3://hospital-models/radiology --every 5m",
            "conjoin gossip conjoin:TICKET --bind 0.0.0.0:4433 --address models.example.org:4433",
        ),
    )(gossip)


def gossip(
    ctx: typer.Context,
    peers: Annotated[
        list[str] | None,
        typer.Argument(metavar="PEER…", help="Tickets or meeting places, besides those that this replica knows."),
    ] = None,
    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="From one round to the next, about: 30s, 5m, 1h.")
    ] = "30s",
    rounds: Annotated[
        int | None, typer.Option("--rounds", metavar="N", min=1, help="End after so many rounds.")
    ] = None,
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
    """Serve this replica, and sync every so often with one peer drawn at random.

    Peers are all that this replica ever synced with, and those named. When every replica of a space does so, what one
    adds reaches all of them, whoever is away meanwhile. A peer that fails is left alone for ever longer, and is back
    when it comes by itself. In a terminal a table shows who has what; otherwise there is a line for each round, with
    --json a JSON document in a line. Ctrl-C ends it. Needs `pip install 'conjoin[net]'`.
    """
    from conjoin.apps.cli.upkeep import duration
    from conjoin.gossiping import Gossip
    from conjoin.serving import Serving

    shell = Shell.of(ctx, where, as_json, quiet)
    every_seconds = duration(every)
    if every_seconds <= 0:
        raise UsageError(f"--every is {every!r}", hint="name a time above zero, such as 30s")
    syncing = False

    def interrupt() -> None:
        if syncing:  # what was complete is kept
            raise KeyboardInterrupt

    with until_interrupted(interrupt) as ended:
        with shell.replica() as replica:
            path, name = replica.path, replica.name
            known = _known(replica.peers, shell)
        told = Gossip(path, peers or (), every_seconds=every_seconds)
        screen = _Screen(shell, told)
        serving = Serving(
            path,
            bind=bind,
            transports=transports(transport, relay),
            relay=relay,
            addresses=address or (),
            invite_seconds=inviting(expires) if invite else None,
            tell=screen.came,
            turned_away=screen.turned_away,
        )
        with serving, screen, suppress(KeyboardInterrupt):
            screen.begin(serving, name, expires if invite else "", known + len(peers or ()))
            number = 0
            while not ended.is_set() and number != rounds:
                number += 1
                try:
                    syncing = True
                    found = told.round()
                finally:
                    syncing = False
                screen.round(found)
                if number != rounds:
                    ended.wait(told.pause())


def _known(read: Any, shell: Shell) -> int:
    """How many peers are remembered; what is damaged is told of, and begun anew by the next sync."""
    try:
        return len(read())
    except DamagedPeersError as error:
        if not shell.as_json:
            from conjoin.apps.cli.render import warn

            warn(str(error))
        return 0


class _Screen:
    """Where it is told what happens: a table in a terminal, otherwise lines. A context manager."""

    def __init__(self, shell: Shell, gossip: "Gossip") -> None:
        self._shell = shell
        self._gossip = gossip
        self._printing = threading.Lock()
        self._held = ExitStack()
        self._live: Live | None = None
        self._idle = False

    def __enter__(self) -> "_Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def begin(self, serving: "Serving", name: str, expires: str, known: int) -> None:
        """Tell how this replica is reached."""
        if self._shell.as_json:
            self._line(json.dumps(plain(described(serving))))
        elif self._shell.quiet:
            self._line(str(serving.ticket))
        else:
            for line in panel(serving, name, expires):
                self._line(line)
            if not known:
                self._line("no peer is known yet: name one, or let others come")
            self._line("Ctrl-C ends")
            if sys.stdout.isatty():
                from rich.console import Console
                from rich.live import Live

                console = Console(highlight=False, emoji=False, markup=False)
                self._live = self._held.enter_context(Live(console=console, auto_refresh=False))

    def came(self, visitor: "Visitor") -> None:
        """Tell of a peer that came or went; from another thread."""
        if visitor.ended == "done":
            self._gossip.came(visitor.key)
        if not (self._shell.as_json or self._shell.quiet):
            self._line(visit(visitor))

    def turned_away(self, key: str, why: str) -> None:
        """Tell of a peer that may not ask; from another thread."""
        if not (self._shell.as_json or self._shell.quiet):
            self._line(turning(key, why))

    def round(self, found: "Round") -> None:
        """Tell what came of a round."""
        if self._shell.as_json:
            self._line(json.dumps(plain(found)))
        elif self._live is not None:
            with self._printing:
                self._live.update(_table(found), refresh=True)
        if self._shell.as_json or self._shell.quiet:
            return
        if found.peer is not None or not self._idle:
            self._line(_said(found))
        self._idle = found.peer is None

    def _line(self, text: str) -> None:
        from conjoin.apps.cli.failure import printable

        with self._printing:
            if self._live is not None:
                self._live.console.print(printable(text), soft_wrap=True)
            else:
                sys.stdout.write(printable(text) + "\n")
                sys.stdout.flush()


def _said(found: "Round") -> str:
    """A line about a round."""
    from conjoin.apps.cli.render import named, short

    head = f"{time.strftime('%H:%M:%S')} round {found.number}:"
    end = f"root {short(found.root)}"
    if found.peer is None:
        return f"{head} nobody to sync with now; {end}"
    if found.report is None:
        return f"{head} {named(found.peer)} failed: {_why(found.error)}; {end}"
    report = found.report
    moved = f"{report.operations_in} in, {report.operations_out} out"
    trouble = [f"{len(report.refused)} refused, {one.name}: {one.what} ({one.code})" for one in report.refused[:1]]
    trouble += [_why(report.failure)] if report.failure is not None else []
    return "; ".join([f"{head} {named(found.peer)}: {moved}", *trouble, end])


def _why(error: ConjoinError | None) -> str:
    return f"{error.what} ({error.code})" if error is not None else ""


def _table(found: "Round") -> Any:
    from rich.console import Group

    from conjoin.apps.cli import render

    equal = sum(1 for peer in found.peers if peer.met and not peer.behind)
    head = f"root {render.short(found.root)} over {render.count(found.visible, 'visible contribution')}"
    return Group("", render.peers(found.peers), f"{head}; {equal} of {render.count(len(found.peers), 'peer')} have it")
