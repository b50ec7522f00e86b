"""LED-Merging under the suite, against a plain sort, and its identities."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin.errors import BadParameterError, BadSidecarError
from conjoin.kernels import decode, encode, selftest
from conjoin.strategies.base import Extra, find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run

LED, ARITHMETIC = find_strategy("led_merge"), find_strategy("task_arithmetic")


class TestLedMerge(StrategySuite):
    strategy = "led_merge"
    variants: ClassVar = [{"density": "0.9", "scale": "-0.7"}]
    vectors: ClassVar = [{}, {"density": "0.8", "scale": "0.5"}, {"variant": "delta_proxy"}]

    def choices(self):
        return [{}, {"variant": "delta_proxy"}]

    def side_car(self, side, salt, shape):
        """Hardly any equal scores, whose cuts take the reference its time; the proxy's products have many."""
        raw = selftest.patterns("F32", salt if side.name == "base" else salt + 7, math.prod(shape))
        return (raw >> np.uint32(8)).reshape(shape) * 2.0**-24


def made(taus, scores=(), base=None, form="F32"):
    """A model; `scores` holds k rows before and k after tuning."""
    origin = np.zeros(len(taus[0])) if base is None else base
    digests = sorted(map(digest_number, range(len(taus))))
    thetas = {d: {"w": encode(origin + np.array(t, float), form)} for d, t in zip(digests, taus, strict=True)}
    extras = {}
    for side, rows in zip(("base", "tuned"), scores, strict=False):
        extras[side] = {d: {"w": encode(np.array(r, float), "F32")} for d, r in zip(digests, rows, strict=True)}
    return Model(form, {"w": encode(origin, form)}, thetas, extras=extras)


def values(model, given=None):
    return decode(run(LED, model, given)["w"], model.form)


def top(score, density):
    """The flags of the max(1, ⌊r·n⌋) largest, of equals the first."""
    kept = max(1, int(Fraction(density) * len(score)))
    flags = np.zeros(len(score), bool)
    flags[np.argsort(-score, kind="stable")[:kept]] = True
    return flags


def expected(taus, before, after, densities):
    elected = np.array([top(b, d) & top(a, d) for b, a, d in zip(before, after, densities, strict=True)])
    return (np.where(elected & (elected.sum(0) == 1), taus, 0)).sum(0), elected


@pytest.mark.parametrize("levels", [3, 50, 10**6])
@pytest.mark.parametrize("densities", [["0.4"] * 3, ["0.1", "0.4", "0.5"], ["0.001", "1", "0.73"]])
def test_against_a_sort(levels, densities):
    """Few levels of scores: many equals, cut by index; zeros are scores as well."""
    rng = np.random.default_rng(levels)
    taus = rng.integers(-100, 100, (3, 1000))
    before, after = rng.integers(0, levels, (2, 3, 1000)) / 16
    model = made(taus, (before, after))
    given = {"density_of": dict(zip(model.digests, densities, strict=True))}
    total, elected = expected(taus, before, after, densities)
    assert values(model, given).tolist() == total.tolist()
    kept = values(model, given) != 0
    assert not (kept & ~elected.any(0)).any()


