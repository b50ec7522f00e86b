"""Dense matrices of the reference: a loop over the terms of the chains, all elements side by side."""

import itertools

import numpy as np

from conjoin.kernels.formats import Float64
from conjoin.kernels.layout import LANES

FAR = 2.0**60
"""From here on 1 + ζ² is ζ², and ζ² might overflow."""


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


def solve_lower(lower: Float64, x: Float64) -> Float64:
    """X = L⁻¹ X in place, a row of X after the other taken off those below; returns X."""
    with np.errstate(all="ignore"):
        for k in range(len(x)):
            x[k] = x[k] / lower[k, k]
            x[k + 1 :] = x[k + 1 :] - np.multiply.outer(lower[k + 1 :, k], x[k])
    return x


def factor(a: Float64, limits: Float64) -> int:
    """The lower triangle of A = its Cholesky factor, in place; what is above the diagonal stays.

    A pivot that is not above its limit becomes +Inf, so that its column is 0.

    Returns:
        The first such column, or −1.
    """
    refused, below = -1, np.tri(len(a), dtype=bool)
    with np.errstate(all="ignore"):
        for k in range(len(a)):
            above = bool(a[k, k] > limits[k])
            refused = k if refused < 0 and not above else refused
            a[k, k] = np.sqrt(a[k, k]) if above else np.inf
            column = a[k + 1 :, k] / a[k, k]
            rest, a[k + 1 :, k] = a[k + 1 :, k + 1 :], column
            rest[...] = np.where(below[k + 1 :, k + 1 :], rest - np.multiply.outer(column, column), rest)
    return refused


def add_squares(x: Float64, sums: Float64) -> Float64:
    """sums[j] = sums[j] + x[i, j]² for i from 0 on, in place; returns the sums."""
    with np.errstate(all="ignore"):
        for row in x:
            sums[...] = sums + row * row
    return sums


def normalise(x: Float64, sizes: Float64) -> Float64:
    """sizes[j] = √sizes[j] and x[i, j] = x[i, j] / sizes[j], or +0 where that is 0, in place; returns x."""
    with np.errstate(all="ignore"):
        sizes[...] = np.sqrt(sizes)
        x[...] = np.where(sizes == 0, 0.0, x / sizes)
    return x


def jacobi(w: Float64, v: Float64, tolerance: float, sweeps: int) -> tuple[Float64, int]:
    """Rotate the rows of W (r, m) against one another, and those of V (r, r) along, in place, until all are orthogonal.

    Pairs p < q row by row: the longer one becomes the first; they are left alone where |γ| ≤ tolerance·√α·√β. A second
    row of which a rotation leaves at most the share `tolerance` was rounding and becomes 0.

    Returns:
        The squared norms of the rows, and the sweeps done, the last one without a rotation; `sweeps` + 1 where they did
        not suffice.
    """
    with np.errstate(all="ignore"):
        sizes = np.array([_lane_dot(row, row) for row in w])
        for sweep in range(sweeps):
            turned = False
            for p, q in itertools.combinations(range(len(w)), 2):
                if sizes[p] < sizes[q]:
                    for x in (w, v, sizes):
                        x[[p, q]] = x[[q, p]]
                gamma = _lane_dot(w[p], w[q])
                if abs(gamma) > tolerance * np.sqrt(sizes[p]) * np.sqrt(sizes[q]):
                    turned = True
                    beta, (cosine, sine) = sizes[q], _angle(sizes[p], sizes[q], gamma)
                    for x in (w, v):
                        x[p], x[q] = cosine * x[p] - sine * x[q], sine * x[p] + cosine * x[q]
                    sizes[p], sizes[q] = _lane_dot(w[p], w[p]), _lane_dot(w[q], w[q])
                    if sizes[q] <= tolerance * tolerance * beta:
                        w[q] = sizes[q] = 0.0
            if not turned:
                return sizes, sweep + 1
    return sizes, sweeps + 1


def _lane_dot(left: Float64, right: Float64) -> np.float64:
    """Σ leftⱼ·rightⱼ: 32 lanes, index ascending, then halves of lanes onto each other."""
    lanes = np.zeros(LANES)
    for start in range(0, len(left), LANES):
        terms = left[start : start + LANES] * right[start : start + LANES]
        lanes = lanes + np.concatenate([terms, np.zeros(LANES - len(terms))])
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


def _angle(alpha: np.float64, beta: np.float64, gamma: np.float64) -> tuple[np.float64, np.float64]:
    """Cosine and sine of the smaller rotation that makes γ zero."""
    zeta = (beta - alpha) / (2.0 * gamma)
    size = abs(zeta)
    tangent = 0.5 / size if size > FAR else 1.0 / (size + np.sqrt(1.0 + zeta * zeta))
    tangent = -tangent if zeta < 0 else tangent
    cosine = 1.0 / np.sqrt(1.0 + tangent * tangent)
    return cosine, cosine * tangent
