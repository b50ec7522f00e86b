"""DARE-TIES: drop elements of each task vector at random, elect a sign per element, merge the values that carry it."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.strategies.base import Block, Number, Params, Pass, RawArray, Scope, Unit, strategy
from conjoin.strategies.dropping import L1, drop_below, keys_of
from conjoin.strategies.trimming import passes_for, start_of, voters

Values = npt.NDArray[np.float64]
_FACTOR_MAX = 2**1000


def _trimming(params: Params) -> Params:
    """The parameters of TIES: it trims what the draws have kept."""
    return {**params, "density": params["trim_density"], "count_rule": "threshold"}


def _kept(x: Block, params: Params) -> Block:
    """The block with the base's pattern wherever an element is dropped: its task vectors are m ⊙ τ, exactly."""
    threshold = drop_below(params["density"], x.strategy)
    if not threshold:
        return x
    tensors = (
        np.where(kernels.draws(key, x.offset, len(tensor)) < threshold, x.origin, tensor)
        for key, tensor in zip(keys_of(x, params["mask_scope"]), x.tensors, strict=True)
    )
    return replace(x, tensors=tuple(tensors))


def _check(params: Params, weights: tuple[Fraction, ...]) -> None:  # noqa: ARG001
    """Refuse a density that keeps nothing."""
    drop_below(params["density"], "dare_ties")


def _is_fused(params: Params) -> bool:
    """Whether one operation draws, elects and merges."""
    return params["trim_density"] == 1 and params["rescale"] == "inverse_prob"


def _drops(x: Block, params: Params) -> dict[str, Any]:
    """What the fused operations take: contributions whose weight is not 0, and their draws."""
    tensors, terms, _ = voters(x)
    keys = [key for key, weight in zip(keys_of(x, params["mask_scope"]), x.weights, strict=True) if weight]
    table = np.array([drop_below(params["density"], x.strategy)], np.uint32)
    return {"tensors": tensors, "terms": terms, "table": table, "ranks": None, "keys": keys, "start": x.offset}


def _by_l1(x: Block, params: Params) -> list[Values]:
    """wᵢ τ̃ᵢ of what is kept and not trimmed, τ̃ᵢ = mᵢ ⊙ τᵢ ‖τᵢ‖₁ / ‖mᵢ ⊙ τᵢ‖₁."""
    tensors, _, trim = voters(_kept(x, params))
    masks = kernels.unpack(kernels.surviving(tensors, x.origin, x.format, trim, start_of(x, params)), len(x.origin))
    factors = [w * factor for w, factor in zip(x.weights, x.measured["l1"], strict=True) if w]
    if any(factor > _FACTOR_MAX for factor in factors):
        raise BadParameterError(
            f"what the draws keep of tensor `{x.name}` is nothing against the rest of it",
            hint="`-p rescale=inverse_prob` does not look at it",
        )
    origin = kernels.decode(x.origin, x.format)
    return [
        np.where(flags, float(factor) * (kernels.decode(tensor, x.format) - origin), 0.0)
        for flags, factor, tensor in zip(masks, factors, tensors, strict=True)
    ]


def _mass(values: list[Values], x: Block) -> Values:
    mass = np.zeros(len(x.origin))
    for one in values:
        mass = mass + one
    return mass


def _elected_by_l1(x: Block, params: Params, zero_sign: int) -> RawArray:
    """θ₀ + scale · S / W over the values that carry the elected sign, as `kernels.ties` has it."""
    values, mean = _by_l1(x, params), params["agg"] == "mean"
    mass = _mass(values, x)
    sign = np.where(mass > 0, 1.0, np.where(mass < 0, -1.0, float(zero_sign)))
    total, share = np.zeros(len(mass)), np.zeros(len(mass))
    for one, weight in zip(values, (float(w) for w in x.weights if w), strict=True):
        agrees = one * sign > 0
        if params["agg"] == "max":
            total = np.where(agrees & (one * sign > total * sign), one, total)
        else:
            total = total + np.where(agrees, one, 0.0)
        share = share + np.where(agrees, weight, 0.0)
    factor = kernels.coefficients([params["scale"]])
    whole = factor.denominator * np.where(mean & (share > 0), share, 1.0)
    update, origin = factor.numerators[0] * total / whole, kernels.decode(x.origin, x.format)
    return kernels.encode(np.where(update == 0, origin, origin + update), x.out_format)


