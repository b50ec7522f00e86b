"""SLERP under the suite."""

from typing import ClassVar

from conjoin.testing.strategy_suite import StrategySuite


class TestSlerp(StrategySuite):
    strategy = "slerp"
    variants: ClassVar = [{"variant": "norm_lerp", "reduce": "tree", "target": "delta"}]
    vectors: ClassVar = [{}, {"reduce": "tree"}, {"reduce": "fold", "variant": "norm_lerp"}, {"target": "delta"}]
