"""Live peers over iroh: real endpoints on loopback, no relay; the same answers and the same refusals as over HTTPS."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import iroh
import iroh.iroh_ffi as bindings
import pytest

import conjoin.sync.pace as pace
import conjoin.sync.peers.iroh_server as server_room
from conjoin.errors import (
    BadTicketError,
    KeyFileError,
    MissingExtraError,
    PeerRefusedError,
    ProtocolError,
    RemoteError,
    UnreachableError,
    UsageError,
    WrongPeerError,
)
from conjoin.replica import Replica
from conjoin.serving import Serving
from conjoin.store.home import is_replica
from conjoin.store.keys import SigningKey
from conjoin.sync.messages import FRAME_BYTES_MAX, Get, encode
from conjoin.sync.peers.answering import MEMORY_BYTES_MAX
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, Caller
from conjoin.sync.peers.iroh import IrohLine
from conjoin.sync.peers.iroh_runtime import (
    ALPN,
    ASK,
    GREET,
    PROVE,
    REPLY,
    REQUEST,
    LoopThread,
    bind,
    binding,
    copies_one_by_one,
    load,
    mend_writer,
    numeric,
    provide_endpoint_key,
    receive,
    send,
)
from conjoin.sync.peers.ticket import Ticket
from tests.peers.test_interrupted import LEAVES, Killing, add, assert_whole
from tests.peers.world import (
    FULL,
    SMALL_BYTES,
    Server,
    assert_same_objects,
    conjoin,
    free_port,
    key_of,
    member_of,
    objects,
    report_of,
    write_model,
)

IROH = ("iroh",)


class Visit:
    """A bare connection to the server of a ticket, to say what no client says."""

    def __init__(self, ticket: Ticket) -> None:
        assert ticket.iroh is not None
        self.ticket = ticket
        self.to = ticket.iroh
        self.thread = LoopThread("visit")
        self.thread.start()
        self.endpoint: Any = None
        self.connection: Any = None

    def __enter__(self) -> Visit:
        self.thread.run(self._connect())
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.run(self.endpoint.close())
        self.thread.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.thread.run(work)

    async def _connect(self) -> None:
        self.endpoint = await bind(load(), b"\7" * 32)
        key = iroh.EndpointId.from_bytes(bytes.fromhex(self.to.endpoint))
        to = iroh.EndpointAddr(key, None, [numeric(address) for address in self.to.addresses])
        self.connection = await self.endpoint.connect(to, ALPN)

    async def say(self, kind: int, body: bytes, *, size_bytes: int | None = None) -> tuple[int, bytes]:
        """The status and the rest of the answer to a message that announces a size, which need not be true."""
        stream = await self.connection.open_bi()
        await stream.send().write_all(REQUEST.pack(kind, len(body) if size_bytes is None else size_bytes) + body)
        until = _soon()
        status, size = REPLY.unpack(await receive(stream.recv(), REPLY.size, until))
        return status, bytes(await receive(stream.recv(), size, until))

    def prove(self, key: SigningKey) -> int:
        """The status of a handshake."""
        ends = binding(bytes.fromhex(self.to.endpoint), self.endpoint.id().to_bytes())
        caller = Caller(replace(self.ticket, certificate=ends), key)
        status, welcome = self.run(self.say(GREET, caller.greeting()))
        assert status == 200
        return self.run(self.say(PROVE, caller.proof(welcome)))[0]

    def closed(self) -> str:
        """Why the connection is closed, within a while."""
        return self.run(asyncio.wait_for(self.connection.closed(), 20))


class Stream:
    """Both halves of a stream that goes nowhere: what is written is read again; it is taken when the test says so."""

    def __init__(self, held: bytes = b"") -> None:
        self.held = bytearray(held)
        self.finished, self.taken = asyncio.Event(), asyncio.Event()

    def recv(self) -> Stream:
        return self

    def send(self) -> Stream:
        return self

    async def write_all(self, data: bytes) -> None:
        self.held += data

    async def read(self, size_bytes: int) -> bytes:
        if not self.held:
            await asyncio.sleep(60)
        taken = bytes(self.held[:size_bytes])
        del self.held[:size_bytes]
        return taken

    async def finish(self) -> None:
        self.finished.set()

    async def stopped(self) -> None:
        await self.taken.wait()


def _soon() -> Callable[[int], float]:
    end = asyncio.get_running_loop().time() + 20
    return lambda _: end


@contextmanager
def serving(replica: Path, **options: Any) -> Iterator[Serving]:
    with Serving(replica, transports=IROH, **options) as served:
        yield served


# ---------------------------------------------------------------------------------------------------- the story
def test_two_laptops_over_iroh(folder: Path) -> None:
    """Serve with an invite, clone, add on both sides, sync both ways: the same bytes, and the server ends cleanly."""
    one, two = folder / "one", folder / "two"
    conjoin("init", one, "--base", write_model(folder / "base.safetensors", 0))
    with Server(one, "--invite", "--transport", "iroh") as server:
        assert json.loads(conjoin("clone", server.ticket, two, "--json"))["role"] == "member"
        Replica.open(two).add(write_model(folder / "m2.safetensors", 2))
        Replica.open(one).add(write_model(folder / "m1.safetensors", 1))
        report = report_of(conjoin("-C", two, "sync", server.ticket, "--json"))
        assert (report["operations_in"], report["operations_out"], report["refused"]) == (1, 1, [])
        assert "(iroh)" in str(report["source"])
        assert_same_objects(one, two)
        again = Replica.open(two).sync(server.ticket)
        assert (again.objects_in, again.objects_out) == (0, 0)
        with pytest.raises(PeerRefusedError, match="the invite was used"):
            Replica.clone(server.ticket, folder / "three")
    assert server.errors.read_text() == ""


def test_members_at_once(founder: Path, member: Path, folder: Path) -> None:
    other = member_of(founder, folder / "other")
    sides = (member, other)
    for number, side in enumerate(sides):
        add(side, 1 + number)
    with serving(founder) as served:
        ticket = str(served.ticket)
        threads = [threading.Thread(target=lambda side=side: Replica.open(side).sync(ticket)) for side in sides]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for side in sides:
            report = Replica.open(side).sync(ticket)
            assert report.failure is None and not report.refused
    assert len(Replica.open(founder).visible) == 2
    for side in sides:
        assert_same_objects(founder, side)
    assert not [thread for thread in threading.enumerate() if thread.name == "conjoin-iroh"]


def test_iroh_where_https_does_not_answer_and_https_where_it_does(founder: Path, member: Path) -> None:
    with Serving(founder, transports=("https", "iroh")) as served:
        assert served.ticket.iroh is not None
        dead = replace(served.ticket, addresses=(f"127.0.0.1:{free_port()}",))
        assert Replica.open(member).sync(str(dead)).failure is None
        elsewhere = replace(served.ticket.iroh, addresses=(f"127.0.0.1:{free_port()}",))
        assert Replica.open(member).sync(str(replace(served.ticket, iroh=elsewhere))).failure is None


# ---------------------------------------------------------------------------------------------------- who is let in
def test_strangers_and_wrong_peers_are_refused_before_anything_is_read(founder: Path, folder: Path) -> None:
    foreign = folder / "foreign"
    Replica.init(foreign, folder / "base.safetensors").close()
    with serving(founder) as served, serving(foreign) as impostor:
        before = objects(founder)
        with pytest.raises(PeerRefusedError, match="not a member") as refused:
            Replica.clone(str(served.ticket), folder / "stranger")
        assert "--invite" in (refused.value.hint or "")
        assert not is_replica(folder / "stranger") and objects(founder) == before
        fooled = replace(served.ticket, iroh=impostor.ticket.iroh, space=impostor.ticket.space)
        with pytest.raises(WrongPeerError, match="does not hold the key"):
            Replica.clone(str(fooled), folder / "fooled")


def test_a_proof_is_for_this_connection_only(founder: Path, member: Path) -> None:
    """Who passes a member's messages on, over a connection of its own, proves nothing."""
    with serving(founder) as served, Visit(served.ticket) as visit:
        ends = binding(bytes.fromhex(visit.to.endpoint), b"\1" * 32)
        caller = Caller(replace(served.ticket, certificate=ends), key_of(member))
        status, welcome = visit.run(visit.say(GREET, caller.greeting()))
        assert status == 200
        with pytest.raises(WrongPeerError):
            caller.proof(welcome)
        assert visit.prove(key_of(member)) == 200
        assert visit.prove(key_of(member)) == 403, "one key, one session, one connection"


