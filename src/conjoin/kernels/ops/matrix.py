"""Products of dense matrices in float64, every element a chain of fixed order."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from conjoin.kernels.backend import operation
from conjoin.kernels.formats import Float64

Run = Callable[[Sequence[Callable[[], object]]], object]
"""Carries out independent tasks, in any order and on any threads, and returns when all are done."""

BAND_ROWS, BAND_COLUMNS = 480, 1920
"""Extent of the parts of a product that become tasks; no result depends on it."""
WORK_PER_ELEMENT = 16
"""Multiply-adds of the reference that take as long as it takes it to read an element."""


def in_turn(tasks: Sequence[Callable[[], object]]) -> None:
    """Carry out tasks one after the other."""
    for task in tasks:
        task()


def checked(matrix: Float64, *, wide: bool = True) -> Float64:
    """The matrix as the operations need it: float64, two dimensions, any strides of whole elements.

    Unless `wide` its values are float32 numbers, so that every product of two is exact.
    """
    assert matrix.dtype == np.float64 and matrix.dtype.isnative, f"{matrix.dtype} is not float64"
    assert matrix.ndim == 2, f"{matrix.ndim} dimensions are not a matrix"
    whole = matrix.flags.aligned and all(stride % 8 == 0 for stride in matrix.strides)
    plain = matrix if whole else matrix.copy()
    with np.errstate(all="ignore"):
        narrow = wide or bool(np.all((plain.astype(np.float32) == plain) | (plain != plain)))
    assert narrow, "a value is no float32 number; ask for a wide product"
    return plain


def gemm(a: Float64, b: Float64, *, wide: bool = False, run: Run = in_turn) -> Float64:
    """A·B; c_ij is the chain (… ((+0 + a_i0·b_0j) + a_i1·b_1j) + …), every product and sum rounded to float64.

    Args:
        a: (m, k) float64, any strides, so that a transposed view costs nothing.
        b: (k, n) float64.
        wide: operands may be any float64; otherwise they must hold float32 numbers, and every product is exact.
        run: carries out parts of C, on threads for instance.

    Returns:
        (m, n) float64.
    """
    assert a.ndim == 2 and b.ndim == 2, f"{a.ndim} and {b.ndim} dimensions are not two matrices"
    return multiply_into(np.empty((len(a), b.shape[1])), a, b, keep=False, wide=wide, run=run)


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
    """
    left, right = checked(a, wide=wide), checked(b, wide=wide)
    (m, k), n = a.shape, b.shape[1]
    assert b.shape[0] == k and c.shape == (m, n), f"{a.shape} times {b.shape} is not {c.shape}"
    assert checked(c) is c and c.flags.writeable and region in (-1, 0, 1)
    function = operation("matrix.gemm", m * n * k // WORK_PER_ELEMENT)
    if run is in_turn:
        return function(c, left, right, negate, keep, region)
    if region < 0:
        _parts(function, c.T, right.T, left.T, negate, keep, lower=True, run=run)
    else:
        _parts(function, c, left, right, negate, keep, lower=region > 0, run=run)
    return c


def _parts(
    function: Callable[..., object],
    c: Float64,
    a: Float64,
    b: Float64,
    negate: bool,
    keep: bool,
    *,
    lower: bool,
    run: Run,
) -> None:
    """Cut C into tasks; where only its lower part is wanted, into what is left of each diagonal block and the block."""
    tasks: list[Callable[[], object]] = []
    for i in range(0, len(c), BAND_ROWS):
        rows = slice(i, i + BAND_ROWS)
        for j in range(0, min(i, c.shape[1]) if lower else c.shape[1], BAND_COLUMNS):
            columns = slice(j, min(j + BAND_COLUMNS, i) if lower else j + BAND_COLUMNS)
            tasks.append(partial(function, c[rows, columns], a[rows], b[:, columns], negate, keep, 0))
        if lower and i < c.shape[1]:
            tasks.append(partial(function, c[rows, rows], a[rows], b[:, rows], negate, keep, 1))
    run(tasks)
