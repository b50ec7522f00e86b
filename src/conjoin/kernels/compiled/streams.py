"""Draws, compiled."""

import numpy as np
import numpy.typing as npt

from conjoin.kernels.compiled.handover import words
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.native import streams as native


def draws(key: DrawKey, start: int, count: int) -> npt.NDArray[np.uint32]:
    """See `reference.streams.draws`."""
    out = np.empty(count, np.uint64)
    native.draws(words([key])[0], start, count, out)
    return out.astype(np.uint32)
