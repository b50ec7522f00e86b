"""Exact sums of the reference: whole numbers of units of 2⁻¹⁰⁷⁴ in words of 32 bits."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.formats import Float64, Raw
from conjoin.kernels.layout import SUM_WORDS, WORDS_OF_SUM, SumOf
from conjoin.kernels.reference.selection import vector_of

Int64 = npt.NDArray[np.int64]


def sums(tensors: Sequence[Raw], base: Raw | None, form: str, kind: SumOf) -> Int64:
    """(k, WORDS_OF_SUM): the exact sums of v, |v| or v·v."""
    with np.errstate(all="ignore"):
        rows = [vector_of(tensor, base, form) for tensor in tensors]
        if kind == "squares":
            rows = [row * row for row in rows]
    return np.array([_sum(row, sizes=kind == "sizes") for row in rows])


def _sum(values: Float64, *, sizes: bool) -> Int64:
    bits = values.view(np.int64)
    exponent, fraction = (bits >> 52) & 0x7FF, bits & ((1 << 52) - 1)
    negative = (bits < 0) & (not sizes)
    finite = exponent < 0x7FF
    words = np.zeros(WORDS_OF_SUM, np.int64)
    whole = np.where(finite, fraction | np.where(exponent > 0, 1 << 52, 0), 0)
    shift = np.where(exponent > 0, exponent - 1, 0)
    at, rest = shift // 32, shift % 32
    low, high = (whole & 0xFFFF_FFFF) << rest, (whole >> 32) << rest  # both below 2^63
    for place, part in ((0, low & 0xFFFF_FFFF), (1, (low >> 32) + (high & 0xFFFF_FFFF)), (2, high >> 32)):
        np.add.at(words, np.where(finite, at + place, 0), np.where(negative, -part, part))
    for index in range(SUM_WORDS - 1):
        words[index + 1] += words[index] >> 32
        words[index] &= 0xFFFF_FFFF
    words[SUM_WORDS] = np.count_nonzero(~finite & (fraction == 0) & ~negative)
    words[SUM_WORDS + 1] = np.count_nonzero(~finite & (fraction == 0) & negative)
    words[SUM_WORDS + 2] = np.count_nonzero(~finite & (fraction != 0))
    return words
