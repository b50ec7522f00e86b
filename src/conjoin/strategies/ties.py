"""TIES: trim each task vector, elect a sign per element, merge the values that carry it."""

from fractions import Fraction
from typing import Literal

from conjoin import kernels
from conjoin.strategies.base import Block, Number, RawArray, Scope, Unit, strategy
from conjoin.strategies.trimming import PASSES, start_of, voters


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    passes=PASSES,
    source="Yadav et al., NeurIPS 2023, arXiv:2306.01708, Algorithm 1; authors' code prateeky2806/ties-merging",
)
def ties(
    x: Block,
    *,
    density: Unit = Fraction("0.2"),  # noqa: ARG001
    scale: Number = Fraction(1),
    trim_scope: Literal["model", "tensor"] = "model",
    count_rule: Literal["threshold", "exact", "official"] = "threshold",  # noqa: ARG001
    agg: Literal["mean", "sum", "max"] = "mean",
    zero_sign: Literal["majority", "plus"] = "majority",
) -> RawArray:
    """Keep the largest values of each task vector, elect a sign per element, average the values that agree with it.

    τ̂ᵢ = τᵢ · [|τᵢ| ≥ qᵢ];  γ = sgn Σᵢ wᵢ τ̂ᵢ;  A = {i : τ̂ᵢ γ > 0};  θ = θ₀ + scale · Σ_A wᵢ τ̂ᵢ / Σ_A wᵢ

    qᵢ is the m-th largest |τᵢ| (as float32) of the whole model, m = max(1, ⌊density · N⌋).
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: density 0.2 (the share kept), scale 1, w = 1.
    trim_scope: `tensor` takes qᵢ and the majority per tensor.
    count_rule: `threshold` keeps every value equal to qᵢ; `exact` keeps m values, of equal ones those that come first
    in the model; `official` takes the next smaller value as qᵢ, so ⌊density · N⌋ + 1 values survive.
    agg: `sum` does not divide; `max` takes the agreeing wᵢ τ̂ᵢ of largest magnitude.
    zero_sign: the sign where the sum is 0: that of the majority of elements, or `plus`.
    Edge cases: density 1 trims nothing. Zeros never vote. An element with no agreeing value, or with a tie between the
    signs of the whole model as well, stays at θ₀. k = 1 trims.
    Differs: nothing from the paper; the authors' code is `count_rule=official`, mergekit is `trim_scope=tensor`,
    `count_rule=exact`, `zero_sign=plus`.
    """
    params = {"trim_scope": trim_scope}
    tensors, terms, trim = voters(x)
    return kernels.ties(
        tensors,
        x.origin,
        x.format,
        x.out_format,
        terms=terms,
        trim=trim,
        start=start_of(x, params),
        aggregate=agg,
        zero_sign=x.measured["majority"] if zero_sign == "majority" else 1,
        scale=kernels.coefficients([scale]),
    )
