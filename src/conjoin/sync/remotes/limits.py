"""Keeps what answers over a network to the pace of `sync.pace` where libraries know no such limit; retries nothing."""

import http.client
import io
import socket
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar, cast

from conjoin.errors import UnreachableError
from conjoin.sync import pace

T = TypeVar("T")


def too_slow(where: str, done: str, at: str | None = None) -> UnreachableError:
    """The error for a place that sends too little.

    Args:
        where: how the place is named.
        done: what was tried: listed, read.
        at: what was asked for.
    """
    return UnreachableError(
        f"{where} cannot be {done}: it is too slow",
        where=f"{where}: {at}" if at else where,
        hint=f"run the command again: what was moved is kept; a place must send {pace.RATE_BYTES_PER_SECOND} bytes a "
        "second, so a better line or another place may help",
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


def opener() -> urllib.request.OpenerDirector:
    """What opens URLs as `urllib.request.urlopen` does, by the proxies of the environment; answers keep the pace.

    Reading an answer, its head too, raises TimeoutError when it comes too slowly.
    """
    return urllib.request.build_opener(_Plain, _Secure)


class _Paced(io.RawIOBase):
    """What a socket receives, as long as it keeps the pace; its own limit says how long the first byte may take."""

    def __init__(self, raw: io.RawIOBase, line: socket.socket) -> None:
        self._raw = raw
        self._line = line
        self._began = 0.0
        self._moved_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._moved_bytes:
            left = pace.seconds_left(self._began, self._moved_bytes)
            if left <= 0:
                raise TimeoutError("too slow")
            self._line.settimeout(left)
        moved_bytes = cast("int | None", self._raw.readinto(buffer))  # pyright: ignore[reportAttributeAccessIssue]
        self._began = self._began or time.monotonic()
        self._moved_bytes += moved_bytes or 0
        return moved_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class PacedAnswer(http.client.HTTPResponse):
    """An answer whose head and body keep the pace; reading raises TimeoutError where they do not."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Paced(self.fp.detach(), sock))


class _Connection(http.client.HTTPConnection):
    response_class = PacedAnswer


class _SecureConnection(http.client.HTTPSConnection):
    response_class = PacedAnswer


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Secure(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)
