"""Dense matrices, compiled."""

import numpy as np

from conjoin.kernels.formats import Float64
from conjoin.kernels.layout import LANES
from conjoin.kernels.native import matrix as native


def view(matrix: Float64) -> tuple[np.uint64, int, int]:
    """A matrix as kernels take it: its address and its strides in elements."""
    return np.uint64(matrix.ctypes.data), matrix.strides[0] // 8, matrix.strides[1] // 8


def gemm(c: Float64, a: Float64, b: Float64, negate: bool, keep: bool, region: int, tile: int = native.TILE) -> Float64:
    """See `reference.matrix.gemm`. `tile` is for tests: no tile shows in the result."""
    native.gemm(*c.shape, a.shape[1], *view(a), *view(b), *view(c), -1.0 if negate else 1.0, keep, region, tile)
    return c


def solve_lower(lower: Float64, x: Float64) -> Float64:
    """See `reference.matrix.solve_lower`."""
    native.solve_lower(*x.shape, *view(lower), *view(x))
    return x


def factor(a: Float64, limits: Float64) -> int:
    """See `reference.matrix.factor`."""
    return int(native.factor(len(a), *view(a), np.ascontiguousarray(limits)))


def add_squares(x: Float64, sums: Float64) -> Float64:
    """See `reference.matrix.add_squares`."""
    native.add_squares(np.ascontiguousarray(x), sums)
    return sums


def normalise(x: Float64, sizes: Float64) -> Float64:
    """See `reference.matrix.normalise`."""
    native.normalise(x, sizes)
    return x


def jacobi(w: Float64, v: Float64, tolerance: float, sweeps: int) -> tuple[Float64, int]:
    """See `reference.matrix.jacobi`."""
    sizes, padded = np.empty(len(w)), np.zeros((len(w), -(-w.shape[1] // LANES) * LANES))
    padded[:, : w.shape[1]] = w
    done = int(native.jacobi(padded, v, sizes, tolerance, sweeps))
    w[...] = padded[:, : w.shape[1]]
    return sizes, done
