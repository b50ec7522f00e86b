"""A progress bar for work that takes longer than half a second on a terminal; silent everywhere else."""

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from conjoin.apps.cli.failure import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PATIENCE_S = 0.5
"""Work shorter than this shows nothing."""


class Bar:
    """conjoin.progress.Progress on stderr: stage, bar, bytes, rate and time left. A context manager."""

    def __init__(self, *, enabled: bool, unit: str = "") -> None:
        """A bar that never shows unless `enabled` and stderr is a terminal; with `unit` it counts those, not bytes."""
        self._enabled = enabled and sys.stderr.isatty()
        self._unit = unit
        self._lock = threading.Lock()
        self._what, self._total_bytes, self._done_bytes = "", 0, 0
        self._began_s = time.monotonic()
        self._display: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, what: str, total_bytes: int) -> None:
        """Begin a stage; the bar of the one before stays on the screen when it was shown."""
        with self._lock:
            self._finish_stage()
            self._what, self._total_bytes, self._done_bytes = what, total_bytes, 0

    def advance(self, done_bytes: int) -> None:
        """Count `done_bytes` more; shows the bar once the work has taken half a second."""
        if not self._enabled:
            return
        with self._lock:
            self._done_bytes += done_bytes
            if self._display is None and time.monotonic() - self._began_s < PATIENCE_S:
                return
            display = self._shown()
            if self._task is None:
                self._task = display.add_task(printable(self._what), total=self._total_bytes or None)
            display.update(self._task, completed=self._done_bytes)

    def _finish_stage(self) -> None:
        if self._display is not None and self._task is not None:
            self._display.update(self._task, completed=self._done_bytes)
            self._display.stop_task(self._task)
        self._task = None

    def _shown(self) -> "RichProgress":
        if self._display is None:
            from rich import progress
            from rich.console import Console

            counted = (
                (progress.MofNCompleteColumn(), progress.TextColumn(self._unit, markup=False))
                if self._unit
                else (progress.DownloadColumn(), progress.TransferSpeedColumn())
            )
            self._display = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(bar_width=24),
                *counted,
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._display.start()
        return self._display

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._finish_stage()
            if self._display is not None:
                self._display.stop()
                self._display = None
