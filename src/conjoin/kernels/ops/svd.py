"""Singular values and vectors of dense matrices, which may be read in panels so as never to be in memory as a whole.

The arithmetic is that of `matrix` and `eigen`; here is only what is done with it, in which order. No panel, tile or
thread shows in the result.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from conjoin.errors import NotConvergedError
from conjoin.kernels.backend import operation
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Float64, Raw, decode
from conjoin.kernels.ops.arguments import require
from conjoin.kernels.ops.eigen import eigh
from conjoin.kernels.ops.matrix import (
    Run,
    checked,
    factor_into,
    gemm,
    gram,
    in_turn,
    mirror,
    multiply_into,
    solve_triangular,
)
from conjoin.kernels.ops.streams import draws

PANEL_ELEMENTS = 1 << 23
"""Elements of a panel where the caller does not say."""
JACOBI_SIDE_MAX = 320
"""Longest shorter side for the rotations, whose cost grows with its fourth power divided by the vectors' width."""
JACOBI_TOLERANCE, JACOBI_SWEEPS = 2.0**-46, 30
"""Cosine below which two vectors count as orthogonal, and the most sweeps that are tried."""
DEPENDENT = 2.0**-40
"""Share of a column's squared norm below which what earlier columns leave of it is rounding."""
NEARLY_ORTHONORMAL, ORTHONORMAL_PASSES = 2.0**-10, 6
"""How near the identity a Gram matrix is whose Cholesky factor leaves nothing but rounding, and the most passes."""
LARGE, SMALL = 2.0**480, 2.0**-480
"""Between these the largest element lies, so that no square overflows and none that matters underflows."""
SMALL_BITS = (1023 - 480) << 52


