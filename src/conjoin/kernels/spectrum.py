"""The symmetric eigensolver, written once: what is done in which order. A backend's arithmetic does the work.

A = Q T Qᵀ by Householder reflections in panels; T = U Λ Uᵀ by divide and conquer over leaves solved by QL; V = Q U.
Eigenvectors lie in rows until the end, so that everything runs along contiguous memory.

Sources: Dongarra, Sorensen & Hammarling, J. Comput. Appl. Math. 27 (1989) (panels of reflections); Schreiber & Van
Loan, SIAM J. Sci. Stat. Comput. 10 (1989) (their compact product); Cuppen, Numer. Math. 36 (1981) (divide and conquer);
Gu & Eisenstat, SIAM J. Matrix Anal. Appl. 16 (1995) (orthogonal vectors from recomputed weights).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from conjoin.errors import NotConvergedError
from conjoin.kernels.formats import Float64

Run = Callable[[Sequence[Callable[[], object]]], object]
"""Carries out independent tasks, in any order and on any threads, and returns when all are done."""

PANEL = 32
"""Reflections applied at a time to the part that is not yet reduced."""
BLOCK = 64
"""Reflections applied at a time to the vectors."""
LEAF = 32
"""The largest tridiagonal matrix that is not divided."""
BAND = 256
"""Rows of a tile. No bit depends on it."""
LANES = 8
"""Partial sums of an inner product."""
REFLECTED_MIN = 2.0**-900
"""Rows whose sum of squares is at most this are taken as reduced, next to a largest element between ½ and 1."""


def eigh(arithmetic: Any, matrix: Float64, vectors: bool, run: Run) -> tuple[Float64, Float64]:
    """Eigenvalues (n,) ascending and eigenvectors in the columns of an (n, n), or an (n, 0) without `vectors`.

    Args:
        arithmetic: the `eigen` module of a backend.
        matrix: (n, n) finite and symmetric; only its lower triangle is read.
        vectors: whether the vectors are wanted; the values are the same bytes.
        run: works on the tiles.
    """
    n = len(matrix)
    if not n:
        return np.empty(0), np.empty((0, 0))
    exponent = math.frexp(float(np.abs(matrix).max()))[1]
    a = _padded(n, n)
    a[:, :n] = _times_power(matrix, -exponent)
    d, e, tau = _tridiagonal(arithmetic, a, run)
    basis = np.zeros((n, n if vectors else 2))
    _divide(arithmetic, d, e, basis, 0, n, vectors, run)
    order = np.argsort(d, kind="stable")
    values = _times_power(d[order], exponent)
    if not vectors:
        return values, np.empty((n, 0))
    rows = np.empty((n, n))
    factors = [_block_factor(arithmetic, a, tau, start) for start in range(0, n, BLOCK)]

    def finish(start: int) -> None:
        chosen = order[start : start + BAND]
        part = _padded(len(chosen), n)[:, :n]
        part[:] = basis[chosen]
        for block, factor in enumerate(factors):
            reflections = a[block * BLOCK : (block + 1) * BLOCK, : min((block + 1) * BLOCK, n)]
            active = part[:, : reflections.shape[1]]
            along = _product(arithmetic, _product(arithmetic, active, reflections.T), factor)
            arithmetic.gemm(active, along, reflections, True, True, 0)
        rows[start : start + BAND] = part
        arithmetic.make_canonical(rows[start : start + BAND])

    _each(run, finish, range(0, n, BAND))
    return values, rows.T


def _each(run: Run, work: Callable[[int], None], starts: Iterable[int]) -> None:
    run([partial(work, start) for start in starts])


def _product(arithmetic: Any, a: Float64, b: Float64) -> Float64:
    return arithmetic.gemm(np.empty((a.shape[0], b.shape[1])), a, b, False, False, 0)


def _padded(height: int, width: int) -> Float64:
    """Zeros whose rows begin at multiples of 64 bytes but not of 4,096, so that they do not share a place in the cache.

    The columns from `width` on are padding.
    """
    stride = (width + 7) // 8 * 8 + 8
    room = np.zeros(height * stride + 8)
    first = -room.ctypes.data % 64 // 8
    return room[first : first + height * stride].reshape(height, stride)


def _times_power(values: Float64, exponent: int) -> Float64:
    """The values times 2 to the power, in two factors because one may be out of range."""
    half = exponent // 2
    with np.errstate(all="ignore"):
        return (values * math.ldexp(1.0, half)) * math.ldexp(1.0, exponent - half)


def _tridiagonal(arithmetic: Any, a: Float64, run: Run) -> tuple[Float64, Float64, Float64]:
    """Diagonal, subdiagonal and factors of the reflections Hᵣ = I − τᵣ vᵣ vᵣᵀ, from the last row up.

    T = H₂ … Hₙ₋₁ A Hₙ₋₁ … H₂. Row r of `a`, a padded array, becomes vᵣ: 1 at r − 1 and zeros behind it.
    """
    n = len(a)
    d, e, tau = np.zeros(n), np.zeros(n), np.zeros(n)
    left, right = _padded(2 * PANEL, n), _padded(2 * PANEL, n)
    for top in range(n, 0, -PANEL):
        bottom = max(top - PANEL, 0)
        arithmetic.reduce_panel(a, top, bottom, d, e, tau, left, right)

        def update(start: int, top: int = top, bottom: int = bottom) -> None:
            end = min(start + BAND, bottom)
            count = 2 * (top - bottom)
            arithmetic.gemm(a[start:end, :end], left[:count, start:end].T, right[:count, :end], True, True, 0)

        _each(run, update, range(0, bottom, BAND))
    return d, e, tau


def _block_factor(arithmetic: Any, a: Float64, tau: Float64, start: int) -> Float64:
    """F (b, b) with H_start … H_end = I − Vᵀ F V, the rows of V being the reflections."""
    rows = a[start : start + BLOCK, : min(start + BLOCK, len(a))]
    return arithmetic.block_factor(_product(arithmetic, rows, rows.T), tau[start : start + BLOCK])


def _divide(
    arithmetic: Any, d: Float64, e: Float64, basis: Float64, low: int, high: int, vectors: bool, run: Run
) -> None:
    """Solve the tridiagonal matrix of rows `low` to `high`: values into `d`, vectors into rows of `basis`, unordered.

    Without `vectors` only the first and last element of each are carried, which is all that merging needs.
    """
    if high - low <= LEAF:
        _solve_leaf(arithmetic, d, e, basis, low, high, vectors)
        return
    middle = low + (high - low) // 2
    coupling = float(e[middle - 1])
    d[middle - 1] -= abs(coupling)
    d[middle] -= abs(coupling)
    _divide(arithmetic, d, e, basis, low, middle, vectors, run)
    _divide(arithmetic, d, e, basis, middle, high, vectors, run)
    _merge(arithmetic, d, coupling, basis, (low, middle, high), vectors, run)


def _solve_leaf(arithmetic: Any, d: Float64, e: Float64, basis: Float64, low: int, high: int, vectors: bool) -> None:
    part = basis[low:high, low:high] if vectors else basis[low:high]
    if vectors:
        part[range(high - low), range(high - low)] = 1.0
    else:
        part[0, 0] = part[-1, 1] = 1.0
    off = np.zeros(high - low)
    off[:-1] = e[low : high - 1]
    rotations = arithmetic.implicit_ql(d[low:high], off)
    if rotations is None:
        raise NotConvergedError(
            f"the eigenvalues of a tridiagonal matrix of {high - low} rows did not converge",
            hint="this is a defect of conjoin; please report the matrix",
        )
    arithmetic.rotate(part, *rotations)


def _merge(
    arithmetic: Any,
    d: Float64,
    coupling: float,
    basis: Float64,
    bounds: tuple[int, int, int],
    vectors: bool,
    run: Run,
) -> None:
    """Join two solved halves: diag(d) + ρ z zᵀ, with ρ = 2 |coupling| and ‖z‖ = 1 in the basis of their vectors."""
    low, middle, high = bounds
    size, half = high - low, middle - low
    rows = basis[low:high, low:high] if vectors else basis[low:high]
    cut = half if vectors else 1
    values = d[low:high]
    z = np.concatenate([rows[:half, cut - 1 if vectors else 1], rows[half:, cut if vectors else 0]])
    z = z * math.sqrt(0.5)
    if coupling < 0:
        z[half:] = -z[half:]
    if not vectors:
        rows[:half, 1] = rows[half:, 0] = 0.0
    rho = 2.0 * abs(coupling)
    order = np.argsort(values, kind="stable")
    kept, sides, rotations = arithmetic.deflate(values, z, rho, order, half)
    arithmetic.rotate(rows, *rotations)
    if not len(kept):
        return
    poles, weights = values[kept], z[kept]
    origins, offsets = np.empty(len(kept), np.int64), np.empty(len(kept))
    failed: list[int] = []

    def solve(start: int) -> None:
        if not arithmetic.secular_roots(poles, weights, rho, start, min(start + BAND, len(kept)), origins, offsets):
            failed.append(start)

    _each(run, solve, range(0, len(kept), BAND))
    if failed:
        raise NotConvergedError(
            f"the secular equation of {len(kept)} poles did not converge",
            hint="this is a defect of conjoin; please report the matrix",
        )
    values[kept] = poles[origins] + offsets
    if size == len(d) and not vectors:
        return
    weights = arithmetic.recomputed_weights(poles, weights, origins, offsets)
    in_left, in_right = np.flatnonzero(sides <= 0), np.flatnonzero(sides >= 0)
    left = np.ascontiguousarray(rows[kept[in_left], :cut])
    right = np.ascontiguousarray(rows[kept[in_right], cut:])

    def combine(start: int) -> None:
        stop = min(start + BAND, len(kept))
        part = arithmetic.secular_vectors(poles, weights, origins, offsets, start, stop)
        rows[kept[start:stop], :cut] = _product(arithmetic, part[:, in_left], left)
        rows[kept[start:stop], cut:] = _product(arithmetic, part[:, in_right], right)

    _each(run, combine, range(0, len(kept), BAND))


# Scalar steps. They are plain Python for the reference and are compiled as they stand for the other backend, so they
# call nothing but `math.sqrt` and `abs`, and divide by nothing that can be zero.

ROUNDING = 2.0**-53
"""Half the distance from 1 to the next number."""
NEGLIGIBLE = 2.0**-400
"""Taken as zero next to a largest element between ½ and 1."""
QL_LIMIT = 60
"""Sweeps per eigenvalue of a leaf."""
SECULAR_LIMIT = 400
"""Steps per root of a secular equation."""


def ql_rotations(d: Any, e: Any, first: Any, cosines: Any, sines: Any) -> int:
    """Diagonalise the tridiagonal (d, e) in place by implicit QL; how many rotations were noted, −1 at the limit.

    Rotation t takes rows (i, i + 1), i = first[t], of the vectors to (c xᵢ − s xᵢ₊₁, s xᵢ + c xᵢ₊₁).

    Source: Martin & Wilkinson, Numer. Math. 12 (1968), in Dubrulle's form, ibid. 15 (1970).
    """
    n, count = len(d), 0
    for target in range(n):
        sweeps = 0
        while True:
            end = target
            while end < n - 1:
                if abs(e[end]) <= ROUNDING * (abs(d[end]) + abs(d[end + 1])) or abs(e[end]) <= NEGLIGIBLE:
                    break
                end += 1
            if end == target:
                break
            if sweeps == QL_LIMIT:
                return -1
            sweeps += 1
            ratio = (d[target + 1] - d[target]) / (2.0 * e[target])
            radius = math.sqrt(ratio * ratio + 1.0)
            g = (d[end] - d[target]) + e[target] / (ratio + (radius if ratio >= 0.0 else -radius))
            s, c, p = 1.0, 1.0, 0.0
            i = end - 1
            split = False
            while i >= target:
                f, b = s * e[i], c * e[i]
                if abs(f) <= NEGLIGIBLE and abs(g) <= NEGLIGIBLE:
                    split = True
                    break
                radius = math.sqrt(f * f + g * g)
                e[i + 1] = radius
                s, c = f / radius, g / radius
                g = d[i + 1] - p
                radius = (d[i] - g) * s + (2.0 * c) * b
                p = s * radius
                d[i + 1] = g + p
                g = c * radius - b
                first[count], cosines[count], sines[count] = i, c, s
                count += 1
                i -= 1
            if split:
                e[i + 1] = 0.0
                d[i + 1] -= p
            else:
                d[target] -= p
                e[target] = g
            e[end] = 0.0
    return count


def deflation(
    d: Any,
    z: Any,
    rho: float,
    order: Any,
    half: int,
    kept: Any,
    sides: Any,
    firsts: Any,
    seconds: Any,
    cosines: Any,
    sines: Any,
) -> tuple[int, int]:
    """Set aside what rank-one coupling does not change; how many poles are kept, how many rotations were noted.

    In the order of d: pole j is set aside where ρ|zⱼ| ≤ tol; where turning j against the last kept one would leave
    an element of at most tol beside the diagonal, both are turned so that the earlier one has z = 0, and that one is
    set aside. tol = 8 u max(|d|, ρ), at least NEGLIGIBLE. `sides` says of a kept pole in which half its vector is not
    zero: −1 the first, 1 the second, 0 both.

    Source: Dongarra & Sorensen, SIAM J. Sci. Stat. Comput. 8 (1987), section 4.
    """
    largest = rho
    for j in range(len(d)):
        if abs(d[j]) > largest:
            largest = abs(d[j])
    tolerance = 8.0 * ROUNDING * largest
    if tolerance < NEGLIGIBLE:
        tolerance = NEGLIGIBLE
    count, turned, last, side = 0, 0, -1, 0
    for position in range(len(d)):
        j = order[position]
        if rho * abs(z[j]) <= tolerance:
            continue
        own = -1 if j < half else 1
        if last >= 0:
            s, c = z[last], z[j]
            radius = math.sqrt(c * c + s * s)
            c, s = c / radius, s / radius
            if abs((d[j] - d[last]) * c * s) <= tolerance:
                z[j], z[last] = radius, 0.0
                first, second = d[last], d[j]
                d[last] = first * (c * c) + second * (s * s)
                d[j] = first * (s * s) + second * (c * c)
                firsts[turned], seconds[turned] = last, j
                cosines[turned], sines[turned] = c, s
                turned += 1
                own = own if own == side else 0
            else:
                kept[count], sides[count] = last, side
                count += 1
        last, side = j, own
    if last >= 0:
        kept[count], sides[count] = last, side
        count += 1
    return count, turned


def secular_start(gap: float, value: float, z_near: float, z_next: float) -> tuple[bool, float, float, float]:
    """Where a root between two poles is looked for, given the secular function's value in the middle.

    Returns whether the second pole is the nearer one, then, from the nearer pole: a first guess and the bounds.
    The guess solves the equation with both poles exact and the others constant.
    """
    middle = gap * 0.5
    p, q = z_near * z_near, z_next * z_next
    rest = (value + p / middle) - q / (gap - middle)
    second = value < 0.0
    if second:
        a, b = (p + q) - rest * gap, -(q * gap)
        low, high = middle - gap, 0.0
    else:
        a, b = rest * gap + (p + q), p * gap
        low, high = 0.0, middle
    root = math.sqrt(abs(a * a - 4.0 * (b * rest)))
    if a > 0.0:
        guess = (2.0 * b) / (a + root)
    elif rest != 0.0:
        guess = (a - root) / (2.0 * rest)
    else:
        guess = 0.0
    if not low < guess < high:
        guess = (low + high) * 0.5
    return second, guess, low, high


def secular_step(
    step: int,
    count: int,
    held: tuple[float, float, float, float],
    terms: tuple[float, ...],
    near: float,
    following: float,
    last: bool,
) -> tuple[bool, float, float, float, float]:
    """One step towards a root: whether it is found, where to look next, the new bounds, the function's magnitude here.

    `held` is what the step before returned but for its first. `terms` are the function's constant, its part left of the
    root with that part's slope, and its part right of it with the slope; the root's own pole counts as left. `near` and
    `following` are the distances to the pole before and the pole behind the root. The step is the root of
    r + s/(near − η) + S/(following − η), which agrees with left and right in value and slope; behind the last pole of
    r + s/(near − η). A step out of the bounds is replaced by their middle; so is, after the tenth, every other one that
    comes from where the function is more than ¾ of what it was before.

    Source: Li, LAPACK working note 89 (1993), "the middle way"; Bunch, Nielsen & Sorensen, Numer. Math. 31 (1978).
    """
    at, low, high, before = held
    constant, left, left_slope, right, right_slope = terms
    value = (constant + left) + right
    size = (constant - left) + right
    slope = left_slope + right_slope
    magnitude = abs(value)
    found = magnitude <= ROUNDING * (8.0 * size + abs(at) * slope)
    if found or (magnitude <= ROUNDING * count * size and magnitude >= 0.5 * before):
        return True, at, low, high, magnitude
    if value < 0.0:
        low = at
    else:
        high = at
    change = 0.0
    if last:
        rest = value - near * slope
        if rest > 0.0:
            change = (near * value) / rest
    else:
        rest = (value - near * left_slope) - following * right_slope
        a = (near + following) * value - (near * following) * slope
        b = (near * following) * value
        root = math.sqrt(abs(a * a - 4.0 * (b * rest)))
        if a > 0.0:
            change = (2.0 * b) / (a + root)
        elif rest != 0.0:
            change = (a - root) / (2.0 * rest)
    if value * change >= 0.0:
        change = -value / slope
    new = at + change
    if not low < new < high or (step > 10 and step % 2 == 1 and magnitude > 0.75 * before):
        new = low + (high - low) * 0.5
    inside = low < new < high
    return new == at or not inside, new if inside else at, low, high, magnitude
