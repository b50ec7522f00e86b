"""Draws, compiled."""

import numpy as np
import numpy.typing as npt

from conjoin.kernels.compiled.handover import words
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.native import streams as native


def draws(key: DrawKey, start: int, count: int) -> npt.NDArray[np.uint32]:
    """See `reference.streams.draws`."""
    skip = start % 4
    out = np.empty((1, skip + count + native.DRAWN), np.uint32)
    native.draws(words([key]), start - skip, out)
    return out[0, skip : skip + count]
