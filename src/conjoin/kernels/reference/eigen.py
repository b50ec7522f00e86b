"""The symmetric eigensolver of the reference: what `spectrum` calls for, one NumPy operation at a time."""

import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin.kernels import spectrum
from conjoin.kernels.formats import Float64
from conjoin.kernels.reference.matrix import gemm

__all__ = ["eigh", "gemm"]

Rotations = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float64, Float64]


def eigh(matrix: Float64, vectors: bool, run: spectrum.Run) -> tuple[Float64, Float64]:
    """Eigenvalues (n,) ascending, eigenvectors in columns; see `spectrum.eigh`."""
    with np.errstate(all="ignore"):
        return spectrum.eigh(sys.modules[__name__], matrix, vectors, run)


def _fold(terms: Float64) -> Float64:
    """Sum along the last axis in lanes: lane ℓ adds terms ℓ, ℓ + 8, …; then + lane 4, + 2, + 1. (…, n) → (…)."""
    n = terms.shape[-1]
    lanes = np.zeros((*terms.shape[:-1], spectrum.LANES))
    for start in range(0, n, spectrum.LANES):
        part = terms[..., start : start + spectrum.LANES]
        lanes[..., : part.shape[-1]] += part
    for half in (4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half : 2 * half]
    return lanes[..., 0]


def _symmetric_times(a: Float64, v: Float64) -> Float64:
    """A v from the lower triangle of A: the rows' inner products with it, plus the columns' sums below the diagonal."""
    n = len(v)
    on_rows = _fold(np.where(np.tri(n, dtype=np.bool_), a * v, 0.0))
    on_columns = np.zeros(n)
    for i in range(n):
        on_columns[:i] += a[i, :i] * v[i]
    return on_rows + on_columns


def reduce_panel(
    a: Float64, top: int, bottom: int, d: Float64, e: Float64, tau: Float64, left: Float64, right: Float64
) -> None:
    """Reduce rows `top` − 1 down to `bottom`; v₀, w₀, v₁, w₁, … into `left` and w₀, v₀, w₁, v₁, … into `right`."""
    for r in range(top - 1, bottom - 1, -1):
        done = 2 * (top - 1 - r)
        row = a[r, : r + 1]
        for q in range(done):
            row -= left[q, r] * right[q, : r + 1]
        d[r] = row[r]
        if r == 0:
            a[0] = 0.0
            return
        outside, pivot = row[: r - 1], float(row[r - 1])
        weight = float(_fold(outside * outside))
        v, w = np.zeros(r), np.zeros(r)
        e[r - 1] = pivot
        if weight > spectrum.REFLECTED_MIN:
            norm = math.sqrt(pivot * pivot + weight)
            e[r - 1] = -norm if pivot > 0.0 else norm
            tau[r] = (e[r - 1] - pivot) / e[r - 1]
            v[: r - 1] = outside / (pivot - e[r - 1])
            v[r - 1] = 1.0
            w = _symmetric_times(a[:r, :r], v)
            along = [_fold(right[q, :r] * v) for q in range(done)]
            for q in range(done):
                w -= along[q] * left[q, :r]
            w = tau[r] * w
            w = w - ((0.5 * tau[r]) * _fold(w * v)) * v
        a[r, :r], a[r, r:] = v, 0.0
        for rows, first, second in ((left, v, w), (right, w, v)):
            rows[done : done + 2] = 0.0
            rows[done, :r], rows[done + 1, :r] = first, second


def block_factor(gram: Float64, tau: Float64) -> Float64:
    """F of `spectrum._block_factor` from V Vᵀ: column j above the diagonal is −τⱼ F (V vⱼ)."""
    size = len(gram)
    out = np.zeros((size, size))
    for j in range(size):
        total = np.zeros(j)
        for q in range(j):
            total += out[:j, q] * gram[q, j]
        out[:j, j] = -tau[j] * total
        out[j, j] = tau[j]
    return out


def implicit_ql(d: Float64, e: Float64) -> Rotations | None:
    """Eigenvalues into `d` and the rotations of the vectors; None at the iteration limit."""
    values, off = d.tolist(), e.tolist()
    most = spectrum.QL_LIMIT * len(d) * len(d)
    firsts, cosines, sines = [0] * most, [0.0] * most, [0.0] * most
    count = spectrum.ql_rotations(values, off, firsts, cosines, sines)
    if count < 0:
        return None
    d[:] = values
    at = np.array(firsts[:count], np.int64)
    return at, at + 1, np.array(cosines[:count]), np.array(sines[:count])


def rotate(
    rows: Float64, firsts: npt.NDArray[np.int64], seconds: npt.NDArray[np.int64], cosines: Float64, sines: Float64
) -> None:
    """Take each pair of rows (x, y) in turn to (c x − s y, s x + c y)."""
    for i, j, c, s in zip(firsts, seconds, cosines, sines, strict=True):
        x, y = rows[i].copy(), rows[j].copy()
        rows[i], rows[j] = c * x - s * y, s * x + c * y


