"""Conversions: every 16-bit pattern against NumPy and ml_dtypes, rounding against exact rationals."""

import struct
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conjoin.kernels import FORMATS, decode, encode

EVERY = np.arange(1 << 16, dtype=np.uint16)
SHORT = {"BF16": ml_dtypes.bfloat16, "F16": np.float16}


@pytest.mark.parametrize("form", SHORT)
def test_every_short_pattern_decodes_as_elsewhere(form):
    with np.errstate(invalid="ignore"):
        expected = EVERY.view(SHORT[form]).astype(np.float64)
    assert (decode(EVERY, form).view(np.uint64) == expected.view(np.uint64))[~np.isnan(expected)].all()
    assert (np.isnan(decode(EVERY, form)) == np.isnan(expected)).all()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_decoded_encodes_to_itself(form):
    patterns = (
        EVERY if form in SHORT else np.random.default_rng(1).integers(0, 2**63, 100_000).astype(FORMATS[form].raw)
    )
    values = decode(patterns, form)
    finite = np.isfinite(values)
    assert (encode(values, form)[finite] == patterns[finite]).all()
    assert (encode(values, form)[np.isnan(values)] == FORMATS[form].nan).all()


def nearest(value: Fraction, form: str) -> int:
    """The pattern nearest to an exact number, by searching the patterns themselves; ties to the even pattern."""
    known = FORMATS[form]
    size, low, high = abs(value), 0, known.infinity
    while high - low > 1:
        middle = (low + high) // 2
        if number(middle, form) <= size:
            low = middle
        else:
            high = middle
    below, above = size - number(low, form), number(high, form) - size
    chosen = low if below < above or (below == above and low % 2 == 0) else high
    return chosen | (1 << (8 * known.item_bytes - 1) if value < 0 else 0)


def number(pattern: int, form: str) -> Fraction:
    """The exact number of a positive pattern; for Inf what the next larger exponent would give."""
    known = FORMATS[form]
    exponent, fraction = pattern >> known.fraction_bits, pattern % (1 << known.fraction_bits)
    if exponent:
        fraction += 1 << known.fraction_bits
    return fraction * Fraction(2) ** (max(exponent, 1) - known.bias - known.fraction_bits)


@pytest.mark.parametrize("form", ["BF16", "F16", "F32"])
@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
@example(2.0**-134)
@example(2.0**-133 * 1.5)
@example(float(np.nextafter(2.0**-133 * 1.5, 0)))
@example(65519.999999999996)
@example(65520.0)
@example(3.3961775292304601e38)
@example(2.0**-25)
@example(float(np.nextafter(2.0**-25, 1)))
def test_rounding_is_exact(form, value):
    assert int(encode(np.array([value]), form)[0]) == nearest(Fraction(value), form) or value == 0


@pytest.mark.parametrize("form", SHORT)
def test_midpoints_and_their_neighbours_round_once(form):
    finite = EVERY[: FORMATS[form].infinity]
    values = decode(finite, form)
    middles = np.append((values[:-1] + values[1:]) / 2, values[-1] + (values[-1] - values[-2]) / 2)
    even = finite + (finite & 1)
    assert (encode(middles, form) == even).all()
    assert (encode(np.nextafter(middles, 0), form) == finite).all()
    assert (encode(np.nextafter(middles, np.inf), form) == finite + 1).all()
    assert (encode(-middles, form) == (even | 0x8000)).all()


def test_half_agrees_with_numpy():
    values = np.random.default_rng(2).normal(size=100_000) * 10.0 ** np.random.default_rng(3).integers(-9, 6, 100_000)
    with np.errstate(over="ignore"):
        assert (encode(values, "F16") == values.astype(np.float16).view(np.uint16)).all()


@pytest.mark.parametrize("form", FORMATS)
def test_special_values(form):
    known = FORMATS[form]
    sign = 1 << (8 * known.item_bytes - 1)
    payload = struct.unpack("<d", struct.pack("<Q", 0xFFF0_0000_0000_0123))[0]
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, payload])
    expected = [0, sign, known.infinity, sign | known.infinity, known.nan, known.nan, known.nan]
    assert encode(values, form).tolist() == expected


@pytest.mark.parametrize("form", ["BF16", "F16", "F32"])
def test_overflow_gives_infinity(form):
    assert encode(np.array([1e39, -1e300]), form).tolist() == [
        FORMATS[form].infinity,
        FORMATS[form].infinity | 1 << (8 * FORMATS[form].item_bytes - 1),
    ]
