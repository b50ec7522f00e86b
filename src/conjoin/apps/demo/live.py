"""Shows the federation while it happens: lines, and on a terminal a table below them that changes; decides nothing."""

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from conjoin.apps.cli.failure import printable
from conjoin.apps.cli.render import count, short, show, table
from conjoin.apps.demo.federation import Event

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

WHAT_CHARS = 60


class Screen:
    """Tells one event after the other on stdout. A context manager; events may come from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._part = ""
        self._live: Live | None = None

    def tell(self, event: Event) -> None:
        """Show what happened, and how the replicas stand."""
        with self._lock:
            lines = [f"{event.what:{WHAT_CHARS}}  {count(len(event.sides), 'root')}"]
            if event.part != self._part:
                self._part = event.part
                lines = ["", event.part, *lines]
            if self._live is None:
                show(lines)
                sys.stdout.flush()
            else:
                self._live.console.print("\n".join(map(printable, lines)), markup=False, highlight=False)
                self._live.update(_standings(event), refresh=True)

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(highlight=False), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def _standings(event: Event) -> "Table":
    rows = [
        (
            one.site,
            "killed" if one.pid is None else f"serving, {one.pid}",
            str(one.operations),
            " ".join(one.visible) or "-",
            short(one.root),
        )
        for one in event.standings
    ]
    return table(("replica", "process", "operations", "models it sees", "root"), rows, right=("operations",))