def test_slices_and_equal_scores():
    """A threshold that is the score of most elements of a tensor of several blocks."""
    n = 2 * 65_536 + 99
    rng = np.random.default_rng(0)
    taus, before, after = rng.integers(1, 9, (2, n)), *(rng.integers(0, 8, (2, 2, n)) // 7)
    model = made(taus, (before, after))
    total, _ = expected(taus, before, after, ["0.4", "0.4"])
    for elements in (65_536, 1 << 20):
        assert decode(run(LED, model, slice_elements=elements)["w"], "F32").tolist() == total.tolist()


def test_all_of_one_contribution_is_that_contribution():
    rng = np.random.default_rng(1)
    tau, base = rng.integers(-9, 9, 50), rng.integers(-9, 9, 50)
    model = made([tau], ([np.ones(50)], [np.arange(50)]), base)
    assert_same(run(LED, model, {"density": "1"}), model.contributions[model.digests[0]])


def test_identical_contributions_cancel_out():
    rng = np.random.default_rng(2)
    tau, score = rng.normal(size=64), rng.random(64)
    model = made([tau] * 3, ([score] * 3, [score] * 3))
    assert_same(run(LED, model), {"w": model.base["w"]})


def test_a_contribution_of_weight_0_elects_nothing():
    rng = np.random.default_rng(3)
    taus, scores = rng.integers(-9, 9, (2, 64)), rng.random((2, 2, 64))
    model = made(taus, scores)
    alone = replace(model, weights={model.digests[1]: Fraction(0)})
    total, elected = expected(taus[:1], scores[0][:1], scores[1][:1], ["0.4"])
    assert elected.any()
    assert values(alone).tolist() == total.tolist()


def test_the_scale_is_that_of_task_arithmetic():
    """Disjoint by construction: the sum of everything elected."""
    halves = np.array([np.arange(64) < 32, np.arange(64) >= 32])
    taus = np.random.default_rng(4).normal(size=(2, 64)) * halves
    model = made(taus, (halves, halves))
    model = replace(model, weights=dict(zip(model.digests, map(Fraction, ("0.3", "1.7")), strict=True)))
    for scale in ("1", "0.9"):
        given = {"scale": scale}
        assert_same(run(LED, model, {"density": "0.5", **given}), run(ARITHMETIC, model, given))


def test_the_proxy_scores_by_weight_times_change():
    rng = np.random.default_rng(5)
    base, taus = rng.integers(-50, 50, 300), rng.integers(-50, 50, (3, 300))
    before, after = np.abs(base * taus), np.abs((base + taus) * taus)
    total, _ = expected(taus, before, after, ["0.4"] * 3)
    assert values(made(taus, base=base), {"variant": "delta_proxy"}).tolist() == (base + total).tolist()


def test_negated_and_scaled_task_vectors():
    rng = np.random.default_rng(6)
    taus, scores = rng.integers(-9, 9, (3, 64)), rng.random((2, 3, 64))
    plain = values(made(taus, scores))
    assert values(made(-taus, scores)).tolist() == (-plain).tolist()
    assert values(made(8 * taus, scores)).tolist() == (8 * plain).tolist()
    move = np.arange(64) * 4.0
    assert values(made(taus, scores, move)).tolist() == (plain + move).tolist()


@pytest.mark.parametrize("bad", [-1e-3, np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_bad_scores_are_refused(bad, side):
    scores = np.ones((2, 2, 9))
    scores[side, 1, 4] = bad
    model = made(np.ones((2, 9)), scores)
    with pytest.raises(BadSidecarError, match="element 4") as caught:
        run(LED, model)
    assert caught.value.where == f"tensor `w`, contribution {model.digests[1][:12]}"


def test_scores_of_two_formats_are_refused():
    strategy = replace(LED, side_cars=lambda _: ())
    model = made(np.ones((2, 9)))
    extras = {
        "base": Extra((np.zeros(9, np.uint32),) * 2, "F32", (9,)),
        "tuned": Extra((np.zeros(9, np.uint16),) * 2, "BF16", (9,)),
    }
    measure = LED.passes[0].measure
    passes = (replace(LED.passes[0], measure=lambda x, params: measure(replace(x, extras=extras), params)),)
    with pytest.raises(BadSidecarError, match="F32 before tuning and BF16 after"):
        run(replace(strategy, passes=passes), model)


@pytest.mark.parametrize("density", ["0", "1.01", "-0.5"])
def test_densities_out_of_range_are_refused(density):
    model = made(np.ones((2, 9)), np.ones((2, 2, 9)))
    for given in ({"density": density}, {"density_of": {model.digests[0]: density}}):
        with pytest.raises(BadParameterError):
            run(LED, model, given)
