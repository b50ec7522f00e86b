"""Order statistics of the reference: magnitude keys and how many share a bin."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.formats import Float64, Raw, decode
from conjoin.kernels.layout import BRACKET_BINS, HIGH_BINS, INDEX_BINS, INDEX_SHIFT, LOW_SHIFT, Bracket

Int64 = npt.NDArray[np.int64]


def magnitude_keys(delta: Float64) -> npt.NDArray[np.uint32]:
    """|τ| as an integer that orders like it: the bits of τ rounded to float32, without the sign."""
    with np.errstate(all="ignore"):
        return delta.astype(np.float32).view(np.uint32) & np.uint32(0x7FFF_FFFF)


def task_vector(tensor: Raw, base: Raw, form: str) -> Float64:
    """τ = θ − θ₀ (n,)."""
    with np.errstate(all="ignore"):
        return decode(tensor, form) - decode(base, form)


def high_histograms(tensors: Sequence[Raw], base: Raw, form: str) -> Int64:
    """(k, HIGH_BINS): how many magnitude keys share each upper half."""
    counts = np.zeros((len(tensors), HIGH_BINS), np.int64)
    for row, tensor in zip(counts, tensors, strict=True):
        keys = magnitude_keys(task_vector(tensor, base, form))
        row += np.bincount(keys >> np.uint32(LOW_SHIFT), minlength=HIGH_BINS)
    return counts


def bracket_counts(tensors: Sequence[Raw], base: Raw, form: str, brackets: Sequence[Bracket]) -> Int64:
    """(k, BRACKET_BINS + 2): the keys inside each bracket by bin, those above it, those equal to its favourite."""
    counts = np.zeros((len(tensors), BRACKET_BINS + 2), np.int64)
    for row, tensor, bracket in zip(counts, tensors, brackets, strict=True):
        keys = magnitude_keys(task_vector(tensor, base, form))
        inside = keys[(keys >= np.uint32(bracket.low)) & (keys < np.uint32(bracket.stop))]
        bins = (inside - np.uint32(bracket.low)) >> np.uint32(bracket.shift)
        row[:BRACKET_BINS] = np.bincount(bins, minlength=BRACKET_BINS)
        row[-2] = np.count_nonzero(keys >= np.uint32(bracket.stop))
        row[-1] = np.count_nonzero(keys == np.uint32(bracket.favourite))
    return counts


def tie_histograms(
    tensors: Sequence[Raw], base: Raw, form: str, thresholds: Sequence[int], start: int, bins: Sequence[int] | None
) -> Int64:
    """(k, INDEX_BINS): where the keys equal to the threshold lie: by upper index bits, or lower ones within `bins`."""
    counts = np.zeros((len(tensors), INDEX_BINS), np.int64)
    for i, tensor in enumerate(tensors):
        keys = magnitude_keys(task_vector(tensor, base, form))
        index = np.flatnonzero(keys == np.uint32(thresholds[i])) + start
        upper, lower = index >> INDEX_SHIFT, index & (INDEX_BINS - 1)
        chosen = upper if bins is None else lower[upper == bins[i]]
        counts[i] += np.bincount(chosen, minlength=INDEX_BINS)
    return counts
