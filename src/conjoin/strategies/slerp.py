"""SLERP: interpolate along great circles; trigonometry on the k×k Gram matrix, then one weighted sum."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError, BadWeightError
from conjoin.kernels import scalars
from conjoin.strategies.base import Block, ByContribution, Domain, Extent, Params, Pass, RawArray, Scope, strategy

Shares = Annotated[tuple[Fraction | None, ...] | None, ByContribution(Domain(minimum=Fraction(0), maximum=Fraction(1)))]

PARALLEL = Fraction("0.9995")
"""Above this |cosine| the arc is a straight line to all purposes, and the division by its sine is avoided."""
STEPS_MAX = 50
"""Iterations of the Karcher mean."""
STEP_SMALLEST = Fraction(1, 10**12)
"""Length of a step (radians) after which the Karcher mean has converged."""
SAME = Fraction(1, 10**12)
"""1 − cosine below which two directions are the same: arc and chord differ by less than float32 can show."""
ANTIPODAL = Fraction(1, 10**9)
"""1 + cosine below which a direction has no logarithm."""

Vector = list[Fraction]
"""Coefficients over the k contributions."""
Part = tuple[Vector, Fraction]
"""A vector and its weight."""


class Gram(NamedTuple):
    """Inner products of k vectors, and where to say what is unusual."""

    whole: tuple[int, list[list[int]]]
    """The inner products as whole numbers over one denominator: sums of fractions would look for a gcd at each step."""
    warn: Callable[[str], None]

    @classmethod
    def of(cls, products: npt.NDArray[np.float64], warn: Callable[[str], None]) -> "Gram":
        """Inner products as they were measured."""
        exact = [[Fraction(float(value)) for value in row] for row in products]
        unit = max(value.denominator for row in exact for value in row)  # powers of two
        return cls((unit, [[int(value * unit) for value in row] for row in exact]), warn)

    def dot(self, left: Vector, right: Vector) -> Fraction:
        """Inner product of two combinations of the vectors, exact."""
        (a, a_unit), (b, b_unit) = _whole(left), _whole(right)
        unit, rows = self.whole
        total = sum(x * sum(y * rows[i][j] for j, y in b) for i, x in a)
        return Fraction(total, a_unit * b_unit * unit)

    def norm(self, vector: Vector) -> Fraction:
        """Length of a combination of the vectors, to the precision of `scalars`."""
        square = self.dot(vector, vector)
        return scalars.sqrt(square) if square > 0 else Fraction(0)


def _whole(vector: Vector) -> tuple[list[tuple[int, int]], int]:
    """What is not 0 of a vector, as index and whole number, and their denominator."""
    unit = math.lcm(*(value.denominator for value in vector))
    return [(i, value.numerator * (unit // value.denominator)) for i, value in enumerate(vector) if value], unit


def _combine(a: Fraction, left: Vector, b: Fraction, right: Vector) -> Vector:
    return [a * x + b * y for x, y in zip(left, right, strict=True)]


def arc(gram: Gram, left: Vector, right: Vector, t: Fraction, variant: str) -> Vector:
    """The point at t on the great circle from `left` (t = 0) to `right` (t = 1).

    A straight line, exact, where one vector is zero or the two are (anti)parallel to PARALLEL.
    """
    sizes = gram.norm(left), gram.norm(right)
    if not (sizes[0] and sizes[1]):
        return _combine(1 - t, left, t, right)
    cosine = gram.dot(left, right) / (sizes[0] * sizes[1])
    if abs(cosine) > PARALLEL:
        if cosine < 0:
            gram.warn("two vectors point in opposite directions; slerp took the straight line through 0 between them")
        return _combine(1 - t, left, t, right)
    angle = scalars.acos(cosine)
    sine = scalars.sin(angle)
    a, b = scalars.sin((1 - t) * angle) / sine, scalars.sin(t * angle) / sine
    if variant == "norm_lerp":
        size = (1 - t) * sizes[0] + t * sizes[1]
        a, b = a * size / sizes[0], b * size / sizes[1]
    return [scalars.rounded(value) for value in _combine(a, left, b, right)]


def fold(gram: Gram, parts: list[Part], variant: str) -> Vector:
    """Interpolate towards one after another, in canonical order, each by its share of the weight so far."""
    vector, weight = parts[0]
    for other, more in parts[1:]:
        weight += more
        vector = arc(gram, vector, other, more / weight, variant)
    return vector


def tree(gram: Gram, parts: list[Part], variant: str) -> Vector:
    """Interpolate neighbours in canonical order pairwise, then the results, by weight; an odd last one waits."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        level = [(arc(gram, a, b, v / (u + v), variant), u + v) for (a, u), (b, v) in pairs]
        parts = level + parts[len(level) * 2 :]
    return parts[0][0]