def test_without_a_proof_nothing_is_answered(founder: Path) -> None:
    leaf = next(iter(objects(founder, "leaf")))
    with serving(founder) as served, Visit(served.ticket) as visit:
        status, body = visit.run(visit.say(ASK, encode(Get(leaf))))
        assert status == 401 and json.loads(body)["code"] == PeerRefusedError.code
        assert visit.run(visit.say(99, b""))[0] == 400


def test_who_proves_nothing_is_cut_off(founder: Path, member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_room, "PENDING_SECONDS", 0.5)
    with serving(founder) as served, Visit(served.ticket) as visit:
        assert "no session" in visit.closed()
        assert Replica.open(member).sync(str(served.ticket)).failure is None


def test_only_so_many_strangers_at_once(founder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_room, "STRANGERS_MAX", 1)
    with serving(founder) as served:
        with Visit(served.ticket):
            second = Visit(served.ticket)
            with pytest.raises(iroh.IrohError), second:
                pass
            second.__exit__()
        until = time.monotonic() + 20
        while served._servers[0]._meetings:  # type: ignore[union-attr]
            assert time.monotonic() < until
            time.sleep(0.01)
        with Visit(served.ticket):
            pass


# ---------------------------------------------------------------------------------------------------- limits
def test_what_announces_too_much_is_refused_unread(founder: Path, member: Path) -> None:
    with serving(founder) as served, Visit(served.ticket) as visit:
        assert visit.run(visit.say(GREET, b"", size_bytes=MESSAGE_BYTES_MAX + 1))[0] == 413
        assert visit.prove(key_of(member)) == 200
        assert visit.run(visit.say(ASK, b"", size_bytes=FRAME_BYTES_MAX + 1))[0] == 413
        head = b'\0\0\0\x64{"delta":null,"name":"manifest/' + b"a" * 64
        status, body = visit.run(visit.say(ASK, head + b"\0" * 2000, size_bytes=50_000_000))
        assert (status, "nobody asked" in body.decode()) == (413, True)


