"""TIES under the suite."""

from typing import ClassVar

from conjoin.testing.strategy_suite import StrategySuite


class TestTies(StrategySuite):
    strategy = "ties"
    variants: ClassVar = [
        {"density": "1"},
        {"density": "0.0001", "count_rule": "exact"},
        {"density": "0.5", "count_rule": "exact", "trim_scope": "tensor", "agg": "max", "scale": "0.123456789"},
        {"density": "0.37", "agg": "sum", "scale": "-1.7"},
    ]
    vectors: ClassVar = [
        {},
        {"trim_scope": "tensor", "count_rule": "exact", "zero_sign": "plus", "density": "0.5"},
        {"count_rule": "official", "agg": "sum", "scale": "0.3"},
        {"agg": "max", "density": "1"},
    ]
