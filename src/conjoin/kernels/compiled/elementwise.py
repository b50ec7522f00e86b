"""Elementwise operations, compiled."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.compiled.handover import Int64, code, empty, floats, in_vectors, ints, words
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import Aggregate, Trim
from conjoin.kernels.native import elementwise as native
from conjoin.kernels.native import proven

AGGREGATES: dict[Aggregate, int] = {"mean": 0, "sum": 1, "max": 2}


def linear(sources: Sequence[Raw], numerators: Sequence[float], denominator: float, form: str, out_form: str) -> Raw:
    """See `reference.elementwise.linear`."""
    out = empty(len(sources[0]), out_form)
    spans = proven.linear_spans(tuple(numerators), denominator, form, out_form)
    for _, n, inputs, output in in_vectors(sources, out):
        native.linear(inputs, floats(numerators), float(denominator), n, code(form), code(out_form), spans, output)
    return out


def elected_signs(
    tensors: Sequence[Raw], base: Raw, form: str, numerators: Sequence[float], trim: Trim, start: int
) -> Int64:
    """See `reference.elementwise.elected_signs`."""
    counts = np.zeros(2, np.int64)
    spans = proven.mass_spans(tuple(numerators), form)
    for at, n, inputs, _ in in_vectors([base, *tensors]):
        native.elected_signs(
            inputs[1:],
            inputs[0],
            n,
            code(form),
            floats(numerators),
            ints(trim.thresholds),
            ints(trim.cutoffs),
            start + at,
            spans,
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
    spans, share = proven.update_spans(tuple(numerators), denominator, tuple(scale), form, out_form)
    for at, n, inputs, output in in_vectors([base, *tensors], out):
        native.ties(
            inputs[1:],
            inputs[0],
            n,
            code(form),
            code(out_form),
            floats(numerators),
            float(denominator),
            ints(trim.thresholds),
            ints(trim.cutoffs),
            start + at,
            AGGREGATES[aggregate],
            float(zero_sign),
            float(scale[0]),
            float(scale[1]),
            spans,
            share,
            output,
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
    spans = proven.delta_spans(tuple(numerators), denominator, form, out_form)
    for at, n, inputs, output in in_vectors([base, *tensors], out):
        native.delta_sum(
            inputs[1:],
            inputs[0],
            n,
            code(form),
            code(out_form),
            floats(numerators),
            float(denominator),
            np.uint64(drop_below),
            words(keys),
            start + at,
            spans,
            output,
        )
    return out
