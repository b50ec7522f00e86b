"""The symmetric eigensolver, compiled."""

import sys

import numpy as np
import numpy.typing as npt

from conjoin.kernels import spectrum
from conjoin.kernels.compiled.matrix import gemm
from conjoin.kernels.formats import Float64
from conjoin.kernels.native import eigen as native

__all__ = ["eigh", "gemm"]

Int64 = npt.NDArray[np.int64]
Rotations = tuple[Int64, Int64, Float64, Float64]

reduce_panel = native.reduce_panel
rotate = native.rotate
secular_roots = native.secular_roots
make_canonical = native.make_canonical


def eigh(matrix: Float64, vectors: bool, run: spectrum.Run) -> tuple[Float64, Float64]:
    """See `reference.eigen.eigh`."""
    control = native.hold()  # for what the steps between the kernels compute in NumPy
    try:
        return spectrum.eigh(sys.modules[__name__], matrix, vectors, run)
    finally:
        native.release(control)


def block_factor(gram: Float64, tau: Float64) -> Float64:
    """See `reference.eigen.block_factor`."""
    out = np.zeros(gram.shape)
    native.block_factor(gram, tau, out)
    return out


def implicit_ql(d: Float64, e: Float64) -> Rotations | None:
    """See `reference.eigen.implicit_ql`."""
    most = spectrum.QL_LIMIT * len(d) * len(d)
    firsts, cosines, sines = np.empty(most, np.int64), np.empty(most), np.empty(most)
    count = native.ql_rotations(d, e, firsts, cosines, sines)
    return None if count < 0 else (firsts[:count], firsts[:count] + 1, cosines[:count], sines[:count])


def deflate(d: Float64, z: Float64, rho: float, order: Int64, half: int) -> tuple[Int64, Int64, Rotations]:
    """See `reference.eigen.deflate`."""
    kept, sides, firsts, seconds = np.empty((4, len(d)), np.int64)
    cosines, sines = np.empty((2, len(d)))
    count, turned = native.deflation(d, z, rho, order, half, kept, sides, firsts, seconds, cosines, sines)
    return kept[:count], sides[:count], (firsts[:turned], seconds[:turned], cosines[:turned], sines[:turned])


def recomputed_weights(d: Float64, z: Float64, origins: Int64, offsets: Float64) -> Float64:
    """See `reference.eigen.recomputed_weights`."""
    out = np.empty(len(d))
    native.recomputed_weights(d, z, origins, offsets, out)
    return out


def secular_vectors(d: Float64, z: Float64, origins: Int64, offsets: Float64, start: int, stop: int) -> Float64:
    """See `reference.eigen.secular_vectors`."""
    out = np.empty((stop - start, len(d)))
    native.secular_vectors(d, z, origins, offsets, start, out)
    return out
