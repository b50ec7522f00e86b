"""DARE under the suite."""

from typing import ClassVar

from conjoin.testing.strategy_suite import StrategySuite


class TestDare(StrategySuite):
    strategy = "dare"
    variants: ClassVar = [
        {"density": "1"},
        {"density": "0.5", "rescale": "l1", "mask_scope": "contribution"},
        {"density": "0.999", "scale": "-2"},
    ]
    vectors: ClassVar = [
        {},
        {"density": "0.5", "rescale": "l1", "mask_scope": "contribution"},
        {"density": "0.9", "scale": "1"},
    ]
