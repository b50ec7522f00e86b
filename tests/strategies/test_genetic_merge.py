"""Genetic merge under the suite; it applies a genome as evolutionary merge does."""

from dataclasses import replace
from typing import Any, ClassVar

from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, run, wild_model


def fitting(model: Model, setting: Any) -> dict[str, Any]:
    """A genome with unequal weights and densities in two groups."""
    rows = {d: [[f"0.{i + 1}", f"0.{9 - i}"], ["1", f"0.{i + 3}"]] for i, d in enumerate(model.digests)}
    return {
        "seed": "a7" * 32,
        "inner": setting.get("inner", "dare_ties"),
        "normalize": setting.get("normalize", "true"),
        "groups": [["*.bias", "v"], ["*"]],
        "genes": rows,
    }


class TestGeneticMerge(StrategySuite):
    strategy = "genetic_merge"
    vectors: ClassVar = [{}, {"inner": "ties", "normalize": "false"}, {"inner": "linear"}]

    def fit(self, model: Model, setting: Any) -> Any:
        return fitting(model, setting)


def test_it_applies_a_genome_as_evolutionary_merge_does():
    model = wild_model("BF16", 3, {"w": (20, 25), "v": 33})
    named = replace(find_strategy("evolutionary_merge"), name="genetic_merge")  # the name is part of a draw's
    for inner in ("dare_ties", "ties", "task_arithmetic", "linear"):
        fitted = replace(model, fitted=fitting(model, {"inner": inner}))
        assert_same(run(find_strategy("genetic_merge"), fitted, {"inner": inner}), run(named, fitted, {"inner": inner}))