@pytest.mark.parametrize("uni", [False, True])
def test_more_streams_than_anybody_needs_end_the_connection(founder: Path, uni: bool) -> None:
    """What QUIC would take of each stream before it is read stays bounded: questions that never end cannot pile up."""

    kept: list[Any] = []  # a stream that nobody holds is finished, and one that was answered is over: neither counts

    async def flood(connection: Any) -> None:
        with suppress(iroh.IrohError):  # it may be closed before all is sent
            for _ in range(server_room.STRANGER_STREAMS_MAX + 1):
                kept.append(await (connection.open_uni() if uni else connection.open_bi()))
                stream = kept[-1] if uni else kept[-1].send()
                await stream.write_all(REQUEST.pack(GREET, MESSAGE_BYTES_MAX) + b"x" * 1000)
                await asyncio.sleep(0.1)

    with serving(founder) as served, Visit(served.ticket) as visit:
        visit.run(flood(visit.connection))
        assert ("nothing of this kind" if uni else "too much at once") in visit.closed()


def test_an_answer_that_announces_too_much_is_not_read(founder: Path, member: Path) -> None:
    with serving(founder) as served:
        line = IrohLine(served.ticket, key_of(member))
    assert line._announced(bytearray(REPLY.pack(200, 1000)), 1000) == (200, 1000)
    for status, size_bytes in ((200, 1001), (403, MESSAGE_BYTES_MAX + 1)):
        with pytest.raises(ProtocolError, match="announced"):
            line._announced(bytearray(REPLY.pack(status, size_bytes)), 1000)


