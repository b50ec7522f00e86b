"""Fisher merging: average each element with its Fisher information as the weight."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError, BadSidecarError, BadWeightError
from conjoin.kernels import scalars
from conjoin.strategies.base import (
    Block,
    ByContribution,
    Domain,
    Extent,
    Extra,
    Params,
    Pass,
    RawArray,
    Scope,
    SideCar,
    strategy,
)
from conjoin.strategies.scores import Values, derived, scores

Floor = Annotated[Fraction, Domain(above=Fraction(0))]
Favor = Annotated[tuple[str | None, ...] | None, ByContribution(choices=("true", "false"))]

LARGEST = 2.0**240
"""Magnitudes above count as this one where they are squared in place of a Fisher information."""


def _fishers(x: Block, variant: str) -> Extra:
    """Fᵢ: from the side-cars, or the squares that stand for it."""
    if variant == "fisher":
        return scores(x, "fisher", "the Fisher information")
    origin = x.origin if variant == "delta_sq" else None
    return Extra(tuple(derived(tensor, origin, x.format, _square) for tensor in x.tensors), "F64", x.shape)


def _square(values: Values, base: Values) -> Values:
    sizes = np.abs(values - base)
    sizes = np.where(sizes > LARGEST, LARGEST, sizes)
    return sizes * sizes


def _measure_norms(x: Block, params: Params) -> npt.NDArray[np.int64]:
    found = _fishers(x, params["variant"])
    return kernels.exact_sums(found.tensors, None, found.format, "squares")


def _finish_norms(total: npt.NDArray[np.int64], params: Params, extent: Extent) -> tuple[Fraction, ...]:  # noqa: ARG001
    """‖Fᵢ‖₂ over the whole model, and 1 where it is 0."""
    squares = [kernels.total(row) for row in total]
    if not all(np.isfinite(kernels.nearest_total(row)) for row in total):
        raise BadSidecarError("the squares of the Fisher information overflow float64", hint="scale it")
    return tuple(scalars.sqrt(square) if square else Fraction(1) for square in squares)


def _check(params: Params, weights: Sequence[Fraction]) -> None:
    if not any(weights):
        raise BadWeightError("the weights of fisher_merge add up to 0")
    favored = params["favor"] or ()
    if "true" in favored and not any(w for w, favor in zip(weights, favored, strict=True) if favor == "true"):
        raise BadParameterError(
            "parameter `favor` of fisher_merge names contributions of weight 0 alone",
            hint="where no Fisher information is above 0 nobody would count",
        )


def _floors(x: Block, floor: Fraction, favor: Sequence[str | None] | None) -> list[float]:
    """The least Fᵢ: the same for all, or only for those favoured."""
    chosen = [value == "true" for value in favor or ()]
    return [float(floor) if not any(chosen) or chosen[i] else 0.0 for i in range(x.count)]


def _side_cars(params: Params) -> tuple[SideCar, ...]:
    return (SideCar("fisher", "fisher"),) if params["variant"] == "fisher" else ()


@strategy(
    scope=Scope.TWO_PASS,
    normalises=True,
    uses_base=lambda params: params["variant"] == "delta_sq",
    side_cars=_side_cars,
    check=_check,
    passes=(Pass("norms", _measure_norms, _finish_norms, lambda _: "model", needed=lambda p: p["normalize"]),),
    source="Matena & Raffel, NeurIPS 2022, arXiv:2111.09832; authors' code mmatena/model_merging",
)
def fisher_merge(
    x: Block,
    *,
    variant: Literal["fisher", "magnitude_proxy", "delta_sq"] = "fisher",
    normalize: bool = True,
    floor: Floor = Fraction("0.000001"),
    favor: Favor = None,
) -> RawArray:
    """Average the contributions, each element by its Fisher information.

    θ = Σᵢ cᵢ F̂ᵢ θᵢ / Σᵢ cᵢ F̂ᵢ,   F̂ᵢ = max(Fᵢ, floor),   cᵢ = wᵢ / ‖Fᵢ‖₂

    Fᵢ ≥ 0 is the diagonal of the Fisher information of contribution i, from its side-car `fisher`, which has a tensor
    of the same name and shape for each of its tensors (`conjoin stats fisher` makes it).
    Shapes: x.tensors (k, n), x.weights (k,), Fisher information (k, n) → (n,).
    Defaults: normalize true, floor 0.000001, w = 1.
    normalize: ‖Fᵢ‖₂ is that of the whole model (1 where it is 0); without, cᵢ = wᵢ.
    floor: the least Fᵢ, before it is divided by the norm; above 0, so that an element with no information at all gets
    the mean.
    favor: `-p favor.7f3a91c2=true` gives the floor to this contribution alone: where nobody knows anything it wins.
    variant: `fisher` needs the side-cars. Approximations without: `magnitude_proxy` takes F = θ², which favours large
    weights, `delta_sq` takes F = τ² and needs a base.
    Edge cases: k = 1 gives θ₁, and an element that only one contribution counts for is that contribution's, exactly;
    no element leaves the range of the contributions. Equal Fisher informations give the mean, constant ones F = nᵢ
    without `normalize` the mean by nᵢ.
    Differs: the floor is for all; the authors' code gives it to the first model only (`favor`).
    """
    used = [i for i, weight in enumerate(x.weights) if weight]
    found, floors = _fishers(x, variant), _floors(x, floor, favor)
    norms: Sequence[Any] = x.measured["norms"] if normalize else [1] * x.count
    factors = [x.weights[i] / norms[i] for i in used]
    return kernels.weighted_mean(
        [x.tensors[i] for i in used],
        [found.tensors[i] for i in used],
        x.format,
        found.format,
        x.out_format,
        numerators=[float(factor / max(factors)) for factor in factors],
        floors=[floors[i] for i in used],
    )
