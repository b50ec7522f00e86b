"""A line to a live peer over iroh: reaches the ticket's endpoint by its key, asks each question on a stream of its own.

The key that this end shows to iroh is new for every line: neither a relay nor who listens learns from it whose it is.
"""

import asyncio
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from conjoin.errors import ProtocolError, RemoteError
from conjoin.sync.pace import IDLE_SECONDS, until
from conjoin.sync.peers.answering import OK
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, Caller, Signer
from conjoin.sync.peers.iroh_runtime import (
    ALPN,
    ASK,
    GREET,
    LEAVE,
    NO_RELAY,
    PROVE,
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
    said,
    send,
)
from conjoin.sync.peers.lines import CONNECT_SECONDS, THINKING_SECONDS, TicketLine
from conjoin.sync.peers.ticket import Ticket


class IrohLine(TicketLine):
    """A line to the peer of a ticket over iroh; see `TicketLine`.

    Args:
        ticket: whom to reach, and where; it has an iroh endpoint.
        signer: the key to show.

    Raises:
        MissingExtraError: the package for it is not installed.
    """

    def __init__(self, ticket: Ticket, signer: Signer) -> None:
        super().__init__(ticket, signer)
        assert ticket.iroh is not None, "the ticket has no iroh endpoint"
        self._to = ticket.iroh
        self._at = f"iroh {self._to.endpoint[:12]}"
        self._iroh = load()
        self._thread = LoopThread("conjoin-iroh")
        self._refusing: list[asyncio.Task[None]] = []
        self._endpoint: Any = None
        self._connection: Any = None

    def dial(self) -> "IrohLine":
        """See `TicketLine`; iroh tries all addresses and the relay at once."""
        addresses = [numeric(address) for address in self._to.addresses]
        self._thread.start()
        try:
            self._thread.run(self._connect(addresses))
        except (self._iroh.IrohError, TimeoutError) as cause:
            raise self._broken(cause) from cause
        server, client = bytes.fromhex(self._to.endpoint), self._endpoint.id().to_bytes()
        caller = Caller(replace(self._ticket, certificate=binding(server, client)), self._signer)
        welcome = self._post(GREET, caller.greeting(), MESSAGE_BYTES_MAX, IDLE_SECONDS)
        self._post(PROVE, caller.proof(welcome), MESSAGE_BYTES_MAX, THINKING_SECONDS)
        return self

    def close(self) -> None:
        """See `Line`. The peer is told, if it can be reached."""
        try:
            if self._connection is not None:
                self._post(LEAVE, b"", MESSAGE_BYTES_MAX, CONNECT_SECONDS)
        except RemoteError:
            pass  # the session ends by itself
        finally:
            if self._endpoint is not None:
                self._thread.run(self._leave())
            self._thread.close()

    def _ask(self, frame: bytes, size_bytes_max: int, thinking_s: float) -> bytes:
        return self._post(ASK, frame, size_bytes_max, thinking_s)

    async def _connect(self, addresses: list[str]) -> None:
        iroh, relay = self._iroh, self._to.relay
        self._endpoint = await bind(iroh, secrets.token_bytes(32), relay=relay_mode(iroh, relay or NO_RELAY))
        key = iroh.EndpointId.from_bytes(bytes.fromhex(self._to.endpoint))
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await self._endpoint.connect(iroh.EndpointAddr(key, relay or None, addresses), ALPN)
        for accept in (connection.accept_uni, connection.accept_bi):
            self._refusing.append(asyncio.create_task(cut(connection, accept, iroh.IrohError)))
        self._connection = connection

    async def _leave(self) -> None:
        for task in self._refusing:
            task.cancel()
        if self._connection is not None:
            self._connection.close(0, b"done")
        await self._endpoint.close()

    def _post(self, kind: int, body: bytes, size_bytes_max: int, thinking_s: float) -> bytes:
        """The answer to one message, read no further than allowed."""
        try:
            status, data = self._thread.run(self._exchange(kind, body, size_bytes_max, thinking_s))
        except (self._iroh.IrohError, EOFError, TimeoutError) as cause:
            raise self._broken(cause) from cause
        if status != OK:
            raise self._refused(status, data, self._at)
        return data

    async def _exchange(self, kind: int, body: bytes, size_bytes_max: int, thinking_s: float) -> tuple[int, bytes]:
        async with asyncio.timeout(IDLE_SECONDS):
            stream = await self._connection.open_bi()
        sending, receiving = stream.send(), stream.recv()
        now = asyncio.get_running_loop().time
        try:
            with suppress(self._iroh.IrohError):  # who refuses a message may not take all of it, and says why
                await send(sending, REQUEST.pack(kind, len(body)), body, until=partial(until, time.monotonic()))
                await sending.finish()
            head = await receive(receiving, REPLY.size, lambda _: now() + thinking_s)
            status, size_bytes = self._announced(head, size_bytes_max)
            return status, bytes(await receive(receiving, size_bytes, partial(until, time.monotonic())))
        except BaseException:
            with suppress(self._iroh.IrohError):
                await receiving.stop(1)
            with suppress(self._iroh.IrohError):
                await sending.reset(1)
            raise

    def _announced(self, head: bytearray, size_bytes_max: int) -> tuple[int, int]:
        """The status of a reply and the size of the rest, which is read if it is allowed."""
        status, size_bytes = REPLY.unpack(head)
        most = size_bytes_max if status == OK else MESSAGE_BYTES_MAX
        if size_bytes > most:
            raise ProtocolError(f"{size_bytes} bytes are announced, at most {most} are read", where=self.where)
        return status, size_bytes

    def _broken(self, cause: Exception) -> RemoteError:
        """The error for a message without an answer."""
        self._lost = self._connection is not None and self._connection.close_reason() is not None
        if isinstance(cause, TimeoutError):
            return self._unreachable("it does not answer in time", self._at)
        text = said(cause) if isinstance(cause, self._iroh.IrohError) else "the answer ended too early"
        return self._unreachable(f"the connection broke ({text})", self._at)
