"""Flusher: brings what is written to the disk while work goes on, so that little is left to wait for at the end."""

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

FLUSH_BYTES = 64 * 1024 * 1024
"""Written between two flushes, at the least."""


class Flusher:
    """Flushes files in a thread of its own, one at a time; any thread may say what it wrote.

    A system reports a failed write to one flush only, so every flush is asked for its error: by the next call.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="conjoin-flush")
        self._lock = threading.Lock()
        self._written_bytes = 0
        self._flush: Future[None] | None = None

    def wrote(self, descriptor: int, size_bytes: int) -> None:
        """Note that so much was written to a file; it is flushed where that is due and none is under way.

        Raises:
            OSError: of an earlier flush.
        """
        with self._lock:
            self._written_bytes += size_bytes
            if self._written_bytes < FLUSH_BYTES or (self._flush is not None and not self._flush.done()):
                return
            if self._flush is not None:
                self._flush.result()
            self._written_bytes = 0
            self._flush = self._pool.submit(os.fsync, descriptor)

    def finish(self) -> None:
        """Wait for the flush that is under way.

        Raises:
            OSError: of that flush.
        """
        if self._flush is not None:
            self._flush.result()

    def close(self) -> None:
        """Wait, and forget the error: what was written is not going to be used."""
        self._pool.shutdown(wait=True)
