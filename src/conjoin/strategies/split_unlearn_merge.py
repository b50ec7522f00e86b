"""SPUNGE: merge models that have each unlearned one part of what is to be forgotten."""

from fractions import Fraction
from typing import Annotated, Literal

from conjoin import kernels
from conjoin.errors import BadWeightError
from conjoin.strategies.base import Block, Domain, Number, Params, RawArray, Scope, Unit, strategy
from conjoin.strategies.trimming import NOTHING, passes_for, start_of, voters

Positive = Annotated[Fraction, Domain(above=Fraction(0))]


def _trimming(params: Params) -> Params:
    """The parameters of TIES, of which no other inner merge needs anything."""
    return {**params, "count_rule": "threshold"} if params["inner"] == "ties" else NOTHING


def _check(params: Params, weights: tuple[Fraction, ...]) -> None:
    if params["inner"] == "mean" and not any(weights):
        raise BadWeightError("the weights of split_unlearn_merge add up to 0, and it is to take their mean")


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    passes=passes_for(_trimming),
    check=_check,
    source="Kadhe et al. 2024, arXiv:2406.11780; inner merge: Yadav et al., NeurIPS 2023, arXiv:2306.01708",
)
def split_unlearn_merge(
    x: Block,
    *,
    inner: Literal["ties", "task_arithmetic", "mean"] = "ties",
    unlearn: Literal["none", "tvn"] = "none",
    unlearn_scale: Positive = Fraction(1),
    scale: Number = Fraction(1),
    density: Unit = Fraction("0.2"),  # noqa: ARG001
    trim_scope: Literal["model", "tensor"] = "model",
    agg: Literal["mean", "sum", "max"] = "mean",
    zero_sign: Literal["majority", "plus"] = "majority",
) -> RawArray:
    """Merge models, each of which has unlearned one attribute of what is to be forgotten.

    θ = θ₀ + scale · M(τ₁, …, τ_k),   M one of TIES, Σᵢ wᵢ τᵢ and Σᵢ wᵢ τᵢ / Σᵢ wᵢ;   with tvn of −unlearn_scale · τᵢ

    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: contributions are unlearned models; TIES with its density 0.2 (the paper names none); scale 1; w = 1.
    inner: how the models are merged; `task_arithmetic` adds, `mean` averages.
    unlearn: `tvn` takes contributions that were fine-tuned on what is to be forgotten, one per attribute, and negates
    their task vectors (task vector negation) before they are merged.
    unlearn_scale: the factor of that negation.
    density, trim_scope, agg, zero_sign: those of `ties`, for that inner merge only.
    Edge cases: those of the inner merge; k = 1 trims. Of zeros θ₀ is the result.
    Differs: splitting the data and unlearning (RMU, TVN) happen before; this is the merge, and TVN.
    """
    origin, factor = x.origin, scale
    if unlearn == "tvn":
        factor = -unlearn_scale * scale
    if inner != "ties":
        whole = sum(x.weights, Fraction(0)) if inner == "mean" else Fraction(1)
        terms = kernels.coefficients([factor * weight / whole for weight in x.weights])
        return kernels.delta_sum(x.tensors, origin, x.format, x.out_format, terms=terms)
    tensors, terms, trim = voters(x)
    plus = -1 if unlearn == "tvn" else 1
    return kernels.ties(
        tensors,
        origin,
        x.format,
        x.out_format,
        terms=terms,
        trim=trim,
        start=start_of(x, {"trim_scope": trim_scope}),
        aggregate=agg,
        zero_sign=x.measured["majority"] if zero_sign == "majority" else plus,
        scale=kernels.coefficients([factor]),
    )
