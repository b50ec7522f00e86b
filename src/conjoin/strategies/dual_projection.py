"""DOP: the task vector nearest to all of them, each seen in its own input and output directions."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from conjoin import kernels
from conjoin.strategies import matrices
from conjoin.strategies.base import Block, RawArray, Scope, Share, strategy
from conjoin.strategies.matrices import Matrix

NULL = 1e-10
"""Share of the largest a + b below which no task vector says anything about a pair of directions."""

FEW = 0.75
"""Share of the columns up to which the rows of all task vectors together are few: then their span is all there is."""

STEPS, RATE, SPECTRUM = 200, 1e-4, Fraction("0.99999")
"""Of the published procedure: steps of Adam and their length, and the share of the singular values that is kept."""
MOMENTA, EPSILON = (Fraction("0.9"), Fraction("0.999")), 1e-8
"""Of Adam (Kingma and Ba, ICLR 2015), as everybody has them."""
UNIT_MIN, EPSILON_MIN = 2.0**-400, 2.0**-500
"""Below these lies nothing that a step of Adam could show, and no square of a gradient leaves float64."""
Equation = tuple[Matrix, Matrix, Matrix]
Solve = Callable[[Sequence[Matrix], Sequence[Matrix], Sequence[float]], tuple[Matrix, float]]
"""Task vectors, what each is from the centre, weights → Y and its unit."""


def _correction(taus: Sequence[Matrix], parts: Sequence[Matrix], weights: Sequence[float]) -> Matrix:
    """Y with A Y + Y B = Σ αᵢ (τᵢτᵢᵀDᵢ + Dᵢτᵢᵀτᵢ), A = Σ αᵢ τᵢτᵢᵀ, B = Σ αᵢ τᵢᵀτᵢ; 0 in the pairs without a say.

    Y lies in the span of the rows of all task vectors. Of those the first and the Dᵢ but one are a basis in which no
    small difference between large vectors is lost.
    """
    m, n = taus[0].shape
    if m > n:
        return _correction([tau.T for tau in taus], [part.T for part in parts], weights).T
    if len(taus) * m <= FEW * n:
        rows = kernels.orthonormal(np.concatenate([taus[0], *parts[1:]]).T)
        seen, apart = ([kernels.gemm(matrix, rows, wide=True) for matrix in given] for given in (taus, parts))
        return kernels.gemm(_within(seen, apart, weights), rows.T, wide=True)
    return _within(taus, parts, weights)


def _equation(taus: Sequence[Matrix], parts: Sequence[Matrix], weights: Sequence[float]) -> Equation:
    """A, B and the right side."""
    m, n = taus[0].shape
    a, b, c = np.zeros((m, m)), np.zeros((n, n)), np.zeros((m, n))
    for tau, part, weight in zip(taus, parts, weights, strict=True):
        square = kernels.gram(tau, wide=True)
        a += weight * square
        b += weight * kernels.gram(tau.T, wide=True)
        c += weight * kernels.gemm(square, part, wide=True)
        c += weight * kernels.gemm(kernels.gemm(part, tau.T, wide=True), tau, wide=True)
    return a, b, c


def _within(taus: Sequence[Matrix], parts: Sequence[Matrix], weights: Sequence[float]) -> Matrix:
    """The same by the eigenvectors of both sides."""
    a, b, c = _equation(taus, parts, weights)
    (rows, p), (columns, q) = kernels.eigh(a), kernels.eigh(b)
    sums = rows[:, np.newaxis] + columns
    told = sums > NULL * max(float(sums.max()), 0.0)
    inner = kernels.gemm(kernels.gemm(p.T, c, wide=True), q, wide=True)
    inner = np.where(told, inner / np.where(told, sums, 1.0), 0.0)
    return kernels.gemm(kernels.gemm(p, inner, wide=True), q.T, wide=True)


def _minimum(taus: Sequence[Matrix], parts: Sequence[Matrix], weights: Sequence[float]) -> tuple[Matrix, float]:
    """Where the gradient is 0."""
    apart, unit = matrices.scaled(parts)
    return _correction(matrices.scaled(taus)[0], apart, weights), unit


def _cut(tau: Matrix) -> Matrix:
    """The task vector without the last singular values."""
    if not tau.any():
        return tau
    found = kernels.svd(tau, wide=True)
    count, _, _ = matrices.leading(found.values, SPECTRUM)
    return kernels.gemm(found.left[:, :count] * found.values[:count], found.right[:, :count].T, wide=True)


def _descended(taus: Sequence[Matrix], parts: Sequence[Matrix], weights: Sequence[float]) -> tuple[Matrix, float]:
    """Where 200 steps of Adam come to from the centre.

    Adam does not see the size of a gradient, but for ε. So it is computed of numbers divided by their units.
    """
    seen, size = matrices.scaled(taus)
    unit = max(matrices.unit_of(parts), UNIT_MIN)
    a, b, c = _equation([_cut(tau) for tau in seen], [part / unit for part in parts], weights)
    y, first, second = np.zeros_like(c), np.zeros_like(c), np.zeros_like(c)
    keep, keep_squares = (float(share) for share in MOMENTA)
    take, take_squares = (float(1 - share) for share in MOMENTA)
    epsilon = max(EPSILON / size / size / unit, EPSILON_MIN)
    for step in range(1, STEPS + 1):
        gradient = 2 * (kernels.gemm(a, y, wide=True) + kernels.gemm(y, b, wide=True) - c)
        first = keep * first + take * gradient
        second = keep_squares * second + take_squares * (gradient * gradient)
        fresh, fresh_squares = (float(1 - Fraction(share) ** step) for share in MOMENTA)
        y = y - RATE / unit * ((first / fresh) / (np.sqrt(second / fresh_squares) + epsilon))
    return y, unit


def _moved(
    centre: Matrix, taus: Sequence[Matrix], parts: Sequence[Matrix], weights: Sequence[float], solve: Solve = _minimum
) -> Matrix:
    """The centre + Y; the centre itself where all are equal."""
    if not any(part.any() for part in parts) or not any(tau.any() for tau in taus):
        return centre
    return matrices.moved(centre, *solve(taus, parts, weights))


def _closed(x: Block) -> RawArray:
    """All contributions at once."""
    total = sum(x.weights, Fraction(0))
    centre = matrices.mean_matrix(x)
    parts = [matrices.difference(x, matrices.decoded(x, raw), centre) for raw in x.tensors]
    weights = [float(weight / total) for weight in x.weights]
    return matrices.encoded(x, _moved(centre, matrices.task_vectors(x), parts, weights))


def _pair(x: Block, at: int, share: Fraction) -> tuple[Fraction, Fraction]:
    """Weights of what is merged of the first `at` contributions and of the next one, together 1."""
    before = share * sum(x.weights[:at], Fraction(0)) / at
    after = (1 - share) * x.weights[at]
    return before / (before + after), after / (before + after)


def _sequential(x: Block, origin: Matrix, share: Fraction, solve: Solve) -> RawArray:
    """One contribution after the other, in canonical order, from the mean of what is merged and the next one."""
    merged = matrices.decoded(x, x.tensors[0])
    for at, raw in enumerate(x.tensors[1:], start=1):
        other = matrices.decoded(x, raw)
        weights = [float(weight) for weight in _pair(x, at, share)]
        half = float(_pair(x, at, Fraction(1, 2))[1])
        centre = merged + half * matrices.difference(x, other, merged)
        parts = [matrices.difference(x, matrix, centre) for matrix in (merged, other)]
        taus = [matrices.difference(x, matrix, origin) for matrix in (merged, other)]
        merged = _moved(centre, taus, parts, weights, solve)
    return matrices.encoded(x, merged)


def _sequential_mean(x: Block) -> RawArray:
    """The rule for vectors of the fold: the mean of what is merged and the next one, by weight."""
    terms = [Fraction(1)]
    for at in range(1, len(x.weights)):
        before, after = _pair(x, at, Fraction(1, 2))
        terms = [before * term for term in terms] + [after]
    return kernels.linear(x.tensors, kernels.coefficients(terms), x.format, x.out_format)


@strategy(
    scope=Scope.MATRIX,
    needs_base=True,
    normalises=True,
    source="Yang et al., NeurIPS 2025, Continual Model Merging without Data: Dual Projections; EnnengYang/DOP",
)
def dual_projection(
    x: Block, *, variant: Literal["closed", "sequential", "adam"] = "closed", share: Share = Fraction("0.8")
) -> RawArray:
    """Find the task vector nearest to all, where each counts its distance in the directions that it uses.

    τ = argmin Σᵢ αᵢ (‖Sᵢ Uᵢᵀ (τ − τᵢ)‖² + ‖(τ − τᵢ) Vᵢ Sᵢ‖²),   τᵢ = Uᵢ Sᵢ Vᵢᵀ,   αᵢ = wᵢ / Σ w

    The gradient is 0 where A τ + τ B = 2 Σᵢ αᵢ τᵢτᵢᵀτᵢ with A = Σᵢ αᵢ τᵢτᵢᵀ, B = Σᵢ αᵢ τᵢᵀτᵢ. With the eigenvectors of
    both that is one division per pair of directions; a pair with a + b ≤ 10⁻¹⁰ of the largest takes the mean.
    Shapes: x.tensors (k, n) as k matrices (dim 0, the others), x.base (n,), x.weights (k,) → (n,).
    Defaults: variant closed; share 0.8, of the other two variants; w = 1.
    variant: `closed` is the minimiser for all contributions at once. It is not the published procedure but the solution
    of its problem: no order, no step size. `sequential` merges one after the other in canonical order, what is merged
    so far with weight `share` and the next one with 1 − share, and solves for each pair; those with small digests count
    more. `adam` is the published procedure: the same, but 200 steps of Adam of length 10⁻⁴ from the mean of the pair,
    without the last 10⁻⁵ of the singular values. It stops far from the minimum and takes 200 times two products.
    Weights: of a fold, share · (mean weight so far) against (1 − share) · wᵢ.
    Edge cases: vectors and scalars are averaged (of a fold, with each next one in turn). Task vectors that share
    neither rows nor columns are added without dilution. Equal contributions give exactly that; k = 1 gives θ₁.
    Differs: the authors fold by order of arrival and may adapt the share by the gradients; here it is fixed, which is
    their other choice.
    """
    x, origin = matrices.present(x), x.origin
    if not matrices.is_matrix(x):
        return matrices.mean(x) if variant == "closed" else _sequential_mean(x)
    if variant == "closed":
        return _closed(x)
    return _sequential(x, matrices.decoded(x, origin), share, _minimum if variant == "sequential" else _descended)
