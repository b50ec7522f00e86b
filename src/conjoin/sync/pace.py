"""How long the other side of a sync may take for what moves: one rule for places and live peers; waits for nothing.

Whoever sends nothing for `IDLE_SECONDS` is given up, and so is whoever is slower than `RATE_BYTES_PER_SECOND` after the
first `PATIENCE_SECONDS`. Four leaves at once keep this pace on a line of 50 kB/s.
"""

import time

IDLE_SECONDS = 30.0
PATIENCE_SECONDS = 30.0
RATE_BYTES_PER_SECOND = 8 * 1024
UNSENT_BYTES = 128 * 1024
"""The system takes no more ahead than it soon can send, or what is slow would look as if it stood still."""


def seconds_max(size_bytes: int) -> float:
    """How long so many bytes may take."""
    return PATIENCE_SECONDS + size_bytes / RATE_BYTES_PER_SECOND


def seconds_left(began: float, moved_bytes: int) -> float:
    """How long the next byte may take of what began then, by the monotonic clock; not above 0 where it is too late."""
    return min(IDLE_SECONDS, began + seconds_max(moved_bytes) - time.monotonic())


def until(began: float, moved_bytes: int) -> float:
    """When what began then is given up, in the time of the running event loop."""
    import asyncio  # which every other command does without

    return asyncio.get_running_loop().time() + seconds_left(began, moved_bytes)
