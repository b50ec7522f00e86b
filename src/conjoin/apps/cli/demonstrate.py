"""The command `conjoin demo`; the stories themselves are told in conjoin.apps.demo."""

import signal
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from conjoin.apps.cli.options import SPACES, AsJson, Quiet, Shell, epilog
from conjoin.errors import RecomputedDiffersError, UsageError

FEDERATION = "federation"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=SPACES,
        epilog=epilog(
            "conjoin demo",
            "conjoin demo /tmp/try-it --json",
            "conjoin demo federation",
            "conjoin demo federation /tmp/five",
        ),
    )(demo)


def demo(
    ctx: typer.Context,
    story: Annotated[
        str | None, typer.Argument(metavar="STORY", help="`federation`, or nothing: then the first word is DIR.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="Where to put it; must not exist (default: conjoin-demo, conjoin-federation)."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """See it work: three replicas, shuffled delivery, one model; or `federation`, five live ones.

    Three sites tune a small classifier of handwritten digits, each on its own digits, and sync in different orders. All
    three then make the same merged checkpoint, byte for byte. Takes seconds and no network; leaves what it made in DIR.

    `conjoin demo federation` serves five replicas on loopback, each by a process of its own, partitions them, lets both
    sides add and retract, kills one process with -9 in the middle of a transfer and starts it again, until all have the
    same root and make the same bytes. On a terminal a table shows it live. Takes half a minute, and needs
    `pip install 'conjoin[net]'`. For a folder of that name write `conjoin demo ./federation`.
    """
    shell = Shell.of(ctx, None, as_json, quiet)
    if story == FEDERATION:
        return _federation(shell, folder or Path("conjoin-federation"))
    if folder is not None:
        raise UsageError(f"there is no story {story!r}", hint="`conjoin demo DIR` or `conjoin demo federation DIR`")
    return _three_sites(shell, Path(story or "conjoin-demo"))


def _three_sites(shell: Shell, folder: Path) -> int:
    from conjoin.apps.demo import run

    story = run(folder)

    def human() -> Iterable[Any]:
        from conjoin.apps.demo.telling import lines

        return lines(story)

    shell.tell(story, brief=story.replicas[0].output, human=human)
    return 0 if story.identical else RecomputedDiffersError.exit_status


def _federation(shell: Shell, folder: Path) -> int:
    from conjoin.apps.demo.federation import run

    with _terminated_as_interrupted():
        if shell.as_json or shell.quiet:
            story = run(folder, lambda _: None)
        else:
            from conjoin.apps.demo.live import Screen

            with Screen() as screen:
                story = run(folder, screen.tell)

    def human() -> Iterable[Any]:
        from conjoin.apps.demo.telling import federation_lines

        return federation_lines(story)

    shell.tell(story, brief=story.replicas[0].output, human=human)
    return 0 if story.identical else RecomputedDiffersError.exit_status


@contextmanager
def _terminated_as_interrupted() -> Generator[None]:
    """A block that SIGTERM ends as Ctrl-C does, so that its processes and its folder go."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
