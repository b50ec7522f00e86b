"""Order statistics on the device: how many magnitude keys share a bin."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.device.tensors import counted, indices, magnitude_keys, task_vector, torch
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import (
    BRACKET_BINS,
    HIGH_BINS,
    INDEX_BINS,
    INDEX_SHIFT,
    LOW_SHIFT,
    Bracket,
)

Int64 = npt.NDArray[np.int64]


def high_histograms(tensors: Sequence[Raw], base: Raw, form: str) -> Int64:
    """See `reference.order.high_histograms`."""
    return counted([magnitude_keys(task_vector(t, base, form)) >> LOW_SHIFT for t in tensors], HIGH_BINS)


def bracket_counts(tensors: Sequence[Raw], base: Raw, form: str, brackets: Sequence[Bracket]) -> Int64:
    """See `reference.order.bracket_counts`."""
    rows: list[Int64] = []
    for tensor, bracket in zip(tensors, brackets, strict=True):
        keys = magnitude_keys(task_vector(tensor, base, form)).to(torch.int64)
        inside = keys[(keys >= bracket.low) & (keys < bracket.stop)]
        bins = counted([(inside - bracket.low) >> bracket.shift], BRACKET_BINS)[0]
        above, favoured = torch.count_nonzero(keys >= bracket.stop), torch.count_nonzero(keys == bracket.favourite)
        rows.append(np.array([*bins, int(above), int(favoured)], np.int64))
    return np.stack(rows)


def tie_histograms(
    tensors: Sequence[Raw], base: Raw, form: str, thresholds: Sequence[int], start: int, bins: Sequence[int] | None
) -> Int64:
    """See `reference.order.tie_histograms`."""
    places = indices(start, start + len(base))
    ties = [
        places[magnitude_keys(task_vector(t, base, form)) == threshold]
        for t, threshold in zip(tensors, thresholds, strict=True)
    ]
    if bins is None:
        return counted([at >> INDEX_SHIFT for at in ties], INDEX_BINS)
    inside = [at[(at >> INDEX_SHIFT) == chosen] & (INDEX_BINS - 1) for at, chosen in zip(ties, bins, strict=True)]
    return counted(inside, INDEX_BINS)
