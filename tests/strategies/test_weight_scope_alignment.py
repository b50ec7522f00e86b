"""Weight scope alignment under the suite, against plain float64, and its identities."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin.errors import BadParameterError
from conjoin.kernels import decode, encode
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run

ALIGNMENT, MEAN = find_strategy("weight_scope_alignment"), find_strategy("linear")


class TestWeightScopeAlignment(StrategySuite):
    strategy = "weight_scope_alignment"
    vectors: ClassVar = [{}, {"scope_fusion": "rms"}]


def made(rows, form="F64", weights=None):
    digests = sorted(map(digest_number, range(len(rows))))
    thetas = {d: {"w": encode(np.array(row, float), form)} for d, row in zip(digests, rows, strict=True)}
    given = {} if weights is None else dict(zip(digests, map(Fraction, weights), strict=True))
    return Model(form, None, thetas, given)


def values(model, given=None):
    return decode(run(ALIGNMENT, model, given)["w"], model.form)


def aligned(rows, weights, fusion):
    weights = np.array(weights, float)[:, None] / np.sum(np.array(weights, float))
    mean, spread = rows.mean(axis=1, keepdims=True), rows.std(axis=1, keepdims=True)
    centre = (weights * mean).sum()
    fused = (weights * spread).sum() if fusion == "mean_std" else np.sqrt((weights * spread**2).sum())
    return (weights * ((rows - mean) / spread * fused + centre)).sum(axis=0), fused


@pytest.mark.parametrize("fusion", ["mean_std", "rms"])
@pytest.mark.parametrize("weights", [["1", "1", "1"], ["2.5", "0.3", "1"], ["1", "0", "3"]])
def test_against_plain_arithmetic(fusion, weights):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(3, 500)) * [[0.02], [0.5], [3]] + [[0], [1], [-4]]
    expected, fused = aligned(rows, weights, fusion)
    found = values(made(rows, weights=weights), {"scope_fusion": fusion})
    assert np.allclose(found, expected, rtol=1e-11, atol=1e-12)
    assert found.std() <= fused * (1 + 1e-12)


def test_equal_scopes_give_the_mean():
    row = np.random.default_rng(2).integers(-99, 99, 64)
    model = made([row, row[::-1], np.roll(row, 5), row + 3], "F32", ["1", "3", "0.1", "1"])
    assert_same(run(ALIGNMENT, model), run(MEAN, model))


def test_a_spread_that_is_none_is_left():
    """Constant tensors, in numbers whose squares round: averaged, whatever their size."""
    model = made([np.full(99, 0.1), np.full(99, 0.3), np.full(99, 1e6 / 7)])
    assert_same(run(ALIGNMENT, model), run(MEAN, model))


def test_one_without_spread_beside_one_with():
    """It is moved to the common mean and not scaled; of σ* its 0 is half."""
    assert values(made([[2, 2, 2, 2], [1, 3, 1, 3]])).tolist() == [1.75, 2.25, 1.75, 2.25]


def test_moved_and_scaled_together():
    rows = np.random.default_rng(3).integers(-50, 50, (3, 128)) * 1.0
    plain = values(made(rows))
    assert np.allclose(values(made(rows + 7)), plain + 7, rtol=1e-12, atol=1e-12)
    assert values(made(rows * 4)).tolist() == (plain * 4).tolist()
    assert values(made(-rows)).tolist() == (-plain).tolist()


def test_the_report_says_how_far_scopes_are():
    said = []
    model = made([[1, 3], [0, 8]])
    plain = run(ALIGNMENT, model, warn=said.append)
    assert not said
    assert_same(run(ALIGNMENT, model, {"report": "true"}, warn=said.append), plain)
    # μ* = 3, σ* = 2.5: ln 2.5 + (1 + 1)/12.5 − ½ and ln 0.625 + (16 + 1)/12.5 − ½
    first, second = (digest[:12] for digest in model.digests)
    assert said == [f"tensor `w`: divergence of its scope from the common one: {first} 0.576, {second} 0.39"]
    run(ALIGNMENT, made([[1, 1], [0, 8]]), {"report": "true"}, warn=said.append)
    run(ALIGNMENT, made([[2, 2], [2, 2]]), {"report": "true"}, warn=said.append)
    # σ* = 2: ln(4/2)⁻¹ + (16 + 1.5²)/8 − ½
    assert [text.rsplit(" ", 1)[1] for text in said[1:]] == ["1.09", "0"]
    assert " inf," in said[1]


def test_no_other_variant():
    with pytest.raises(BadParameterError, match="posthoc"):
        run(ALIGNMENT, made([[1, 2]]), {"variant": "training"})


def test_large_numbers_are_refused_where_squares_overflow():
    model = made([[1e300, -1e300], [1, 2]])
    with pytest.raises(BadParameterError, match="overflows"):
        run(ALIGNMENT, model)


def test_weights_are_shares():
    rows = np.random.default_rng(4).normal(size=(2, 40))
    twice = replace(made(rows), weights={})
    assert_same(run(ALIGNMENT, made(rows, weights=["2", "2"])), run(ALIGNMENT, twice))
