"""The mean under the suite."""

from typing import ClassVar

from conjoin.testing.strategy_suite import StrategySuite


class TestWeightAverage(StrategySuite):
    strategy = "weight_average"
    vectors: ClassVar = [{}]
