"""The operations: reference and compiled give the same bytes, and both what exact arithmetic says."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kernel_worlds import FORMS, KEYS, both, patterns

from conjoin import kernels
from conjoin.errors import BadArrayError
from conjoin.kernels import BLOCK_ELEMENTS, FORMATS, Coefficients, Trim, selftest
from conjoin.kernels.layout import Bracket
from conjoin.kernels.reference.order import magnitude_keys
from conjoin.testing.strategy_suite import backend

SHARES = st.lists(st.floats(-8, 8, width=32), min_size=5, max_size=5)


@st.composite
def worlds(draw):
    """A format, k tensors and a base."""
    form = draw(FORMS)
    n = draw(st.sampled_from([1, 3, 31, 33, 200, 1023, 1025, 2500]))
    k = draw(st.integers(1, 5))
    base, *tensors = draw(patterns(form, k + 1, n))
    return form, tensors, base


@given(worlds(), FORMS, SHARES, st.sampled_from([1.0, 3.0, 10.0]))
def test_linear(world, out_form, numerators, denominator):
    form, tensors, _ = world
    terms = Coefficients(tuple(numerators[: len(tensors)]), denominator)
    both(lambda: kernels.linear(tensors, terms, form, out_form))


@given(worlds(), FORMS, SHARES, st.sampled_from([1.0, 7.0]), st.sampled_from([0, 1, 2**31, 2**32 - 1]))
def test_delta_sum(world, out_form, numerators, denominator, drop_below):
    form, tensors, base = world
    terms = Coefficients(tuple(numerators[: len(tensors)]), denominator)
    both(
        lambda: kernels.delta_sum(
            tensors, base, form, out_form, terms=terms, drop_below=drop_below, keys=KEYS[: len(tensors)], start=1 << 36
        )
    )


@st.composite
def trims(draw, world):
    form, tensors, base = world
    keys = [magnitude_keys(kernels.decode(t, form) - kernels.decode(base, form)) for t in tensors]
    thresholds = tuple(int(key[draw(st.integers(0, len(base) - 1))]) for key in keys)
    cutoffs = tuple(draw(st.sampled_from([500, 500 + len(base) // 2, 2**63 - 1])) for _ in tensors)
    return Trim(thresholds, cutoffs)


@given(st.data(), worlds(), FORMS, SHARES, st.sampled_from(["mean", "sum", "max"]), st.sampled_from([-1, 0, 1]))
@settings(max_examples=150)
def test_ties(data, world, out_form, numerators, aggregate, zero_sign):
    form, tensors, base = world
    with np.errstate(all="ignore"):
        trim = data.draw(trims(world))
    terms = Coefficients(tuple(abs(n) + 1 for n in numerators[: len(tensors)]), 3.0)
    scale = Coefficients((numerators[-1],), 10.0)
    both(
        lambda: kernels.ties(
            tensors, base, form, out_form, terms=terms, trim=trim, start=500,
            aggregate=aggregate, zero_sign=zero_sign, scale=scale,
        )
    )  # fmt: skip
    both(lambda: kernels.elected_signs(tensors, base, form, terms, trim, 500))


@given(st.data(), worlds())
@settings(max_examples=12, deadline=None)
def test_histograms(data, world):
    form, tensors, base = world
    with np.errstate(all="ignore"):
        trim = data.draw(trims(world))
    high = both(lambda: kernels.high_histograms(tensors, base, form))
    assert (high.sum(axis=1) == len(base)).all()
    start = 2**18 - 100
    where = both(lambda: kernels.tie_histograms(tensors, base, form, trim.thresholds, start))
    alone = [Bracket(threshold, threshold + 1, threshold) for threshold in trim.thresholds]
    assert where.sum(axis=1).tolist() == kernels.bracket_counts(tensors, base, form, alone)[:, -1].tolist()
    inside = both(lambda: kernels.tie_histograms(tensors, base, form, trim.thresholds, start, [0] * len(tensors)))
    assert (inside.sum(axis=1) == where[:, 0]).all()


@given(worlds(), st.booleans())
@settings(deadline=None)
def test_gram(world, centred):
    form, tensors, base = world
    both(lambda: kernels.block_gram(tensors, base if centred else None, form))


@given(worlds(), st.sampled_from([0, 2**31, 2**32 - 1]))
@settings(deadline=None)
def test_l1(world, drop_below):
    form, tensors, base = world
    keys = KEYS[: len(tensors)]
    both(lambda: kernels.block_l1(tensors, base, form, drop_below=drop_below, keys=keys, start=65_536))


@given(worlds(), st.booleans(), SHARES)
@settings(deadline=None)
def test_moments(world, centred, centres):
    form, tensors, base = world
    both(lambda: kernels.block_moments(tensors, base if centred else None, form, centres[: len(tensors)]))


def test_moments_give_mean_and_variance():
    n = BLOCK_ELEMENTS + 1234
    values = np.random.default_rng(3).normal(0.5, 0.01, n)
    raw = kernels.encode(values, "F32")
    values = kernels.decode(raw, "F32")
    total, size, square = kernels.fold_blocks(kernels.block_moments([raw], None, "F32"))[0]
    assert total == size and math.isclose(total, math.fsum(values), rel_tol=1e-13)
    assert square == kernels.fold_blocks(kernels.block_gram([raw], None, "F32"))[0, 0]
    spread = kernels.fold_blocks(kernels.block_moments([raw], None, "F32", [total / n]))[0, 2]
    assert math.isclose(spread / n, float(np.var(values)), rel_tol=1e-10)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("n", [0, 1, 7, 16_384, 16_385, 70_001])
def test_count_nonfinite(form, n):
    known = FORMATS[form]
    raw = selftest.patterns(form, 1, n)
    assert kernels.count_nonfinite(raw, form) == 0
    bad = np.unique(np.linspace(0, n - 1, 9).astype(int)) if n else np.array([], int)
    raw[bad] |= known.raw.type(known.infinity)
    for arithmetic in ("reference", "compiled"):
        with backend(arithmetic):
            assert kernels.count_nonfinite(raw, form) == len(bad)
            assert kernels.count_nonfinite(raw | known.raw.type(known.infinity), form) == n


@given(worlds(), SHARES)
@settings(max_examples=50)
def test_short_linear_forms_are_the_exact_result_rounded_once(world, numerators):
    """Where the sum is exact in float64, the output is the correctly rounded true value."""
    form, tensors, _ = world
    if form == "F64":
        return
    whole = [float(round(n)) for n in numerators[: len(tensors)]]
    out = kernels.linear(tensors, Coefficients(tuple(whole), 1.0), form, "F32")
    for j in range(0, len(tensors[0]), 97):
        terms = [
            Fraction(n) * Fraction(float(kernels.decode(t[j : j + 1], form)[0]))
            for n, t in zip(whole, tensors, strict=True)
        ]
        exact = sum(terms)
        if any(Fraction(float(sum(terms[: i + 1]))) != sum(terms[: i + 1]) for i in range(len(terms))) or not exact:
            continue
        assert out[j] == kernels.encode(np.array([float(exact)]), "F32")[0]


def lanes(values):
    """The reduction of NUMERICS 11.6 for one block, in plain Python."""
    sums = [0.0] * 32
    for index in range(65_536):
        sums[index % 32] += values[index] if index < len(values) else 0.0
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [sums[i] + sums[i + half] for i in range(half)]
    return sums[0]


def test_gram_is_the_documented_reduction():
    n = 2 * BLOCK_ELEMENTS + 1234
    raws = [kernels.encode(np.random.default_rng(seed).normal(size=n), "F32") for seed in (1, 2, 3)]
    values = [kernels.decode(raw, "F32") for raw in raws]
    rows = kernels.block_gram(raws, None, "F32")
    assert rows.shape == (3, 3, 3)
    for i, j in ((0, 0), (1, 0), (2, 1)):
        product = (values[i] * values[j]).tolist()
        blocks = [lanes(product[start : start + BLOCK_ELEMENTS]) for start in range(0, n, BLOCK_ELEMENTS)]
        assert rows[:, i, j].tolist() == rows[:, j, i].tolist() == blocks
        assert kernels.fold_blocks(rows)[i, j] == (blocks[0] + blocks[2]) + (blocks[1] + 0.0)
        assert math.isclose(kernels.fold_blocks(rows)[i, j], math.fsum(product), rel_tol=1e-9, abs_tol=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), max_size=40))
def test_fold_blocks(values):
    padded = list(values) + [0.0] * ((1 << max(len(values) - 1, 0).bit_length()) - len(values))
    while len(padded) > 1:
        half = len(padded) // 2
        padded = [padded[i] + padded[i + half] for i in range(half)]
    found = kernels.fold_blocks(np.array(values).reshape(len(values), 1))
    assert found.tolist() == (padded or [0.0])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.data())
def test_selection_from_counts(counts, data):
    rank = data.draw(st.integers(1, max(1, sum(counts))))
    things = [index for index, count in enumerate(counts) for _ in range(count)]
    if not things:
        return
    table = np.array([counts])
    up, down = kernels.select_from_bottom(table, (rank,)), kernels.select_from_top(table, (rank,))
    assert up.bins[0] == things[rank - 1]
    assert up.ranks[0] == rank - sum(counts[: up.bins[0]])
    assert down.bins[0] == things[-rank]
    assert down.ranks[0] == rank - sum(counts[down.bins[0] + 1 :])


def test_sources_with_coefficient_zero_are_left_out():
    infinite = np.array([0x7F80], np.uint16)
    one = np.array([0x3F80], np.uint16)
    assert kernels.linear([infinite, one], Coefficients((0.0, 2.0), 1.0), "BF16", "BF16").tolist() == [0x4000]
    assert kernels.linear([one], Coefficients((0.0,), 1.0), "BF16", "BF16").tolist() == [0]


def test_unaligned_and_strided_input():
    data = bytes(1) + selftest.patterns("F32", 1, 100).tobytes()
    crooked = np.frombuffer(data, np.uint32, 100, offset=1)
    straight = selftest.patterns("F32", 1, 100)
    terms = Coefficients((0.5,), 1.0)
    assert (kernels.linear([crooked], terms, "F32", "F32") == kernels.linear([straight], terms, "F32", "F32")).all()
    assert (
        kernels.linear([straight[::2]], terms, "F32", "F32") == kernels.linear([straight], terms, "F32", "F32")[::2]
    ).all()


def test_writing_stays_inside():
    with pytest.raises(BadArrayError):
        kernels.linear([np.zeros(3, np.uint16), np.zeros(4, np.uint16)], Coefficients((1.0, 1.0), 1.0), "BF16", "BF16")
    with pytest.raises(BadArrayError):
        kernels.count_nonfinite(np.zeros(3, np.uint16), "F32")
