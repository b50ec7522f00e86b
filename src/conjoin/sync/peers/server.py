"""Answers live peers over HTTPS: who proved an admitted key gets a host of its own; serves nobody else.

Every request is bounded before it is read: its size by what it announces, its time by its size, and all of them
together by a budget of memory. A peer that is slow, endless or gone costs its own requests and nobody else's.
"""

import asyncio
import contextlib
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from conjoin.errors import (
    ConjoinError,
    PeerRefusedError,
    ProtocolError,
    StoreError,
    UnreachableError,
)
from conjoin.store.files import cores
from conjoin.sync.messages import (
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    OPERATIONS_BYTES_MAX,
    OPERATIONS_MAX,
    WHAT_CHARS_MAX,
    Found,
    Question,
    Refused,
    Taken,
    decode,
    encode_parts,
)
from conjoin.sync.peers.guarded import CUT, guarded_protocol
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, Door, Signer, granted, new_token
from conjoin.sync.peers.sessions import QUEUE_SECONDS, Answers, Memory, RequestRefusedError, Visitor
from conjoin.sync.remotes.extras import package
from conjoin.wire import canonical
from conjoin.wire.digest import LEAF_BYTES, Digest

PATH = "/conjoin/1/"
MEMORY_BYTES_MAX = 34 * 1024 * 1024
"""Questions and answers in memory at once, of all peers."""
ANSWER_BYTES = LEAF_BYTES + 64 * 1024
"""What an answer is taken to need before it is known."""
SESSIONS_MAX = 64
CONNECTIONS_MAX = 64
WORKERS = max(2, min(4, cores()))
"""Questions of all peers that are answered at once."""
IDLE_SECONDS = 30.0
"""A peer that sends nothing for so long in the middle of a request, or takes nothing, is cut off."""
PATIENCE_SECONDS = 20.0
RATE_BYTES_PER_SECOND = 16 * 1024
"""A request or answer may take `PATIENCE_SECONDS`, and then what moved of it at this rate, and no longer."""
HEAD_BYTES = 1024
"""So much of a frame tells what it is."""
SMALL_FRAME_BYTES_MAX = 4 + HEADER_BYTES_MAX + OPERATIONS_BYTES_MAX + 4 * OPERATIONS_MAX
"""No frame is larger but one that holds a manifest."""
_MANIFEST = re.compile(rb'"name":"(manifest/[0-9a-f]{64})"')
SESSION_SECONDS = 300.0
"""A session in which nothing is asked for so long is over."""
STRIKES_MAX = 32
"""Questions that cannot be read, or bring what breaks the rules, until a session is over."""
PIECE_BYTES = 256 * 1024
_STRIKES = ("E401", "E403", "E404", "E405", "E504")


