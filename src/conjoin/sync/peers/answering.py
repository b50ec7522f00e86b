"""Answers the questions of live peers, whatever carries them: sessions, their bounds and their host; opens nothing.

Every question is bounded before it is read: its size by what it announces, its time by its size, and all of them
together by a budget of memory. A peer that is slow, endless or gone costs its own questions and nobody else's.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, NoReturn, Protocol

from conjoin.errors import ConjoinError, PeerRefusedError, ProtocolError, StoreError, UnreachableError
from conjoin.store.files import cores
from conjoin.sync.messages import (
    SMALL_FRAME_BYTES_MAX,
    WHAT_CHARS_MAX,
    Found,
    Question,
    Refused,
    Taken,
    Wanted,
    decode,
    encode_parts,
)
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, Signer, new_token
from conjoin.sync.peers.sessions import QUEUE_SECONDS, Answers, Memory, RequestRefusedError, Visitor
from conjoin.wire import canonical
from conjoin.wire.digest import LEAF_BYTES, Digest

MEMORY_BYTES_MAX = 34 * 1024 * 1024
"""Questions and answers in memory at once, of all peers."""
ANSWER_BYTES = LEAF_BYTES + 64 * 1024
"""What an answer is taken to need before it is known."""
SESSIONS_MAX = 64
WORKERS = max(2, min(4, cores()))
"""Questions of all peers that are answered at once."""
HEAD_BYTES = 1024
"""So much of a frame tells what it is."""
SESSION_SECONDS = 300.0
"""A session in which nothing is asked for so long is over."""
STRIKES_MAX = 32
"""Questions that cannot be read, or bring what breaks the rules, until a session is over."""
PIECE_BYTES = 256 * 1024
"""So much of an answer is sent at once."""
OK = 200
"""The status of an answer; the others are those of HTTP too, over whatever line."""
_MANIFEST = re.compile(rb'"name":"(manifest/[0-9a-f]{64})"')
_STRIKES = ("E401", "E403", "E404", "E405", "E504")

Admit = Callable[[bytes], Awaitable[None]]
"""Shown the beginning of what is large, returns if the rest is to be read."""


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


class Answering:
    """The sessions of one server; everything but its workers runs in the server's event loop.

    Args:
        served: the replica.
        tell: called when a session begins and when it ends.
    """

    def __init__(self, served: Served, tell: Callable[[Visitor], None]) -> None:
        self._served = served
        self._tell = tell
        self._sessions: dict[str, Visitor] = {}
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="conjoin-serve")
        self._memory = Memory(MEMORY_BYTES_MAX)

    # ------------------------------------------------------------------------------------------------ sessions
    def begin(self, key: str) -> Visitor:
        """A session of the peer that has proven `key`; one that it had is over.

        Raises:
            RequestRefusedError: there are too many.
        """
        for other in list(self._sessions.values()):
            if other.key == key:
                self.end(other, "it broke off, and began again")
        if len(self._sessions) >= SESSIONS_MAX:
            raise RequestRefusedError(503, UnreachableError("too many peers are here; come again later"))
        visitor = Visitor(key, self._served.host(), new_token(), seen=time.monotonic())
        self._sessions[visitor.token] = visitor
        self._tell(visitor)
        return visitor

    def visitor(self, token: str) -> Visitor:
        """The session that a token is of.

        Raises:
            RequestRefusedError: there is none.
        """
        visitor = self._sessions.get(token)
        if visitor is None:
            what = "no session goes by this token: it is over, or was not begun here"
            raise RequestRefusedError(401, PeerRefusedError(what))
        visitor.seen = time.monotonic()
        return visitor

    def end(self, visitor: Visitor, why: str) -> None:
        """End a session, if it has not ended."""
        if self._sessions.pop(visitor.token, None) is not None:
            visitor.ended = why
            self._tell(visitor)

    def end_all(self) -> None:
        """End every session."""
        for visitor in list(self._sessions.values()):
            self.end(visitor, "the server ends")

    async def sweep(self) -> NoReturn:
        """Notice the sessions that are over."""
        while True:
            await asyncio.sleep(min(5.0, SESSION_SECONDS / 4))
            oldest = time.monotonic() - SESSION_SECONDS
            for visitor in list(self._sessions.values()):
                if visitor.seen < oldest and not visitor.in_flight:
                    self.end(visitor, "it went away")

    # ------------------------------------------------------------------------------------------------ questions
    async def answer(
        self, visitor: Visitor, size_bytes: int, read: Callable[[Admit], Awaitable[bytearray]], held: AsyncExitStack
    ) -> tuple[bytes, bytes]:
        """The frame that answers a question, in two parts, with the memory for both `held`.

        Args:
            visitor: who asks.
            size_bytes: of the question, as announced; at most `FRAME_BYTES_MAX`.
            read: reads it, given what is to admit one that is large.
            held: let go when the answer is sent.

        Raises:
            RequestRefusedError: nobody asked for so much, or there is no room in time.
        """
        visitor.in_flight += 1
        try:
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

            frame = await read(admit)
            await self._hold(held, visitor, ANSWER_BYTES if _asks(frame) else MESSAGE_BYTES_MAX)
            visitor.bytes_in += len(frame)
            if not _may_overtake(frame):
                await held.enter_async_context(visitor.turn)
            answer = await self.run(_exchange, visitor, frame)
            visitor.bytes_out += sum(map(len, answer))
            if visitor.strikes > STRIKES_MAX:
                self.end(visitor, "it broke the rules too often")
            return answer
        finally:
            visitor.in_flight -= 1
            visitor.seen = time.monotonic()

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns, which a worker calls."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Wait for the workers; nothing is answered afterwards."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _hold(self, held: AsyncExitStack, visitor: Visitor, size_bytes: int, held_bytes: int = 0) -> None:
        """Wait for memory, of the peer's share first, and hold it as long as the question."""
        for memory in (visitor.share, self._memory):
            await held.enter_async_context(memory.room(size_bytes, held_bytes))


