"""NegMerge under the suite, and what follows from its formula."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadParameterError, BadRoleError, BadWeightError
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run, wild_model


class TestNegativeMerge(StrategySuite):
    strategy = "negative_merge"
    variants: ClassVar = [{"scale": "0.3", "keep_scale": "0.7"}, {"keep_scale": "-1.1", "consensus": "false"}]
    vectors: ClassVar = [{}, {"scale": "0.3", "keep_scale": "0.7"}, {"consensus": "false", "scale": "0.4"}]

    def given(self, model: Model, setting: dict[str, Any]) -> dict[str, Any]:
        """With a `keep_scale` every other contribution is to be kept."""
        others = model.digests[1::2] if "keep_scale" in setting else ()
        return {**setting, "role": dict.fromkeys(others, "keep")} if others else setting

    def test_weights_that_add_up_to_zero(self) -> None:
        """A mean over what is to be forgotten has no weight to divide by."""
        model = wild_model("F32", 2, {"w": 50})
        with pytest.raises(BadWeightError):
            self.run(replace(model, weights=dict.fromkeys(model.digests, Fraction(0))))


def merged(model: Model, strategy: str = "negative_merge", **params: Any):
    return run(find_strategy(strategy), model, params)


def only(model: Model, count: int) -> Model:
    return replace(model, contributions={d: model.contributions[d] for d in model.digests[:count]})


MODEL = wild_model("F32", 4, {"w": (20, 25), "v": 33})


def test_without_consensus_it_is_negation_of_the_mean():
    for weights in ({}, {MODEL.digests[0]: Fraction(3)}):
        model = replace(MODEL, weights=weights)
        expected = merged(model, "split_unlearn_merge", inner="mean", unlearn="tvn", unlearn_scale="0.7")
        assert_same(merged(model, consensus="false", scale="0.7"), expected)


def test_one_contribution_is_negated():
    """Where its task vector is 0 the base stays, as it does without a question about signs."""
    model = only(MODEL, 1)
    assert_same(merged(model), merged(model, consensus="false"))
    deltas = merged(model, "dare", density="1", scale="-1")
    assert_same(merged(model), deltas)


def test_a_further_contribution_never_adds_to_what_changes():
    before = np.ones(500, np.bool_)
    for count in (1, 2, 3, 4):
        result = merged(only(MODEL, count))["w"]
        changed = kernels.decode(result, "F32") != kernels.decode(MODEL.base["w"], "F32")
        assert not (changed & ~before).any()
        before = changed


def test_signs_by_themselves():
    """(2, 4) and (−2, −4) agree, (2, −4), (0, 4) do not; the third contribution is kept and has no say."""
    rows = ([2.0, -2, 2, 0], [4.0, -4, -4, 4], [-8.0, 8, 8, 8])
    contributions = {digest_number(i): {"w": kernels.encode(np.array(row), "F64")} for i, row in enumerate(rows)}
    model = Model("F64", {"w": np.zeros(4, np.uint64)}, contributions)
    result = merged(model, role={digest_number(2): "keep"}, keep_scale="0.25", scale="2")
    assert kernels.decode(result["w"], "F64").tolist() == [-6 - 2, 6 + 2, 2, 2]
    weightless = replace(model, weights={digest_number(1): Fraction(0), digest_number(2): Fraction(0)})
    assert kernels.decode(merged(weightless)["w"], "F64").tolist() == [-2, 2, -2, 0]


def test_roles_that_are_none_are_refused():
    with pytest.raises(BadRoleError, match="keep"):
        merged(MODEL, role=dict.fromkeys(MODEL.digests, "keep"))
    with pytest.raises(BadParameterError, match="forget"):
        merged(MODEL, role={MODEL.digests[0]: "forgot"})
    forgotten = replace(MODEL, weights={MODEL.digests[0]: Fraction(0)})
    with pytest.raises(BadWeightError):
        merged(forgotten, role=dict.fromkeys(MODEL.digests[1:], "keep"))
