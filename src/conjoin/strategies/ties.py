"""TIES: trim each task vector, elect a sign per element, merge the values that carry it."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.kernels.counting import Found, Narrowed, bracket_of_sample, narrowed, select_from_bottom
from conjoin.kernels.layout import INDEX_SHIFT, NO_CUTOFF
from conjoin.strategies.base import Block, Extent, Number, Params, Pass, RawArray, Scope, Unit, strategy

Counts = npt.NDArray[np.int64]

_SEARCH = ("sample", "bracket", "narrower", "narrowest")
"""The passes that find the thresholds: a sample says where they probably are, then brackets until one key is left.

The first bracket nearly always does. Where the sample misled it, the next one is the rest of the keys on one side, and
the last one a bin of that; so the sample never shows in the result.
"""
_SAMPLE_ELEMENTS, _SAMPLE_EVERY = 1 << 20, 16


def _rank(params: Params, extent: Extent) -> int:
    """Which magnitude, counted from the largest, is the threshold."""
    kept = (params["density"] * extent.elements).__floor__()
    if params["count_rule"] == "official":
        return min(kept + 1, extent.elements)
    return max(1, kept)


def _start(x: Block, params: Params) -> int:
    """Index of the block's first element in what a threshold covers: the tensor or the whole model."""
    return x.offset + (x.flat_offset if params["trim_scope"] == "model" else 0)


def _trims(params: Params) -> bool:
    return params["density"] < 1


def _cuts_ties(params: Params) -> bool:
    return _trims(params) and params["count_rule"] == "exact"


def _scope(params: Params) -> Literal["tensor", "model"]:
    return params["trim_scope"]


def _narrowest(measured: Mapping[str, Any]) -> Narrowed:
    """Where the thresholds are, by the passes done so far."""
    return next(measured[name] for name in reversed(_SEARCH) if name in measured)


def _is_found(measured: Mapping[str, Any]) -> bool:
    return _narrowest(measured).is_exact


def _thresholds(measured: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(bracket.low for bracket in _narrowest(measured).brackets)


def _trim(x: Block) -> kernels.Trim:
    """What survives, by the passes done so far."""
    if _SEARCH[0] not in x.measured:
        return kernels.Trim.nothing(x.count)
    thresholds = _thresholds(x.measured)
    if "last tie" not in x.measured:
        return kernels.Trim(thresholds, (NO_CUTOFF,) * x.count)
    upper: Found = x.measured["tie"]
    lower: Found = x.measured["last tie"]
    last = (high << INDEX_SHIFT | low for high, low in zip(upper.bins, lower.bins, strict=True))
    return kernels.Trim(thresholds, tuple(index + 1 for index in last))


def _sample(params: Params, elements: int) -> int:
    """One run in so many; enough of a tensor that has a threshold of its own."""
    return _SAMPLE_EVERY if params["trim_scope"] == "model" else max(1, elements // _SAMPLE_ELEMENTS)


def _measure_sample(x: Block, params: Params) -> Counts:  # noqa: ARG001
    return kernels.high_histograms(x.tensors, x.origin, x.format)


def _finish_sample(total: Counts, params: Params, extent: Extent) -> Narrowed:
    return bracket_of_sample(total, _rank(params, extent), extent.elements)


def _measure_bracket(x: Block, params: Params) -> Counts:  # noqa: ARG001
    return kernels.bracket_counts(x.tensors, x.origin, x.format, _narrowest(x.measured).brackets)


def _finish_bracket(total: Counts, params: Params, extent: Extent) -> Narrowed:
    return narrowed(_narrowest(extent.measured), total, _rank(params, extent))


def _measure_tie(x: Block, params: Params) -> Counts:
    thresholds = _thresholds(x.measured)
    return kernels.tie_histograms(x.tensors, x.origin, x.format, thresholds, _start(x, params))


def _finish_tie(total: Counts, params: Params, extent: Extent) -> Found:  # noqa: ARG001
    return select_from_bottom(total, _narrowest(extent.measured).ranks)


def _measure_last_tie(x: Block, params: Params) -> Counts:
    thresholds, bins = _thresholds(x.measured), x.measured["tie"].bins
    return kernels.tie_histograms(x.tensors, x.origin, x.format, thresholds, _start(x, params), bins)


def _finish_last_tie(total: Counts, params: Params, extent: Extent) -> Found:  # noqa: ARG001
    return select_from_bottom(total, extent.measured["tie"].ranks)


def _voters(x: Block) -> tuple[tuple[RawArray, ...], kernels.Coefficients, kernels.Trim]:
    """The contributions whose weight is not 0, their weights, and what survives of them."""
    used = [i for i, weight in enumerate(x.weights) if weight]
    trim = _trim(x)
    return (
        tuple(x.tensors[i] for i in used),
        kernels.coefficients([x.weights[i] for i in used]),
        kernels.Trim(tuple(trim.thresholds[i] for i in used), tuple(trim.cutoffs[i] for i in used)),
    )


def _measure_majority(x: Block, params: Params) -> Counts:
    tensors, terms, trim = _voters(x)
    return kernels.elected_signs(tensors, x.origin, x.format, terms, trim, _start(x, params))


def _finish_majority(total: Counts, params: Params, extent: Extent) -> int:  # noqa: ARG001
    return int(np.sign(total[0] - total[1]))


PASSES = (
    Pass("sample", _measure_sample, _finish_sample, _scope, needed=_trims, sample=_sample),
    *(Pass(name, _measure_bracket, _finish_bracket, _scope, needed=_trims, settled=_is_found) for name in _SEARCH[1:]),
    Pass("tie", _measure_tie, _finish_tie, _scope, needed=_cuts_ties),
    Pass("last tie", _measure_last_tie, _finish_last_tie, _scope, needed=_cuts_ties),
    Pass("majority", _measure_majority, _finish_majority, _scope, needed=lambda p: p["zero_sign"] == "majority"),
)


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
    tensors, terms, trim = _voters(x)
    return kernels.ties(
        tensors,
        x.origin,
        x.format,
        x.out_format,
        terms=terms,
        trim=trim,
        start=_start(x, params),
        aggregate=agg,
        zero_sign=x.measured["majority"] if zero_sign == "majority" else 1,
        scale=kernels.coefficients([scale]),
    )
