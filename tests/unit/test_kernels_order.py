"""The threshold: the m-th largest key by a sample and brackets, whatever the sample says and however keys are tied."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_kernels_elementwise import crowds
from tests.unit.test_kernels_operations import both

from conjoin import kernels
from conjoin.errors import BadArrayError
from conjoin.kernels import FORMATS, Bracket
from conjoin.kernels.counting import KEYS_STOP, Narrowed, bracket_of_sample, narrowed
from conjoin.kernels.native import order as native
from conjoin.kernels.native.bits import PIECE
from conjoin.kernels.reference.order import magnitude_keys
from conjoin.strategies.base import Block, Extent, find_strategy
from conjoin.testing.strategy_suite import backend


def keys_of(tensor, base, form):
    with np.errstate(all="ignore"):
        return magnitude_keys(kernels.decode(tensor, form) - kernels.decode(base, form))


def every_gap(form):
    """Pairs of patterns of every two exponents, with significands of few and of many bits and beside a tie."""
    known = FORMATS[form]
    top = (1 << known.fraction_bits) - 1
    fractions = np.array([0, 1, 2, top // 2, top // 2 + 1, top - 1, top] if known.item_bytes == 2 else [0, 1, top])
    step = 1 if known.exponent_bits <= 8 else 16
    exponents = np.arange(0, known.infinity >> known.fraction_bits, step) << known.fraction_bits
    patterns = (exponents[:, np.newaxis] | fractions).ravel()
    left, right = (side.ravel().astype(known.raw) for side in np.meshgrid(patterns, patterns))
    sign = known.raw.type(1 << (8 * known.item_bytes - 1))
    for base in (right, right | sign):
        for start in range(0, len(left) - PIECE + 1, PIECE):
            yield left[start : start + PIECE], base[start : start + PIECE]


@pytest.mark.parametrize("form", FORMATS)
def test_keys_of_every_gap(form):
    """Differences in float32, where the reference takes them in float64."""
    found = np.empty(PIECE, np.uint32)
    for tensor, base in every_gap(form):
        native.keys_of(tensor.ctypes.data, base.ctypes.data, 0, PIECE, FORMATS[form].code, found)
        row = found.reshape(-1, 2, 16).transpose(0, 2, 1).ravel() if FORMATS[form].item_bytes == 2 else found
        assert (row == keys_of(tensor, base, form)).all()


@st.composite
def brackets(draw, keys):
    """A bracket around, beside or far from keys that occur, from one key to all."""
    low = draw(st.sampled_from([0, *keys.tolist()]) | st.integers(0, KEYS_STOP - 1))
    width = draw(st.sampled_from([1, 2, 1 << 16, (1 << 16) + 1, 1 << 20, KEYS_STOP]))
    stop = min(low + width, KEYS_STOP)
    inside = [int(key) for key in keys if low <= key < stop]
    favourite = draw(st.sampled_from(inside) if inside else st.just(low))
    return Bracket(low, stop, favourite)


@given(st.data(), crowds())
@settings(max_examples=80, deadline=None)
def test_bracket_counts(data, crowd):
    form, tensors, base, _ = crowd
    keys = [keys_of(tensor, base, form) for tensor in tensors]
    chosen = [data.draw(brackets(key)) for key in keys]
    found = both(lambda: kernels.bracket_counts(tensors, base, form, chosen))
    for row, key, bracket in zip(found, keys, chosen, strict=True):
        assert row[:-2].sum() == ((key >= bracket.low) & (key < bracket.stop)).sum()
        assert row[-2] == (key >= bracket.stop).sum()
        assert row[-1] == (key == bracket.favourite).sum()


@given(st.data(), crowds())
@settings(max_examples=60, deadline=None)
def test_three_brackets_find_the_threshold_whatever_the_first(data, crowd):
    form, tensors, base, _ = crowd
    keys = [keys_of(tensor, base, form) for tensor in tensors]
    rank = data.draw(st.integers(1, len(base)))
    state = Narrowed(tuple(data.draw(brackets(key)) for key in keys), (0,) * len(keys))
    with backend("compiled"):
        for _ in range(3):
            state = narrowed(state, kernels.bracket_counts(tensors, base, form, state.brackets), rank)
    assert state.is_exact
    for bracket, inner, key in zip(state.brackets, state.ranks, keys, strict=True):
        assert bracket.low == np.sort(key)[-rank]
        assert inner == rank - (key > bracket.low).sum()


def tied(n, values, seed):
    """F32 tensors whose task vectors have few magnitudes."""
    rng = np.random.default_rng(seed)
    base = np.zeros(n, np.uint32)
    tensors = [kernels.encode(rng.choice(values, n) * rng.choice([-1.0, 1.0], n), "F32") for _ in range(2)]
    return tensors, base


@pytest.mark.parametrize("values", [[0.0], [0.0, 1.0], [0.0, 0.5, 1.0], [1.0, 1.0 + 2.0**-8, 1.0 + 2.0**-7]])
@pytest.mark.parametrize("density", ["0.0001", "0.2", "0.4", "0.9"])
def test_one_bracket_does_for_heavy_ties(values, density):
    """A key that holds a good part of all elements is found in the first bracket: it is counted by itself."""
    tensors, base = tied(300_000, values, 1)
    rank = max(1, int(Fraction(density) * len(base)))
    with backend("compiled"):
        sample = kernels.high_histograms([t[::32].copy() for t in tensors], base[::32].copy(), "F32")
        state = bracket_of_sample(sample, rank, len(base))
        state = narrowed(state, kernels.bracket_counts(tensors, base, "F32", state.brackets), rank)
    assert state.is_exact
    for bracket, tensor in zip(state.brackets, tensors, strict=True):
        assert bracket.low == np.sort(keys_of(tensor, base, "F32"))[-rank]


@pytest.mark.parametrize("scope", ["tensor", "model"])
@pytest.mark.parametrize("form", ["BF16", "F16", "F32"])
def test_passes_of_ties(scope, form):
    """The strategy's own passes, with a sample that misleads: the first half of the tensor is ten times as large."""
    rng, n = np.random.default_rng(5), 150_000
    base = kernels.encode(rng.normal(0, 0.02, n), form)
    size = np.where(np.arange(n) < n // 2, 0.01, 0.001)
    tensors = tuple(kernels.encode(kernels.decode(base, form) + rng.normal(0, 1, n) * size, form) for _ in range(3))
    ties, digests = find_strategy("ties"), ("a" * 64, "b" * 64, "c" * 64)
    params = ties.parse({"density": "0.3", "trim_scope": scope})
    weights, measured = (Fraction(1),) * 3, {}
    for step in ties.passes:
        if not step.needed(params) or step.settled(measured):
            continue
        block = Block(tensors, base, weights, digests, form, form, "w", (n,), 0, 0, {}, "ties", dict(measured))
        measured[step.name] = step.finish(step.measure(block, params), params, Extent(3, n, weights, dict(measured)))
    state = [measured[name] for name in ("bracket", "narrower", "narrowest") if name in measured][-1]
    expected = [int(np.sort(keys_of(tensor, base, form))[-int(0.3 * n)]) for tensor in tensors]
    assert [bracket.low for bracket in state.brackets] == expected


def test_what_is_no_bracket_is_refused():
    row = [np.zeros(3, np.uint16)]
    for bad in (Bracket(5, 5, 5), Bracket(0, KEYS_STOP + 1, 0), Bracket(4, 8, 3), Bracket(4, 8, 8)):
        with pytest.raises(BadArrayError):
            kernels.bracket_counts(row, row[0], "BF16", [bad])