def deflate(
    d: Float64, z: Float64, rho: float, order: npt.NDArray[np.int64], half: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Rotations]:
    """The kept poles by ascending value, their sides, and rotations; changes `d` and `z`. See `spectrum.deflation`."""
    n = len(d)
    values, weights = d.tolist(), z.tolist()
    kept, sides, firsts, seconds = ([0] * n for _ in range(4))
    cosines, sines = [0.0] * n, [0.0] * n
    count, turned = spectrum.deflation(
        values, weights, rho, order.tolist(), half, kept, sides, firsts, seconds, cosines, sines
    )
    d[:], z[:] = values, weights
    turns = (
        np.array(firsts[:turned], np.int64),
        np.array(seconds[:turned], np.int64),
        np.array(cosines[:turned]),
        np.array(sines[:turned]),
    )
    return np.array(kept[:count], np.int64), np.array(sides[:count], np.int64), turns


def _secular_sums(d: Float64, z: Float64, shift: Float64, at: Float64, start: int, stop: int) -> list[Any]:
    """Sums over the poles up to each root's own, ascending, and over those behind it, descending; with slopes."""
    sums = [np.zeros(stop - start) for _ in range(4)]
    for i in range(len(d)):
        here = slice(max(i - start, 0), None)
        term = z[i] / ((d[i] - shift[here]) - at[here])
        sums[0][here] += z[i] * term
        sums[1][here] += term * term
    for i in range(len(d) - 1, start, -1):
        here = slice(0, min(i - start, stop - start))
        term = z[i] / ((d[i] - shift[here]) - at[here])
        sums[2][here] += z[i] * term
        sums[3][here] += term * term
    return sums


def secular_roots(
    d: Float64,
    z: Float64,
    rho: float,
    start: int,
    stop: int,
    origins: npt.NDArray[np.int64],
    offsets: Float64,
) -> bool:
    """Roots `start` to `stop` of 1/ρ + Σ zᵢ²/(dᵢ − λ), as the nearest pole and λ − d of that; False at the limit."""
    k, constant = len(d), 1.0 / rho
    total = 0.0
    for weight in z.tolist():
        total = total + weight * weight
    own = np.arange(start, stop)
    last = own == k - 1
    following = np.where(last, own, own + 1)[: stop - start]
    gaps = d[following] - d[own]
    at = np.where(last, rho * total, gaps * 0.5)
    low, high = np.zeros(stop - start), np.where(last, (2.0 * rho) * total, 0.0)
    sums = _secular_sums(d, z, d[own], at, start, stop)
    origins[start:stop] = own
    for r in range(int((~last).sum())):
        j = start + r
        value = (constant + sums[0][r]) + sums[2][r]
        second, at[r], low[r], high[r] = spectrum.secular_start(
            float(gaps[r]), float(value), float(z[j]), float(z[j + 1])
        )
        origins[j] += second
    shift = d[origins[start:stop]]
    before, active = np.full(stop - start, np.inf), np.ones(stop - start, np.bool_)
    for step in range(spectrum.SECULAR_LIMIT):
        sums = _secular_sums(d, z, shift, at, start, stop)
        near, behind = (d[own] - shift) - at, (d[following] - shift) - at
        for r in np.flatnonzero(active):
            held = (float(at[r]), float(low[r]), float(high[r]), float(before[r]))
            terms = (constant, *(float(x[r]) for x in sums))
            found, at[r], low[r], high[r], before[r] = spectrum.secular_step(
                step, k, held, terms, float(near[r]), float(behind[r]), bool(last[r])
            )
            active[r] = not found
        if not active.any():
            offsets[start:stop] = at
            return True
    return False


def recomputed_weights(d: Float64, z: Float64, origins: npt.NDArray[np.int64], offsets: Float64) -> Float64:
    """The z whose secular equation has exactly these roots, with the signs of the given one.

    ẑᵢ² = Π_{j<i} (λⱼ − dᵢ)/(dⱼ − dᵢ) · Π_{i≤j<k−1} (λⱼ − dᵢ)/(dⱼ₊₁ − dᵢ) · (λₖ₋₁ − dᵢ), multiplied in the order of j.
    """
    k = len(d)
    squares = np.ones(k)
    for j in range(k - 1):
        distance = (d[origins[j]] - d) + offsets[j]
        poles = np.where(np.arange(k) <= j, d[j + 1], d[j])
        squares *= distance / (poles - d)
    squares *= (d[origins[k - 1]] - d) + offsets[k - 1]
    roots = np.sqrt(squares)
    return np.where(z < 0.0, -roots, roots)


def secular_vectors(
    d: Float64, z: Float64, origins: npt.NDArray[np.int64], offsets: Float64, start: int, stop: int
) -> Float64:
    """Rows `start` to `stop`: zᵢ / (dᵢ − λⱼ), divided by their norm. (stop − start, k)."""
    shift, at = d[origins[start:stop], None], offsets[start:stop, None]
    rows = z / ((d - shift) - at)
    return rows / np.sqrt(_fold(rows * rows))[:, None]


def make_canonical(rows: Float64) -> None:
    """Negate each row whose largest element by magnitude, the first of equals, is negative."""
    largest = np.abs(rows).argmax(axis=1)
    negative = rows[np.arange(len(rows)), largest] < 0.0
    rows[negative] = -rows[negative]
