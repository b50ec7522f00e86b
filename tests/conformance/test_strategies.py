"""Every strategy under the one suite."""

from typing import ClassVar

from conjoin.testing.strategy_suite import StrategySuite


class TestWeightAverage(StrategySuite):
    strategy = "weight_average"


class TestLinear(StrategySuite):
    strategy = "linear"


class TestTaskArithmetic(StrategySuite):
    strategy = "task_arithmetic"
    variants: ClassVar = [{"scale": "1"}, {"scale": "-0.7"}, {"scale": "0"}, {"scale": "0.123456789"}]


class TestTies(StrategySuite):
    strategy = "ties"
    variants: ClassVar = [
        {"density": "1"},
        {"density": "0.0001", "count_rule": "exact"},
        {"density": "0.5", "count_rule": "exact", "trim_scope": "tensor", "agg": "max", "scale": "0.123456789"},
        {"density": "0.37", "agg": "sum", "scale": "-1.7"},
    ]


class TestDare(StrategySuite):
    strategy = "dare"
    variants: ClassVar = [
        {"density": "1"},
        {"density": "0.5", "rescale": "l1", "mask_scope": "contribution"},
        {"density": "0.999", "scale": "-2"},
    ]


class TestSlerp(StrategySuite):
    strategy = "slerp"
    variants: ClassVar = [{"variant": "norm_lerp", "reduce": "tree", "target": "delta"}]
