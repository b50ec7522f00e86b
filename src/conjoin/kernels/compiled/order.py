"""Order statistics, compiled."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.compiled.handover import Int64, code, in_vectors, ints
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import BRACKET_BINS, HIGH_BINS, INDEX_BINS, INDEX_SHIFT, LOW_SHIFT, Bracket
from conjoin.kernels.native import order as native
from conjoin.kernels.native.vectors import WIDTH


def high_histograms(tensors: Sequence[Raw], base: Raw, form: str) -> Int64:
    """See `reference.order.high_histograms`."""
    counts = np.zeros((len(tensors), HIGH_BINS), np.int64)
    for _, n, inputs, _ in in_vectors([base, *tensors]):
        native.high_histograms(inputs[1:], inputs[0], n, code(form), LOW_SHIFT, counts)
    counts[:, 0] -= _padding(base)
    return counts


def _padding(base: Raw) -> int:
    """How many zeros are behind the end, whose key is 0."""
    return -len(base) % WIDTH


def bracket_counts(tensors: Sequence[Raw], base: Raw, form: str, brackets: Sequence[Bracket]) -> Int64:
    """See `reference.order.bracket_counts`."""
    counts = np.zeros((len(tensors), BRACKET_BINS + 2), np.int64)
    edges = np.array([(b.low, b.stop, b.favourite, b.shift) for b in brackets], np.int64)
    for _, n, inputs, _ in in_vectors([base, *tensors]):
        native.bracket_counts(inputs[1:], inputs[0], n, code(form), edges, counts)
    for row, bracket in zip(counts, brackets, strict=True):
        row[0] -= _padding(base) * (bracket.low == 0)
        row[-1] -= _padding(base) * (bracket.favourite == 0)
    return counts


def tie_histograms(
    tensors: Sequence[Raw], base: Raw, form: str, thresholds: Sequence[int], start: int, bins: Sequence[int] | None
) -> Int64:
    """See `reference.order.tie_histograms`."""
    counts = np.zeros((len(tensors), INDEX_BINS), np.int64)
    within = ints([-1] * len(tensors) if bins is None else bins)
    for at, n, inputs, _ in in_vectors([base, *tensors]):
        native.tie_histograms(
            inputs[1:],
            inputs[0],
            n,
            code(form),
            ints(thresholds),
            start + at,
            start + len(base),
            INDEX_SHIFT,
            within,
            counts,
        )
    return counts
