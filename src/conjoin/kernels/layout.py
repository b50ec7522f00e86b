"""Sizes and small values that the reference and the compiled kernels share; part of the determinism contract."""

from dataclasses import dataclass
from typing import Literal

BLOCK_ELEMENTS = 65_536
"""Elements of a canonical block: what one row of a reduction covers."""
LANES = 32
"""Running sums of a block; lane l takes the elements l, l + 32, l + 64, …"""

LOW_SHIFT = 15
HIGH_BINS = 1 << 16
"""Bins by the upper half of a 31-bit magnitude key."""
LOW_BINS = 1 << LOW_SHIFT
"""Bins by the lower half, within one upper bin."""

INDEX_SHIFT = 18
INDEX_BINS = 1 << INDEX_SHIFT
"""Bins by half an element index, when ties at a threshold are cut by index. Two halves: up to 2^36 elements."""

NO_CUTOFF = (1 << 63) - 1
"""Cut-off above every index: all ties are kept."""

Aggregate = Literal["mean", "sum", "max"]
DropAggregate = Literal["mean", "sum", "max", "all"]


@dataclass(frozen=True, slots=True)
class Trim:
    """What survives per contribution: keys above the threshold, and keys at it whose index is below the cut-off."""

    thresholds: tuple[int, ...]
    cutoffs: tuple[int, ...]

    @classmethod
    def nothing(cls, count: int) -> "Trim":
        """Keep every element of `count` contributions."""
        return cls((0,) * count, (NO_CUTOFF,) * count)
