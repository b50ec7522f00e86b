"""Dense matrices, compiled."""

import numpy as np

from conjoin.kernels.formats import Float64
from conjoin.kernels.native import matrix as native


def view(matrix: Float64) -> tuple[np.uint64, int, int]:
    """A matrix as kernels take it: its address and its strides in elements."""
    return np.uint64(matrix.ctypes.data), matrix.strides[0] // 8, matrix.strides[1] // 8


def gemm(c: Float64, a: Float64, b: Float64, negate: bool, keep: bool, region: int, tile: int = native.TILE) -> Float64:
    """See `reference.matrix.gemm`. `tile` is for tests: no tile shows in the result."""
    native.gemm(*c.shape, a.shape[1], *view(a), *view(b), *view(c), negate, keep, region, tile)
    return c
