"""Representation surgery by hand: adapters change no weight, so the backbone is the mean or task arithmetic."""

import struct
from fractions import Fraction

from make_worked import BASE, DIGESTS, SUM, example, plus

one, half = (struct.pack("<f", value).hex() for value in (1.0, 0.5))
adapters = {digest: {"rank": 1, "down": one, "up": half} for digest in DIGESTS}


def fitted(inner: str, **params: str) -> dict[str, object]:
    """An asset's values."""
    return {"inner": {"strategy": inner, **params}, "adapters": adapters}


mean = [b + Fraction(s, 24) for b, s in zip(BASE, SUM, strict=True)]
example("representation_surgery", "mean", {}, mean, fitted=fitted("weight_average"))
summed = plus(["5.5", "2", "1", "0", "2", "-5.5", "1", "3"])
arithmetic = {"inner": "task_arithmetic", "scale": "0.5"}
example("representation_surgery", "task-arithmetic", arithmetic, summed, fitted=fitted("task_arithmetic", scale="0.5"))
elected = plus([6, 6, 0, 0, 5, -5, -8, "5.5"])
example(
    "representation_surgery", "ties", {"inner": "ties", "density": "0.5"}, elected, fitted=fitted("ties", density="0.5")
)
