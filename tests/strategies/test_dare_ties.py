"""DARE-TIES under the suite, and what it is with nothing dropped, nothing trimmed, one contribution."""

from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run, wild_model


class TestDareTies(StrategySuite):
    strategy = "dare_ties"
    variants: ClassVar = [
        {"density": "1"},
        {"density": "0.5", "rescale": "l1", "mask_scope": "contribution", "agg": "max", "scale": "0.3"},
        {"density": "0.7", "trim_density": "0.4", "trim_scope": "tensor", "agg": "sum", "zero_sign": "plus"},
    ]
    vectors: ClassVar = [
        {},
        {"density": "0.5", "agg": "sum", "zero_sign": "plus", "mask_scope": "contribution", "scale": "0.7"},
        {"density": "0.6", "rescale": "l1", "trim_density": "0.5"},
    ]


MODEL = wild_model("F32", 3, {"w": (20, 25), "v": 33})


def merged(model: Model, strategy: str, **params: str):
    return run(find_strategy(strategy), model, params)


@pytest.mark.parametrize("ending", [{}, {"agg": "sum"}, {"agg": "max", "zero_sign": "plus"}, {"scale": "-0.5"}])
def test_without_drops_it_is_ties(ending):
    for trim in ("1", "0.3"):
        ties = merged(MODEL, "ties", density=trim, trim_scope="tensor", **ending)
        assert_same(merged(MODEL, "dare_ties", density="1", trim_density=trim, trim_scope="tensor", **ending), ties)


def test_one_contribution_is_dare():
    """DARE draws under another name, so it is written out here: density ½ doubles what is kept."""
    model = wild_model("F32", 1, {"w": 500})
    (digest,) = model.digests
    key = kernels.draw_key(model.seeds["root"], "dare_ties", "w", digest)
    base, theta = (kernels.decode(t["w"], "F32") for t in (model.base, model.contributions[digest]))
    update = np.where(kernels.draws(key, 0, 500) < 2**31, 0.0, 2 * (theta - base))
    expected = kernels.encode(np.where(update == 0, base, base + update), "F32")
    assert_same(merged(model, "dare_ties", density="0.5"), {"w": expected})


def test_signs_can_be_flipped():
    """f(−τ) = −f(τ) about a base of zeros."""
    zeros = {"w": np.zeros(400, np.uint32)}
    given = {d: {"w": wild_model("F32", 3, {"w": 400}).contributions[d]["w"]} for d in map(digest_number, range(3))}
    flipped = {d: {"w": t["w"] ^ np.uint32(1 << 31)} for d, t in given.items()}
    for setting in ({}, {"rescale": "l1"}, {"trim_density": "0.2"}):
        one, other = (merged(Model("F32", zeros, c), "dare_ties", density="0.5", **setting) for c in (given, flipped))
        assert (kernels.decode(one["w"], "F32") == -kernels.decode(other["w"], "F32")).all()


def test_the_l1_rescale_keeps_the_norm():
    """By hand from the masks: what is kept of one contribution has the L1 norm of all of it."""
    tau = np.array([8.0, -4, 1, 0, 2, -6, 3, 5])
    model = Model("F64", {"w": np.zeros(8, np.uint64)}, {digest_number(0): {"w": kernels.encode(tau, "F64")}})
    result = kernels.decode(merged(model, "dare_ties", density="0.5", rescale="l1")["w"], "F64")
    kept = [Fraction(t) for t, r in zip(tau, result, strict=True) if r]
    assert 0 < len(kept) < 8
    factor = Fraction(29) / sum(map(abs, kept))
    assert [abs(r - float(t * factor)) < 1e-5 for t, r in zip(kept, result[result != 0], strict=True)]
    assert abs(float(np.abs(result).sum()) - 29) < 1e-5


def test_draws_are_unbiased():
    """Of many ones the sum over 1/q is right within four standard deviations."""
    n, density = 20_000, 0.3
    model = Model("F32", {"w": np.zeros(n, np.uint32)}, {digest_number(0): {"w": kernels.encode(np.ones(n), "F32")}})
    mean = kernels.decode(merged(model, "dare_ties", density=str(density))["w"], "F32").mean()
    assert abs(mean - 1) < 4 * ((1 - density) / density / n) ** 0.5


@pytest.mark.parametrize("density", ["0", "-0.1", "1.1", "0.00000000001"])
def test_densities_that_keep_nothing_are_refused(density):
    with pytest.raises(BadParameterError, match="density"):
        merged(MODEL, "dare_ties", density=density)
