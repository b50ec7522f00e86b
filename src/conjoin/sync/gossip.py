"""Whom to sync with next: one of several drawn at random, one that failed ever later; reads no clock, reaches nobody.

When every replica does so, what one has reaches n others in about log n rounds, whoever is away meanwhile.
"""

from collections.abc import Callable, Sequence

DOUBLINGS_MAX = 4
"""So often the pause doubles for a peer that fails again and again: to 16 intervals."""
JITTER = 0.25
"""Every pause is longer or shorter by up to this share of itself, so that replicas do not march in step."""


class Partners:
    """The draw of partners.

    Args:
        every_seconds: the interval.
        chance: a random number from 0 up to and without 1.
    """

    def __init__(self, every_seconds: float, chance: Callable[[], float]) -> None:
        self._every_seconds = every_seconds
        self._chance = chance
        self._failures: dict[str, int] = {}
        self._again: dict[str, float] = {}

    def pause(self) -> float:
        """How many seconds to wait before the next round."""
        return self._jittered(self._every_seconds)

    def draw(self, names: Sequence[str], now: float) -> str | None:
        """One of `names` that did not fail lately; None if there is none."""
        ready = [name for name in names if self._again.get(name, now) <= now]
        return ready[int(self._chance() * len(ready))] if ready else None

    def failed(self, name: str, now: float) -> None:
        """Leave it alone for an interval, and twice as long after every further failure."""
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        self._again[name] = now + self._jittered(self._every_seconds * 2 ** min(failures - 1, DOUBLINGS_MAX))

    def reached(self, name: str) -> None:
        """It is there: forget that it failed."""
        self._failures.pop(name, None)
        self._again.pop(name, None)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 - JITTER + 2 * JITTER * self._chance())
