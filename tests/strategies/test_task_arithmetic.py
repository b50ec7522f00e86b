"""Task arithmetic under the suite."""

from typing import ClassVar

from conjoin.testing.strategy_suite import StrategySuite


class TestTaskArithmetic(StrategySuite):
    strategy = "task_arithmetic"
    variants: ClassVar = [{"scale": "1"}, {"scale": "-0.7"}, {"scale": "0"}, {"scale": "0.123456789"}]
    vectors: ClassVar = [{}, {"scale": "-0.123456789"}]
