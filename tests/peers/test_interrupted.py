"""Whatever ends a transfer, both sides stay valid, and the next one moves exactly what is missing."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from urllib3 import HTTPResponse

import conjoin.store.files as files_room
import conjoin.sync.pace as pace
import conjoin.sync.peers.https as https_room
import conjoin.sync.peers.lines as lines_room
from conjoin.errors import ConjoinError, DiskFullError, RemoteError, UnreachableError
from conjoin.replica import Replica
from conjoin.serving import Serving
from conjoin.sync.peers.https import HttpsLine
from conjoin.sync.peers.lines import TicketLine
from tests.peers.world import (
    CONJOIN,
    ENVIRONMENT,
    FULL,
    Proxy,
    Server,
    assert_same_objects,
    copy_replica,
    free_port,
    key_of,
    member_of,
    objects,
    proxied,
    write_model,
)
from tests.places.servers import dripping

LEAVES = 60
TRANSPORTS = pytest.mark.parametrize("transport", ["https", "iroh"])
KILLS = 250 if FULL else 3


class Killing:
    """Progress that kills a process after so many leaves."""

    def __init__(self, after: int, kill: Callable[[], None]) -> None:
        self._left = after
        self._kill = kill

    def start(self, what: str, total_bytes: int) -> None:
        pass

    def advance(self, size_bytes: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is cut off gives up soon."""
    monkeypatch.setattr(lines_room, "RETRY_SECONDS", 0.3)


def add(replica: Path, seed: int) -> None:
    Replica.open(replica).add(write_model(replica.parent / f"m{seed}.safetensors", seed, tensors=LEAVES))


def assert_whole(replica: Path) -> None:
    """Nothing in it is damaged."""
    assert Replica.open(replica).fsck().damage == ()


@TRANSPORTS
def test_a_client_killed_at_any_moment_fetches_exactly_what_is_missing(
    founder: Path, member: Path, transport: str
) -> None:
    add(founder, 1)
    whole = objects(founder)
    moments = random.Random(5)
    with Server(founder, "--transport", transport) as server:
        partial = 0
        for turn in range(KILLS):
            replica = copy_replica(member, member.parent / f"killed-{turn}")
            before = objects(replica)
            command = [*CONJOIN, "-C", str(replica), "sync", server.ticket]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
            wanted = moments.randint(1, LEAVES - 1)
            until = time.monotonic() + 30
            while len(objects(replica, "leaf") - before) < wanted and process.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kept = objects(replica) - before
            partial += 0 < len(kept) < len(whole - before)
            report = Replica.open(replica).sync(server.ticket)
            assert report.objects_in == len(whole - before - kept)
            assert not report.refused and not report.missing
            assert objects(replica) >= whole
            assert_whole(replica)
            shutil.rmtree(replica)
        assert partial >= KILLS // 2


