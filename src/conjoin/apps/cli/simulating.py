"""The command `conjoin simulate`; what is simulated and how stands in conjoin.apps.simulate."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from conjoin.apps.cli.options import LOOKING, AsJson, Quiet, Shell, epilog
from conjoin.errors import RecomputedDiffersError, UsageError

_SEEDS = re.compile(r"(\d+):(\d+)")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        rich_help_panel=LOOKING,
        epilog=epilog(
            "conjoin simulate",
            "conjoin simulate --seed 17",
            "conjoin simulate --fast --deliveries 10000000 -o simulation/",
            "conjoin simulate --scenario table6",
        ),
    )(simulate)


def simulate(
    ctx: typer.Context,
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", min=2, help="Honest replicas.")] = 5,
    byzantine: Annotated[int, typer.Option("--byzantine", metavar="N", min=0, help="Lying replicas.")] = 3,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Hostile steps in a run.")] = 400,
    replays: Annotated[
        int, typer.Option("--replays", metavar="N", min=0, help="Messages full of old operations in one flood.")
    ] = 25,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="FROM:TO", help="Runs to make, the last one excluded (0:10).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="One run, or a scenario's seed.")
    ] = None,
    deliveries: Annotated[
        int | None, typer.Option("--deliveries", metavar="N", min=1, help="Go on until so many operations arrived.")
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Keyed hashes in place of Ed25519, and every envelope read once.")
    ] = False,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario", metavar="NAME", help="table6, table7, table8, table9 (the paper's), epidemic or operations."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="N", min=2, help="Replicas (or operations) of a scenario, if not its own."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Write simulation.json, .md and .svg there.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Simulate replicas that crash and lie over a network that loses, doubles and delays; check that honest ones agree.

    The replicas run this program's own log, sessions and visits over a simulated clock, network and disk. A seed names
    a run; one that fails prints the command that makes it again, and the status is 1. Scenarios repeat the paper's
    tables of gossip and partitions over real messages.
    """
    from conjoin.apps.simulate import SCENARIOS, Hostile, hostile
    from conjoin.testing.simulator import Settings

    shell = Shell.of(ctx, None, as_json, quiet)
    if scenario is not None:
        if scenario not in SCENARIOS:
            raise UsageError(f"{scenario!r} is no scenario", hint=f"one of {', '.join(SCENARIOS)}")
        with shell.bar("done") as bar:
            found = SCENARIOS[scenario](seed or 0, size, bar)
    else:
        first, count = _runs(seeds, seed, deliveries)
        request = Hostile(Settings(nodes, byzantine, steps, fast, replays), first, count, deliveries)
        with shell.bar("runs" if count is not None else "deliveries") as bar:
            found = hostile(request, bar)
    _tell(shell, found, out)
    return 0 if found.holds else RecomputedDiffersError.exit_status


def _runs(seeds: str | None, seed: int | None, deliveries: int | None) -> tuple[int, int | None]:
    """The first seed and how many; None: as many as the deliveries take."""
    if seed is not None:
        return seed, 1
    if seeds is None:
        return 0, 10 if deliveries is None else None
    match = _SEEDS.fullmatch(seeds)
    if match is None or int(match[1]) >= int(match[2]):
        raise UsageError(f"--seeds is {seeds!r}, not a range", hint="write it like 0:50")
    return int(match[1]), int(match[2]) - int(match[1])


def _tell(shell: Shell, found: Any, out: Path | None) -> None:
    from conjoin.apps.cli.render import facts, table
    from conjoin.apps.simulate.report import write

    written = () if out is None else write(found, out)
    verdict = f"{found.name}: {'holds' if found.holds else 'does not hold'}"

    def human() -> Iterable[Any]:
        yield verdict
        yield ""
        shown = ((name.replace("_", " "), value) for name, value in found.facts.items())
        yield facts((name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in shown)
        for sheet in found.sheets:
            yield ""
            yield sheet.title
            yield table(sheet.columns, sheet.rows, right=sheet.columns[1:])
        yield from (f"note: {note}" for note in found.notes)
        yield from (f"does not hold: {problem}" for problem in found.problems)
        yield from (f"wrote {path}" for path in written)

    shell.tell(found.to_json(), brief=verdict, human=human)
