"""The elementwise kernels: whole vectors and rests, every pattern of the short formats, numbers between patterns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_kernels_operations import both, patterns

from conjoin import kernels
from conjoin.kernels import FORMATS, Coefficients, Trim
from conjoin.kernels.layout import NO_CUTOFF
from conjoin.kernels.reference.order import magnitude_keys

FORMS = st.sampled_from(sorted(FORMATS))
ONE = Coefficients((1.0,), 1.0)
LENGTHS = st.sampled_from([1, 31, 32, 33, 63, 64, 65, 95, 127, 128, 129, 1000, 1024])


@st.composite
def crowds(draw):
    """A format, up to 9 tensors, a base, and numerators for them."""
    form, n, k = draw(FORMS), draw(LENGTHS), draw(st.integers(1, 9))
    base, *tensors = draw(patterns(form, k + 1, n))
    numerators = draw(st.lists(st.just(1.0) | st.floats(-4, 4, width=32), min_size=k, max_size=k))
    return form, tensors, base, numerators


def every_pattern(form):
    """All finite patterns of a short format, or many of a long one, around the ends of binades above all."""
    known = FORMATS[form]
    if known.item_bytes == 2:
        raw = np.arange(1 << 16, dtype=np.uint16)
    else:
        exponents = np.arange(known.infinity >> known.fraction_bits, dtype=np.uint64) << np.uint64(known.fraction_bits)
        ends = np.concatenate([exponents + np.uint64(d) for d in (0, 1, 2)] + [exponents[1:] - np.uint64(1)])
        raw = np.concatenate([ends, ends | np.uint64(1 << (8 * known.item_bytes - 1))]).astype(known.raw)
    exponent = known.raw.type(known.infinity)
    return raw[(raw & exponent) != exponent]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("out_form", FORMATS)
def test_every_pattern_is_converted(form, out_form):
    raw = every_pattern(form)
    found = both(lambda: kernels.linear([raw], ONE, form, out_form))
    if form == out_form:
        assert (found == raw).all()


@pytest.mark.parametrize("out_form", ["BF16", "F16", "F32"])
def test_numbers_between_two_patterns(out_form):
    """Halfway and one unit of float64 beside it, up to what overflows and down to what is subnormal or vanishes."""
    ends = kernels.decode(every_pattern(out_form), out_form)
    ends = np.unique(np.abs(ends))
    half = np.concatenate([(ends[:-1] + ends[1:]) / 2, [ends[-1] * (1 + 2.0**-12), ends[1] / 4, 2.0**-1074, 1e308]])
    near = np.concatenate([half, np.nextafter(half, 0), np.nextafter(half, np.inf)])
    raw = np.concatenate([near, -near]).view(np.uint64)
    both(lambda: kernels.linear([raw], ONE, "F64", out_form))


@pytest.mark.parametrize("bad", ["inf", "nan", "-inf"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("out_form", FORMATS)
def test_what_is_not_finite_is_converted_too(form, out_form, bad):
    """One such number among others: the whole vector goes the careful way."""
    raw = kernels.encode(np.where(np.arange(70) % 32 == 5, float(bad), np.arange(70.0)), form)
    raw[37] |= FORMATS[form].raw.type(bad == "nan")
    both(lambda: kernels.linear([raw], ONE, form, out_form))


@pytest.mark.parametrize("denominator", [1.0, 2.0, 2.0**24, 3.0, 10.0, 16777215.0])
@pytest.mark.parametrize("form", FORMATS)
def test_denominators(form, denominator):
    raw = every_pattern(form)
    terms = Coefficients((1.0, 3.0), denominator)
    both(lambda: kernels.linear([raw, raw[::-1].copy()], terms, form, form))


@given(crowds(), FORMS, st.sampled_from([1.0, 4.0, 5.0]))
@settings(max_examples=60, deadline=None)
def test_linear(crowd, out_form, denominator):
    form, tensors, _, numerators = crowd
    both(lambda: kernels.linear(tensors, Coefficients(tuple(numerators), denominator), form, out_form))


@given(crowds(), FORMS, st.sampled_from([0, 1, 2**31, 2**32 - 1]), st.sampled_from([0, 65_536, (1 << 34) - 64]))
@settings(max_examples=60, deadline=None)
def test_delta_sum(crowd, out_form, drop_below, start):
    form, tensors, base, numerators = crowd
    keys = [(17 * i, 2**32 - 1 - i, i, 2**31 + i) for i in range(len(tensors))]
    terms = Coefficients(tuple(numerators), 4.0)
    both(
        lambda: kernels.delta_sum(
            tensors, base, form, out_form, terms=terms, drop_below=drop_below, keys=keys, start=start
        )
    )


@given(st.data(), crowds(), FORMS, st.sampled_from(["mean", "sum", "max"]), st.sampled_from([-1, 0, 1]))
@settings(max_examples=100, deadline=None)
def test_ties(data, crowd, out_form, aggregate, zero_sign):
    """With cut-offs at every place of a vector."""
    form, tensors, base, numerators = crowd
    keys = [magnitude_keys(kernels.decode(t, form) - kernels.decode(base, form)) for t in tensors]
    chosen = st.sampled_from([0, 1, 0x7F80_0000])
    thresholds = tuple(data.draw(chosen | st.sampled_from(key.tolist())) for key in keys)
    cutoffs = tuple(data.draw(st.integers(990, 1000 + len(base)) | st.just(NO_CUTOFF)) for _ in tensors)
    trim = Trim(thresholds, cutoffs)
    terms = Coefficients(tuple(abs(n) + 1 for n in numerators), 3.0)
    scale = Coefficients((numerators[0],), 10.0)
    both(
        lambda: kernels.ties(
            tensors, base, form, out_form, terms=terms, trim=trim, start=1000,
            aggregate=aggregate, zero_sign=zero_sign, scale=scale,
        )
    )  # fmt: skip
    both(lambda: kernels.elected_signs(tensors, base, form, terms, trim, 1000))
