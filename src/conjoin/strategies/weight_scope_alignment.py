"""Weight scope alignment, after training: bring each tensor to a common mean and spread, then average."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError, BadWeightError
from conjoin.kernels import scalars
from conjoin.strategies.base import Block, Extent, Params, Pass, RawArray, Scope, strategy
from conjoin.strategies.scores import PIECE_ELEMENTS, wide

SMALLEST = Fraction(1, 10**12)
"""Spread below which a tensor has none that could be scaled."""


class Scopes(NamedTuple):
    """Mean and spread of each contribution's tensor, and the spread they are brought to."""

    means: tuple[float, ...]
    spreads: tuple[Fraction, ...]
    fused: Fraction

    @property
    def stretches(self) -> list[Fraction]:
        """σ* / σᵢ."""
        return [self.fused / spread if spread >= SMALLEST else Fraction(1) for spread in self.spreads]


def _measure_mean(x: Block, params: Params) -> npt.NDArray[np.int64]:  # noqa: ARG001
    return kernels.exact_sums(x.tensors, None, x.format, "values")


def _finish_mean(total: npt.NDArray[np.int64], params: Params, extent: Extent) -> tuple[float, ...]:  # noqa: ARG001
    return tuple(float(kernels.total(words) / max(extent.elements, 1)) for words in total)


def _measure_spread(x: Block, params: Params) -> npt.NDArray[np.float64]:  # noqa: ARG001
    return kernels.block_moments(x.tensors, None, x.format, x.measured["mean"])


def _finish_spread(total: npt.NDArray[np.float64], params: Params, extent: Extent) -> Scopes:
    if not np.isfinite(total).all():
        raise BadParameterError("the variance of a tensor overflows float64", hint="use another strategy")
    squares = [Fraction(float(row[2])) / max(extent.elements, 1) for row in total]
    spreads = tuple(scalars.sqrt(square) for square in squares)
    whole = sum(extent.weights, Fraction(0))
    if params["scope_fusion"] == "rms":
        fused = scalars.sqrt(_weighted(squares, extent.weights) / whole)
    else:
        fused = _weighted(spreads, extent.weights) / whole
    return Scopes(extent.measured["mean"], spreads, fused)


def _weighted(values: Sequence[Fraction], weights: Sequence[Fraction]) -> Fraction:
    return sum((weight * value for weight, value in zip(weights, values, strict=True)), Fraction(0))


def _check(params: Params, weights: Sequence[Fraction]) -> None:  # noqa: ARG001
    if not any(weights):
        raise BadWeightError("the weights of weight_scope_alignment add up to 0")


def _divergences(scopes: Scopes, weights: Sequence[Fraction]) -> list[float]:
    """KL(N(μᵢ, σᵢ²) ‖ N(μ*, σ*²)); Inf where one of the two has no spread and the other has."""
    means = [Fraction(mean) for mean in scopes.means]
    centre = _weighted(means, weights) / sum(weights, Fraction(0))
    found: list[float] = []
    for mean, spread in zip(means, scopes.spreads, strict=True):
        if spread and scopes.fused:
            ratio = spread / scopes.fused
            away = (mean - centre) / scopes.fused
            found.append(float((ratio * ratio + away * away - 1) / 2 - scalars.log(ratio)))
        else:
            found.append(0.0 if spread == scopes.fused and mean == centre else float("inf"))
    return found


def _report(x: Block, scopes: Scopes) -> None:
    far = zip(x.contributions, _divergences(scopes, x.weights), strict=True)
    told = ", ".join(f"{digest[:12]} {divergence:.3g}" for digest, divergence in far)
    x.warn(f"tensor `{x.name}`: divergence of its scope from the common one: {told}")


def _aligned(
    x: Block, part: slice, terms: kernels.Coefficients, pulls: Sequence[float], means: Sequence[float]
) -> RawArray:
    """(Σ nᵢ θᵢ + pullᵢ (θᵢ − μᵢ)) / D of some elements; of equal spreads nothing is pulled."""
    total = np.zeros(len(x.tensors[0][part]))
    with np.errstate(all="ignore"):
        for tensor, numerator, pull, mean in zip(x.tensors, terms.numerators, pulls, means, strict=True):
            if numerator:
                value = wide(tensor[part], x.format)
                total = total + np.float64(numerator) * value
                total = total + np.float64(pull) * (value - np.float64(mean))
    whole = kernels.Coefficients((1.0,), terms.denominator)
    return kernels.linear([kernels.encode(total, "F64")], whole, "F64", x.out_format)


@strategy(
    scope=Scope.TWO_PASS,
    normalises=True,
    check=_check,
    passes=(
        Pass("mean", _measure_mean, _finish_mean),
        Pass("scopes", _measure_spread, _finish_spread, combine="tree"),
    ),
    source="after Xu et al., ECAI 2024, arXiv:2408.12237, whose method acts while models are trained",
)
def weight_scope_alignment(
    x: Block,
    *,
    variant: Literal["posthoc"] = "posthoc",  # noqa: ARG001
    scope_fusion: Literal["mean_std", "rms"] = "mean_std",  # noqa: ARG001
    report: bool = False,
) -> RawArray:
    """Bring each contribution's tensor to a common mean and spread, then average: an approximation, after training.

    θ = Σᵢ wᵢ ((θᵢ − μᵢ) σ*/σᵢ + μ*) / Σᵢ wᵢ,   μ* = Σ wᵢ μᵢ / Σ wᵢ,   σ* = Σ wᵢ σᵢ / Σ wᵢ

    μᵢ and σᵢ, the scope, are mean and standard deviation of contribution i's tensor.
    Shapes: x.tensors (k, n), x.weights (k,) → (n,).
    Defaults: w = 1.
    variant: `posthoc`, and there is no other. The published method adds Σ KL(N(μ, σ²) ‖ N(μ*, σ*²)) to the loss while
    the models are trained and leaves nothing to do when they are merged but to average; this aligns models that were
    trained without it. The receipt says so.
    scope_fusion: `rms` takes σ* = √(Σ wᵢ σᵢ² / Σ wᵢ).
    report: write into the receipt how far each scope is from the common one, KL(N(μᵢ, σᵢ²) ‖ N(μ*, σ*²)), per tensor.
    Edge cases: σᵢ < 10⁻¹² leaves a tensor unscaled, so one of a single element is averaged. Equal spreads give the
    mean, exactly; k = 1 gives θ₁.
    Differs: see variant. Where the paper's text leaves the fusion of spreads open, `scope_fusion` has both readings.
    """
    scopes: Scopes = x.measured["scopes"]
    if report and x.offset == 0:
        _report(x, scopes)
    whole = sum(x.weights, Fraction(0))
    terms = kernels.coefficients([weight / whole for weight in x.weights])
    stretches = scopes.stretches
    if all(stretch == 1 for stretch, weight in zip(stretches, x.weights, strict=True) if weight):
        return kernels.linear(x.tensors, terms, x.format, x.out_format)
    pulls = [float(Fraction(n) * (stretch - 1)) for n, stretch in zip(terms.numerators, stretches, strict=True)]
    pieces = range(0, len(x.tensors[0]), PIECE_ELEMENTS)
    made = [_aligned(x, slice(start, start + PIECE_ELEMENTS), terms, pulls, scopes.means) for start in pieces]
    return np.concatenate(made)
