"""A real partition: two machines joined by a cable that is pulled in the middle of a transfer and put back."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from conjoin.replica import Replica
from tests.peers.world import CONJOIN, ENVIRONMENT, FULL, assert_same_objects, member_of, objects, write_model

SERVER, CLIENT, PORT = "10.213.7.1", "10.213.7.2", 7117
TENSORS, TENSOR_BYTES = 64, 512 * 1024
LIMITS = {} if FULL else {"CONNECT_SECONDS": 2.0, "IDLE_SECONDS": 5.0, "RETRY_SECONDS": 3.0}
SECONDS_MAX = 90.0 if FULL else 30.0
"""Within this time the client says that nobody answers: it waits for 30 s, and not so long for each leaf."""

REACHING = """
import socket, sys, time
until = time.monotonic() + float(sys.argv[2])
while True:
    try:
        socket.create_connection((sys.argv[1], 1), timeout=1)
    except ConnectionRefusedError:
        break
    except OSError:
        if time.monotonic() > until:
            raise
        time.sleep(0.05)
"""
"""Ends as soon as an address answers: nobody listens at that port, and the machine at the other end says so."""


class Cable:
    """Two network namespaces of a user namespace of their own, joined by a pair of virtual interfaces."""

    def __init__(self, held: contextlib.ExitStack) -> None:
        self._client = self._namespace(held, ["unshare", "--user", "--map-root-user", "--net"])
        self._server = self._namespace(held, [*self.at_client, "unshare", "--net"])
        self._ip(self.at_client, f"link add name cable type veth peer name cable netns {self._server}")
        for inside, address in ((self.at_client, CLIENT), (self.at_server, SERVER)):
            self._ip(inside, f"address add {address}/24 dev cable")
            self._ip(inside, "link set cable up")
            self._ip(inside, "link set lo up")

    @property
    def at_client(self) -> list[str]:
        return self._inside(self._client)

    @property
    def at_server(self) -> list[str]:
        return self._inside(self._server)

    def pull(self) -> None:
        self._ip(self.at_server, "link set cable down")

    def put_back(self) -> None:
        """Put it back, and wait until the ends have found each other again, as they have long before a person tries."""
        self._ip(self.at_server, "link set cable up")
        reaching = [*self.at_client, sys.executable, "-c", REACHING, SERVER, str(SECONDS_MAX)]
        done = subprocess.run(reaching, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @staticmethod
    def _inside(holder: int) -> list[str]:
        return ["nsenter", "--preserve-credentials", "--target", str(holder), "--user", "--net"]

    @staticmethod
    def _namespace(held: contextlib.ExitStack, command: Sequence[str]) -> int:
        """The process that keeps a new namespace; it says when it is in there, and ends when its input does."""
        process = subprocess.Popen(
            [*command, "sh", "-c", "echo $$; read _"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        held.callback(process.communicate)
        assert process.stdout is not None
        holder = process.stdout.readline().strip()
        if not holder:
            pytest.skip(f"no network namespaces here: {process.communicate()[1].strip()}")
        return int(holder)

    @staticmethod
    def _ip(inside: Sequence[str], command: str) -> None:
        done = subprocess.run([*inside, "ip", *command.split()], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no virtual interfaces here: {done.stderr.strip()}")


@pytest.fixture
def cable() -> Iterator[Cable]:
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")
    with contextlib.ExitStack() as held:
        yield Cable(held)


@contextlib.contextmanager
def serving(cable: Cable, replica: Path, transport: str) -> Iterator[str]:
    """`conjoin serve` at the far end of the cable; gives its ticket."""
    command = [*cable.at_server, *CONJOIN, "-C", str(replica), "-q", "serve"]
    command += ["--bind", f"{SERVER}:{PORT}", "--transport", transport]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    try:
        ticket = process.stdout.readline().strip()
        assert ticket.startswith("conjoin:"), process.communicate()[1]
        yield ticket
    finally:
        process.terminate()
        process.communicate(timeout=60)


PROGRAM = """
import json, sys
from conjoin.apps.cli import run
from conjoin.sync import pace
from conjoin.sync.peers import https, lines
for name, value in json.loads(sys.argv[1]).items():
    for room in (https, lines, pace):
        if hasattr(room, name):
            setattr(room, name, value)
sys.exit(run(sys.argv[2:]))
"""
"""The command line with limits of time that a test can wait for."""


def sync(cable: Cable, replica: Path, ticket: str) -> subprocess.Popen[str]:
    """`conjoin sync` at the near end of the cable."""
    command = [*cable.at_client, sys.executable, "-c", PROGRAM, json.dumps(LIMITS), "-C", str(replica), "sync", ticket]
    return subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


@pytest.mark.parametrize("transport", ["https", "iroh"] if FULL else ["https"])
@pytest.mark.parametrize("push", [False, True] if FULL else [False])
def test_a_cable_pulled_in_the_middle_and_put_back(cable: Cable, folder: Path, push: bool, transport: str) -> None:
    """The client says in time that nobody answers, what came is kept, and then exactly what is missing moves."""
    founder = folder / "founder"
    Replica.init(founder, write_model(folder / "base.safetensors", 0, TENSORS, TENSOR_BYTES)).close()
    member = member_of(founder, folder / "member")
    giver, taker = (member, founder) if push else (founder, member)
    Replica.open(giver).add(write_model(folder / "m1.safetensors", 1, TENSORS, TENSOR_BYTES))
    before = objects(taker, "leaf")
    with serving(cable, founder, transport) as ticket:
        process = sync(cable, member, ticket)
        until = time.monotonic() + SECONDS_MAX
        while len(objects(taker, "leaf") - before) < TENSORS // 4 and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.001)
        cable.pull()
        pulled = time.monotonic()
        text, errors = process.communicate(timeout=SECONDS_MAX)
        print(f"told after {time.monotonic() - pulled:.1f} s")
        kept = objects(taker, "leaf") - before
        assert TENSORS // 4 <= len(kept) < TENSORS, text + errors
        assert process.returncode == 6, text + errors
        (report,) = json.loads(text)["sources"]
        assert {refusal["code"] for refusal in report["refused"]} == {"E513"}
        assert Replica.open(taker).fsck().damage == ()
        lacking = objects(giver) - objects(taker)
        cable.put_back()
        again = sync(cable, member, ticket)
        text, errors = again.communicate(timeout=60)
        assert again.returncode == 0, text + errors
        (report,) = json.loads(text)["sources"]
        if push:  # a manifest is a question, and of four leaves on their way some may arrive when the cable is back
            assert 0 < len(lacking) - report["objects_out"] <= 5
        else:
            assert report["objects_in"] == len(lacking)
        assert (report["refused"], report["missing"], report["failure"]) == ([], [], None)
    assert_same_objects(founder, member)