@pytest.mark.parametrize("taking", [False, True])
def test_slow_peers_are_cut_off_and_hold_nothing(folder: Path, taking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sends a byte now and then, one takes nothing of what it asked for; another member is served meanwhile."""
    monkeypatch.setattr(pace, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 1.5)
    base = write_model(folder / "base.safetensors", 0, tensors=2, tensor_bytes=4 * 1024 * 1024)
    Replica.init(folder / "founder", base).close()
    founder, member, slow = folder / "founder", *(member_of(folder / "founder", folder / n) for n in ("m", "slow"))
    leaf = max(objects(founder, "leaf"), key=lambda name: (founder / ".conjoin" / name).stat().st_size)

    async def dribble(connection: Any) -> str:
        stream = await connection.open_bi()
        frame = encode(Get(leaf))
        await stream.send().write_all(REQUEST.pack(ASK, len(frame) if taking else 1_000_000))
        if taking:
            await stream.send().write_all(frame)
        try:
            for _ in range(40):
                await asyncio.sleep(0.3)
                if not taking:
                    await stream.send().write_all(b"x")
                elif await asyncio.wait_for(stream.recv().received_reset(), 20) is not None:
                    return "reset"
        except iroh.IrohError:
            return "reset"
        return "served"

    with serving(founder) as served, Visit(served.ticket) as visit:
        assert visit.prove(key_of(slow)) == 200
        dribbling = asyncio.run_coroutine_threadsafe(dribble(visit.connection), visit.thread._loop)
        assert Replica.open(member).sync(str(served.ticket)).failure is None
        assert dribbling.result(30) == "reset"
        assert served._servers[0]._answering._memory._free == MEMORY_BYTES_MAX


def test_the_room_of_an_answer_is_held_until_the_peer_has_it(founder: Path, member: Path) -> None:
    frame = encode(Get(next(iter(objects(founder, "leaf")))))
    with serving(founder) as served:
        server = served._servers[0]
        assert isinstance(server, server_room.IrohServer)

        async def asked() -> tuple[int, int]:
            visitor = server._answering.begin(key_of(member).public)
            leaving = asyncio.get_running_loop().call_later(60, print)
            guest = server_room._Guest(None, None, leaving, visitor)  # type: ignore[arg-type]
            stream = Stream(REQUEST.pack(ASK, len(frame)) + frame)
            answering = asyncio.create_task(server._answer(guest, stream))
            await stream.finished.wait()
            held = server._answering._memory._free
            stream.taken.set()
            await answering
            leaving.cancel()
            return held, server._answering._memory._free

        held, let_go = server._thread.run(asked())
    assert held < MEMORY_BYTES_MAX - SMALL_BYTES and let_go == MEMORY_BYTES_MAX


# ---------------------------------------------------------------------------------------------------- interrupted
@pytest.mark.parametrize("push", [False, True])
def test_a_server_that_ends_in_the_middle(founder: Path, member: Path, push: bool) -> None:
    """What was moved is kept, and the next sync moves exactly what is missing."""
    giver, taker = (member, founder) if push else (founder, member)
    add(giver, 1)
    port = free_port()
    with Server(founder, "--transport", "iroh", "--bind", f"127.0.0.1:{port}") as server:
        before = objects(taker, "leaf")
        replica = Replica.open(member)
        end = server.kill if FULL else server.process.terminate  # what is killed is noticed after 30 s of silence
        try:
            report = replica.sync(server.ticket, progress=Killing(LEAVES // 3, end))
        except RemoteError as error:
            assert not push and error.retryable
        else:
            assert report.failure is not None or report.refused
        server.process.wait(30)
        kept = objects(taker, "leaf") - before
        assert LEAVES // 4 <= len(kept) < LEAVES
        assert_whole(taker)
        server.start()
        again = replica.sync(server.ticket)
        lacking = objects(giver, "leaf") - before - kept
        assert (again.objects_out if push else again.objects_in) == len(lacking) + 1
        assert not again.refused and again.failure is None
        assert_same_objects(founder, member)


def test_nobody_there_is_named(founder: Path, member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conjoin.sync.peers.iroh.CONNECT_SECONDS", 0.5)
    with serving(founder) as served:
        ticket = served.ticket
    with pytest.raises(UnreachableError, match="cannot be reached") as gone:
        Replica.open(member).sync(str(ticket))
    assert gone.value.retryable and "conjoin serve" in (gone.value.hint or "")


# ---------------------------------------------------------------------------------------------------- endpoint
def test_the_endpoint_has_a_key_of_its_own_and_listens_where_it_was_told(founder: Path, folder: Path) -> None:
    with serving(founder) as served:
        first, iroh_address = served.ticket, served.ticket.iroh
        assert iroh_address is not None and iroh_address.endpoint != first.key
        assert iroh_address.relay == "" and iroh_address.addresses == (served.address,)
        bound = served._servers[0]._endpoint.bound_sockets()  # type: ignore[union-attr]
        assert all(address.startswith(("127.0.0.1:", "[::1]:")) for address in bound)
        with pytest.raises(UnreachableError, match="nothing can listen"):
            Serving(founder, transports=IROH, bind=served.address)
    with serving(founder) as served:
        assert served.ticket.iroh is not None and served.ticket.iroh.endpoint == iroh_address.endpoint
    path = founder / ".conjoin" / "local" / "iroh.key"
    assert path.stat().st_mode & 0o077 == 0
    for text in ("00" * 31, "zz" * 32, ""):
        (folder / "key").write_text(text)
        (folder / "key").chmod(0o600)
        with pytest.raises(KeyFileError):
            provide_endpoint_key(folder / "key")


def test_a_relay_is_asked_for_by_name_and_missed_by_name(founder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_room, "RELAY_SECONDS", 0.3)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 does not answer") as missed:
        Serving(founder, transports=IROH, relay="https://127.0.0.1:1")
    assert "--relay none" in (missed.value.hint or "")
    with pytest.raises(BadTicketError, match="no URL of a relay"):
        Serving(founder, transports=IROH, relay="http://relay.example.org")
    error = json.loads(conjoin("-C", founder, "serve", "--relay", "default", "--json", status=2))["error"]
    assert error["code"] == UsageError.code and "--transport iroh" in error["hint"]


def test_a_missing_extra_is_named(founder: Path, member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(founder) as served:
        monkeypatch.setitem(sys.modules, "iroh", None)
        for attempt in (
            lambda: Serving(founder, transports=IROH),
            lambda: Replica.open(member).sync(str(served.ticket)),
        ):
            with pytest.raises(MissingExtraError) as missing:
                attempt()
            assert "conjoin[p2p]" in (missing.value.hint or "")


# ---------------------------------------------------------------------------------------------------- the writer
def test_the_wheel_at_hand_needs_its_writer_mended() -> None:
    """When this fails, the bindings copy at once by themselves, and `mend_writer` can go."""
    program = (
        "import iroh.iroh_ffi as f\nfrom conjoin.sync.peers.iroh_runtime import copies_one_by_one, mend_writer\n"
        "print(copies_one_by_one(f), mend_writer(f), copies_one_by_one(f), mend_writer(f))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False", "False"]


def test_a_mended_writer_writes_the_same() -> None:
    load()
    assert not copies_one_by_one(bindings)
    for data in (b"", b"\0", bytes(range(256)) * 4097, memoryview(b"abc")):
        builder = bindings._UniffiRustBufferBuilder()
        builder.write_u32(len(data))
        builder.write(data)
        builder.write_u8(7)
        buffer = builder.finalize()
        assert buffer.data[: buffer.len] == len(data).to_bytes(4, "big") + bytes(data) + b"\7"
        buffer.free()


def test_bindings_that_look_otherwise_are_left_alone() -> None:
    class Nothing:
        pass

    class Quick:
        class _UniffiRustBufferBuilder:
            def write(self, value: bytes) -> bytes:
                return value

    class Strange:
        class _UniffiRustBufferBuilder:
            def write(self, value: bytes) -> None:
                for _ in enumerate(value):
                    pass

    for room in (Nothing, Quick, Strange):
        before = dict(vars(getattr(room, "_UniffiRustBufferBuilder", Nothing)))
        assert not mend_writer(room)
        assert dict(vars(getattr(room, "_UniffiRustBufferBuilder", Nothing))) == before


def test_a_stream_moves_bytes_in_pieces_and_in_time(founder: Path) -> None:
    """What is sent in parts arrives as one; what does not come in time is given up."""

    async def moved() -> None:
        stream = Stream()
        data = bytes(range(256)) * 4000
        await send(stream, b"", data[:10], data[10:], until=partial(pace.until, time.monotonic()))
        assert bytes(await receive(stream, len(data), _soon())) == data
        with pytest.raises(TimeoutError):
            await receive(stream, 1, lambda _: asyncio.get_running_loop().time() + 0.05)

    asyncio.run(moved())
