"""The network and its clock: delivers messages late, twice, out of order or not at all; never changes one."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is.

    Attributes:
        loss: share of messages that never arrive.
        doubled: share of messages that arrive twice.
        delay_ms_max: a message takes up to this long; what was sent later may arrive earlier.
    """

    loss: float = 0.0
    doubled: float = 0.0
    delay_ms_max: int = 1


CALM = Weather()
ROUGH = Weather(loss=0.1, doubled=0.1, delay_ms_max=400)


class Network:
    """A queue of what will happen, in order of the simulated time.

    Attributes:
        now_ms: the simulated time.
        weather: what messages meet.
        partition: names on one side of a cut; messages do not cross it.
        messages: how many arrived.
        arrived_bytes: how many bytes they had.
    """

    def __init__(self, chance: Random, weather: Weather = ROUGH) -> None:
        self._chance = chance
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.now_ms = 0
        self.weather = weather
        self.partition: frozenset[str] = frozenset()
        self.messages = 0
        self.arrived_bytes = 0

    def after(self, delay_ms: int, happens: Callable[[], None]) -> None:
        """Let something happen later; of two things at the same time the earlier asked for is first."""
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._count, happens))

    def send(self, source: str, target: str, size_bytes: int, arrives: Callable[[], None]) -> None:
        """Send a message: `arrives` is called when it does, never, or twice."""
        copies = 1 + (self._chance.random() < self.weather.doubled)
        for _ in range(copies):
            if self._chance.random() >= self.weather.loss:
                delay_ms = self._chance.randint(1, self.weather.delay_ms_max)
                self.after(delay_ms, lambda: self._arrive(source, target, size_bytes, arrives))

    def _arrive(self, source: str, target: str, size_bytes: int, arrives: Callable[[], None]) -> None:
        if (source in self.partition) == (target in self.partition):
            self.messages += 1
            self.arrived_bytes += size_bytes
            arrives()

    def run(self, until_ms: int | None = None) -> None:
        """Let everything happen that is due by `until_ms`; without it, until nothing is left."""
        while self._queue and (until_ms is None or self._queue[0][0] <= until_ms):
            self.now_ms, _, happens = heapq.heappop(self._queue)
            happens()
        if until_ms is not None:
            self.now_ms = max(self.now_ms, until_ms)
