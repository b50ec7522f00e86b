"""Many seeds of the hostile network, until they are done or enough was delivered; prints nothing."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from conjoin.apps.simulate.report import Plot, Result, Sheet
from conjoin.progress import SILENT, Progress
from conjoin.testing.simulator import Run, Settings, shortcuts, simulate

SHOWN_MAX = 10
"""Failing seeds that are listed."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """What to run.

    Attributes:
        settings: of every run.
        first: the first seed.
        count: how many seeds; None: as many as `deliveries` take.
        deliveries: stop when so many operations were delivered; None: do not.
    """

    settings: Settings
    first: int = 0
    count: int | None = None
    deliveries: int | None = None


def hostile(request: Hostile, progress: Progress = SILENT) -> Result:
    """Run the seeds one after the other."""
    settings = request.settings
    by_deliveries = request.count is None and request.deliveries is not None
    total = (request.deliveries if by_deliveries else request.count) or 1
    progress.start("simulating", total)
    runs: list[Run] = []
    delivered = 0
    began = time.process_time()
    with shortcuts() if settings.hashed else nullcontext():
        while (request.count is None or len(runs) < request.count) and (
            request.deliveries is None or delivered < request.deliveries
        ):
            runs.append(simulate(request.first + len(runs), settings))
            delivered += runs[-1].deliveries
            progress.advance(runs[-1].deliveries if by_deliveries else 1)
    return _result(runs, settings, time.process_time() - began)


def _result(runs: Sequence[Run], settings: Settings, cpu_s: float) -> Result:
    deliveries = sum(run.deliveries for run in runs)
    bad = [run for run in runs if run.violations]
    problems = [f"seed {run.seed}: {run.violations[0]}; {settings.command(run.seed)}" for run in bad[:SHOWN_MAX]]
    losses = sum("acknowledged" in text for run in bad for text in run.violations)
    facts = {
        "seeds": len(runs),
        "replicas": f"{settings.nodes} honest, {settings.byzantine} Byzantine, {settings.steps} steps each",
        "signatures": "keyed hashes, envelopes read once" if settings.hashed else "Ed25519, verified everywhere",
        "deliveries": deliveries,
        "admitted": sum(run.admitted for run in runs),
        "messages": sum(run.messages for run in runs),
        "forks": sum(run.forks for run in runs),
        "divergences": len(bad),
        "losses": losses,
        "cpu_s": round(cpu_s),
        "deliveries_per_cpu_s": round(deliveries / max(cpu_s, 1e-9)),
    }
    events: dict[str, int] = {}
    for run in runs:
        for name, count in run.events.items():
            events[name] = events.get(name, 0) + count
    rows = tuple((name, f"{count:,}") for name, count in sorted(events.items()))
    sums, points = 0, [(0.0, 0.0)]
    for number, run in enumerate(runs, 1):
        sums += run.deliveries
        points.append((float(number), float(sums)))
    return Result(
        "hostile",
        not bad,
        facts,
        (Sheet("What happened", ("event", "times"), rows),),
        (
            "a delivery is one operation that arrived in a message or from a meeting place and was judged; most are "
            "old ones that liars send again",
        ),
        Plot("deliveries over seeds", "seeds", "deliveries", tuple(points)),
        tuple(problems),
    )
