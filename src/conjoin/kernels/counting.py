"""Order statistics from histograms: which bin holds the m-th thing; integers only, exact in any order of slices."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conjoin.kernels.layout import BRACKET_BINS, HIGH_BINS, LOW_SHIFT, Bracket

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


KEYS_STOP = HIGH_BINS << LOW_SHIFT
"""Behind the last key."""


class Narrowed(NamedTuple):
    """Where the m-th largest key is, per contribution, and its rank among those there (from 1) if they are one key."""

    brackets: tuple[Bracket, ...]
    ranks: tuple[int, ...]

    @property
    def is_exact(self) -> bool:
        """Whether every bracket holds but one key: the m-th largest one."""
        return all(bracket.is_one_key for bracket in self.brackets)


def bracket_of_sample(counts: Counts, rank: int, elements: int) -> Narrowed:
    """Brackets that probably hold the rank-th largest of so many keys, by the upper halves of some of them.

    Four standard deviations of a random sample to either side, and a two-thousandth of it because parts of a tensor
    differ; nothing to either side if all keys were looked at.
    """
    brackets: list[Bracket] = []
    for row in counts:
        last, reached = len(row) - 1, np.cumsum(row[::-1])
        size, whole = int(reached[-1]), max(elements, 1)
        middle = rank * size // whole
        spread = math.isqrt(16 * size * rank * max(whole - rank, 0)) // whole
        margin = 0 if size == elements else spread + size // 2000 + 1
        ranks = (max(min(middle + margin, size), 1), max(middle - margin, 1))
        low, high = (last - min(int(np.searchsorted(reached, rank)), last) for rank in ranks)
        favourite = low + int(np.argmax(row[low : high + 1]))
        brackets.append(Bracket(low << LOW_SHIFT, (high + 1) << LOW_SHIFT, favourite << LOW_SHIFT))
    return Narrowed(tuple(brackets), (0,) * len(brackets))


def narrowed(before: Narrowed, counts: Counts, rank: int) -> Narrowed:
    """Narrower brackets that certainly hold the rank-th largest key.

    Args:
        before: brackets, whether they hold it or not.
        counts: (k, BRACKET_BINS + 2) of all keys, see `bracket_counts`.
        rank: from 1 for the largest.
    """
    found = [_narrowed(bracket, row, rank) for bracket, row in zip(before.brackets, counts, strict=True)]
    return Narrowed(tuple(bracket for bracket, _ in found), tuple(inner for _, inner in found))


def _narrowed(bracket: Bracket, row: Counts, rank: int) -> tuple[Bracket, int]:
    inside, above, favourites = row[:BRACKET_BINS], int(row[BRACKET_BINS]), int(row[BRACKET_BINS + 1])
    if rank <= above:
        return Bracket(bracket.stop, KEYS_STOP, bracket.stop), 0
    if rank > above + int(inside.sum()):
        return Bracket(0, max(bracket.low, 1), 0), 0  # of no elements any key is the largest
    (chosen,), (inner,) = select_from_top(inside[np.newaxis], (rank - above,))
    low, stop = bracket.low + (chosen << bracket.shift), bracket.low + ((chosen + 1) << bracket.shift)
    if low <= bracket.favourite < stop and favourites == inside[chosen]:
        low, stop = bracket.favourite, bracket.favourite + 1
    return Bracket(low, stop, low), inner
