"""What TIES trims: the passes that find each task vector's threshold and the sign of the majority; merges nothing."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.kernels.counting import Found, Narrowed, bracket_of_sample, narrowed, select_from_bottom
from conjoin.kernels.layout import INDEX_SHIFT, NO_CUTOFF
from conjoin.strategies.base import Block, Extent, Params, Pass, RawArray

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


def start_of(x: Block, params: Params) -> int:
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


def trim_of(x: Block) -> kernels.Trim:
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
    return kernels.tie_histograms(x.tensors, x.origin, x.format, thresholds, start_of(x, params))


def _finish_tie(total: Counts, params: Params, extent: Extent) -> Found:  # noqa: ARG001
    return select_from_bottom(total, _narrowest(extent.measured).ranks)


def _measure_last_tie(x: Block, params: Params) -> Counts:
    thresholds, bins = _thresholds(x.measured), x.measured["tie"].bins
    return kernels.tie_histograms(x.tensors, x.origin, x.format, thresholds, start_of(x, params), bins)


def _finish_last_tie(total: Counts, params: Params, extent: Extent) -> Found:  # noqa: ARG001
    return select_from_bottom(total, extent.measured["tie"].ranks)


def voters(x: Block) -> tuple[tuple[RawArray, ...], kernels.Coefficients, kernels.Trim]:
    """The contributions whose weight is not 0, their weights, and what survives of them."""
    used = [i for i, weight in enumerate(x.weights) if weight]
    trim = trim_of(x)
    return (
        tuple(x.tensors[i] for i in used),
        kernels.coefficients([x.weights[i] for i in used]),
        kernels.Trim(tuple(trim.thresholds[i] for i in used), tuple(trim.cutoffs[i] for i in used)),
    )


def _measure_majority(x: Block, params: Params) -> Counts:
    tensors, terms, trim = voters(x)
    return kernels.elected_signs(tensors, x.origin, x.format, terms, trim, start_of(x, params))


def _finish_majority(total: Counts, params: Params, extent: Extent) -> int:  # noqa: ARG001
    return int(np.sign(total[0] - total[1]))


PASSES = (
    Pass("sample", _measure_sample, _finish_sample, _scope, needed=_trims, sample=_sample),
    *(Pass(name, _measure_bracket, _finish_bracket, _scope, needed=_trims, settled=_is_found) for name in _SEARCH[1:]),
    Pass("tie", _measure_tie, _finish_tie, _scope, needed=_cuts_ties),
    Pass("last tie", _measure_last_tie, _finish_last_tie, _scope, needed=_cuts_ties),
    Pass("majority", _measure_majority, _finish_majority, _scope, needed=lambda p: p["zero_sign"] == "majority"),
)
"""For parameters `density`, `trim_scope`, `count_rule` and `zero_sign`."""


NOTHING: Params = {"density": Fraction(1), "trim_scope": "tensor", "count_rule": "threshold", "zero_sign": "plus"}
"""Parameters with which none of the passes runs."""


def passes_for(settings: Callable[[Params], Params]) -> tuple[Pass, ...]:
    """The passes for a strategy of other parameters, from which `settings` makes those of PASSES."""

    def adapted(step: Pass) -> Pass:
        def measure(x: Block, params: Params) -> npt.NDArray[np.generic]:
            return step.measure(x, settings(params))

        def finish(total: npt.NDArray[np.generic], params: Params, extent: Extent) -> object:
            return step.finish(total, settings(params), extent)

        def scope(params: Params) -> Literal["tensor", "model"]:
            return step.scope(settings(params))

        def needed(params: Params) -> bool:
            return step.needed(settings(params))

        def sample(params: Params, elements: int) -> int:
            return _sample(settings(params), elements)

        sampled = None if step.sample is None else sample
        return replace(step, measure=measure, finish=finish, scope=scope, needed=needed, sample=sampled)

    return tuple(adapted(step) for step in PASSES)