@pytest.mark.parametrize("push", [False, True])
@pytest.mark.usefixtures("impatient")
def test_a_server_killed_in_the_middle(founder: Path, member: Path, push: bool) -> None:
    """The client says so, and when the server is back exactly the missing leaves move, in either direction."""
    giver, taker = (member, founder) if push else (founder, member)
    add(giver, 1)
    port = free_port()
    with Server(founder, "--bind", f"127.0.0.1:{port}") as server:
        before = objects(taker, "leaf")
        replica = Replica.open(member)
        try:
            report = replica.sync(server.ticket, progress=Killing(LEAVES // 3, server.kill))
        except RemoteError as error:
            assert not push and error.retryable
        else:
            assert report.failure is not None or report.refused
        kept = objects(taker, "leaf") - before
        assert LEAVES // 4 <= len(kept) < LEAVES
        assert_whole(taker)
        server.start()
        again = replica.sync(server.ticket)
        lacking = objects(giver, "leaf") - before - kept
        assert (again.objects_out if push else again.objects_in) == len(lacking) + 1, "leaves; operation or manifest"
        assert not again.refused and again.failure is None
        assert_same_objects(founder, member)


def test_a_bit_flipped_on_the_way_is_noticed_and_costs_one_question_more(founder: Path, member: Path) -> None:
    """TLS notices, the connection ends, and what was lost with it is asked again."""
    add(founder, 1)
    with Serving(founder) as serving, proxied(int(serving.address.rpartition(":")[2])) as proxy:
        ticket = replace(serving.ticket, addresses=(f"127.0.0.1:{proxy.port}",))
        proxy.flip_after = 1_500_000
        report = Replica.open(member).sync(str(ticket))
        assert proxy.flipped == 1
        assert not report.refused and not report.missing and report.failure is None
    assert_same_objects(founder, member)


@TRANSPORTS
def test_a_bit_flipped_by_the_other_end_is_refused(
    founder: Path, member: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What TLS or QUIC carries faithfully is still judged by its digest."""
    add(founder, 1)
    real = TicketLine.exchange
    flips = iter([True])

    def bent(self: TicketLine, frame: bytes) -> bytes:
        answer = real(self, frame)
        leaf = b'"name":"leaf/' in answer[:200] and b'"type":"object"' in answer[:400]
        return answer[:-1] + bytes([answer[-1] ^ 1]) if leaf and next(flips, False) else answer

    with Serving(founder, transports=(transport,)) as serving:
        monkeypatch.setattr(TicketLine, "exchange", bent)
        report = Replica.open(member).sync(str(serving.ticket))
        assert [refusal.code for refusal in report.refused] == ["E301"]
        assert len(report.missing) == 1
        assert_whole(member)
        again = Replica.open(member).sync(str(serving.ticket))
        assert again.objects_in == 2, "the leaf that was refused, and the manifest that waited for it"
    assert_same_objects(founder, member)


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, folder: Path, after: int) -> Iterator[None]:
    """A disk under `folder` that is full after so many files."""
    real, left = files_room._write, [after]

    def write(path: Path, data: Any, flags: int) -> None:
        if folder in path.parents:
            left[0] -= 1
            if left[0] < 0:
                path.write_bytes(bytes(data)[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, data, flags)

    with monkeypatch.context() as patched:
        patched.setattr(files_room, "_write", write)
        yield


@TRANSPORTS
@pytest.mark.parametrize("push", [False, True])
def test_a_full_disk_on_the_receiving_side(
    founder: Path, member: Path, push: bool, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    giver, taker = (member, founder) if push else (founder, member)
    add(giver, 1)
    with Serving(founder, transports=(transport,)) as serving:
        before = objects(taker)
        with full_disk(monkeypatch, taker, after=LEAVES // 2):
            if push:
                report = Replica.open(member).sync(str(serving.ticket))
                assert report.refused and "directory" in report.refused[0].what
                assert str(founder) not in json.dumps([refusal.what for refusal in report.refused])
            else:
                with pytest.raises(DiskFullError):
                    Replica.open(member).sync(str(serving.ticket))
        kept = objects(taker) - before
        assert 0 < len(kept) <= LEAVES // 2 + 1
        assert_whole(taker)
        report = Replica.open(member).sync(str(serving.ticket))
        moved = report.objects_out if push else report.objects_in
        assert moved == len(objects(giver) - before - kept) - push, "a manifest that is pushed is a question"
        assert not report.refused and report.failure is None
    assert_same_objects(founder, member)


def test_a_client_reaches_a_peer_through_a_proxy(founder: Path, member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is used, by CONNECT: what the proxy carries it cannot read."""
    import threading

    asked: list[bytes] = []
    with Serving(founder) as serving, socket.create_server(("127.0.0.1", 0)) as listening:

        def carry(source: socket.socket, target: socket.socket) -> None:
            try:
                while data := source.recv(1 << 16):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def accept() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                asked.append(client.recv(4096))
                host, _, port = asked[-1].split()[1].decode().rpartition(":")
                server = socket.create_connection((host, int(port)))
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=carry, args=ends, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listening.getsockname()[1]}")
        report = Replica.open(member).sync(str(serving.ticket))
    assert report.failure is None and not report.refused
    assert asked and all(line.startswith(b"CONNECT " + serving.address.encode()) for line in asked)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://127.0.0.1", "http://127.0.0.1:1"])
def test_a_proxy_that_does_not_lead_there_is_named(
    founder: Path, member: Path, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Serving(founder) as serving:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(UnreachableError, match="proxy"):
            Replica.open(member).sync(str(serving.ticket))


def test_an_answer_that_never_ends_is_left(founder: Path, member: Path) -> None:
    """A peer that sends more than a question allows is not read on."""

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return b"x" * size

    with Serving(founder) as serving:
        line = HttpsLine(serving.ticket, key_of(member))
    line._base = f"https://{serving.address}/"
    line._pool = Mock(urlopen=lambda *_, **__: HTTPResponse(Endless(), status=200, preload_content=False))
    with pytest.raises(ConjoinError, match="bytes came"):
        line._post("ask", b"", 1_000_000, 1.0)


def test_an_answer_that_is_cut_is_not_taken_as_whole(founder: Path, member: Path) -> None:
    """The connection broke; the peer is not to blame, and may be asked again."""
    with Serving(founder) as serving:
        line = HttpsLine(serving.ticket, key_of(member))
    line._base = f"https://{serving.address}/"
    cut = partial(HTTPResponse, headers={"content-length": "100"}, status=200, preload_content=False)
    line._pool = Mock(urlopen=lambda *_, **__: cut(io.BytesIO(40 * b"x")))
    with pytest.raises(UnreachableError, match="40 bytes read, 60 more expected"):
        line._post("ask", b"", 1_000_000, 1.0)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n"])
def test_a_head_or_body_that_drips_over_tls_is_left(
    founder: Path, member: Path, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that sends a byte now and then is given up, though it never is silent for long."""
    with Serving(founder) as serving:
        ticket = serving.ticket
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 0.5)
    certificate = founder / ".conjoin" / "local" / "certificate.pem"
    with dripping(head, certificate) as endpoint:
        line = HttpsLine(replace(ticket, addresses=(endpoint.removeprefix("https://"),)), key_of(member))
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="too slow") as caught:
            line.dial()
        assert 0.5 <= time.monotonic() - began < 2.0
    assert line.where in caught.value.what
    assert "run the command again" in (caught.value.hint or "")


class SlowLine(Proxy):
    """Carries so many bytes a second, and takes no more ahead than a line that is far away would."""

    BYTES_PER_SECOND = 800_000

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        self._listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)

    def _carry(self, source: socket.socket, target: socket.socket, bent: bool) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                time.sleep(len(data) / self.BYTES_PER_SECOND)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_leaf_goes_over_a_slow_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves all the time, though as a whole it takes longer than the other side may be idle."""
    for room in (https_room, lines_room):
        monkeypatch.setattr(room, "IDLE_SECONDS", 1.5)
    base = write_model(folder / "big.safetensors", 2, tensors=1, tensor_bytes=2 * 1024 * 1024)
    Replica.init(folder / "far", base).close()
    giver = member_of(folder / "far", folder / "near")
    Replica.open(giver).add(write_model(folder / "tuned.safetensors", 3, tensors=1, tensor_bytes=2 * 1024 * 1024))
    with Serving(folder / "far") as serving, closing(SlowLine(int(serving.address.rpartition(":")[2]))) as line:
        ticket = replace(serving.ticket, addresses=(f"127.0.0.1:{line.port}",))
        began = time.monotonic()
        report = Replica.open(giver).sync(str(ticket))
    assert time.monotonic() - began > 1.5
    assert report.failure is None and not report.refused
    assert_same_objects(folder / "far", giver)


def test_a_connection_on_which_nothing_moves_is_probed(founder: Path, member: Path) -> None:
    """Else a cable that is pulled while the peer works on an answer would be noticed after ten minutes."""
    with Serving(founder) as serving, closing(HttpsLine(serving.ticket, key_of(member)).dial()) as line:
        connection = line._pool.connection_from_url(line._base).pool.get_nowait()
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30
        connection.close()
