"""Answers live peers over iroh: who proved an admitted key gets a host of its own; serves nobody else.

A connection is one session, and a stream of it one question. QUIC takes up to 1.25 MiB of a stream before anybody
reads it, so a connection with more streams than a peer needs is cut, and before a key is proven that is two.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from conjoin.errors import ConjoinError, PeerRefusedError, ProtocolError, UnreachableError
from conjoin.sync.messages import FRAME_BYTES_MAX
from conjoin.sync.pace import until
from conjoin.sync.peers.answering import OK, Admit, Answering, Served, bounded, refusal
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, PENDING_SECONDS, Door
from conjoin.sync.peers.iroh_runtime import (
    ASK,
    GREET,
    LEAVE,
    NO_RELAY,
    PROVE,
    RELAY_SECONDS,
    REPLY,
    REQUEST,
    LoopThread,
    bind,
    binding,
    cut,
    load,
    numeric,
    receive,
    relay_mode,
    send,
)
from conjoin.sync.peers.sessions import RequestRefusedError, Visitor

CONNECTIONS_MAX = 64
STRANGERS_MAX = 16
"""Connections at once whose peer has not proven its key."""
CONNECT_SECONDS = 10.0
STREAMS_MAX = 8
"""Of a peer that has proven its key: one for each of four questions, and for each whose answer is on its way."""
STRANGER_STREAMS_MAX = 2


@dataclass(slots=True, eq=False)
class _Guest:
    """One connection; `leaving` closes it when no key is proven in time, or the session is over."""

    connection: Any
    door: Door
    leaving: asyncio.TimerHandle
    visitor: Visitor | None = None
    streams: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])


class IrohServer:
    """One replica at one endpoint, in a thread of its own until it is closed. A context manager.

    Args:
        served: the replica.
        at: `host:port` by UDP; port 0 takes a free one.
        key: 32 secret bytes of the key that the endpoint shows.
        relay: `none`, `default` for n0's, or the URL of one.
        tell: called when a session begins and when it ends, in the server's thread.

    Raises:
        MissingExtraError: the package for it is not installed.
        UnreachableError: the address cannot be bound, or no relay answers.
    """

    def __init__(
        self,
        served: Served,
        at: str,
        key: bytes,
        relay: str = NO_RELAY,
        tell: Callable[[Visitor], None] = lambda _: None,
    ) -> None:
        self._served = served
        self._tell = tell
        self._iroh = load()
        self._answering = Answering(served, self._told)
        self._guests: set[_Guest] = set()
        self._meetings: set[asyncio.Task[None]] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._thread = LoopThread("conjoin-iroh")
        self._thread.start()
        try:
            self._endpoint = self._thread.run(bind(self._iroh, key, at, relay_mode(self._iroh, relay)))
            self.relay = "" if relay == NO_RELAY else self._thread.run(self._home_relay(relay))
        except BaseException:
            self._thread.close()
            raise
        self._key = self._endpoint.id().to_bytes()
        self.endpoint: str = self._key.hex()
        bound = self._endpoint.bound_sockets()
        self.address: str = next(a for a in bound if a.startswith("[") == numeric(at).startswith("["))

    def __enter__(self) -> "IrohServer":
        self._thread.run(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.run(self._end())
        self.close()

    def close(self) -> None:
        """Let go of the address, without having served."""
        self._thread.run(self._endpoint.close())
        self._thread.close()
        self._answering.close()

    async def _home_relay(self, relay: str) -> str:
        try:
            async with asyncio.timeout(RELAY_SECONDS):
                await self._endpoint.online()
        except TimeoutError as cause:
            await self._endpoint.close()
            what = "no relay answers" if relay == "default" else f"the relay {relay} does not answer"
            raise UnreachableError(what, where=relay, hint="`--relay none` serves without one") from cause
        return str(self._endpoint.addr().relay_url() or "")

    # ------------------------------------------------------------------------------------------------ connections
    async def _begin(self) -> None:
        _keep(self._work, self._accept())
        _keep(self._work, self._answering.sweep())

    async def _end(self) -> None:
        self._answering.end_all()
        for guest in self._guests:
            guest.connection.close(0, b"the server ends")
        await _cancelled(self._work)
        await _cancelled(self._meetings)

    async def _accept(self) -> None:
        while (incoming := await self._endpoint.accept_next()) is not None:
            strangers = len(self._meetings) - sum(guest.visitor is not None for guest in self._guests)
            if len(self._meetings) < CONNECTIONS_MAX and strangers < STRANGERS_MAX:
                _keep(self._meetings, self._meet(incoming))
            else:
                with suppress(self._iroh.IrohError):
                    await incoming.refuse()

    async def _meet(self, incoming: Any) -> None:
        """One connection, from its first packet to its end."""
        with suppress(self._iroh.IrohError, TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await (await incoming.accept()).connect()
            await self._entertain(connection)

    async def _entertain(self, connection: Any) -> None:
        """Answer streams until the peer goes, opens too many, or has no session for too long."""
        served = self._served
        ends = binding(self._key, connection.remote_id().to_bytes())
        door = Door(served.signer, served.space, ends, served.admit, time.monotonic)
        guest = _Guest(connection, door, _closing(connection))
        self._guests.add(guest)
        _keep(guest.streams, cut(connection, connection.accept_uni, self._iroh.IrohError))
        why = "it went away"
        try:
            while True:
                stream = await connection.accept_bi()
                others = len(guest.streams) - 1  # one of them waits for what nobody begins
                if others >= (STREAMS_MAX if guest.visitor else STRANGER_STREAMS_MAX):
                    why = "it asked too much at once"
                    break
                _keep(guest.streams, self._answer(guest, stream))
        finally:
            self._guests.discard(guest)
            guest.leaving.cancel()
            connection.close(1, why.encode("ascii"))
            if guest.visitor is not None:
                self._answering.end(guest.visitor, why)
            await _cancelled(guest.streams)

    def _told(self, visitor: Visitor) -> None:
        """A connection whose session is over has little time."""
        for guest in self._guests:
            if visitor.ended and guest.visitor is visitor:
                guest.visitor = None
                guest.leaving = _closing(guest.connection)
        self._tell(visitor)

    # ------------------------------------------------------------------------------------------------ questions
    async def _answer(self, guest: _Guest, stream: Any) -> None:
        """One question, its answer, and what it holds until the peer has taken that."""
        receiving, sending = stream.recv(), stream.send()
        try:
            async with AsyncExitStack() as held:
                try:
                    status, parts = OK, await self._reply(guest, receiving, held)
                except (RequestRefusedError, ConjoinError) as error:
                    status, body = refusal(error)
                    parts = (body,)
                    await receiving.stop(0)
                size_bytes = sum(map(len, parts))
                pace = partial(until, time.monotonic())
                await send(sending, REPLY.pack(status, size_bytes), *parts, until=pace)
                await sending.finish()
                async with asyncio.timeout_at(pace(size_bytes)):
                    await sending.stopped()
        except (self._iroh.IrohError, EOFError, TimeoutError):
            with suppress(self._iroh.IrohError):
                await receiving.stop(1)
            with suppress(self._iroh.IrohError):
                await sending.reset(1)

    async def _reply(self, guest: _Guest, stream: Any, held: AsyncExitStack) -> tuple[bytes, ...]:
        pace = partial(until, time.monotonic())
        kind, size_bytes = REQUEST.unpack(await receive(stream, REQUEST.size, pace))
        if kind == ASK:
            return await self._asked(guest, stream, size_bytes, held)
        body = bytes(await receive(stream, bounded(size_bytes, MESSAGE_BYTES_MAX), pace))
        if kind == GREET:
            return (await self._answering.run(guest.door.welcome, body),)
        if kind == PROVE:
            key = await self._answering.run(guest.door.proven, body)
            if guest.visitor is not None:
                raise PeerRefusedError("a key is proven on this connection already")
            guest.visitor = self._answering.begin(key)
            guest.leaving.cancel()
        elif kind == LEAVE and guest.visitor is not None:
            self._answering.end(guest.visitor, "done")
        elif kind != LEAVE:
            raise ProtocolError(f"no message is of kind {kind}")
        return ()

    async def _asked(self, guest: _Guest, stream: Any, size_bytes: int, held: AsyncExitStack) -> tuple[bytes, bytes]:
        if guest.visitor is None:
            raise RequestRefusedError(401, PeerRefusedError("no key is proven here, or the session is over"))
        visitor = self._answering.visitor(guest.visitor.token)
        bounded(size_bytes, FRAME_BYTES_MAX)

        async def read(admit: Admit) -> bytearray:
            return await receive(stream, size_bytes, partial(until, time.monotonic()), admit)

        return await self._answering.answer(visitor, size_bytes, read, held)


def _closing(connection: Any) -> asyncio.TimerHandle:
    """Closes a connection after a while, unless cancelled."""
    return asyncio.get_running_loop().call_later(PENDING_SECONDS, connection.close, 1, b"no session")


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    """Begin a task, which stays in `tasks` until it ends."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _cancelled(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end."""
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