def _after_drops(step: Pass) -> Pass:
    """A pass of TIES that sees what the draws have kept."""

    def measure(x: Block, params: Params) -> npt.NDArray[Any]:
        if step.name == "majority" and _is_fused(params):
            return kernels.dropped_signs(base=x.origin, form=x.format, **_drops(x, params))
        if step.name == "majority" and params["rescale"] == "l1":
            mass = _mass(_by_l1(x, params), x)
            return np.array([np.count_nonzero(mass > 0), np.count_nonzero(mass < 0)], np.int64)
        return step.measure(_kept(x, params), params)

    return replace(step, measure=measure)


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    stochastic=True,
    passes=(L1, *map(_after_drops, passes_for(_trimming))),
    check=_check,
    source="Yu et al., ICML 2024, arXiv:2311.03099, with Yadav et al., NeurIPS 2023, arXiv:2306.01708; as in mergekit",
)
def dare_ties(
    x: Block,
    *,
    density: Unit = Fraction("0.1"),
    scale: Number = Fraction(1),
    trim_density: Unit = Fraction(1),
    trim_scope: Literal["model", "tensor"] = "model",
    agg: Literal["mean", "sum", "max"] = "mean",
    zero_sign: Literal["majority", "plus"] = "majority",
    mask_scope: Literal["root", "contribution"] = "root",
    rescale: Literal["inverse_prob", "l1"] = "inverse_prob",
) -> RawArray:
    """Drop each element of each task vector with probability 1 − density, rescale the rest, and merge them by TIES.

    τ̃ᵢ = mᵢ ⊙ τᵢ / q;  γ = sgn Σᵢ wᵢ τ̃ᵢ;  A = {i : τ̃ᵢ γ > 0};  θ = θ₀ + scale · Σ_A wᵢ τ̃ᵢ / Σ_A wᵢ

    mᵢ ~ Bernoulli(q),   q = (2³² − T) / 2³²,   T = ⌊(1 − density) · 2³² + ½⌋
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: density 0.1, the share the draws keep (the paper's drop rate p = 0.9); scale 1; w = 1; no trim.
    Where few contributions agree, the noise of so many drops is not averaged out: density 0.5 or scale 0.3 is safer.
    trim_density: the share that TIES then keeps, of all elements, by the magnitude of mᵢ ⊙ τᵢ.
    trim_scope: what a threshold of the trim and the majority cover, as in `ties`.
    agg: `sum` does not divide; `max` takes the agreeing wᵢ τ̃ᵢ of largest magnitude.
    zero_sign: the sign where the sum is 0: that of the majority of elements, or `plus`.
    mask_scope: `root` draws anew whenever the visible set changes, as the paper has it; `contribution` gives a
    contribution the same mask for ever.
    rescale: `l1` divides by the share of ‖τᵢ‖₁ that was kept in this tensor, in place of q.
    Edge cases: density 1 draws nothing and is `ties` with trim_density. k = 1 is `dare`. An element that nobody keeps
    stays at θ₀.
    Differs: q is the probability the draw really has. mergekit's `dare_ties` is `agg=sum`, `zero_sign=plus`,
    `rescale=l1`, with draws of its own.
    """
    params: Params = {
        "density": density,
        "scale": scale,
        "trim_density": trim_density,
        "trim_scope": trim_scope,
        "agg": agg,
        "mask_scope": mask_scope,
        "rescale": rescale,
    }
    sign = x.measured["majority"] if zero_sign == "majority" else 1
    if rescale == "l1":
        return _elected_by_l1(x, params, sign)
    ending: dict[str, Any] = {"aggregate": agg, "zero_sign": sign}
    place: dict[str, Any] = {"base": x.origin, "form": x.format, "out_form": x.out_format}
    if _is_fused(params):
        return kernels.dropped_ties(**place, **_drops(x, params), **ending, scale=kernels.coefficients([scale]))
    tensors, terms, trim = voters(_kept(x, params))
    keep = kernels.effective_keep(drop_below(density, x.strategy))
    factor = kernels.coefficients([scale / keep])
    return kernels.ties(tensors, **place, terms=terms, trim=trim, start=start_of(x, params), **ending, scale=factor)
