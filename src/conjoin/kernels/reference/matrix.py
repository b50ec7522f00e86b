"""Dense matrices of the reference: a loop over the terms of the chains, all elements side by side."""

import numpy as np

from conjoin.kernels.formats import Float64


def gemm(c: Float64, a: Float64, b: Float64, negate: bool, keep: bool, region: int) -> Float64:
    """C = C, or +0 unless `keep`, and then ± A[:, p] B[p, :] for p from 0 on, in place; returns C.

    Region: 0 all of C, 1 on and below the diagonal, −1 on and above it; the rest of C stays.
    """
    with np.errstate(all="ignore"):
        total = c.copy() if keep else np.zeros(c.shape)
        for p in range(a.shape[1]):
            terms = np.multiply.outer(a[:, p], b[p])
            total = total - terms if negate else total + terms
    below = np.arange(c.shape[0])[:, None] - np.arange(c.shape[1])
    c[...] = np.where(region * below >= 0, total, c)
    return c
