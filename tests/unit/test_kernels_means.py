"""Means by element: reference and compiled agree; exact where they should be, else near the exact quotient."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kernel_worlds import FORMS, both, matrices, patterns

from conjoin import kernels
from conjoin.errors import BadArrayError
from conjoin.kernels import FORMATS, decode, encode

FLOORS = st.sampled_from([0.0, 1e-6, 2.0])


@st.composite
def scored(draw):
    """Tensors, and scores that are not negative, some of them 0."""
    form, tensors, _, _ = draw(matrices())
    score_form = draw(FORMS)
    known = FORMATS[score_form]
    positive = known.raw.type((1 << (8 * known.item_bytes - 1)) - 1)
    scores = [raw & positive for raw in draw(patterns(score_form, len(tensors), len(tensors[0])))]
    numerators = draw(st.lists(st.floats(1e-300, 1e3), min_size=len(tensors), max_size=len(tensors)))
    return form, tensors, score_form, scores, numerators


@given(scored(), FORMS, FLOORS)
@settings(deadline=None)
def test_weighted_mean(world, out_form, floor):
    form, tensors, score_form, scores, numerators = world
    floors = [floor] * len(tensors)
    floors[0] = 1e-6
    found = both(
        lambda: kernels.weighted_mean(
            tensors, scores, form, score_form, out_form, numerators=numerators, floors=floors
        )
    )  # fmt: skip
    exact = kernels.weighted_mean(tensors, scores, form, score_form, "F64", numerators=numerators, floors=floors)
    assert (found == encode(exact.view(np.float64), out_form)).all()
    values, shares = [decode(t, form) for t in tensors], [decode(s, score_form) for s in scores]
    for j in range(0, len(exact), 17):
        row = [Fraction(float(v[j])) for v in values]
        share = [
            Fraction(n) * Fraction(float(max(s[j], f)))
            for n, s, f in zip(numerators, shares, floors, strict=True)
        ]  # fmt: skip
        expected = sum(s * v for s, v in zip(share, row, strict=True)) / sum(share)
        if not Fraction(2) ** -1000 < sum(share) < Fraction(2) ** 1020 or max(map(abs, row)) > Fraction(2) ** 1020:
            continue
        largest = max((abs(v) for s, v in zip(share, row, strict=True) if s), default=0)
        assert abs(Fraction(float(exact.view(np.float64)[j])) - expected) <= 8 * largest / 2**53 + Fraction(2) ** -1060


@given(scored(), st.integers(0, 4))
@settings(deadline=None, max_examples=40)
def test_what_is_equal_or_alone_is_the_result(world, chosen):
    form, tensors, score_form, scores, numerators = world
    floors = [0.0] * len(tensors)
    same = [tensors[0]] * len(tensors)
    options = {"numerators": numerators, "floors": floors}
    assert (kernels.weighted_mean(same, scores, form, score_form, form, **options) == tensors[0]).all()
    chosen %= len(tensors)
    alone = [score * (i == chosen) for i, score in enumerate(scores)]
    floors = [1e-6 * (i == chosen) for i in range(len(tensors))]
    found = kernels.weighted_mean(tensors, alone, form, score_form, form, numerators=numerators, floors=floors)
    assert (decode(found, form) == decode(tensors[chosen], form)).all()


def test_by_example():
    """STRATEGIES' Fisher example: (1, 2) with scores (1, 3), (3, 6) with (1, 1), give (2, 3)."""
    tensors = [encode(np.array(row, float), "F32") for row in ((1, 2), (3, 6))]
    scores = [encode(np.array(row, float), "BF16") for row in ((1, 3), (1, 1))]
    out = kernels.weighted_mean(tensors, scores, "F32", "BF16", "F32", numerators=[1, 1], floors=[1e-6] * 2)
    assert decode(out, "F32").tolist() == [2, 3]


def test_scores_of_another_length_are_refused():
    tensors, options = [np.zeros(3, np.uint32)], {"numerators": [1.0], "floors": [1.0]}
    with pytest.raises(BadArrayError):
        kernels.weighted_mean(tensors, [np.zeros(2, np.uint32)], "F32", "F32", "F32", **options)
    with pytest.raises(BadArrayError):
        kernels.weighted_mean(tensors, tensors * 2, "F32", "F32", "F32", **options)
