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


FUNCTIONS = {
    scalars.sqrt: (mpmath.sqrt, st.fractions(0, 100, max_denominator=10**9)),
    scalars.acos: (mpmath.acos, st.fractions(-1, 1, max_denominator=10**9)),
    scalars.sin: (mpmath.sin, st.fractions(-100, 100, max_denominator=10**9)),
    scalars.cos: (mpmath.cos, st.fractions(-100, 100, max_denominator=10**9)),
    scalars.exp: (mpmath.exp, st.fractions(-100, 100, max_denominator=10**9)),
    scalars.log: (mpmath.log, st.fractions("1/1000", 1000, max_denominator=10**9)),
}
HARD = {
    scalars.exp: (mpmath.log, [0.3, 1.0, 7.25, 1e-9]),
    scalars.log: (mpmath.exp, [-2.5, 1.0, 3.0, 1e-9]),
    scalars.sin: (mpmath.asin, [0.1, 0.5, 0.999, 1e-9]),
    scalars.cos: (mpmath.acos, [0.1, 0.5, 0.999, 1e-9]),
    scalars.acos: (mpmath.cos, [0.1, 1.0, 3.0, 1e-9]),
    scalars.sqrt: (lambda x: x * x, [0.1, 1.0, 3.0, 1e-9]),
}
"""Inverse functions, and float64 numbers beside which a boundary of rounding lies."""


def exact(number):
    return Fraction(*map(int, mpmath.libmp.to_rational(number._mpf_)))


@given(st.sampled_from(list(FUNCTIONS)), st.data())
def test_nearest_f64(function, data):
    theirs, arguments = FUNCTIONS[function]
    value = data.draw(arguments)
    with mpmath.workprec(600):
        true = exact(theirs(mpmath.mpf(value.numerator) / value.denominator))
    assert scalars.nearest_f64(function, value) == float(true)
    assert function(value) == scalars.rounded(true) or abs(function(value)) < Fraction(1, 10**150)


@pytest.mark.parametrize("function", HARD)
@pytest.mark.parametrize("side", [-1, 1])
def test_beside_a_boundary(function, side):
    """Arguments whose value is within 2^-700 of the middle between two numbers, just above or below it."""
    inverse, numbers = HARD[function]
    for number in numbers:
        following = math.nextafter(number, math.inf)
        middle = (Fraction(number) + Fraction(following)) / 2
        with mpmath.workprec(2000):
            value = exact(inverse(mpmath.mpf(middle.numerator) / middle.denominator))
            falls = exact(inverse(mpmath.mpf(number))) > value
        value += (-side if falls else side) * Fraction(1, 2**800)
        assert scalars.nearest_f64(function, value) == (following if side > 0 else number)


def test_exactly_on_a_boundary():
    middle = 1 + Fraction(1, 2**53)
    assert scalars.nearest_f64(scalars.sqrt, middle**2) == 1.0
    assert scalars.nearest_f64(scalars.sqrt, (middle + Fraction(1, 2**52)) ** 2) == 1 + 2.0**-51
    assert scalars.nearest_f64(scalars.power, middle**3, Fraction(1, 3)) == 1.0
    assert scalars.nearest_f64(scalars.power, middle**14, Fraction(1, 14)) == 1.0


def test_exact_values():
    zero, one = Fraction(0), Fraction(1)
    for function, value, expected in (
        (scalars.exp, zero, 1), (scalars.log, one, 0), (scalars.sin, zero, 0), (scalars.cos, zero, 1),
        (scalars.acos, one, 0), (scalars.sqrt, zero, 0), (scalars.sqrt, Fraction(9, 49), Fraction(3, 7)),
    ):  # fmt: skip
        assert function(value) == scalars.rounded(Fraction(expected))
    for base, exponent, expected in (
        ("0", "0", 1), ("0", "2", 0), ("9/4", "3/2", "27/8"), ("2", "-3", "1/8"), ("1", "0.3", 1),
        ("1/1024", "0.7", "1/128"), ("2", "1000", 2**1000), ("7", "0", 1), ("1.5", "3", "27/8"),
    ):  # fmt: skip
        assert scalars.power(Fraction(base), Fraction(exponent)) == Fraction(expected)


@given(st.fractions("1/1000", 1000, max_denominator=1000), st.fractions(-9, 9, max_denominator=60))
def test_power(base, exponent):
    with mpmath.workprec(600):
        true = mpmath.mpf(base.numerator) / base.denominator
        true **= mpmath.mpf(exponent.numerator) / exponent.denominator
        near = float(exact(true))
    found = scalars.nearest_f64(scalars.power, base, exponent)
    assert found == near
    assert scalars.nearest_f64(scalars.power, Fraction(10**9 + 7), Fraction(1, 10**18)) == 1.0


def test_powers_by_example():
    assert scalars.nearest_f64(scalars.power, Fraction(2), Fraction(1, 2)) == math.sqrt(2)
    assert scalars.nearest_f64(scalars.exp, Fraction(1)) == math.e
    assert scalars.nearest_f64(scalars.acos, Fraction(-1)) == math.pi
    assert scalars.nearest_f64(scalars.log, Fraction(2)) == 0.6931471805599453


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (scalars.acos, ["1.0001"]), (scalars.log, ["0"]), (scalars.sqrt, ["-1"]), (scalars.exp, ["100000"]),
        (scalars.exp, ["1000"]), (scalars.power, ["-2", "3"]), (scalars.power, ["0", "-1"]),
        (scalars.power, ["2", "1000000"]),
    ],
)  # fmt: skip
def test_what_has_no_value_is_refused(function, arguments):
    with pytest.raises(BadParameterError):
        scalars.nearest_f64(function, *map(Fraction, arguments))


@pytest.mark.parametrize("off", [-200, -1, 1, 200])
def test_the_last_bits_of_mpmath_do_not_matter(monkeypatch, off):
    """As if it computed in another way, with gmpy for one: results that are some units off change nothing."""
    values = [Fraction(n, 7) for n in (1, 2, 5)]
    names = {scalars.sqrt: "mpf_sqrt", scalars.acos: "mpf_acos", scalars.sin: "mpf_sin", scalars.cos: "mpf_cos",
             scalars.exp: "mpf_exp", scalars.log: "mpf_log"}  # fmt: skip
    expected = {function: [function(value) for value in values] for function in names}

    def crooked(real):
        def function(number, precision, way):
            sign, digits, exponent, bits = real(number, precision, way)
            shift = max(precision - bits, 0)
            return mpmath.libmp.from_man_exp((-1) ** sign * ((digits << shift) + off), exponent - shift)

        return function

    for name in names.values():
        monkeypatch.setattr(mpmath.libmp, name, crooked(getattr(mpmath.libmp, name)))
    assert {function: [function(value) for value in values] for function in names} == expected


def test_nobody_elses_precision_matters():
    with mpmath.workprec(20):
        assert scalars.sin(Fraction(1)) == scalars.sin(Fraction(1))
        low = scalars.sqrt(Fraction(2))
    assert low == scalars.sqrt(Fraction(2))
    assert low.numerator.bit_length() > 150


def test_simple_ratios_stay_exact():
    assert scalars.as_coefficient(Fraction(2, 3)) == Fraction(2, 3)
    assert scalars.as_coefficient(scalars.sqrt(Fraction(1, 2))) == Fraction(float(np.float32(math.sqrt(0.5))))