class Served(Protocol):
    """What is served: one replica."""

    @property
    def space(self) -> Digest:
        """Id of the genesis."""
        ...

    @property
    def signer(self) -> Signer:
        """The replica's key."""
        ...

    def admit(self, key: str, invite: str) -> None:
        """Return if the holder of `key` may ask, by itself or by the invite it showed (or the empty string).

        Raises:
            NotAMemberError: it may not.
        """
        ...

    def host(self) -> Answers:
        """What answers one peer, from now on until it goes."""
        ...


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
        self._served = served
        self._tell = tell
        self._door = Door(served.signer, served.space, certificate[1], served.admit, time.monotonic)
        self._sessions: dict[str, Visitor] = {}
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="conjoin-serve")
        self._memory = Memory(MEMORY_BYTES_MAX)
        uvicorn = package("uvicorn", "net")
        self._socket = _bound(bind)
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what peers do wrong is told by `tell`
        config = uvicorn.Config(
            self._application(),
            http=guarded_protocol(CONNECTIONS_MAX, IDLE_SECONDS, PIECE_BYTES),
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
        self._pool.shutdown(wait=True, cancel_futures=True)
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
        sweeping = asyncio.create_task(self._sweep())
        yield
        sweeping.cancel()
        for visitor in list(self._sessions.values()):
            self._end(visitor, "the server ends")

    async def _sweep(self) -> NoReturn:
        while True:
            await asyncio.sleep(min(5.0, SESSION_SECONDS / 4))
            oldest = time.monotonic() - SESSION_SECONDS
            for visitor in list(self._sessions.values()):
                if visitor.seen < oldest and not visitor.in_flight:
                    self._end(visitor, "it went away")

    def _answered(self, answer: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        """A request handler whose errors are answers too, and tell nothing of this machine."""
        from starlette.requests import ClientDisconnect
        from starlette.responses import Response

        async def handler(request: Any) -> Any:
            try:
                return await answer(request)
            except ClientDisconnect:
                return Response(status_code=400)
            except RequestRefusedError as refusal:
                status, error = refusal.status, refusal.error
            except StoreError as cause:
                status, error = 503, PeerRefusedError(_of_store(cause))
            except ConjoinError as cause:
                status, error = (400 if isinstance(cause, ProtocolError) else 403), cause
            body = canonical.encode({"code": error.code, "what": error.what[:WHAT_CHARS_MAX]})
            return Response(body, status, {"connection": "close"}, "application/json")

        return handler

    async def _greet(self, request: Any) -> Any:
        return _Reply(await self._run(self._door.welcome, await _body(request, MESSAGE_BYTES_MAX)))

    async def _prove(self, request: Any) -> Any:
        key = await self._run(self._door.proven, await _body(request, MESSAGE_BYTES_MAX))
        for other in list(self._sessions.values()):
            if other.key == key:
                self._end(other, "it began again")
        if len(self._sessions) >= SESSIONS_MAX:
            raise RequestRefusedError(503, UnreachableError("too many peers are here; come again later"))
        visitor = Visitor(key, self._served.host(), new_token(), seen=time.monotonic())
        self._sessions[visitor.token] = visitor
        self._tell(visitor)
        return _Reply(granted(visitor.token))

    async def _leave(self, request: Any) -> Any:
        visitor = self._visitor(request)
        await _body(request, MESSAGE_BYTES_MAX)
        self._end(visitor, "done")
        return _Reply(b"")

    async def _ask(self, request: Any) -> Any:
        visitor = self._visitor(request)
        size_bytes = _announced(request, FRAME_BYTES_MAX)
        visitor.in_flight += 1
        try:
            async with contextlib.AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(QUEUE_SECONDS):
                        await held.enter_async_context(visitor.slots)
                except TimeoutError as cause:
                    raise RequestRefusedError(503, UnreachableError("too much is asked at once")) from cause
                await self._hold(held, visitor, min(size_bytes, SMALL_FRAME_BYTES_MAX))

                async def admit(head: bytes) -> None:
                    found = _MANIFEST.search(head)
                    if found is None or not visitor.host.wants(found[1].decode("ascii")):
                        raise RequestRefusedError(413, ProtocolError(f"nobody asked for {size_bytes} bytes"))
                    await self._hold(held, visitor, size_bytes, SMALL_FRAME_BYTES_MAX)

                frame = await _body(request, FRAME_BYTES_MAX, admit)
                await self._hold(held, visitor, ANSWER_BYTES if _asks(frame) else MESSAGE_BYTES_MAX)
                visitor.bytes_in += len(frame)
                if not _may_overtake(frame):
                    await held.enter_async_context(visitor.turn)
                answer = await self._run(self._exchange, visitor, frame)
                del frame
                visitor.bytes_out += sum(map(len, answer))
                if visitor.strikes > STRIKES_MAX:
                    self._end(visitor, f"it broke the rules: {visitor.complaint}")
                return _Reply(*answer, held=held.pop_all())
        finally:
            visitor.in_flight -= 1
            visitor.seen = time.monotonic()

    async def _hold(
        self, held: contextlib.AsyncExitStack, visitor: Visitor, size_bytes: int, held_bytes: int = 0
    ) -> None:
        """Wait for memory, of the peer's share first, and hold it as long as the request."""
        for memory in (visitor.share, self._memory):
            await held.enter_async_context(memory.room(size_bytes, held_bytes))

    def _exchange(self, visitor: Visitor, frame: bytearray) -> tuple[bytes, bytes]:
        """The frame that answers a frame, in two parts; in a thread of the pool."""
        try:
            question = decode(memoryview(frame))
        except ProtocolError as error:
            answer = Refused(error.code, error.what[:WHAT_CHARS_MAX])
        else:
            if isinstance(question, Question):
                answer = visitor.host.answer(question)
            else:
                answer = Refused(ProtocolError.code, f"{type(question).__name__} is no question")
        match answer:
            case Refused(code, what) if code in _STRIKES:
                visitor.strikes += 1
                visitor.complaint = f"{code} {what}"
            case Found():
                visitor.operations_out += len(answer.operations)
            case Taken(operations, _):
                visitor.operations_in += operations
            case _:
                pass
        return encode_parts(answer)

    # ------------------------------------------------------------------------------------------------ helpers
    def _visitor(self, request: Any) -> Visitor:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        visitor = self._sessions.get(token) if scheme == "Bearer" else None
        if visitor is None:
            raise RequestRefusedError(
                401, PeerRefusedError("no session goes by this token: it is over, or was not begun here")
            )
        visitor.seen = time.monotonic()
        return visitor

    def _end(self, visitor: Visitor, why: str) -> None:
        if self._sessions.pop(visitor.token, None) is not None:
            visitor.ended = why
            self._tell(visitor)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


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
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for part in self._parts:
                view = memoryview(part)
                for start in range(0, len(part), PIECE_BYTES):
                    piece = view[start : start + PIECE_BYTES]
                    async with asyncio.timeout_at(_until(began, sent)):
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


def _of_store(error: StoreError) -> str:
    """What a peer is told about this replica's own directory: nothing that names it."""
    return "another process is writing to it" if error.retryable else "its own directory cannot be used"


def _announced(request: Any, size_bytes_max: int) -> int:
    """The size that a request announces; nothing of it was read yet."""
    text = request.headers.get("content-length", "")
    if not text.isdecimal() or len(text) > 20:
        raise RequestRefusedError(411, ProtocolError("a request announces its size"))
    if int(text) > size_bytes_max:
        raise RequestRefusedError(
            413, ProtocolError(f"{int(text)} bytes are announced, at most {size_bytes_max} are read")
        )
    return int(text)


async def _anything(_: bytes) -> None:
    """Admits everything."""


async def _body(request: Any, size_bytes_max: int, admit: Callable[[bytes], Awaitable[None]] = _anything) -> bytearray:
    """The body of a request, no larger than announced; `admit` is shown the beginning of one that is large."""
    size_bytes = _announced(request, size_bytes_max)
    body = bytearray()
    pieces = aiter(request.stream())
    began, large = time.monotonic(), size_bytes > SMALL_FRAME_BYTES_MAX
    while True:
        try:
            async with asyncio.timeout_at(_until(began, len(body))):
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


def _until(began: float, moved_bytes: int) -> float:
    """When a request or answer is cut off that began then and has moved so many bytes, in the event loop's time."""
    now = time.monotonic()
    slowest = began + PATIENCE_SECONDS + moved_bytes / RATE_BYTES_PER_SECOND
    return asyncio.get_running_loop().time() + min(IDLE_SECONDS, slowest - now)


def _asks(frame: bytearray) -> bool:
    """Whether the answer to a question may be large."""
    return b'"type":"put"' not in bytes(frame[:HEAD_BYTES])


def _may_overtake(frame: bytearray) -> bool:
    """Whether a question asks for an object or brings a leaf: those may be answered in any order, several at once."""
    header = bytes(frame[:HEAD_BYTES])
    return b'"type":"get"' in header or (b'"name":"leaf/' in header and b'"type":"put"' in header)


def _bound(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, ValueError, OverflowError) as cause:
        raise UnreachableError(
            f"nothing can listen at {bind}: {cause}", where=bind, hint="name a free port, or 0 for any"
        ) from cause
    return listening
