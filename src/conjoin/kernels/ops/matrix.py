"""Products, factors and systems of dense matrices in float64, every element a chain of fixed order.

All of it is defined element by element, so no block, panel, tile or thread shows in the result. Matrices are taken with
any strides; a transposed view costs nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from conjoin.errors import NotPositiveDefiniteError
from conjoin.kernels.backend import operation
from conjoin.kernels.formats import Float64
from conjoin.kernels.ops.arguments import require

Task = Callable[[], object]
Run = Callable[[Sequence[Task]], object]
"""Carries out independent tasks, in any order and on any threads, and returns when all are done."""

BAND_ROWS, BAND_COLUMNS = 480, 1920
"""Extent of the parts of a matrix that become tasks; no result depends on it."""
WORK_PER_ELEMENT = 16
"""Multiply-adds of the reference that take as long as it takes it to read an element."""


def in_turn(tasks: Sequence[Task]) -> None:
    """Carry out tasks one after the other."""
    for task in tasks:
        task()


def checked(matrix: npt.NDArray[np.float64], *, wide: bool = True) -> Float64:
    """The matrix as the operations take it.

    Args:
        matrix: two dimensions, float64, strides of whole elements or a copy is made.
        wide: whether it may hold any float64; otherwise float32 numbers, so that a product of two is exact.

    Raises:
        BadArrayError: it is something else.
    """
    fits = matrix.dtype == np.float64 and matrix.dtype.isnative and matrix.ndim == 2
    if not fits:  # small matrices notice what it costs to write this out
        require(fits, f"an array of {matrix.dtype} with {matrix.ndim} dimensions is not a matrix of float64")
    whole = matrix.flags.aligned and all(stride % 8 == 0 for stride in matrix.strides)
    plain = matrix if whole else matrix.copy()
    if not wide:
        with np.errstate(all="ignore"):
            narrow = bool(np.all((plain.astype(np.float32) == plain) | (plain != plain)))
        require(narrow, "the matrix holds float64 values that are no float32; ask for a wide product")
    return plain


def gemm(a: Float64, b: Float64, *, wide: bool = False, run: Run = in_turn) -> Float64:
    """A·B; c_ij is the chain (… ((+0 + a_i0·b_0j) + a_i1·b_1j) + …), every product and sum rounded to float64.

    Args:
        a: (m, k) float64.
        b: (k, n) float64.
        wide: operands may be any float64; otherwise they must hold float32 numbers, and every product is exact.
        run: carries out parts of C, on threads for instance.

    Returns:
        (m, n) float64.

    Raises:
        BadArrayError: of other arrays.
    """
    left, right = checked(a, wide=wide), checked(b, wide=wide)
    return multiply_into(np.empty((len(left), right.shape[1])), left, right, keep=False, wide=True, run=run)


def multiply_into(
    c: Float64,
    a: Float64,
    b: Float64,
    *,
    negate: bool = False,
    keep: bool = True,
    region: int = 0,
    wide: bool = False,
    run: Run = in_turn,
) -> Float64:
    """C ± A·B in place: the chain of each element goes on from its value, or from +0 unless `keep`.

    Panels of k given one after the other therefore have the bits of one product.

    Args:
        c: (m, n) float64, writable, apart from A and B.
        a: (m, k) float64.
        b: (k, n) float64.
        negate: subtract the products.
        keep: begin with C.
        region: 0 for all of C, 1 on and below the diagonal, −1 on and above it; the rest of C stays.
        wide: operands may be any float64, not float32 numbers only.
        run: carries out parts of C.

    Returns:
        C.

    Raises:
        BadArrayError: of other arrays.
    """
    left, right = checked(a, wide=wide), checked(b, wide=wide)
    (m, k), n = left.shape, right.shape[1]
    require(len(right) == k and c.shape == (m, n), f"{left.shape} times {right.shape} is not {c.shape}")
    require(checked(c) is c and c.flags.writeable, "the matrix for the result cannot be written in place")
    function = operation("matrix.gemm", m * n * k // WORK_PER_ELEMENT)
    if run is in_turn:
        return function(c, left, right, negate, keep, region)
    if region < 0:
        run(_parts(function, c.T, right.T, left.T, negate, keep, lower=True))
    else:
        run(_parts(function, c, left, right, negate, keep, lower=region > 0))
    return c


def _parts(
    function: Callable[..., object], c: Float64, a: Float64, b: Float64, negate: bool, keep: bool, *, lower: bool
) -> list[Task]:
    """A product in tasks; where only the lower part is wanted, what is left of each diagonal block, and the block."""
    tasks: list[Task] = []
    for i in range(0, len(c), BAND_ROWS):
        rows = slice(i, i + BAND_ROWS)
        end = min(i, c.shape[1]) if lower else c.shape[1]
        for j in range(0, end, BAND_COLUMNS):
            columns = slice(j, min(j + BAND_COLUMNS, end))
            tasks.append(partial(function, c[rows, columns], a[rows], b[:, columns], negate, keep, 0))
        if lower and i < c.shape[1]:
            tasks.append(partial(function, c[rows, rows], a[rows], b[:, rows], negate, keep, 1))
    return tasks


def mirror(matrix: Float64) -> Float64:
    """Copy what is below the diagonal of a square matrix above it, in place."""
    for i in range(0, len(matrix), BAND_ROWS):
        rows = slice(i, i + BAND_ROWS)
        matrix[:i, rows] = matrix[rows, :i].T
        block = matrix[rows, rows]
        block[...] = np.where(np.tri(len(block), dtype=bool), block, block.T)
    return matrix


def gram(a: Float64, *, wide: bool = False, run: Run = in_turn) -> Float64:
    """A·Aᵀ, each element the chain of `gemm`; exactly symmetric.

    Args:
        a: (m, k) float64.
        wide: A may hold any float64, not float32 numbers only.
        run: carries out parts.

    Returns:
        (m, m) float64.

    Raises:
        BadArrayError: of other arrays.
    """
    rows = checked(a, wide=wide)
    out = np.empty((len(rows), len(rows)))
    return mirror(multiply_into(out, rows, rows.T, keep=False, region=1, wide=True, run=run))


def cholesky(a: Float64, *, run: Run = in_turn) -> Float64:
    """The lower triangular L with L·Lᵀ = A, its diagonal positive.

    l_ij = (… ((a_ij − l_i0·l_j0) − l_i1·l_j1) − …) / l_jj, and l_jj the square root of the same chain: every step
    rounded, k ascending.

    Args:
        a: (n, n) float64; only what is on and below the diagonal is read.
        run: carries out parts.

    Returns:
        (n, n) float64, +0 above the diagonal.

    Raises:
        NotPositiveDefiniteError: a pivot is not positive; its row is named.
        BadArrayError: A is not a square matrix of float64.
    """
    plain = checked(a)
    n = len(plain)
    require(plain.shape == (n, n), f"{plain.shape} is not square")
    out = np.where(np.tri(n, dtype=bool), plain, 0.0)
    refused = factor_into(out, np.zeros(n), run=run)
    if refused >= 0:
        raise not_definite(n, refused)
    return out


def not_definite(n: int, refused: int) -> NotPositiveDefiniteError:
    """The error for a pivot that is not positive."""
    return NotPositiveDefiniteError(
        f"the {n}×{n} matrix is not positive definite: the leading {refused + 1} rows and columns are not",
        hint="add a multiple of the identity to it (damping)",
    )


def factor_into(a: Float64, limits: Float64, *, run: Run = in_turn) -> int:
    """Replace the lower triangle of A by its Cholesky factor; the first column whose pivot is refused, or −1.

    A pivot that is not above its limit becomes +Inf, so that its column is 0 and takes no part in what follows.

    Args:
        a: (n, n) float64, writable; what is above the diagonal is neither read nor written.
        limits: (n,) float64, not negative.
        run: carries out parts.
    """
    n, refused = len(a), -1
    factor = operation("matrix.factor", n**3 // (3 * WORK_PER_ELEMENT))
    for j in range(0, n, BAND_ROWS):
        columns, below = slice(j, j + BAND_ROWS), slice(j + BAND_ROWS, n)
        multiply_into(a[j:, columns], a[j:, :j], a[columns, :j].T, negate=True, region=1, wide=True, run=run)
        found = factor(a[columns, columns], limits[columns])
        refused = j + found if refused < 0 <= found else refused
        solve_into(a[columns, columns], a[below, columns].T, run)
    return refused


def solve_into(lower: Float64, x: Float64, run: Run) -> None:
    """X = L⁻¹ X in place, as `solve_triangular`; X (n, r) has any strides, and nothing is checked."""
    n, width = x.shape
    solve = operation("matrix.solve_lower", n * n * width // (2 * WORK_PER_ELEMENT))
    for i in range(0, n, BAND_ROWS):
        rows = slice(i, i + BAND_ROWS)
        multiply_into(x[rows], lower[rows, :i], x[:i], negate=True, wide=True, run=run)
        block, here = lower[rows, rows], x[rows]
        run([partial(solve, block, here[:, j : j + BAND_ROWS]) for j in range(0, width, BAND_ROWS)])


def solve_triangular(
    triangle: Float64,
    b: Float64,
    *,
    lower: bool = True,
    transposed: bool = False,
    right: bool = False,
    run: Run = in_turn,
) -> Float64:
    """X with T·X = B, Tᵀ·X = B (`transposed`), X·T = B (`right`) or X·Tᵀ = B (both).

    With a lower T on the left, x_ij = (… ((b_ij − t_i0·x_0j) − t_i1·x_1j) − …) / t_ii, every step rounded, k ascending.
    The others are that form read transposed and, where the triangle is then an upper one, from the last row to the
    first, k descending.

    Args:
        triangle: (n, n) float64; the other half is not read.
        b: (n, r) float64, or (r, n) with `right`.
        lower: which half of T is meant.
        transposed: use Tᵀ.
        right: T stands on the right.
        run: carries out parts.

    Returns:
        X, of the shape of B, float64.

    Raises:
        BadArrayError: other arrays, or a zero on the diagonal.
    """
    t, x = checked(triangle), checked(b).copy()
    n = len(t)
    require(t.shape == (n, n), f"{t.shape} is not square")
    require(x.shape[1 if right else 0] == n, f"a triangle of {n} does not fit {x.shape}")
    require(bool(np.all(t.diagonal() != 0)), "the triangle has a zero on its diagonal")
    flipped = transposed != right
    left, target = (t.T if flipped else t), (x.T if right else x)
    if lower == flipped:
        left, target = left[::-1, ::-1], target[::-1]
    solve_into(left, target, run)
    return x


def solve(a: Float64, b: Float64, *, run: Run = in_turn) -> Float64:
    """X with A·X = B for a symmetric positive definite A: L = cholesky(A), L·Y = B, Lᵀ·X = Y.

    Args:
        a: (n, n) float64; only what is on and below the diagonal is read.
        b: (n, r) float64.
        run: carries out parts.

    Returns:
        (n, r) float64.

    Raises:
        NotPositiveDefiniteError: A is not positive definite.
        BadArrayError: of other arrays.
    """
    factor = cholesky(a, run=run)
    return solve_triangular(factor, solve_triangular(factor, b, run=run), transposed=True, run=run)
