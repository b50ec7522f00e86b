"""Visits to meeting places one request at a time, so that others act in between; decides nothing a visit decides."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from conjoin.log import Operation
from conjoin.progress import SILENT
from conjoin.sync.driver import Drive
from conjoin.sync.pulling import Outcome, Steps
from conjoin.testing.simulator.disk import Disk
from conjoin.testing.simulator.place import Place


class Inline(ThreadPoolExecutor):
    """Does what it is given at once and in the thread that gives it, so that a run depends on its seed alone."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The future of a call that is over."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  (whoever asks for the result gets it)
            future.set_exception(error)
        return future


class Visit(Drive):
    """One visit: the product's driver, which here carries out a single request when told to.

    Attributes:
        outcome: what the visit found so far.
        disk: what it keeps things on; a replica that has another one by now has crashed since.
    """

    def __init__(
        self, steps: Steps, outcome: Outcome, disk: Disk, place: Place, persist: Callable[[Operation], None]
    ) -> None:
        super().__init__(disk, place, persist, SILENT)
        self._pool = Inline(1)
        self._steps = steps
        self._answer: Any = None
        self.outcome = outcome
        self.disk = disk

    def go_on(self) -> Any:
        """Carry out the next request; returns its answer.

        Raises:
            StopIteration: there is none, the visit is over.
        """
        self._answer = self.answer(self._steps.send(self._answer))
        return self._answer
