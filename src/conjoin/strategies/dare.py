"""DARE: drop elements of each task vector at random, rescale the rest, add them to the base."""

from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.strategies.base import (
    Block,
    Extent,
    Number,
    Params,
    Pass,
    RawArray,
    Scope,
    Unit,
    WeightedSum,
    strategy,
)


def _keys(x: Block, mask_scope: str) -> list[kernels.DrawKey]:
    """The names of the contributions' draws in this tensor."""
    return [kernels.draw_key(x.seeds[mask_scope], x.strategy, x.name, digest) for digest in x.contributions]


def _drop_below(density: Fraction) -> int:
    threshold = kernels.drop_threshold(density)
    if threshold >= 2**32:
        raise BadParameterError(
            f"parameter `density` of dare is {float(density):.3g}: a draw of 32 bits never keeps an element",
            hint="give at least 0.000000001",
        )
    return threshold


def _measure_l1(x: Block, params: Params) -> npt.NDArray[np.float64]:
    keys, threshold = _keys(x, params["mask_scope"]), _drop_below(params["density"])
    return kernels.block_l1(x.tensors, x.origin, x.format, drop_below=threshold, keys=keys, start=x.offset)


def _finish_l1(total: npt.NDArray[Any], params: Params, extent: Extent) -> tuple[Fraction, ...]:  # noqa: ARG001
    """Per contribution ‖τ‖₁ / ‖m ⊙ τ‖₁, 0 where nothing but zeros is kept."""
    if not np.isfinite(total).all():
        raise BadParameterError(
            "the L1 norm of a task vector overflows float64", hint="`-p rescale=inverse_prob` needs none"
        )
    return tuple(Fraction(float(whole)) / Fraction(float(kept)) if kept else Fraction(0) for whole, kept in total)


def _terms(x: Block, density: Fraction, scale: Fraction, rescale: str) -> kernels.Coefficients:
    keep = kernels.effective_keep(_drop_below(density))
    factors = [1 / keep] * len(x.weights) if rescale == "inverse_prob" else x.measured["l1"]
    return kernels.coefficients([scale * w * factor for w, factor in zip(x.weights, factors, strict=True)])


def _sum(x: Block, params: Params) -> WeightedSum | None:
    """None where the masks change with the visible set; L1 norms would take a reading of everything."""
    threshold, scope = _drop_below(params["density"]), params["mask_scope"]
    if params["rescale"] == "l1" or (threshold and scope == "root"):
        return None
    terms = _terms(x, params["density"], params["scale"], params["rescale"])
    keys = tuple(_keys(x, scope)) if threshold else ()
    return WeightedSum(terms.numerators, terms.denominator, of_deltas=True, drop_below=threshold, keys=keys)


@strategy(
    scope=Scope.ELEMENTWISE,
    needs_base=True,
    stochastic=True,
    running=_sum,
    passes=(Pass("l1", _measure_l1, _finish_l1, combine="tree", needed=lambda p: p["rescale"] == "l1"),),
    source="Yu et al., ICML 2024, arXiv:2311.03099; authors' code yule-BUAA/MergeLM",
)
def dare(
    x: Block,
    *,
    density: Unit = Fraction("0.1"),
    scale: Number = Fraction("0.3"),
    mask_scope: Literal["root", "contribution"] = "root",
    rescale: Literal["inverse_prob", "l1"] = "inverse_prob",
) -> RawArray:
    """Drop each element of each task vector with probability 1 − density, rescale what is kept, add it to the base.

    θ = θ₀ + scale · Σᵢ wᵢ mᵢ ⊙ τᵢ / q,   mᵢ ~ Bernoulli(q),   q = (2³² − T) / 2³²,   T = ⌊(1 − density) · 2³² + ½⌋

    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: density 0.1, the share kept (the paper's drop rate p = 0.9); scale 0.3; w = 1.
    mask_scope: `root` draws anew whenever the visible set changes, as the paper has it; `contribution` gives a
    contribution the same mask for ever.
    rescale: `l1` divides by the share of ‖τᵢ‖₁ that was kept in this tensor, in place of q.
    Edge cases: density 1 draws nothing and is task arithmetic. An element that nobody keeps stays at θ₀.
    Differs: q is the probability the draw really has, at most 2⁻³³ from the density; mergekit's `rescale` is `l1`.
    """
    threshold = _drop_below(density)
    return kernels.delta_sum(
        x.tensors,
        x.origin,
        x.format,
        x.out_format,
        terms=_terms(x, density, scale, rescale),
        drop_below=threshold,
        keys=_keys(x, mask_scope) if threshold else [],
        start=x.offset,
    )
