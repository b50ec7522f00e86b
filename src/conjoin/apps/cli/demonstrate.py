"""The command `conjoin demo`; the story itself is told in conjoin.apps.demo."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from conjoin.apps.cli.options import SPACES, AsJson, Quiet, Shell, epilog
from conjoin.errors import RecomputedDiffersError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(rich_help_panel=SPACES, epilog=epilog("conjoin demo", "conjoin demo /tmp/try-it --json"))(demo)


def demo(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put it; must not exist.")] = Path(
        "conjoin-demo"
    ),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """See it work: three replicas, shuffled delivery, one model.

    Three sites tune a small classifier of handwritten digits, each on its own digits, and sync in different orders. All
    three then make the same merged checkpoint, byte for byte. Takes seconds and no network; leaves what it made in DIR.
    """
    from conjoin.apps.demo import run

    shell = Shell.of(ctx, None, as_json, quiet)
    story = run(folder)

    def human() -> Iterable[Any]:
        from conjoin.apps.demo.telling import lines

        return lines(story)

    shell.tell(story, brief=story.replicas[0].output, human=human)
    return 0 if story.identical else RecomputedDiffersError.exit_status