def karcher(gram: Gram, parts: list[Part]) -> Vector:
    """The Fréchet mean of the directions on the sphere, times the mean length; both by weight.

    The straight mean, exact, where a vector is zero, where all directions are the same, or where one lies opposite to
    the point reached.
    """
    total = sum((weight for _, weight in parts), Fraction(0))
    vectors, shares = [vector for vector, _ in parts], [weight / total for _, weight in parts]
    sizes = [gram.norm(vector) for vector in vectors]
    straight = _mean(shares, vectors)
    if not all(sizes):
        return straight
    units = [[scalars.rounded(x / size) for x in vector] for vector, size in zip(vectors, sizes, strict=True)]
    if all(1 - gram.dot(units[0], unit) < SAME for unit in units):
        return straight
    point = _walk(gram, units, shares)
    if point is None:
        gram.warn("contributions point in opposite directions; slerp took their straight mean")
        return straight
    size = sum((share * length for share, length in zip(shares, sizes, strict=True)), Fraction(0))
    return [x * size for x in point]


def _mean(shares: Sequence[Fraction], vectors: Sequence[Vector]) -> Vector:
    return [
        sum((share * vector[i] for share, vector in zip(shares, vectors, strict=True)), Fraction(0))
        for i in range(len(vectors[0]))
    ]


def _walk(gram: Gram, units: list[Vector], shares: Sequence[Fraction]) -> Vector | None:
    """The Karcher mean of unit vectors as a unit vector, or None where a logarithm does not exist.

    Starts at the normalised mean (at the first vector where that is zero) and walks along the mean of the logarithms
    until a step is shorter than STEP_SMALLEST, at most STEPS_MAX times.
    """
    start = _mean(shares, units)
    size = gram.norm(start)
    point = [scalars.rounded(x / size) for x in start] if size > ANTIPODAL else units[0]
    for _ in range(STEPS_MAX):
        step = [Fraction(0)] * len(point)
        for unit, share in zip(units, shares, strict=True):
            cosine = scalars.rounded(gram.dot(point, unit))
            if 1 + cosine < ANTIPODAL:
                return None
            angle = scalars.acos(min(cosine, Fraction(1)))
            stretch = scalars.rounded(share * angle / scalars.sin(angle)) if angle else share
            step = _combine(Fraction(1), step, stretch, _combine(Fraction(1), unit, -cosine, point))
        length = gram.norm(step)
        if length < STEP_SMALLEST:
            break
        point = _combine(scalars.cos(length), point, scalars.sin(length) / length, step)
        size = gram.norm(point)
        point = [scalars.rounded(x / size) for x in point]
    return point


def _t(params: Params, weights: Sequence[Fraction]) -> Fraction:
    """Where between the first (0) and the second (1) of two contributions in canonical order the result lies."""
    first, second = params["t"] if params["t"] is not None else (None, None)
    if first is not None and second is not None and first + second != 1:
        raise BadParameterError(
            f"parameter `t` of slerp is {float(first):g} and {float(second):g}: the two shares do not add up to 1",
            hint="give `t` for one contribution; the other takes the rest",
        )
    if second is not None:
        return second
    if first is not None:
        return 1 - first
    return weights[1] / (weights[0] + weights[1])


