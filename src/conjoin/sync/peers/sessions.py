"""What a server of live peers keeps of each of them, and the bounds they share; reads and answers nothing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from conjoin.errors import ConjoinError, UnreachableError
from conjoin.sync.messages import Question

IN_FLIGHT_MAX = 4
"""Questions of one peer that are answered at once; more wait."""
SHARE_BYTES_MAX = 17 * 1024 * 1024
"""Questions and answers of one peer in memory at once."""
QUEUE_SECONDS = 20.0
"""So long a question waits for room before it is sent away."""


class Answers(Protocol):
    """What answers one peer: see `sync.host.Host`."""

    def answer(self, question: Question) -> Any:
        """The answer to a question, whatever it is."""
        ...

    def wants(self, name: str) -> bool:
        """Whether a manifest of this name was asked for."""
        ...


class RequestRefusedError(Exception):
    """A request that gets an HTTP status and an error instead of an answer."""

    def __init__(self, status: int, error: ConjoinError) -> None:
        super().__init__(error.what)
        self.status = status
        self.error = error


class Memory:
    """Bytes that questions and answers may take at once; who finds no room waits, first come, first served."""

    def __init__(self, size_bytes: int) -> None:
        self._free = self._size = size_bytes
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def room(self, size_bytes: int, held_bytes: int = 0) -> AsyncGenerator[None]:
        """A block that holds so many bytes, `held_bytes` of which are held already; all that there is for more."""
        wanted = max(0, min(size_bytes, self._size) - held_bytes)
        try:
            async with asyncio.timeout(QUEUE_SECONDS), self._turn:
                while self._free < wanted:
                    self._freed.clear()
                    await self._freed.wait()
                self._free -= wanted
        except TimeoutError as cause:
            raise RequestRefusedError(503, UnreachableError("too many peers ask at once; ask again later")) from cause
        try:
            yield
        finally:
            self._free += wanted
            self._freed.set()


@dataclass(slots=True)
class Visitor:
    """One session: a peer that has proven its key, and what it did. Told about when it begins, and ends.

    Attributes:
        key: the peer's public key.
        host: what answers it.
        token: what its requests show.
        operations_in: operations taken from it.
        operations_out: operations given to it.
        bytes_in: bytes of its questions.
        bytes_out: bytes of the answers.
        strikes: questions of it that broke the rules.
        refused: operations of it that broke the rules of the space.
        complaint: the last of both, as evidence.
        ended: why it is over; empty while it is not.
        seen: when it last asked something, in seconds that never go back.
        turn: held by the one question of it that is answered in order.
        slots: held by each question that is answered.
        in_flight: how many those are.
        share: of the memory for questions and answers.
    """

    key: str
    host: Answers = field(repr=False)
    token: str = field(repr=False)
    operations_in: int = 0
    operations_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    strikes: int = 0
    refused: int = 0
    complaint: str = ""
    ended: str = ""
    seen: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT_MAX), repr=False)
    in_flight: int = 0
    share: Memory = field(default_factory=lambda: Memory(SHARE_BYTES_MAX), repr=False)
