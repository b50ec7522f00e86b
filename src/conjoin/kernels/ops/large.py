"""Symmetric positive definite systems too large for memory: kept by blocks of rows of the lower triangle.

The elements are those of `matrix.cholesky` and `matrix.solve`, bit for bit: the same chains, in another order of work.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from conjoin.kernels.formats import Float64
from conjoin.kernels.ops.arguments import require
from conjoin.kernels.ops.matrix import Run, checked, factor_into, in_turn, multiply_into, not_definite, solve_into
from conjoin.kernels.ops.svd import PANEL_ELEMENTS, Panels


@dataclass(frozen=True, slots=True)
class Rows:
    """The lower triangle of an n × n matrix, kept somewhere by blocks of rows.

    Two blocks are in memory at a time. Block i has rows i · height to before min(n, (i + 1) · height) and the columns
    up to its last row; what is above the diagonal in it is neither read nor relied on.

    Attributes:
        n: rows.
        height: of a block.
        read: block i, float64, one that may be changed.
        write: keep block i from now on.
    """

    n: int
    height: int
    read: Callable[[int], Float64]
    write: Callable[[int, Float64], object]

    @property
    def starts(self) -> range:
        """First row of each block."""
        return range(0, self.n, self.height)

    def block(self, start: int) -> Float64:
        """The block that begins with a row, after a look at its shape."""
        block, stop = checked(self.read(start // self.height)), min(self.n, start + self.height)
        require(block.shape == (stop - start, stop), f"rows {start} to {stop} came as {block.shape}")
        return block


def gram_rows(panels: Panels, rows: Rows, *, panel: int = PANEL_ELEMENTS, run: Run = in_turn) -> None:
    """Write A·Aᵀ, each element the chain of `matrix.gram`; the panels are read once for every block of rows."""
    require(panels.rows == rows.n, f"a Gram matrix of {panels.rows} rows does not fit {rows.n}")
    for start in rows.starts:
        stop = min(rows.n, start + rows.height)
        block = np.zeros((stop - start, stop))
        for _, part in panels.cut(panel):
            multiply_into(block, part[start:stop], part[:stop].T, wide=True, run=run)
        rows.write(start // rows.height, block)


def cholesky_rows(rows: Rows, *, run: Run = in_turn) -> None:
    """Replace the matrix by its factor L of `matrix.cholesky`; every block is read once for each one behind it.

    Raises:
        NotPositiveDefiniteError: a pivot is not positive; blocks before its row are replaced already.
        BadArrayError: a block has another shape or dtype.
    """
    for start in rows.starts:
        block = rows.block(start)
        for before in rows.starts[: start // rows.height]:
            above, columns = rows.block(before), slice(before, before + rows.height)
            part = block[:, columns]
            multiply_into(part, block[:, :before], above[:, :before].T, negate=True, wide=True, run=run)
            solve_into(above[:, columns], part.T, run)
        corner = block[:, start:]
        multiply_into(corner, block[:, :start], block[:, :start].T, negate=True, region=1, wide=True, run=run)
        refused = factor_into(corner, np.zeros(len(corner)), run=run)
        if refused >= 0:
            raise not_definite(rows.n, start + refused)
        rows.write(start // rows.height, block)


def solve_rows(factor: Rows, b: Float64, *, run: Run = in_turn) -> Float64:
    """X with L·Lᵀ·X = B, as by `matrix.solve`, from the blocks of L that `cholesky_rows` left; they are read twice.

    Args:
        factor: L.
        b: (n, r) float64; columns are independent, so a large B may be given in parts.
        run: carries out parts.

    Returns:
        (n, r) float64.
    """
    x = checked(b).copy()
    require(len(x) == factor.n, f"{x.shape} does not fit {factor.n} rows")
    for start in factor.starts:
        block = factor.block(start)
        here = x[start : start + len(block)]
        multiply_into(here, block[:, :start], x[:start], negate=True, wide=True, run=run)
        solve_into(block[:, start:], here, run)
    for start in reversed(factor.starts):
        block = factor.block(start)
        here = x[start : start + len(block)]
        solve_into(block[:, start:].T[::-1, ::-1], here[::-1], run)
        multiply_into(x[:start], block[::-1, :start].T, here[::-1], negate=True, wide=True, run=run)
    return x
