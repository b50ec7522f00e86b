"""SPUNGE under the suite: the inner merges it names, of task vectors or of their negations."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadParameterError, BadWeightError
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run, wild_model


class TestSplitUnlearnMerge(StrategySuite):
    strategy = "split_unlearn_merge"
    variants: ClassVar = [{"unlearn": "tvn", "unlearn_scale": "0.3", "density": "0.8", "zero_sign": "plus"}]
    vectors: ClassVar = [
        {},
        {"unlearn": "tvn", "unlearn_scale": "0.3", "density": "0.8", "zero_sign": "plus"},
        {"inner": "mean", "unlearn": "tvn", "scale": "0.9"},
    ]


MODEL = wild_model("F32", 4, {"w": (20, 25), "v": 33})


def merged(model: Model, strategy: str = "split_unlearn_merge", **params: Any):
    return run(find_strategy(strategy), model, params)


@pytest.mark.parametrize(
    "setting", [{}, {"density": "0.7", "trim_scope": "tensor", "agg": "sum"}, {"agg": "max", "zero_sign": "plus"}]
)
def test_unlearned_models_are_merged_by_ties(setting):
    for scale in ("1", "-0.3"):
        assert_same(merged(MODEL, scale=scale, **setting), merged(MODEL, "ties", scale=scale, **setting))


def test_other_inner_merges():
    deltas = merged(MODEL, "dare", density="1", scale="0.3")
    assert_same(merged(MODEL, inner="task_arithmetic", scale="0.3"), deltas)
    two = {digest: MODEL.contributions[digest] for digest in MODEL.digests[:2]}
    pair = replace(MODEL, contributions=two)
    assert_same(merged(pair, inner="mean"), merged(pair, inner="task_arithmetic", scale="0.5"))


@pytest.mark.parametrize("inner", ["ties", "task_arithmetic", "mean"])
@pytest.mark.parametrize("zero_sign", ["majority", "plus"])
def test_negated_task_vectors(inner, zero_sign):
    """Models whose task vectors are flipped, merged as they are: on a base of zeros that is only a sign."""
    values = np.array([[4.0, -4, 1, 2, 0, -2], [-4.0, 4, 1, -1, 3, -2], [0.0, 0, 1, 5, -3, 2]])
    zeros = {"w": np.zeros(6, np.uint64)}

    def model(sign: float) -> Model:
        rows = {digest_number(i): {"w": kernels.encode(sign * row, "F64")} for i, row in enumerate(values)}
        return Model("F64", zeros, rows)

    setting = {"inner": inner, "density": "1", "zero_sign": zero_sign}
    negated = merged(model(1.0), unlearn="tvn", unlearn_scale="0.5", **setting)
    halved = kernels.decode(merged(model(-1.0), **setting)["w"], "F64") / 2
    assert np.abs(kernels.decode(negated["w"], "F64") - halved).max() < 1e-7


def test_a_mean_without_weight_is_refused():
    model = replace(MODEL, weights=dict.fromkeys(MODEL.digests, Fraction(0)))
    with pytest.raises(BadWeightError):
        merged(model, inner="mean")
    assert_same(merged(model, inner="task_arithmetic"), {name: MODEL.base[name] for name in MODEL.names})


@pytest.mark.parametrize("given", [{"density": "0"}, {"unlearn_scale": "0"}, {"inner": "slerp"}])
def test_what_it_does_not_take(given):
    with pytest.raises(BadParameterError, match="split_unlearn_merge"):
        merged(MODEL, **given)
