"""The weighted mean under the suite."""

from typing import ClassVar

from conjoin.testing.strategy_suite import StrategySuite


class TestLinear(StrategySuite):
    strategy = "linear"
    vectors: ClassVar = [{}, {"normalize": False}]
