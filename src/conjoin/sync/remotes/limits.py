"""Bounds how long a place may take where its library does not, and says so when it is over; retries nothing."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import TypeVar

from conjoin.errors import UnreachableError
from conjoin.sync import pace

WRITE_SECONDS_MAX = 600
"""An object must be written within this time: 4 MiB at 56 kbit/s."""
PAGE_NAMES = 1000
PAGE_BYTES = 4 * 1024 * 1024
"""A page of names has as long as so many bytes may take. Those of Azure are the largest, with 5,000 names."""

T = TypeVar("T")


def too_slow(where: str, done: str, at: str | None = None) -> UnreachableError:
    """The error for a place that sends too little, or takes too long to take an object.

    Args:
        where: how the place is named.
        done: what was tried: listed, read, written.
        at: what was asked for.
    """
    must = (
        f"take an object within {WRITE_SECONDS_MAX} seconds"
        if done == "written"
        else f"send {pace.RATE_BYTES_PER_SECOND} bytes a second"
    )
    return UnreachableError(
        f"{where} cannot be {done}: it is too slow",
        where=f"{where}: {at}" if at else where,
        hint=f"run the command again: what was moved is kept; a place must {must}, so a better line or another place "
        "may help",
    )


def within(seconds: float, call: Callable[[], T], slow: UnreachableError) -> T:
    """What `call` returns or raises; it runs in a thread of its own, which is left behind if it takes longer.

    Args:
        seconds: for so long it is waited for.
        call: of a client library that knows no such limit.
        slow: raised when the time is over.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 (raised again below, whatever it is)
            done.set_exception(error)

    Thread(target=run, name="conjoin-place", daemon=True).start()
    with suppress(TimeoutError):
        done.exception(seconds)
    if not done.done():
        raise slow
    return done.result()
