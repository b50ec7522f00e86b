"""Eigenvalues and eigenvectors of symmetric matrices in float64."""

import numpy as np

from conjoin.errors import NotSymmetricError
from conjoin.kernels.backend import operation
from conjoin.kernels.formats import Float64
from conjoin.kernels.ops.arguments import require
from conjoin.kernels.ops.matrix import Run, in_turn

WORK_PER_ELEMENT = 600
"""Elements the reference reads in the time that it spends on one element of a matrix."""


def eigh(matrix: Float64, *, vectors: bool = True, run: Run = in_turn) -> tuple[Float64, Float64]:
    """A = V diag(λ) Vᵀ, by the algorithm of docs/spec/numerics.md, section "Eigenvalues".

    The values do not depend on whether the vectors are wanted. Repeated values get orthogonal vectors, chosen by the
    algorithm; each vector's element of largest magnitude, the first of equals, is positive.

    Args:
        matrix: (n, n) float64, finite, symmetric element by element (+0 equals −0); any strides.
        vectors: whether to compute V.
        run: carries out independent parts, on threads for instance.

    Returns:
        (n,) values in ascending order (±Inf where one exceeds float64) and (n, n) vectors in columns, or (n, 0).

    Raises:
        NotSymmetricError: the matrix is not square, finite and symmetric.
        NotConvergedError: an iteration reached its limit.
    """
    require(matrix.dtype == np.float64 and matrix.dtype.isnative, f"{matrix.dtype} is not float64")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise NotSymmetricError(f"an array of shape {matrix.shape} is not a square matrix")
    n = len(matrix)
    if not np.isfinite(matrix).all():
        raise NotSymmetricError(f"the {n}×{n} matrix holds NaN or Inf")
    if not (matrix == matrix.T).all():
        i, j = np.argwhere(matrix != matrix.T)[0]
        raise NotSymmetricError(
            f"the {n}×{n} matrix has {matrix[i, j]!r} at ({i}, {j}) but {matrix[j, i]!r} at ({j}, {i})",
            hint="add it to its transpose and halve it, if it is symmetric but for rounding",
        )
    return operation("eigen.eigh", WORK_PER_ELEMENT * matrix.size)(matrix, vectors, run)
