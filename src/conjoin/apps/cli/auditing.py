"""The command `conjoin audit`; what is audited and how stands in conjoin.apps.audit."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from conjoin.apps.cli.options import LOOKING, AsJson, Quiet, Shell, epilog
from conjoin.errors import RecomputedDiffersError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=LOOKING,
        epilog=epilog(
            "conjoin audit",
            "conjoin audit ties dare --shapes 4x4,gpt2-xl",
            "conjoin audit --full -o audit/",
        ),
    )(audit)


def audit(
    ctx: typer.Context,
    strategies: Annotated[
        list[str] | None, typer.Argument(metavar="[STRATEGY]...", help="Only these of the paper's 26.")
    ] = None,
    shapes: Annotated[
        str | None,
        typer.Option("--shapes", metavar="NAMES", help="4x4 (default), gpt2-xl, mistral-7b; several with commas."),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep/--no-sweep", help="Ten replicas of 64×64, gossip in a random order.")
    ] = True,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer trials, and of a model only its smallest layer.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="All shapes, and matrix strategies on every layer: days of CPU time."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Names the generated tensors.")] = 42,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Write audit.json, audit.md and audit.svg there."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Measure the paper's tables again: 26 strategies, raw and through both layers.

    Phase 1 asks of each strategy as an operation on two tensors whether it is commutative, associative and idempotent,
    beside the paper's Tables 1 and 3. Phase 2 asks the same of replicas that join and resolve, and whether three agree
    in all orders: to the bit. Status 1 if Phase 2 fails anywhere, or a strategy is missing.
    """
    from conjoin.apps.audit import Request, run

    shell = Shell.of(ctx, None, as_json, quiet)
    every = "4x4,gpt2-xl,mistral-7b" if full else "4x4"
    names = tuple(filter(None, (shapes or every).split(",")))
    with shell.bar() as bar:
        found = run(Request(tuple(strategies or ()), names, sweep, quick, full, seed), bar)
    _tell(shell, found, out)
    return 0 if found.holds else RecomputedDiffersError.exit_status


def _tell(shell: Shell, found: Any, out: Path | None) -> None:
    from conjoin.apps.audit.documents import to_json, write
    from conjoin.apps.audit.telling import lines, verdict

    written = () if out is None else write(found, out)

    def human() -> Iterable[Any]:
        yield from lines(found)
        yield from (f"wrote {path}" for path in written)

    shell.tell(to_json(found), brief=verdict(found), human=human)
