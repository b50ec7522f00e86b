"""What both ends of an iroh line need: the package, an event loop in a thread, an endpoint; says and answers nothing.

iroh is QUIC between two keys, with relays and hole punching where a relay is named. Its streams carry messages, each
with its length before it, so that none is read beyond what is allowed.
"""

import asyncio
import ctypes
import hashlib
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from conjoin.errors import UnreachableError
from conjoin.sync.messages import SMALL_FRAME_BYTES_MAX
from conjoin.sync.peers.answering import HEAD_BYTES, PIECE_BYTES, Admit, anything
from conjoin.sync.peers.private import damaged, provide_private
from conjoin.sync.remotes.extras import package
from conjoin.wire.digest import Digest

ALPN = b"conjoin/1"
GREET, PROVE, ASK, LEAVE = range(1, 5)
"""What a message to the server is: the first byte of it."""
REQUEST = struct.Struct(">BI")
"""Before a message to the server: what it is, and the length of the rest."""
REPLY = struct.Struct(">HI")
"""Before a message from the server: its status, and the length of the rest."""
NO_RELAY = "none"
DEFAULT_RELAY = "default"
RELAY_SECONDS = 15.0
"""So long a relay may take to be found."""
_KEY = "the key of iroh connections"
_KEY_BYTES = 32
_WILDCARDS = {"0.0.0.0": "[::]:0", "::": "0.0.0.0:0"}
_PROBE = bytes(range(256)) * 5

T = TypeVar("T")


def load() -> Any:
    """The package iroh, which writes bytes as fast as it can.

    Raises:
        MissingExtraError: it is not installed.
    """
    iroh = package("iroh", "p2p")
    mend_writer(package("iroh.iroh_ffi", "p2p"))
    return iroh


def copies_one_by_one(bindings: Any) -> bool:
    """Whether the generated bindings copy bytes to the library one by one, in Python: some 100 s per GB."""
    write = getattr(getattr(bindings, "_UniffiRustBufferBuilder", None), "write", None)
    code = getattr(write, "__code__", None)
    return code is not None and "enumerate" in code.co_names


def mend_writer(bindings: Any) -> bool:
    """Let generated bindings copy bytes at once where they do it one by one; returns whether anything was changed.

    The class is private to the bindings: one that looks otherwise, or gives other bytes afterwards, stays as it is.
    """
    if not copies_one_by_one(bindings):
        return False
    builder: Any = bindings._UniffiRustBufferBuilder  # noqa: SLF001 - there is no other way to reach it
    original = builder.write

    def write(self: Any, value: bytes) -> None:
        size_bytes = len(value)
        with self._reserve(size_bytes):
            if size_bytes:
                end = ctypes.addressof(self.rbuf.data.contents) + self.rbuf.len
                ctypes.memmove(end, bytes(value), size_bytes)

    builder.write = write
    try:
        mended = _written(builder) == _PROBE
    except (AttributeError, TypeError, ValueError):
        mended = False
    if not mended:
        builder.write = original
    return mended


def _written(builder: Any) -> bytes:
    """What lies in a buffer after two writes."""
    made = builder()
    made.write(_PROBE[:3])
    made.write(_PROBE[3:])
    buffer = made.finalize()
    try:
        return buffer.data[: buffer.len]
    finally:
        buffer.free()


def provide_endpoint_key(path: Path) -> bytes:
    """The 32 secret bytes of the key that iroh connections show; made once, and no operation is signed with it.

    Raises:
        KeyFileError: the file is damaged, or others can read it.
        StoreError: it could not be written.
    """
    text = provide_private(path, lambda: secrets.token_hex(_KEY_BYTES).encode("ascii") + b"\n", _KEY)
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError as cause:
        raise damaged(path, _KEY) from cause
    if len(key) != _KEY_BYTES:
        raise damaged(path, _KEY)
    return key


def binding(server: bytes, client: bytes) -> Digest:
    """What stands in a handshake for the certificate: the keys of the two endpoints that this connection is between."""
    return Digest(hashlib.sha256(b"conjoin/iroh/1\n" + server + client).hexdigest())


class LoopThread:
    """An event loop in a thread of its own, from `start` to `close`."""

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._ready.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises, done in the loop while this thread waits."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Cancel what still runs in the loop, and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def _live(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._stop.wait()


