"""Elementwise operations, compiled."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.compiled.handover import Int64, address, addresses, code, empty, floats, ints, words
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import Aggregate, Trim
from conjoin.kernels.native import elementwise as native

AGGREGATES: dict[Aggregate, int] = {"mean": 0, "sum": 1, "max": 2}


def linear(sources: Sequence[Raw], numerators: Sequence[float], denominator: float, form: str, out_form: str) -> Raw:
    """See `reference.elementwise.linear`."""
    n = len(sources[0])
    out = empty(n, out_form)
    native.linear(
        addresses(sources), floats(numerators), float(denominator), n, code(form), code(out_form), address(out)
    )
    return out


def elected_signs(
    tensors: Sequence[Raw], base: Raw, form: str, numerators: Sequence[float], trim: Trim, start: int
) -> Int64:
    """See `reference.elementwise.elected_signs`."""
    counts = np.zeros(2, np.int64)
    thresholds, cutoffs = ints(trim.thresholds), ints(trim.cutoffs)
    native.elected_signs(
        addresses(tensors),
        address(base),
        len(base),
        code(form),
        floats(numerators),
        thresholds,
        cutoffs,
        start,
        counts,
    )
    return counts


def ties(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    trim: Trim,
    start: int,
    aggregate: Aggregate,
    zero_sign: int,
    scale: tuple[float, float],
) -> Raw:
    """See `reference.elementwise.ties`."""
    out = empty(len(base), out_form)
    native.ties(
        addresses(tensors),
        address(base),
        len(base),
        code(form),
        code(out_form),
        floats(numerators),
        float(denominator),
        ints(trim.thresholds),
        ints(trim.cutoffs),
        start,
        AGGREGATES[aggregate],
        float(zero_sign),
        float(scale[0]),
        float(scale[1]),
        address(out),
    )
    return out


def delta_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    drop_below: int,
    keys: Sequence[DrawKey],
    start: int,
) -> Raw:
    """See `reference.elementwise.delta_sum`."""
    out = empty(len(base), out_form)
    native.delta_sum(
        addresses(tensors),
        address(base),
        len(base),
        code(form),
        code(out_form),
        floats(numerators),
        float(denominator),
        np.uint64(drop_below),
        words(keys),
        start,
        address(out),
    )
    return out
