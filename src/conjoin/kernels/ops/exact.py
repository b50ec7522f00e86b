"""Exact sums, for parts that are not canonical: neither the order of the elements nor the cuts show in the result."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from conjoin.kernels.backend import operation
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import SUM_WORDS, SumOf
from conjoin.kernels.ops.arguments import all_centred, element_count

Int64 = npt.NDArray[np.int64]


def exact_sums(tensors: Sequence[Raw], base: Raw | None, form: str, kind: SumOf) -> Int64:
    """The exact sums of the elements v of k tensors, or of their task vectors where there is a base.

    A term is v, |v| or v·v, one float64 value; the square is rounded once. Its sum with the others is not rounded.

    Args:
        tensors: k arrays (n,), any part of the tensors with its elements in any order.
        base: (n,) or None.
        form: format of all.
        kind: what the terms are.

    Returns:
        (k, words) int64. Those of several slices add up, up to 2³¹ of them. `total` and `nearest_total` read a row.
    """
    origin, arrays = all_centred(tensors, base, form)
    return operation("exact.sums", element_count(tensors))(arrays, origin, form, kind)


def total(words: Int64) -> Fraction:
    """The number that a row of `exact_sums` stands for; Inf and NaN among the terms are not in it."""
    units = sum(int(word) << (32 * at) for at, word in enumerate(words[:SUM_WORDS]))
    return Fraction(units, 1 << 1074)


def nearest_total(words: Int64) -> float:
    """The float64 nearest to the sum, ties to even; ±Inf beyond the range, and where terms were so; else NaN."""
    above, below, nan = (int(count) for count in words[SUM_WORDS:])
    if nan or (above and below):
        return math.nan
    if above or below:
        return math.inf if above else -math.inf
    exact = total(words)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
