"""Exact sums: the two arithmetics, fsum and fractions agree, whatever the order and the cuts."""

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.kernel_worlds import both, matrices

from conjoin import kernels
from conjoin.kernels import decode, nearest_total, total
from conjoin.kernels.reference.order import task_vector

FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60)
LARGEST, LEAST = 1.7976931348623157e308, 5e-324


def row_of(values):
    raw = np.array(values, np.float64).view(np.uint64)
    return both(lambda: kernels.exact_sums([raw], None, "F64", "values"))[0]


@given(FLOATS)
@example([LARGEST, LARGEST, -LARGEST])
@example([LARGEST, LEAST, -LARGEST, -LEAST])
@example([LARGEST / 2, LARGEST / 4, 1.0, LEAST, -0.0])
@example([1.0, 2.0**-53, 2.0**-106])
@example([LEAST] * 3)
@settings(deadline=None)
def test_any_numbers(values):
    found = row_of(values)
    exact = sum(map(Fraction, values))
    assert total(found) == exact
    try:
        assert nearest_total(found) == float(exact) == math.fsum(values)
    except OverflowError:
        assert abs(nearest_total(found)) == math.inf or nearest_total(found) == float(exact)


@given(matrices(), st.booleans(), st.sampled_from(["values", "sizes", "squares"]))
@settings(deadline=None)
def test_kinds(world, centred, kind):
    form, tensors, base, _ = world
    found = both(lambda: kernels.exact_sums(tensors, base if centred else None, form, kind))
    for tensor, row in zip(tensors, found, strict=True):
        with np.errstate(all="ignore"):
            values = task_vector(tensor, base, form) if centred else decode(tensor, form)
            terms = {"values": values, "sizes": np.abs(values), "squares": values * values}[kind]
        if np.isfinite(terms).all():
            assert total(row) == sum(map(Fraction, terms.tolist()))


@pytest.mark.parametrize("form", ["BF16", "F16", "F32", "F64"])
def test_order_and_cuts_do_not_show(form):
    n = 40_000
    rng = np.random.default_rng(5)
    raw = kernels.encode(rng.normal(0, 1, n) * 2.0 ** rng.integers(-14, 9, n), form)
    whole = kernels.exact_sums([raw], None, form, "values")
    assert nearest_total(whole[0]) == math.fsum(decode(raw, form).tolist())
    mixed = raw[rng.permutation(n)]
    cuts = [0, *sorted(rng.integers(0, n, 7).tolist()), n]
    parts = [kernels.exact_sums([mixed[a:b]], None, form, "values") for a, b in itertools.pairwise(cuts)]
    random.Random(1).shuffle(parts)
    assert total(np.add.reduce(parts)[0]) == total(whole[0])


def test_what_is_not_finite_is_counted():
    inf, nan = math.inf, math.nan
    for values, expected in (([1, inf], inf), ([-inf, 2, -inf], -inf), ([inf, -inf], nan), ([nan, 1], nan)):
        found = row_of(values)
        assert total(found) == sum(Fraction(v) for v in values if math.isfinite(v))
        assert nearest_total(found) == expected or (math.isnan(expected) and math.isnan(nearest_total(found)))
    assert nearest_total(row_of([LARGEST, LARGEST])) == inf
    assert nearest_total(row_of([-LARGEST, -LARGEST])) == -inf


def test_nothing_adds_up_to_zero():
    assert total(kernels.exact_sums([np.empty(0, np.uint16)], None, "BF16", "values")[0]) == 0