def bounded(size_bytes: int, size_bytes_max: int) -> int:
    """The size that a question announces; nothing of it was read yet.

    Raises:
        RequestRefusedError: it is more than is read.
    """
    if size_bytes > size_bytes_max:
        what = f"{size_bytes} bytes are announced, at most {size_bytes_max} are read"
        raise RequestRefusedError(413, ProtocolError(what))
    return size_bytes


def refusal(error: Exception) -> tuple[int, bytes]:
    """The status and the body of an answer that is none; tells nothing of this machine."""
    match error:
        case RequestRefusedError():
            status, told = error.status, error.error
        case StoreError():
            status, told = 503, PeerRefusedError(_of_store(error))
        case ConjoinError():
            status, told = (400 if isinstance(error, ProtocolError) else 403), error
        case _:
            raise error
    return status, canonical.encode({"code": told.code, "what": told.what[:WHAT_CHARS_MAX]})


async def anything(_: bytes) -> None:
    """Admits everything."""


def _exchange(visitor: Visitor, frame: bytearray) -> tuple[bytes, bytes]:
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
        case Wanted(_, refused) if refused:
            visitor.refused += len(refused)
            operation, code = refused[-1]
            visitor.complaint = f"{code} operation {operation}"
        case Found():
            visitor.operations_out += len(answer.operations)
        case Taken(operations, _):
            visitor.operations_in += operations
        case _:
            pass
    return encode_parts(answer)


def _of_store(error: StoreError) -> str:
    """What a peer is told about this replica's own directory: nothing that names it."""
    return "another process is writing to it" if error.retryable else "its own directory cannot be used"


def _asks(frame: bytearray) -> bool:
    """Whether the answer to a question may be large."""
    return b'"type":"put"' not in bytes(frame[:HEAD_BYTES])


def _may_overtake(frame: bytearray) -> bool:
    """Whether a question asks for an object or brings a leaf: those may be answered in any order, several at once."""
    header = bytes(frame[:HEAD_BYTES])
    return b'"type":"get"' in header or (b'"name":"leaf/' in header and b'"type":"put"' in header)
