"""Coefficients stay exact as long as they can; scalars are rounded correctly."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conjoin.errors import BadParameterError
from conjoin.kernels import coefficients, nearest_f32, scalars

DECIMALS = st.decimals(-1000, 1000, allow_nan=False, places=4).map(Fraction)


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_nearest_f32_agrees_with_the_hardware(value):
    with np.errstate(over="ignore"):
        expected = np.float32(value)
    if np.isinf(expected):
        with pytest.raises(BadParameterError):
            nearest_f32(Fraction(value))
    else:
        assert nearest_f32(Fraction(value)) == float(expected)


def test_nearest_f32_rounds_once():
    near_a_tie = 1 + Fraction(1, 2**24) + Fraction(1, 2**80)
    assert float(np.float32(float(near_a_tie))) == 1.0, "rounding to float64 first loses the last bit"
    assert nearest_f32(near_a_tie) == 1 + 2.0**-23


@given(st.lists(DECIMALS, min_size=1, max_size=6))
def test_coefficients_are_exact_where_they_can_be(values):
    terms = coefficients(values)
    exact = [Fraction(n) / Fraction(terms.denominator) for n in terms.numerators]
    assert all(float(np.float32(n)) == n for n in terms.numerators)
    common = math.lcm(*(v.denominator for v in values))
    if common <= 2**24 and all(abs(v * common) <= 2**24 for v in values):
        assert exact == values
    else:
        assert terms.denominator == 1
        assert all(abs(e - v) <= abs(v) / 2**24 for e, v in zip(exact, values, strict=True))


def test_coefficients_by_example():
    third = Fraction(1, 3)
    assert coefficients([third] * 3) == scalars.Coefficients((1.0, 1.0, 1.0), 3.0)
    assert coefficients([Fraction("0.1"), Fraction("0.3")]) == scalars.Coefficients((1.0, 3.0), 10.0)
    assert coefficients([Fraction("0.5"), Fraction(3)]) == scalars.Coefficients((0.5, 3.0), 1.0)
    assert coefficients([Fraction(1, 2**24 + 1)]).denominator == 1.0
    assert coefficients([]) == scalars.Coefficients((), 1.0)


@given(st.fractions(-1, 1, max_denominator=10**9))
def test_scalars_agree_with_a_higher_precision(value):
    value = scalars.rounded(value)
    with mpmath.workprec(400):
        number = mpmath.mpf(value.numerator) / value.denominator
        pairs = [
            (scalars.acos(value), mpmath.acos(number)),
            (scalars.sin(value), mpmath.sin(number)),
            (scalars.cos(value), mpmath.cos(number)),
            (scalars.sqrt(abs(value)), mpmath.sqrt(abs(number))),
        ]
        for ours, theirs in pairs:
            ours = mpmath.mpf(ours.numerator) / ours.denominator
            assert abs(ours - theirs) <= abs(theirs) * mpmath.mpf(2) ** -158 + mpmath.mpf(2) ** -1000


def test_nobody_elses_precision_matters():
    with mpmath.workprec(20):
        assert scalars.sin(Fraction(1)) == scalars.sin(Fraction(1))
        low = scalars.sqrt(Fraction(2))
    assert low == scalars.sqrt(Fraction(2))
    assert low.numerator.bit_length() > 150


def test_simple_ratios_stay_exact():
    assert scalars.as_coefficient(Fraction(2, 3)) == Fraction(2, 3)
    assert scalars.as_coefficient(scalars.sqrt(Fraction(1, 2))) == Fraction(float(np.float32(math.sqrt(0.5))))
