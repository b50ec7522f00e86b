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

    dots = all(len(series.x) == 1 for series in plot.series)
    figure, axes = pyplot.subplots(figsize=(9, 0.28 * len(plot.series) + 1.5 if dots else 5), layout="constrained")
    axes.set_title(plot.title, fontsize=10)
    if dots:
        _dots(axes, plot)
    else:
        _lines(axes, plot)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def _dots(axes: Any, plot: Plot) -> None:
    """A dot per series, smallest at the bottom, logarithmic."""
    colours = {"plain": "#999999", "memcpy": "#999999", "hashlib": "#999999", "mergekit": "#cc6677"}
    series = sorted(plot.series, key=lambda one: one.y[0])
    values = [one.y[0] for one in series]
    shown = [colours.get(one.label.split()[0].rstrip(":"), "#4477aa") for one in series]
    axes.scatter(values, [one.label for one in series], c=shown)
    for place, value in enumerate(values):
        axes.annotate(f"{value:.3g}", (value, place), (6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel(f"{plot.y_label} (logarithmic)")
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="x", which="both", alpha=0.3)
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
