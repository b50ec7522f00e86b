"""Order statistics from histograms: which bin holds the m-th thing; integers only, exact in any order of slices."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[Any]
"""(k, bins) int64: how many things each bin holds, per contribution."""


class Found(NamedTuple):
    """Where the m-th of many ordered things lies: the bin per contribution, and the rank within it (from 1)."""

    bins: tuple[int, ...]
    ranks: tuple[int, ...]


def select_from_top(counts: Counts, ranks: tuple[int, ...]) -> Found:
    """The bin that holds the rank-th largest thing of each row, and its rank from the top of that bin.

    Args:
        counts: (k, bins).
        ranks: k ranks, from 1 for the largest.
    """
    upside_down = select_from_bottom(counts[:, ::-1], ranks)
    return Found(tuple(counts.shape[1] - 1 - chosen for chosen in upside_down.bins), upside_down.ranks)


def select_from_bottom(counts: Counts, ranks: tuple[int, ...]) -> Found:
    """The bin that holds the rank-th smallest thing of each row, and its rank from the bottom of that bin.

    A rank beyond the last thing selects the last bin.
    """
    bins, inside = list[int](), list[int]()
    for row, rank in zip(counts, ranks, strict=True):
        reached = np.cumsum(row)
        chosen = min(int(np.searchsorted(reached, rank)), len(row) - 1)
        bins.append(chosen)
        inside.append(rank - int(reached[chosen] - row[chosen]))
    return Found(tuple(bins), tuple(inside))
