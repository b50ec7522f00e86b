"""Draws."""

import numpy as np
import numpy.typing as npt

from conjoin.kernels.backend import operation
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.ops.arguments import require

Int64 = npt.NDArray[np.int64]


def draws(key: DrawKey, start: int, count: int) -> npt.NDArray[np.uint32]:
    """Words `start` to `start + count` of a draw (Philox4x32-10). (count,)."""
    require(min(start, count) >= 0, f"{count} words from {start} on")
    return operation("streams.draws", count)(key, start, count)
