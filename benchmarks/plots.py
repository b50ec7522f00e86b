"""Draws what a part asks to be drawn, as PNG; without matplotlib (the `bench` extra) it draws nothing and says so."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Plot


def draw(plots: Sequence[Plot], folder: Path) -> list[Path]:
    """One file per plot; returns their paths."""
    if not plots:
        return []
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        print("no plots: matplotlib is not installed (pip install 'conjoin[bench]')")
        return []
    mpl.use("Agg")
    return [_drawn(plot, folder / f"{plot.name}.png") for plot in plots]


def _drawn(plot: Plot, path: Path) -> Path:
    from matplotlib import pyplot

    bars = all(len(series.x) == 1 for series in plot.series)
    figure, axes = pyplot.subplots(figsize=(9, 0.28 * len(plot.series) + 1.5 if bars else 5), layout="constrained")
    axes.set_title(plot.title, fontsize=10)
    if bars:
        _bars(axes, plot)
    else:
        _lines(axes, plot)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def _bars(axes: Any, plot: Plot) -> None:
    """A bar per series, longest at the top, logarithmic."""
    series = sorted(plot.series, key=lambda one: one.y[0])
    shown = axes.barh([one.label for one in series], [one.y[0] for one in series], color="#4477aa")
    axes.bar_label(shown, fmt="%.3g", padding=2, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel(f"{plot.y_label} (logarithmic)")
    axes.tick_params(axis="y", labelsize=8)
    axes.margins(x=0.1)


def _lines(axes: Any, plot: Plot) -> None:
    """Points of each series, with its line of least squares where a fit is asked for."""
    for series in plot.series:
        (points,) = axes.plot(series.x, series.y, "o", label=series.label)
        if plot.fit:
            slope, offset = np.polyfit(series.x, series.y, 1)
            ends = np.array([0, max(series.x)])
            axes.plot(ends, offset + slope * ends, "-", color=points.get_color(), linewidth=1)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
