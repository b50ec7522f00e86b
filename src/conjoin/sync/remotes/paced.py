"""HTTP answers that keep the pace, head and body, for clients that know no such limit; asks nothing."""

import http.client
import io
import socket
import time
import urllib.request
from typing import Any

from conjoin.sync import pace


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
        self._limit = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._moved_bytes:
            left = pace.seconds_left(self._began, self._moved_bytes)
            if left <= 0:
                raise TimeoutError("too slow")
            if left != self._limit:  # it stays the same for whoever is fast
                self._line.settimeout(left)
                self._limit = left
        moved_bytes = self._line.recv_into(buffer)
        self._began = self._began or time.monotonic()
        self._moved_bytes += moved_bytes
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
