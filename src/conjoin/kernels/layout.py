"""Sizes and small values that the reference and the compiled kernels share; part of the determinism contract."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK_ELEMENTS = 65_536
"""Elements of a canonical block: what one row of a reduction covers."""
LANES = 32
"""Running sums of a block; lane l takes the elements l, l + 32, l + 64, …"""

LOW_SHIFT = 15
HIGH_BINS = 1 << 16
"""Bins by the upper half of a 31-bit magnitude key."""

BRACKET_BINS = 1 << 16
"""Bins of equal width, a power of two, into which the keys of a bracket are counted."""

INDEX_SHIFT = 18
INDEX_BINS = 1 << INDEX_SHIFT
"""Bins by half an element index, when ties at a threshold are cut by index. Two halves: up to 2^36 elements."""

NO_CUTOFF = (1 << 63) - 1
"""Cut-off above every index: all ties are kept."""

Aggregate = Literal["mean", "sum", "max"]
DropAggregate = Literal["mean", "sum", "max", "all"]

ROUNDER = 1.5 * 2.0**52
"""Added to a number and taken away again, rounds it to a whole one."""
LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471805598903
"""The upper 42 bits of ln 2: its product with an exponent is exact."""
LN2_LOW = 5.497923018708371e-14
"""ln 2 − LN2_HIGH."""
EXP_TERMS = tuple(1.0 / math.factorial(power) for power in range(2, 15))
"""Coefficients of r⁰ … r¹² in (exp r − 1 − r) / r². |r| ≤ ½ ln 2, so what is left out is below 2⁻⁶⁰."""
LOG_TERMS = tuple(2.0 / (2 * power + 1) for power in range(1, 12))
"""Coefficients of z⁰ … z¹⁰ in (2 artanh s − 2s) / (s z), z = s². s² ≤ 0.0295, so what is left out is below 2⁻⁶⁰."""

SumOf = Literal["values", "sizes", "squares"]
"""Terms of an exact sum."""
SUM_WORDS = 68
"""Words of 32 bits that hold every sum of 2³⁶ float64 numbers in units of 2⁻¹⁰⁷⁴; the top one has the sign."""
WORDS_OF_SUM = SUM_WORDS + 3
"""Behind them: how many terms were +Inf, −Inf and NaN."""


@dataclass(frozen=True, slots=True)
class Bracket:
    """Keys from `low` to before `stop`, of which `favourite` is counted by itself: it may be that of many elements."""

    low: int
    stop: int
    favourite: int

    @property
    def is_one_key(self) -> bool:
        """Whether there is but one key inside."""
        return self.stop == self.low + 1

    @property
    def shift(self) -> int:
        """The binary logarithm of how many keys share a bin."""
        return max(0, (self.stop - self.low - 1).bit_length() - (BRACKET_BINS.bit_length() - 1))


@dataclass(frozen=True, slots=True)
class Trim:
    """What survives per contribution: keys above the threshold, and keys at it whose index is below the cut-off."""

    thresholds: tuple[int, ...]
    cutoffs: tuple[int, ...]

    @classmethod
    def nothing(cls, count: int) -> "Trim":
        """Keep every element of `count` contributions."""
        return cls((0,) * count, (NO_CUTOFF,) * count)


SUM_PIECE = 1024
"""Elements of a running sum that share their bounds."""
UNBOUNDED = 20_000
"""Beyond every exponent of a float64: the bounds of a piece of zeros, and the other way round of one without bounds."""
EXPONENT_MIN, EXPONENT_MAX = -1074, 900
"""Exponents between which a sum of float64 numbers is looked at."""


class Span(NamedTuple):
    """What is known of a sum's factors: each is a multiple of 2^low, and their magnitudes add up to 2^top at most."""

    low: int
    top: int


class Packed(NamedTuple):
    """The sums of a running sum as they are kept.

    Attributes:
        bounds: (pieces, 3) int16, per piece: every value that was ever in is a multiple of 2^low, smaller than 2^top;
            and whether one was −0 (of contributions; not kept of task vectors).
        words: (words,) uint64, the pieces one after the other, each from a whole word on. Per element nothing, 2 or 4
            bytes (whole multiples of 2^(low + the span's low)) or 8 (float64), the least that the bounds allow.
    """

    bounds: npt.NDArray[np.int16]
    words: npt.NDArray[np.uint64]
