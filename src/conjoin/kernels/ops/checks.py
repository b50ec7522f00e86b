"""Questions about patterns that need no backend."""

import numpy as np

from conjoin.kernels.formats import FORMATS, Raw
from conjoin.kernels.ops.arguments import plain

FINITE_ELEMENTS = 262_144
"""Patterns looked at at once by `count_nonfinite`, so that both looks find them in the cache."""


def count_nonfinite(raw: Raw, form: str) -> int:
    """How many of the (n,) patterns are NaN or Inf.

    Integers only, so NumPy is exact on every machine, near the speed of memory, and `add` need not load a compiler.
    Releases the interpreter lock.
    """
    patterns, infinity = plain(raw, form), FORMATS[form].infinity
    sign, found = 1 << (patterns.itemsize * 8 - 1), 0
    for start in range(0, len(patterns), FINITE_ELEMENTS):
        part = patterns[start : start + FINITE_ELEMENTS]
        # As integers the largest negative patterns are the largest unsigned ones, the largest positive the signed ones.
        if part.max() >= sign | infinity or part.view(f"i{patterns.itemsize}").max() >= infinity:
            found += int(np.count_nonzero((part & patterns.dtype.type(infinity)) == infinity))
    return found
