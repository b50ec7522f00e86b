"""Model Breadcrumbs: leave out the largest and the smallest values of each task vector, add up the rest."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.kernels.counting import Found, Narrowed, bracket_of_sample, narrowed, select_from_bottom
from conjoin.kernels.layout import INDEX_SHIFT, NO_CUTOFF
from conjoin.strategies.base import Block, Domain, Extent, Number, Params, Pass, RawArray, Scope, Unit, strategy
from conjoin.strategies.rows import pieces

Counts = npt.NDArray[np.int64]
Outliers = Annotated[Fraction, Domain(minimum=Fraction(0), below=Fraction(1))]
Least = Annotated[Fraction, Domain(minimum=Fraction(0), whole=True)]

_SEARCH = ("sample", "bracket", "narrower", "narrowest")
"""The passes that find both thresholds of a whole tensor, as in `trimming`."""
_SAMPLE_ELEMENTS = 1 << 20
_NO_KEY = 1 << 31
"""Above every magnitude key."""


def _band(params: Params, elements: int) -> tuple[int, int]:
    """How many are left out as the largest, and how many are kept below them."""
    top = (params["outliers"] * elements).__floor__()
    kept = max((params["density"] * elements).__floor__(), int(params["min_keep"]))
    return top, min(kept, elements - top)


def _ends(params: Params, elements: int) -> tuple[int, int]:
    """Ranks, from 1 for the largest, of the thresholds of a band.

    By the rule `threshold` it ends with all that is as large as its largest; otherwise with the largest left out, if
    any.
    """
    top, kept = _band(params, elements)
    return top + (params["count_rule"] == "threshold"), top + kept


def _bounds(params: Params, elements: int, found: Counts) -> tuple[kernels.Bounds, kernels.Bounds]:
    """What is left out and what is kept, as `band_sum` takes them, of keys and cut-offs (k, rows, 2 ends, 2)."""
    top, kept = found[:, :, 0].copy(), found[:, :, 1].copy()
    if params["count_rule"] == "threshold":
        top[..., 1], kept[..., 1] = 0, NO_CUTOFF
    elif _band(params, elements)[0] == 0:
        top[..., 0] = _NO_KEY
    if _band(params, elements)[1] == 0:
        kept[..., 0], kept[..., 1] = _NO_KEY, 0
    return top, kept


def _columns(params: Params, shape: tuple[int, ...]) -> int:
    """How many elements a threshold covers where rows have their own; a whole tensor is searched by passes."""
    return max(1, shape[-1]) if params["scope"] == "row" and shape else 1


def _check(params: Params, weights: tuple[Fraction, ...]) -> None:  # noqa: ARG001
    density, outliers = params["density"], params["outliers"]
    if density + outliers > 1:
        raise BadParameterError(
            f"parameters `density` and `outliers` of model_breadcrumbs are {float(density):g} and {float(outliers):g}: "
            "they add up to more than 1"
        )


def _both(x: Block) -> tuple[RawArray, ...]:
    """Every contribution once for either end of the band."""
    return (*x.tensors, *x.tensors)


def _narrowest(measured: Mapping[str, Any]) -> Narrowed:
    return next(measured[name] for name in reversed(_SEARCH) if name in measured)


def _thresholds(measured: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(bracket.low for bracket in _narrowest(measured).brackets)


def _joined(first: Narrowed, last: Narrowed) -> Narrowed:
    return Narrowed(first.brackets + last.brackets, first.ranks + last.ranks)


def _measure_sample(x: Block, params: Params) -> Counts:  # noqa: ARG001
    return kernels.high_histograms(x.tensors, x.origin, x.format)


def _finish_sample(total: Counts, params: Params, extent: Extent) -> Narrowed:
    first, last = (bracket_of_sample(total, max(1, end), extent.elements) for end in _ends(params, extent.elements))
    return _joined(first, last)


def _measure_bracket(x: Block, params: Params) -> Counts:  # noqa: ARG001
    return kernels.bracket_counts(_both(x), x.origin, x.format, _narrowest(x.measured).brackets)


def _finish_bracket(total: Counts, params: Params, extent: Extent) -> Narrowed:
    before, k = _narrowest(extent.measured), extent.count
    halves = (Narrowed(before.brackets[part], before.ranks[part]) for part in (slice(k), slice(k, None)))
    counts = (total[:k], total[k:])
    first, last = (
        narrowed(half, rows, max(1, end))
        for half, rows, end in zip(halves, counts, _ends(params, extent.elements), strict=True)
    )
    return _joined(first, last)


def _measure_tie(x: Block, params: Params) -> Counts:  # noqa: ARG001
    return kernels.tie_histograms(_both(x), x.origin, x.format, _thresholds(x.measured), x.offset)


def _finish_tie(total: Counts, params: Params, extent: Extent) -> Found:  # noqa: ARG001
    return select_from_bottom(total, _narrowest(extent.measured).ranks)


def _measure_last_tie(x: Block, params: Params) -> Counts:  # noqa: ARG001
    bins = x.measured["tie"].bins
    return kernels.tie_histograms(_both(x), x.origin, x.format, _thresholds(x.measured), x.offset, bins)


def _finish_last_tie(total: Counts, params: Params, extent: Extent) -> Found:  # noqa: ARG001
    return select_from_bottom(total, extent.measured["tie"].ranks)


def _found(x: Block) -> Counts:
    """Keys and cut-offs of both ends of a whole tensor, by the passes: (k, 1, 2, 2)."""
    keys = np.array(_thresholds(x.measured), np.int64)
    cutoffs = np.zeros(len(keys), np.int64)
    if "last tie" in x.measured:
        upper, lower = (np.array(x.measured[name].bins, np.int64) for name in ("tie", "last tie"))
        cutoffs = (upper << INDEX_SHIFT | lower) + 1
    return np.stack([keys, cutoffs], axis=-1).reshape(2, -1, 1, 2).transpose(1, 2, 0, 3)


def _searches(params: Params) -> bool:
    return params["scope"] == "tensor"


def _cuts_ties(params: Params) -> bool:
    return _searches(params) and params["count_rule"] == "exact"


def _is_found(measured: Mapping[str, Any]) -> bool:
    return _narrowest(measured).is_exact


def _sample(params: Params, elements: int) -> int:  # noqa: ARG001
    return max(1, elements // _SAMPLE_ELEMENTS)


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    passes=(
        Pass("sample", _measure_sample, _finish_sample, needed=_searches, sample=_sample),
        *(Pass(name, _measure_bracket, _finish_bracket, needed=_searches, settled=_is_found) for name in _SEARCH[1:]),
        Pass("tie", _measure_tie, _finish_tie, needed=_cuts_ties),
        Pass("last tie", _measure_last_tie, _finish_last_tie, needed=_cuts_ties),
    ),
    check=_check,
    together=_columns,
    source="Davari and Belilovsky, ECCV 2024, arXiv:2312.06795; authors' code rezazzr/breadcrumbs",
)
def model_breadcrumbs(
    x: Block,
    *,
    density: Unit = Fraction("0.15"),
    outliers: Outliers = Fraction("0.006"),
    scale: Number = Fraction("0.2"),
    scope: Literal["row", "tensor"] = "row",
    count_rule: Literal["threshold", "exact"] = "threshold",
    min_keep: Least = Fraction(0),
) -> RawArray:
    """Keep a share of each task vector below its outliers, drop the many small values, add what is kept to the base.

    θ = θ₀ + scale · Σᵢ wᵢ mᵢ ⊙ τᵢ,   mᵢ = [⌊γ n⌋ < r ≤ ⌊γ n⌋ + ⌊density · n⌋]

    r is the rank of |τᵢ| (as float32) in its row, 1 for the largest; n the row's length; γ is `outliers`.
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,). A row is the last dimension; a vector is one row.
    Defaults: density 0.15 (the share kept), outliers 0.006, scale 0.2, as in the authors' code; w = 1.
    scope: `tensor` takes a whole tensor as one row.
    count_rule: `threshold` keeps every value that is as large as one it keeps; `exact` counts, of equal values those
    that come first are the larger ones.
    min_keep: keep at least so many of a row; a short row may otherwise have ⌊density · n⌋ = 0 and lose all.
    Edge cases: outliers 0 is a trim by magnitude and task arithmetic. Where nothing is kept the result is θ₀.
    Differs: nothing from the authors' code but how equal values are told apart; mergekit's `breadcrumbs` is
    `scope=tensor`, its `gamma` is `outliers`.
    """
    params: Params = {"density": density, "outliers": outliers, "count_rule": count_rule, "min_keep": min_keep}
    origin = x.origin
    used = [i for i, weight in enumerate(x.weights) if weight]
    place: dict[str, Any] = {
        "form": x.format,
        "out_form": x.out_format,
        "terms": kernels.coefficients([scale * x.weights[i] for i in used]),
    }
    if not used:
        return kernels.delta_sum(
            x.tensors, origin, x.format, x.out_format, terms=kernels.coefficients([Fraction(0)] * x.count)
        )
    elements = math.prod(x.shape)
    if scope == "tensor":
        top, kept = _bounds(params, elements, _found(x)[used])
        tensors = [x.tensors[i] for i in used]
        return kernels.band_sum(tensors, origin, **place, top=top, kept=kept, columns=max(1, elements), start=x.offset)
    columns = _columns({"scope": scope}, x.shape)
    ends = _ends(params, columns)
    made = [np.zeros(0, kernels.FORMATS[x.out_format].raw)]
    for part in pieces(len(origin), columns):
        tensors, base, start = [x.tensors[i][part] for i in used], origin[part], x.offset + part.start
        found = kernels.row_bounds(tensors, base, x.format, columns, ends, start=start)
        top, kept = _bounds(params, columns, found)
        made.append(kernels.band_sum(tensors, base, **place, top=top, kept=kept, columns=columns, start=start))
    return np.concatenate(made)
