"""Order statistics: counts by magnitude key."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.backend import operation
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import INDEX_BINS, INDEX_SHIFT, Bracket
from conjoin.kernels.ops.arguments import all_plain, element_count, require, require_each

Int64 = npt.NDArray[np.int64]


def high_histograms(tensors: Sequence[Raw], base: Raw, form: str) -> Int64:
    """Count the upper halves (16 bits) of the magnitude keys of k task vectors.

    The key of τ = θ − θ₀ is the 31 bits of |τ| rounded to float32; keys order as magnitudes do.

    Returns:
        (k, 65,536) counts; those of several slices add up.
    """
    origin, *arrays = all_plain([base, *tensors], form)
    return operation("order.high_histograms", element_count(tensors))(arrays, origin, form)


def bracket_counts(tensors: Sequence[Raw], base: Raw, form: str, brackets: Sequence[Bracket]) -> Int64:
    """Count the keys inside a bracket for each contribution, and those above it.

    Returns:
        (k, 65,536 + 2) counts: by (key − low) >> shift; then the keys from `stop` on; then the favourite, which is in
        its bin as well. Those of several slices add up.
    """
    for bracket in brackets:
        require(0 <= bracket.low <= bracket.favourite < bracket.stop <= 1 << 31, f"{bracket} is none of 31-bit keys")
    require_each(tensors, brackets=brackets)
    origin, *arrays = all_plain([base, *tensors], form)
    return operation("order.bracket_counts", element_count(tensors))(arrays, origin, form, list(brackets))


def tie_histograms(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    thresholds: Sequence[int],
    start: int,
    bins: Sequence[int] | None = None,
) -> Int64:
    """Count where the keys equal to the contribution's threshold lie.

    Args:
        tensors: k arrays (n,).
        base: (n,).
        form: format of both.
        thresholds: k keys.
        start: flat index of the first element.
        bins: None counts the upper parts of the index; k upper parts count the lower ones within them.

    Returns:
        (k, 262,144) counts; those of several slices add up.
    """
    require(start + len(base) <= INDEX_BINS << INDEX_SHIFT, "more than 2^36 elements cannot be cut by index")
    require_each(tensors, thresholds=thresholds, bins=tensors if bins is None else bins)
    origin, *arrays = all_plain([base, *tensors], form)
    run = operation("order.tie_histograms", element_count(tensors))
    return run(arrays, origin, form, list(thresholds), start, bins)
