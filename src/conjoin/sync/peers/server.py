"""Answers live peers over HTTPS: who proved an admitted key gets a host of its own; serves nobody else."""

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from conjoin.errors import ConjoinError, ProtocolError, UnreachableError
from conjoin.sync.messages import FRAME_BYTES_MAX, SMALL_FRAME_BYTES_MAX
from conjoin.sync.pace import IDLE_SECONDS, UNSENT_BYTES, until
from conjoin.sync.peers.answering import (
    HEAD_BYTES,
    OK,
    Admit,
    Answering,
    Served,
    anything,
    bounded,
    refusal,
)
from conjoin.sync.peers.guarded import CUT, guarded_protocol
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, Door, granted
from conjoin.sync.peers.sessions import RequestRefusedError, Visitor
from conjoin.sync.remotes.extras import package
from conjoin.wire.digest import Digest

PATH = "/conjoin/1/"
CONNECTIONS_MAX = 64
_PIECE_BYTES = 64 * 1024
"""So much of an answer is sent at once, and waits to be sent: each has one limit of time as a whole."""


class PeerServer:
    """One replica at one address, in a thread of its own until it is closed. A context manager.

    Args:
        served: the replica.
        bind: `host:port`; port 0 takes a free one.
        certificate: the file with the certificate and its private key, and its digest.
        tell: called when a session begins and when it ends, in the server's thread.

    Raises:
        MissingExtraError: the packages for it are not installed.
        UnreachableError: the address cannot be bound.
    """

    def __init__(
        self,
        served: Served,
        bind: str,
        certificate: tuple[Path, Digest],
        tell: Callable[[Visitor], None] = lambda _: None,
    ) -> None:
        self._answering = Answering(served, tell)
        self._door = Door(served.signer, served.space, certificate[1], served.admit, time.monotonic)
        uvicorn = package("uvicorn", "net")
        self._socket = _bound(bind)
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what peers do wrong is told by `tell`
        config = uvicorn.Config(
            self._application(),
            http=guarded_protocol(CONNECTIONS_MAX, IDLE_SECONDS, _PIECE_BYTES),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            ssl_certfile=certificate[0],
            ssl_keyfile=certificate[0],
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=int(IDLE_SECONDS),
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=16 * 1024,
            backlog=CONNECTIONS_MAX,
        )
        config.load()
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="conjoin-https", daemon=True
        )

    def __enter__(self) -> "PeerServer":
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)
        if not self._server.started:
            raise UnreachableError(f"no server could be started at {self.address}", where=self.address)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._answering.close()
        self._socket.close()

    # ------------------------------------------------------------------------------------------------ requests
    def _application(self) -> Any:
        package("starlette", "net")
        from starlette.applications import Starlette
        from starlette.routing import Route

        routes = [
            Route(f"{PATH}greet", self._answered(self._greet), methods=["POST"]),
            Route(f"{PATH}prove", self._answered(self._prove), methods=["POST"]),
            Route(f"{PATH}ask", self._answered(self._ask), methods=["POST"]),
            Route(f"{PATH}leave", self._answered(self._leave), methods=["POST"]),
        ]
        return Starlette(routes=routes, lifespan=self._living)

    @asynccontextmanager
    async def _living(self, _: object) -> AsyncGenerator[None]:
        """While the server runs, sessions that are over are noticed; when it ends, all are."""
        asyncio.get_running_loop().set_exception_handler(_told)
        sweeping = asyncio.create_task(self._answering.sweep())
        yield
        sweeping.cancel()
        self._answering.end_all()

    def _answered(self, answer: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        """A request handler whose errors are answers too, and tell nothing of this machine."""
        from starlette.requests import ClientDisconnect
        from starlette.responses import Response

        async def handler(request: Any) -> Any:
            try:
                return await answer(request)
            except ClientDisconnect:
                return Response(status_code=400)
            except (RequestRefusedError, ConjoinError) as error:
                status, body = refusal(error)
            return Response(body, status, {"connection": "close"}, "application/json")

        return handler

    async def _greet(self, request: Any) -> Any:
        body = await _body(request, MESSAGE_BYTES_MAX)
        return _Reply(await self._answering.run(self._door.welcome, body))

    async def _prove(self, request: Any) -> Any:
        body = await _body(request, MESSAGE_BYTES_MAX)
        visitor = self._answering.begin(await self._answering.run(self._door.proven, body))
        return _Reply(granted(visitor.token))

    async def _leave(self, request: Any) -> Any:
        visitor = self._visitor(request)
        await _body(request, MESSAGE_BYTES_MAX)
        self._answering.end(visitor, "done")
        return _Reply(b"")

    async def _ask(self, request: Any) -> Any:
        visitor = self._visitor(request)
        size_bytes = _announced(request, FRAME_BYTES_MAX)

        def read(admit: Admit) -> Awaitable[bytearray]:
            return _body(request, FRAME_BYTES_MAX, admit)

        async with contextlib.AsyncExitStack() as held:
            answer = await self._answering.answer(visitor, size_bytes, read, held)
            return _Reply(*answer, held=held.pop_all())

    def _visitor(self, request: Any) -> Visitor:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._answering.visitor(token if scheme == "Bearer" else "")


class _Reply:
    """A response in pieces, so that a slow peer holds one piece in buffers; what is `held` is let go at its end."""

    def __init__(self, *parts: bytes, held: contextlib.AsyncExitStack | None = None) -> None:
        self._parts = parts
        self._held = held

    async def __call__(self, scope: Any, _: object, send: Any) -> None:
        """Send it."""
        size_bytes = sum(map(len, self._parts))
        headers = [(b"content-length", b"%d" % size_bytes), (b"content-type", b"application/octet-stream")]
        began, sent = time.monotonic(), 0
        try:
            await send({"type": "http.response.start", "status": OK, "headers": headers})
            for part in self._parts:
                view = memoryview(part)
                for start in range(0, len(part), _PIECE_BYTES):
                    piece = view[start : start + _PIECE_BYTES]
                    async with asyncio.timeout_at(until(began, sent)):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    sent += len(piece)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            scope[CUT]()
        finally:
            if self._held is not None:
                await self._held.aclose()


def _told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell of what went wrong, but not of what a peer's bytes did to its own connection, which ends by that."""
    if "protocol" not in context:
        loop.default_exception_handler(context)


def _announced(request: Any, size_bytes_max: int) -> int:
    """The size that a request announces; nothing of it was read yet."""
    text = request.headers.get("content-length", "")
    if not text.isdecimal() or len(text) > 20:
        raise RequestRefusedError(411, ProtocolError("a request announces its size"))
    return bounded(int(text), size_bytes_max)


async def _body(request: Any, size_bytes_max: int, admit: Admit = anything) -> bytearray:
    """The body of a request, no larger than announced; `admit` is shown the beginning of one that is large."""
    size_bytes = _announced(request, size_bytes_max)
    body = bytearray()
    pieces = aiter(request.stream())
    began, large = time.monotonic(), size_bytes > SMALL_FRAME_BYTES_MAX
    while True:
        try:
            async with asyncio.timeout_at(until(began, len(body))):
                piece = await anext(pieces, None)
        except TimeoutError as cause:
            what = f"{len(body)} of {size_bytes} bytes came in time"
            raise RequestRefusedError(408, ProtocolError(what)) from cause
        if piece is None:
            return body
        body += piece
        if large and len(body) > HEAD_BYTES:
            await admit(bytes(body[:HEAD_BYTES]))
            large = False


def _bound(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listening.bind(address)
    except OSError as cause:
        raise UnreachableError(
            f"nothing can listen at {bind}: {cause.strerror or cause}",
            where=bind,
            hint="name a free port, or 0 for any",
        ) from cause
    return listening
