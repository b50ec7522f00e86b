"""How cost grows: ten times the parameters at fixed k, and k from 2 to 64 at fixed size; both with a straight line.

Every point is one run; the line is through all of them.
"""

import shutil
from pathlib import Path

import numpy as np

from benchmarks.checkpoints import SHAPES
from benchmarks.context import Context
from benchmarks.measure import RUN_COLUMNS, Run, conjoin, models, run
from benchmarks.report import Part, Plot, Series, Table

STRATEGIES = ("linear", "task_arithmetic", "ties", "dare", "slerp")


def measure(context: Context) -> Part:
    """Two tables, two plots."""
    shapes = ("16M", "50M", "158M") if context.quick else ("50M", "158M", "0.5B")
    strategies = ("linear", "ties") if context.quick else STRATEGIES
    by_size: dict[str, list[Run]] = {name: [] for name in strategies}
    for shape in shapes:
        replica = _replica(context.scratch / shape, shape)
        _grow(replica, shape, 1, 3)
        for name in strategies:
            if not by_size[name]:
                _resolve(replica, name)  # not counted: it may compile
            by_size[name].append(_resolve(replica, name))
        shutil.rmtree(context.scratch / shape)
    counts = (2, 4, 8) if context.quick else (2, 4, 8, 16, 32, 64)
    shape = "16M" if context.quick else "50M"
    by_count: dict[str, list[Run]] = {name: [] for name in strategies}
    replica = _replica(context.scratch / "many", shape)
    for before, count in zip((0, *counts), counts, strict=False):
        _grow(replica, shape, before + 1, count)
        for name in strategies:
            by_count[name].append(_resolve(replica, name))
    sizes = [SHAPES[shape].parameters / 1e6 for shape in shapes]
    part = Part()
    _report(part, "size", "base + 3", "million parameters", sizes, by_size)
    _report(part, "count", f"{shape} parameters", "contributions", [float(count) for count in counts], by_count)
    return part


def _report(part: Part, name: str, fixed: str, unit: str, xs: list[float], found: dict[str, list[Run]]) -> None:
    rows: list[list[str | float | int | None]] = []
    fits: list[list[str | float | int | None]] = []
    for strategy, runs in found.items():
        rows += [[strategy, x, *figure.cells] for x, figure in zip(xs, runs, strict=True)]
        ys = np.array([figure.cpu_s for figure in runs])
        slope, offset = np.polyfit(xs, ys, 1)
        spread = ((ys - ys.mean()) ** 2).sum()
        share = 1 - ((ys - offset - slope * np.array(xs)) ** 2).sum() / spread if spread else 1.0
        fits.append([strategy, float(offset), float(slope), float(share)])
    title = f"cost by {unit}, {fixed}, verified"
    part.tables.append(Table(title, ("strategy", unit, *RUN_COLUMNS), rows))
    part.tables.append(Table(f"straight lines: {title}", ("strategy", "start, CPU s", f"CPU s per {unit}", "R²"), fits))
    lines = [Series(strategy, xs, [figure.cpu_s for figure in runs]) for strategy, runs in found.items()]
    part.plots.append(Plot(f"scaling-{name}", title, unit, "CPU seconds", lines, fit=True))


def _replica(folder: Path, shape: str) -> Path:
    """A replica on a base of that shape, in `folder`."""
    folder.mkdir()
    (base,) = models(folder, shape, 0)
    run(conjoin("init", folder / "replica", "--base", base, "--in-place"))
    return folder / "replica"


def _grow(replica: Path, shape: str, first: int, last: int) -> None:
    """Add the fine-tunes `first` to `last`."""
    for tune in models(replica.parent, shape, last, first=first):
        run(conjoin("-C", replica, "add", tune, "--in-place"))


def _resolve(replica: Path, strategy: str) -> Run:
    out = replica.parent / "out"
    figure = run(conjoin("-C", replica, "resolve", strategy, "-o", out))
    shutil.rmtree(out)
    return figure
