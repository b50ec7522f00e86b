"""HTTP/1.1 connections that are cut when there are too many of them, or when no request comes in time; answers nothing.

What happens inside a request is the server's business: it bounds each by its size.
"""

import asyncio
from typing import Any

from conjoin.sync.pace import RATE_BYTES_PER_SECOND
from conjoin.sync.remotes.extras import package

CUT = "conjoin.cut"
"""Where a request's scope holds the function that cuts its connection."""


def guarded_protocol(connections_max: int, idle_seconds: float, buffer_bytes: int) -> type[asyncio.Protocol]:
    """The protocol class for uvicorn.

    Args:
        connections_max: more are cut at once.
        idle_seconds: how long the beginning of a request may take to come, from when it could.
        buffer_bytes: what waits to be sent before more is written.
    """
    h11_impl: Any = package("uvicorn.protocols.http.h11_impl", "net")

    class Guarded(h11_impl.H11Protocol):
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.WriteTransport) -> None:
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=buffer_bytes)
            self._wait(idle_seconds if len(self.connections) <= connections_max else 0)

        def handle_events(self) -> None:
            super().handle_events()
            if self._answering():
                self.scope[CUT] = self.transport.abort
                self._wait(None)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self._answering():  # what is not sent yet has its time first
                self._wait(idle_seconds + self.transport.get_write_buffer_size() / RATE_BYTES_PER_SECOND)

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait(None)
            super().connection_lost(exc)

        def _answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _wait(self, seconds: float | None) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
            self._waiting = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    return Guarded
