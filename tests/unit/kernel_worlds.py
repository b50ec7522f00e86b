"""Inputs of kernels for Hypothesis, and the check that both arithmetics give the same bytes."""

import numpy as np
from hypothesis import strategies as st

from conjoin.kernels import FORMATS
from conjoin.testing.strategy_suite import backend

FORMS = st.sampled_from(sorted(FORMATS))
KEYS = [(1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (0, 0, 0, 0), (2**32 - 1,) * 4]


@st.composite
def patterns(draw, form, count, n):
    """`count` arrays (n,) of finite patterns: random bits, many of them copied or nearly copied from the first."""
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    known = FORMATS[form]
    raws = []
    for i in range(count):
        raw = rng.integers(0, 2**64, n, dtype=np.uint64).astype(known.raw)
        if i and draw(st.booleans()):
            raw = raws[0] ^ (raw & known.raw.type(draw(st.sampled_from([0, 1, 7, 255]))))
        raw[rng.random(n) < 0.1] &= known.raw.type(1 << (8 * known.item_bytes - 1))
        exponent = known.raw.type(known.infinity)
        raw[(raw & exponent) == exponent] ^= known.raw.type(1 << (known.fraction_bits + 2))
        raws.append(raw)
    return raws


@st.composite
def matrices(draw):
    """A format, k tensors and a base, of rows × columns finite patterns: random bits, few magnitudes, many equals."""
    form, k, width = draw(FORMS), draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 3, 31, 64, 257, 1030]))
    base, *tensors = draw(patterns(form, k + 1, draw(st.integers(1, 3)) * width))
    return form, tensors, base, width


def both(function):
    """What the compiled arithmetic gives, after it equalled the reference."""
    with backend("reference"):
        expected = function()
    with backend("compiled"):
        found = function()
    if isinstance(found, tuple):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        same(found, expected)
    return found


def same(found, expected):
    """Equal type, shape and bytes, but for the payload of NaN."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype == np.float64:
        found, expected = (np.where(np.isnan(a), np.nan, a).view(np.uint64) for a in (found, expected))
    assert (found == expected).all()