async def bind(iroh: Any, key: bytes, at: str = "", relay: Any = None) -> Any:
    """An endpoint.

    Args:
        iroh: the package.
        key: its 32 secret bytes.
        at: `host:port`; empty for any port of every interface.
        relay: the relays it uses; None for none.

    Raises:
        UnreachableError: nothing can listen there.
    """
    mode = relay or iroh.RelayMode.disabled()
    address, other = _both_families(at) if at else ("", "")

    class Only(iroh.Preset):
        """No relay, no directory and no address but those given."""

        def __init__(self, *addresses: str) -> None:
            self._addresses = addresses

        def apply(self, builder: Any) -> None:
            builder.apply_minimal()
            builder.relay_mode(mode)
            for address in self._addresses:
                builder.bind_addr(address)

    def options(*addresses: str) -> Any:
        return iroh.EndpointOptions(preset=Only(*addresses), secret_key=key, alpns=[ALPN])

    if not at:
        return await iroh.Endpoint.bind(options())
    try:
        return await iroh.Endpoint.bind(options(address, other))
    except iroh.IrohError:
        pass  # a machine may have one family of addresses only
    try:
        return await iroh.Endpoint.bind(options(address))
    except iroh.IrohError as cause:
        hint = "name a free port, or 0 for any"
        raise UnreachableError(f"nothing can listen at {at}: {said(cause)}", where=at, hint=hint) from cause


def relay_mode(iroh: Any, relay: str) -> Any:
    """The relays that a choice names: `none`, `default` (n0's), or the URL of one."""
    if relay == NO_RELAY:
        return iroh.RelayMode.disabled()
    if relay == DEFAULT_RELAY:
        return iroh.RelayMode.default_mode()
    return iroh.RelayMode.custom_from_urls([relay])


def numeric(address: str) -> str:
    """`host:port` with the host as a number, which is all that iroh takes.

    Raises:
        UnreachableError: no host goes by that name.
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_DGRAM)
    except (OSError, ValueError, OverflowError) as cause:
        raise UnreachableError(f"{address} is no address of a host: {cause}", where=address) from cause
    number = found[0][4][0]
    return f"[{number}]:{port}" if ":" in str(number) else f"{number}:{port}"


def said(error: Any) -> str:
    """What an error of iroh says, without the places in its sources."""
    return str(error.message()).partition("\n")[0].partition(" (")[0]


async def send(stream: Any, *parts: bytes, until: Callable[[int], float]) -> None:
    """Write everything; `until` says when the stream is given up that has moved so many bytes.

    Raises:
        TimeoutError: it was.
        IrohError: the other side wants no more, or went away.
    """
    sent = 0
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(part), PIECE_BYTES):
            piece = bytes(view[start : start + PIECE_BYTES])
            async with asyncio.timeout_at(until(sent)):
                await stream.write_all(piece)
            sent += len(piece)


async def receive(stream: Any, size_bytes: int, until: Callable[[int], float], admit: Admit = anything) -> bytearray:
    """Exactly so many bytes; see `send` and `Admit`.

    Raises:
        TimeoutError: they did not come in time.
        IrohError: the other side went away.
        EOFError: it ended before.
    """
    body = bytearray()
    large = size_bytes > SMALL_FRAME_BYTES_MAX
    while len(body) < size_bytes:
        async with asyncio.timeout_at(until(len(body))):
            piece = await stream.read(min(size_bytes - len(body), PIECE_BYTES))
        if not piece:
            raise EOFError
        body += piece
        if large and len(body) > HEAD_BYTES:
            await admit(bytes(body[:HEAD_BYTES]))
            large = False
    return body


async def cut(connection: Any, accept: Callable[[], Coroutine[Any, Any, Any]], closed: type[Exception]) -> None:
    """Close a connection as soon as the other side begins something that nobody begins here; `closed` says it is."""
    with suppress(closed):
        await accept()
        connection.close(1, b"nothing of this kind is taken")


def _both_families(at: str) -> tuple[str, str]:
    """The address, and for the other family what opens no more than it does."""
    address = numeric(at)
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    other = "127.0.0.1:0" if ":" in host else "[::1]:0"
    return address, _WILDCARDS.get(host, other)