def _measure_gram(x: Block, params: Params) -> npt.NDArray[np.float64]:
    return kernels.block_gram(x.tensors, x.origin if params["target"] == "delta" else None, x.format)


def _finish_gram(total: npt.NDArray[np.float64], params: Params, extent: Extent) -> tuple[Fraction, ...]:
    """The coefficient of each contribution: exact on straight lines, otherwise rounded to float64 and then float32."""
    k = extent.count
    if not any(extent.weights):
        raise BadWeightError("the weights of slerp add up to 0")
    if k > 2 and params["t"] is not None and any(t is not None for t in params["t"]):
        raise BadParameterError(
            f"parameter `t` of slerp is for two contributions and there are {k}", hint="weigh the contributions instead"
        )
    if k == 1:
        return (Fraction(1),)
    if not np.isfinite(total).all():
        raise BadParameterError("the inner products of the tensors overflow float64", hint="use another strategy")
    gram = Gram.of(total, extent.warn)
    ones = [[Fraction(int(i == j)) for j in range(k)] for i in range(k)]
    if k == 2:
        found = arc(gram, ones[0], ones[1], _t(params, extent.weights), params["variant"])
        return tuple(scalars.as_coefficient(value) for value in found)
    parts = [(one, weight) for one, weight in zip(ones, extent.weights, strict=True) if weight]
    if len(parts) == 1:
        return tuple(parts[0][0])
    if params["reduce"] == "karcher":
        found = karcher(gram, parts)
    else:
        found = (tree if params["reduce"] == "tree" else fold)(gram, parts, params["variant"])
    return tuple(scalars.as_coefficient(value) for value in found)


@strategy(
    scope=Scope.TWO_PASS,
    normalises=True,
    uses_base=lambda params: params["target"] == "delta",
    passes=(Pass("gram", _measure_gram, _finish_gram, combine="tree"),),
    source="Shoemake, SIGGRAPH 1985, doi:10.1145/325334.325242; k > 2: Karcher, CPAM 1977; for models as in mergekit",
)
def slerp(
    x: Block,
    *,
    t: Shares = None,  # noqa: ARG001
    reduce: Literal["karcher", "tree", "fold"] = "karcher",  # noqa: ARG001
    variant: Literal["slerp", "norm_lerp"] = "slerp",  # noqa: ARG001
    target: Literal["weights", "delta"] = "weights",
) -> RawArray:
    """Interpolate each tensor along the great circle between the contributions.

    θ = sin((1−t)Ω)/sin Ω · θ₁ + sin(tΩ)/sin Ω · θ₂,   cos Ω = ⟨θ₁, θ₂⟩ / (‖θ₁‖ ‖θ₂‖)

    Shapes: x.tensors (k, n), x.weights (k,) → (n,).
    Defaults: t = w₂ / (w₁ + w₂), so ½; `t` may be given per contribution as that contribution's share.
    reduce: for k > 2. `karcher` is the mean on the sphere times the mean length; `tree` and `fold` interpolate
    pairwise in canonical order. All honour the weights.
    variant: `slerp` applies the two factors to the vectors as they are; `norm_lerp` interpolates directions on the
    unit sphere and lengths on a line. `karcher` always does the latter.
    target: `delta` works on task vectors, θ = θ₀ + Σ aᵢ τᵢ, and needs a base.
    Edge cases: a zero vector, or |cos Ω| > 0.9995, gives the straight line; opposite vectors do so with a warning.
    k = 1 gives θ₁.
    Differs: the base is no end of the arc; k = 2 is mergekit's `slerp`, k > 2 its `karcher`.
    """
    terms: Sequence[Fraction] = x.measured["gram"]
    if target == "delta":
        return kernels.delta_sum(x.tensors, x.origin, x.format, x.out_format, terms=kernels.coefficients(terms))
    return kernels.linear(x.tensors, kernels.coefficients(terms), x.format, x.out_format)