@dataclass(frozen=True, slots=True)
class Panels:
    """A matrix that is read panel by panel of columns; let its rows be the shorter side.

    Attributes:
        rows: m.
        columns: n.
        read: columns from one index to before another, (m, stop − start) float64; the same ones at every call.
        wide: whether it may hold any float64, not float32 numbers only.
    """

    rows: int
    columns: int
    read: Callable[[int, int], Float64]
    wide: bool = False

    def cut(self, elements: int) -> Iterator[tuple[slice, Float64]]:
        """The panels in order, each of so many elements at most, or of one column.

        Raises:
            BadArrayError: a panel is of another shape or dtype, or the whole not in the range of `require_range`.
        """
        width, largest = max(1, elements // max(1, self.rows)), 0
        for start in range(0, self.columns, width):
            stop = min(self.columns, start + width)
            panel = checked(self.read(start, stop), wide=self.wide)
            require(panel.shape == (self.rows, stop - start), f"a panel has shape {panel.shape}")
            largest = max(largest, largest_magnitude(panel))
            require_range(max(largest, SMALL_BITS))
            yield slice(start, stop), panel
        require_range(largest)


@dataclass(frozen=True, slots=True)
class Singular:
    """Singular values and vectors: the matrix is, or is near, left · diag(values) · rightᵀ.

    Attributes:
        left: (m, r) float64, orthonormal columns. The element of largest magnitude of each, the first of equals, is
            positive.
        values: (r,) float64, descending, not negative.
        right: (n, r) float64; a column whose value is 0 is 0.
    """

    left: Float64
    values: Float64
    right: Float64


def in_memory(matrix: Float64, *, wide: bool = False) -> Panels:
    """The panels of an (m, n) float64 array."""
    plain = checked(matrix, wide=wide)

    def read(start: int, stop: int) -> Float64:
        return plain[:, start:stop]

    return Panels(plain.shape[0], plain.shape[1], read, wide)


def of_patterns(raw: Raw, form: str) -> Panels:
    """The panels of an (m, n) array of bit patterns, each decoded when it is read."""
    require(raw.ndim == 2, f"{raw.ndim} dimensions are not a matrix")
    rows, columns = raw.shape

    def read(start: int, stop: int) -> Float64:
        return decode(raw[:, start:stop].reshape(-1), form).reshape(rows, stop - start)

    return Panels(rows, columns, read, wide=form == "F64")


def gram_of(panels: Panels, *, panel: int = PANEL_ELEMENTS, run: Run = in_turn) -> Float64:
    """A·Aᵀ as by `gram`, the panels read once. (m, m) float64."""
    out = np.zeros((panels.rows, panels.rows))
    for _, part in panels.cut(panel):
        multiply_into(out, part, part.T, region=1, wide=True, run=run)
    return mirror(out)


def products(panels: Panels, right: Float64, *, panel: int = PANEL_ELEMENTS, run: Run = in_turn) -> Float64:
    """A·R for R (n, r), the panels read once. (m, r) float64."""
    require(len(right) == panels.columns, f"{right.shape} does not fit {panels.columns} columns")
    out = np.zeros((panels.rows, right.shape[1]))
    for columns, part in panels.cut(panel):
        multiply_into(out, part, right[columns], wide=True, run=run)
    return out


def projections(
    panels: Panels, left: Float64, *, panel: int = PANEL_ELEMENTS, run: Run = in_turn
) -> Iterator[tuple[slice, Float64]]:
    """Aᵀ·L for L (m, r), panel by panel: the columns of A and their (columns, r) float64."""
    require(len(left) == panels.rows, f"{left.shape} does not fit {panels.rows} rows")
    for columns, part in panels.cut(panel):
        yield columns, gemm(part.T, left, wide=True, run=run)


def svd(
    matrix: Float64 | Panels,
    *,
    rank: int | None = None,
    wide: bool = False,
    panel: int = PANEL_ELEMENTS,
    run: Run = in_turn,
) -> Singular:
    """The largest singular values and their vectors, through the Gram matrix A·Aᵀ, eigh and the projection Aᵀ·U.

    A value is the norm of its projection. The Gram matrix squares the condition: values below about 2⁻²⁶ of the largest
    are not told apart (U stays orthonormal and U·(Uᵀ·A) is A to rounding, but right vectors of such values are not
    orthogonal to the others).

    Args:
        matrix: (m, n) float64, or panels of it. An array with m > n is taken transposed; panels are taken as they are.
        rank: how many; all min(m, n) of an array, or m of panels, where None.
        wide: an array may hold any float64, not float32 numbers only.
        panel: elements of a panel.
        run: carries out parts.

    Returns:
        The singular values and vectors.

    Raises:
        NotConvergedError: an iteration of eigh reached its limit.
        BadArrayError: of other arrays, NaN and Inf included.
    """
    require(rank is None or rank >= 0, f"{rank} singular values")
    if not isinstance(matrix, Panels):
        plain = checked(matrix, wide=wide)
        turned = plain.shape[0] > plain.shape[1]
        found = _svd(in_memory(plain.T if turned else plain, wide=True), rank, panel, run)
        return canonical(found.right, found.values, found.left) if turned else canonical(*_fields(found))
    return canonical(*_fields(_svd(matrix, rank, panel, run)))


def _fields(found: Singular) -> tuple[Float64, Float64, Float64]:
    return found.left, found.values, found.right


def _svd(panels: Panels, rank: int | None, panel: int, run: Run) -> Singular:
    """Unordered, with any signs."""
    matrix = gram_of(panels, panel=panel, run=run)
    count = panels.rows if rank is None else min(rank, panels.rows)
    left = eigh(matrix, run=run)[1][:, ::-1][:, :count].copy()
    right, sums = np.empty((panels.columns, count)), np.zeros(count)
    work = panels.columns * count
    for columns, part in projections(panels, left, panel=panel, run=run):
        right[columns] = part
        operation("matrix.add_squares", work)(right[columns], sums)
    operation("matrix.normalise", work)(right, sums)
    return Singular(left, sums, right)


def canonical(left: Float64, values: Float64, right: Float64) -> Singular:
    """The same in descending order, equal values in the order given, and with the signs that `Singular` promises."""
    order = np.argsort(~values.view(np.uint64), kind="stable")  # the bits of positive numbers order as these do
    left, values, right = left[:, order], values[order], right[:, order]
    if left.size:
        sizes = np.ascontiguousarray(left).view(np.uint64) & np.uint64(0x7FFF_FFFF_FFFF_FFFF)
        flip = np.signbit(left[np.argmax(sizes, axis=0), np.arange(len(values))])
        left, right = np.where(flip, -left, left), np.where(flip, -right, right)
    return Singular(left, values, right)


def largest_magnitude(matrix: Float64) -> int:
    """The largest of the elements' bits without their sign, which order as magnitudes do; NaN is above Inf."""
    sizes = np.ascontiguousarray(matrix).view(np.uint64) & np.uint64(0x7FFF_FFFF_FFFF_FFFF)
    return int(sizes.max(initial=0))


def require_range(bits: int) -> None:
    """Refuse a largest magnitude of NaN or Inf, or one whose square is near overflow or underflow."""
    largest = float(np.uint64(bits).view(np.float64))
    require(
        largest == 0 or SMALL <= largest <= LARGE,
        f"the largest magnitude of the matrix is {largest:.6g}; it must be 0, or between 2^-480 and 2^480",
    )


def jacobi_svd(matrix: Float64) -> Singular:
    """All singular values and vectors of a small matrix, by one-sided rotations; accurate also for the smallest values.

    Hestenes, J. SIAM 6 (1958), with the order of de Rijk, SIAM J. Sci. Stat. Comput. 10 (1989), within each pair: the
    columns of A (its rows where m < n) are rotated in pairs p < q, row by row, until every cosine is at most 2⁻⁴⁶ in
    one whole sweep.

    Args:
        matrix: (m, n) float64, the shorter side at most JACOBI_SIDE_MAX.

    Returns:
        min(m, n) singular values and vectors. A vector of a value 0 is 0 on the longer side.

    Raises:
        NotConvergedError: 30 sweeps did not do.
        BadArrayError: of other arrays, NaN and Inf included.
    """
    plain = checked(matrix)
    require_range(largest_magnitude(plain))
    turned = plain.shape[0] < plain.shape[1]
    w = np.ascontiguousarray(plain if turned else plain.T).copy()
    (r, length), v = w.shape, np.eye(len(w))
    require(r <= JACOBI_SIDE_MAX, f"a shorter side of {r} is more than {JACOBI_SIDE_MAX}; use svd")
    sizes, sweeps = operation("matrix.jacobi", r * r * length)(w, v, JACOBI_TOLERANCE, JACOBI_SWEEPS)
    if sweeps > JACOBI_SWEEPS:
        raise NotConvergedError(
            f"{JACOBI_SWEEPS} sweeps of rotations did not make the {r} vectors of a {plain.shape} matrix orthogonal",
            hint="report the matrix: the limit is several times what matrices need",
        )
    long = operation("matrix.normalise", w.size)(w.T.copy(), sizes)
    return canonical(v.T, sizes, long) if turned else canonical(long, sizes, v.T)


def orthonormal(y: Float64, *, run: Run = in_turn) -> Float64:
    """An orthonormal basis of the columns of Y: Y·L⁻ᵀ with the Cholesky factor L of YᵀY, over again (CholeskyQR2).

    Yamamoto et al., ETNA 44 (2015). A column is left out if what the ones before leave of it has at most 2⁻⁴⁰ of its
    squared norm. The last pass is the one that found every element of YᵀY within 2⁻¹⁰ of the identity: the second, but
    for columns that are nearly dependent.

    Args:
        y: (m, r) float64.
        run: carries out parts.

    Returns:
        (m, r′) float64, r′ ≤ r.

    Raises:
        NotConvergedError: six passes did not do.
    """
    basis = checked(y)
    for _ in range(ORTHONORMAL_PASSES):
        square = gram(basis.T, wide=True, run=run)
        near = bool(np.all(np.abs(square - np.eye(len(square))) < NEARLY_ORTHONORMAL))
        factor_into(square, DEPENDENT * square.diagonal(), run=run)
        kept = np.isfinite(square.diagonal())
        basis = solve_triangular(square, basis, transposed=True, right=True, run=run)[:, kept]
        if near:
            return basis
    raise NotConvergedError(
        f"{ORTHONORMAL_PASSES} passes did not make {y.shape[1]} columns of {len(y)} elements orthonormal",
        hint="report the matrix: nearly dependent columns need three or four",
    )


def subspace_svd(
    matrix: Float64 | Panels,
    rank: int,
    key: DrawKey,
    *,
    power: int = 2,
    oversampling: int = 10,
    wide: bool = False,
    panel: int = PANEL_ELEMENTS,
    run: Run = in_turn,
) -> Singular:
    """The largest singular values and vectors, nearly, by randomised subspace iteration.

    Halko, Martinsson and Tropp, SIAM Review 53 (2011), algorithms 4.4 and 5.1. The start is n × (rank + oversampling)
    numbers u with 23 bits between −1 and 1, named by the key.

    Args:
        matrix: (m, n) float64, or panels of it.
        rank: how many are wanted.
        key: names the draws of the start.
        power: how often A·Aᵀ is applied; each reads the panels twice.
        oversampling: further vectors that help the last ones.
        wide: an array may hold any float64, not float32 numbers only.
        panel: elements of a panel.
        run: carries out parts.

    Returns:
        min(rank, rank of A) singular values and vectors.

    Raises:
        NotConvergedError: see `jacobi_svd`.
        BadArrayError: of other arrays, NaN and Inf included.
    """
    require(min(rank, power, oversampling) >= 0, f"{rank} singular values, {oversampling} more, power {power}")
    panels = matrix if isinstance(matrix, Panels) else in_memory(matrix, wide=wide)
    size = min(rank + oversampling, panels.rows, panels.columns)
    left = orthonormal(products(panels, start_vectors(key, panels.columns, size), panel=panel, run=run), run=run)
    for _ in range(power):
        right = orthonormal(_projected(panels, left, panel, run), run=run)
        left = orthonormal(products(panels, right, panel=panel, run=run), run=run)
    image = _projected(panels, left, panel, run)
    right = orthonormal(image, run=run)
    small = jacobi_svd(gemm(image.T, right, wide=True, run=run))
    found = [gemm(basis, part, wide=True, run=run) for basis, part in ((left, small.left), (right, small.right))]
    return canonical(found[0][:, :rank], small.values[:rank], found[1][:, :rank])


def _projected(panels: Panels, left: Float64, panel: int, run: Run) -> Float64:
    """Aᵀ·L in memory."""
    out = np.empty((panels.columns, left.shape[1]))
    for columns, part in projections(panels, left, panel=panel, run=run):
        out[columns] = part
    return out


def start_vectors(key: DrawKey, rows: int, columns: int) -> Float64:
    """Draw word w of element (i, j), index i · columns + j, is the float32 number (2·⌊w / 2⁹⌋ + 1) / 2²³ − 1."""
    words = draws(key, 0, rows * columns).astype(np.int64) >> 9
    return ((2 * words + 1 - (1 << 23)).astype(np.float64) * 2.0**-23).reshape(rows, columns)
