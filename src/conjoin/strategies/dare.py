"""DARE: drop elements of each task vector at random, rescale the rest, add them to the base."""

from fractions import Fraction
from typing import Literal

from conjoin import kernels
from conjoin.strategies.base import Block, Number, Params, RawArray, Scope, Unit, WeightedSum, strategy
from conjoin.strategies.dropping import L1, drop_below, keys_of


def _terms(x: Block, density: Fraction, scale: Fraction, rescale: str) -> kernels.Coefficients:
    keep = kernels.effective_keep(drop_below(density, "dare"))
    factors = [1 / keep] * len(x.weights) if rescale == "inverse_prob" else x.measured["l1"]
    return kernels.coefficients([scale * w * factor for w, factor in zip(x.weights, factors, strict=True)])


def _sum(x: Block, params: Params) -> WeightedSum | None:
    """None where the masks change with the visible set; L1 norms would take a reading of everything."""
    threshold, scope = drop_below(params["density"], "dare"), params["mask_scope"]
    if params["rescale"] == "l1" or (threshold and scope == "root"):
        return None
    terms = _terms(x, params["density"], params["scale"], params["rescale"])
    keys = tuple(keys_of(x, scope)) if threshold else ()
    return WeightedSum(terms.numerators, terms.denominator, of_deltas=True, drop_below=threshold, keys=keys)


@strategy(
    scope=Scope.ELEMENTWISE,
    needs_base=True,
    stochastic=True,
    running=_sum,
    passes=(L1,),
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
    threshold = drop_below(density, "dare")
    return kernels.delta_sum(
        x.tensors,
        x.origin,
        x.format,
        x.out_format,
        terms=_terms(x, density, scale, rescale),
        drop_below=threshold,
        keys=keys_of(x, mask_scope) if threshold else [],
        start=x.offset,
    )
