"""Gossip: five real processes, two that sync into each other at the same moment, and whom a replica remembers."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from conjoin.apps.cli import run
from conjoin.errors import BadTicketError, UnreachableError, WrongSpaceError
from conjoin.gossiping import Gossip
from conjoin.replica import Replica
from conjoin.serving import LOCK_SECONDS, Serving
from conjoin.store.home import Home
from conjoin.store.lock import ReplicaLock
from conjoin.sync import SyncReport
from conjoin.sync.gossip import DOUBLINGS_MAX, JITTER, Partners
from tests.peers.world import CONJOIN, ENVIRONMENT, assert_same_objects, conjoin, free_port, member_of, write_model

REPLICAS = 5
TURNS = 4
EVERY = "0.5s"


@pytest.fixture
def one(folder: Path) -> Path:
    Replica.init(folder / "one", write_model(folder / "base.safetensors", 0)).close()
    return folder / "one"


def add(replica: Path, seed: int) -> None:
    Replica.open(replica).add(write_model(replica.parent / f"m{seed}.safetensors", seed))


def forget_all(replica: Path) -> None:
    """Forget whom it was cloned from."""
    (replica / ".conjoin" / "local" / "peers.json").unlink(missing_ok=True)


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.3)


# ------------------------------------------------------------------------------------------------ processes
class Gossiper:
    """A real `conjoin gossip --json`."""

    def __init__(self, replica: Path, *peers: str, port: int) -> None:
        command = [*CONJOIN, "-C", str(replica), "gossip", *peers, "--every", EVERY, "--json"]
        command += ["--bind", f"127.0.0.1:{port}"]
        self._errors = (replica.parent / f"{replica.name}-errors").open("ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=ENVIRONMENT
        )
        assert self.process.stdout is not None
        self.ticket: str = json.loads(self.process.stdout.readline())["ticket"]
        self.rounds: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.rounds.extend(json.loads(line) for line in self.process.stdout)

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0
        self._reading.join()
        self._errors.close()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def met_after(self, round_number: int, key: str) -> bool:
        """Whether it has synced with a peer since."""
        return any(r["report"] and r["peer"]["key"] == key for r in self.rounds[round_number:])


@contextmanager
def running(gossipers: list[Gossiper]) -> Iterator[None]:
    try:
        yield
    finally:
        for one in gossipers:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()


def test_five_replicas_converge_and_one_goes_away_and_comes_back(one: Path) -> None:
    replicas = [one, *(member_of(one, one.parent / f"r{number}") for number in range(1, REPLICAS))]
    for number, replica in enumerate(replicas):
        forget_all(replica)
        add(replica, number + 1)
    ports = [free_port() for _ in replicas]
    gossipers: list[Gossiper] = []

    def visible(of: list[Gossiper]) -> list[int]:
        return [gossiper.rounds[-1]["visible"] if gossiper.rounds else 0 for gossiper in of]

    with running(gossipers):
        for replica, port in zip(replicas, ports, strict=True):
            gossipers.append(Gossiper(replica, *(gossiper.ticket for gossiper in gossipers), port=port))
        wait_until(lambda: visible(gossipers) == [REPLICAS] * REPLICAS)
        assert len({gossiper.rounds[-1]["root"] for gossiper in gossipers}) == 1

        away = gossipers[1]
        key = Replica.open(replicas[1]).key
        away.interrupt()
        staying = [gossiper for gossiper in gossipers if gossiper is not away]
        add(replicas[0], REPLICAS + 1)
        wait_until(lambda: visible(staying) == [REPLICAS + 1] * (REPLICAS - 1))
        wait_until(lambda: any(r["error"] and r["peer"]["key"] == key for g in staying for r in g.rounds))
        met = [peer for number in (0, 2, 3, 4) for peer in Replica.open(replicas[number]).peers() if peer.key == key]
        assert met and all(peer.behind >= 1 for peer in met), "whoever met it knows what it lacks"
        before = [len(gossiper.rounds) for gossiper in gossipers]

        gossipers[1] = Gossiper(replicas[1], port=ports[1])  # it remembers whom it knew
        wait_until(lambda: visible(gossipers) == [REPLICAS + 1] * REPLICAS)
        assert gossipers[1].ticket == away.ticket
        wait_until(lambda: any(gossipers[n].met_after(before[n], key) for n in range(2, REPLICAS)))
        for gossiper in gossipers:
            gossiper.interrupt()
    failed = {r["error"]["code"] for gossiper in gossipers for r in gossiper.rounds if r["error"]}
    assert failed <= {"E513", "E603", "E508"}, "away, or busy"
    for replica in replicas[1:]:
        assert_same_objects(one, replica)


def test_what_the_command_line_says_and_refuses(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str | Path, status: int = 0) -> str:
        assert run(["-C", str(one), *map(str, arguments)]) == status
        return capsys.readouterr().out

    forget_all(one)
    text = said("gossip", "--rounds", "1", "--every", "1s")
    assert "no peer is known yet" in text and "round 1: nobody to sync with now" in text
    place = one.parent / "place"
    place.mkdir()
    text = said("gossip", place, "--rounds", "2", "--every", "0.1s")
    assert "place: 0 in, 1 out; root" in text and "round 2" in text
    assert said("-q", "gossip", "--rounds", "1").startswith("conjoin:")
    first, second = said("gossip", "--rounds", "1", "--json").splitlines()
    assert json.loads(first)["ticket"] and json.loads(second)["peer"]["where"] == str(place)
    (one / ".conjoin" / "local" / "peers.json").write_text("{}")
    assert json.loads(said("gossip", place, "--rounds", "1", "--json").splitlines()[1])["error"] is None
    for wrong in (["--every", "soon"], ["--every", "0s"], ["--rounds", "0"]):
        said("gossip", *wrong, status=2)
    said("gossip", "conjoin:nonsense", status=6)


def test_a_terminal_shows_who_has_what(
    one: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_all(one)
    place = one.parent / "place"
    place.mkdir()
    monkeypatch.chdir(one.parent)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setitem(Gossip.__init__.__kwdefaults__, "chance", random.Random(1).random)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["-C", "one", "gossip", "place", "conjoin-gone", "--rounds", "4", "--every", "0.1s"]) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    assert re.search(r"peer +where +has +met", text)
    assert re.search(r"place +place +everything +", text) and "1 of 2 peers have it" in text
    assert re.search(r"place +conjoin-gone +not known +never", text) and "conjoin-gone failed: there is no" in text


# ------------------------------------------------------------------------------------------------ at the same moment
def test_two_that_sync_into_each_other_at_the_same_moment(one: Path) -> None:
    """Both have something new each time, and both get rid of it: neither holds a lock that the other waits for."""
    other = member_of(one, one.parent / "other")
    with Serving(one) as first, Serving(other) as second:
        sides = ((one, str(second.ticket)), (other, str(first.ticket)))
        for turn in range(TURNS):
            for number, (side, _) in enumerate(sides):
                add(side, 2 * turn + number + 1)
            together = threading.Barrier(2)
            reports: list[SyncReport | BaseException] = []

            def sync(side: Path, ticket: str, together: threading.Barrier, reports: list[Any]) -> None:
                replica = Replica.open(side)
                together.wait()
                try:
                    reports.append(replica.sync(ticket))
                except BaseException as error:  # noqa: BLE001 - told in the main thread
                    reports.append(error)

            threads = [threading.Thread(target=sync, args=(*side, together, reports)) for side in sides]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for report in reports:
                assert isinstance(report, SyncReport), report
                assert report.failure is None and not report.refused, report
            assert len({Replica.open(side).root for side, _ in sides}) == 1
    assert_same_objects(one, other)


def test_a_peer_whose_replica_is_written_to_is_asked_again(one: Path) -> None:
    """Another process holds the lock for longer than a question waits; the sync takes that long and succeeds."""
    other = member_of(one, one.parent / "other")
    add(other, 1)
    with Serving(one) as serving, ExitStack() as held:
        held.enter_context(ReplicaLock(Home.of(one).lock))
        letting_go = threading.Timer(LOCK_SECONDS + 0.5, held.close)
        letting_go.start()
        began = time.monotonic()
        report = Replica.open(other).sync(str(serving.ticket))
        letting_go.join()
    assert report.failure is None and report.operations_out == 1
    assert time.monotonic() - began > LOCK_SECONDS
    assert_same_objects(one, other)


# ------------------------------------------------------------------------------------------------ what is remembered
def test_both_sides_remember_each_other(one: Path) -> None:
    other = member_of(one, one.parent / "other")
    add(other, 1)
    with Serving(one, invite_seconds=60) as serving:
        report = Replica.open(other).sync(str(serving.ticket))
        assert (report.lacking_there, report.root_there) == (0, report.root)
    met, cloned = sorted(Replica.open(other).peers(), key=lambda peer: not peer.key)
    assert met.key == Replica.open(one).key and met.where == serving.address
    assert met.source == str(serving.ticket.without_invite) and serving.ticket.invite not in repr(met)
    assert (met.behind, met.root) == (0, Replica.open(one).root)
    assert (cloned.key, cloned.source, cloned.behind) == ("", str(one), 1)
    (came,) = Replica.open(one).peers()
    assert (came.key, came.source, came.behind) == (Replica.open(other).key, "", 0)
    add(one, 2)
    assert Replica.open(one).peers()[0].behind == 1
    with pytest.raises(UnreachableError, match="nothing answers there"):
        Replica.open(other).sync(met.source)
    failed = next(peer for peer in Replica.open(other).peers() if peer.key)
    assert failed.failed and "nothing answers there" in failed.failure and failed.met == met.met
    text = conjoin("-C", other, "status")
    assert "everything, failed" in text and "1 operation behind" in text
    (other / ".conjoin" / "local" / "peers.json").write_bytes(b"\0")
    assert "E610" in conjoin("-C", other, "status")
    Replica.open(other).sync(one)
    assert [peer.where for peer in Replica.open(other).peers()] == [str(one)]
    assert (other / ".conjoin" / "local" / "peers-damaged.json").read_bytes() == b"\0"


def test_what_is_missing_here_is_named(one: Path) -> None:
    other = member_of(one, one.parent / "other")
    add(one, 1)
    Replica.open(other).sync(one)
    for leaf in list((other / ".conjoin" / "leaf").rglob("*")):
        if leaf.is_file():
            leaf.unlink()
    status = json.loads(conjoin("-C", other, "status", "--json"))
    contribution = status["contributions"][0]["digest"][:12]
    assert [(m["what"], m["objects"]) for m in status["missing"]] == [
        ("the base", 4),
        (f"contribution {contribution}", 4),
    ]
    assert f"contribution {contribution}: 4 objects, 262 kB" in conjoin("-C", other, "status")


# ------------------------------------------------------------------------------------------------ who is next
def test_partners_are_drawn_evenly_and_those_that_fail_ever_later() -> None:
    partners = Partners(10.0, random.Random(1).random)
    drawn = [partners.draw("abcd", 0.0) for _ in range(4000)]
    assert all(800 < drawn.count(name) < 1200 for name in "abcd")
    pauses = [partners.pause() for _ in range(1000)]
    assert 10 * (1 - JITTER) <= min(pauses) < 8.5 and 11.5 < max(pauses) <= 10 * (1 + JITTER)
    now = 0.0
    for failures in range(1, 9):
        partners.failed("a", now)
        pause = 10.0 * 2 ** min(failures - 1, DOUBLINGS_MAX)
        assert partners.draw("a", now + pause * (1 - JITTER) - 0.01) is None
        now += pause * (1 + JITTER)
        assert partners.draw("a", now) == "a"
    partners.failed("a", now)
    assert {partners.draw("ab", now) for _ in range(50)} == {"b"}
    partners.reached("a")
    assert {partners.draw("ab", now) for _ in range(50)} == {"a", "b"}
    assert partners.draw("", now) is None


def test_a_round_tells_what_went_wrong_and_goes_on(one: Path) -> None:
    other = member_of(one, one.parent / "other")
    forget_all(other)
    now = [0.0]
    with Serving(one) as serving:
        gossip = Gossip(other, [str(serving.ticket)], every_seconds=10.0, clock=lambda: now[0])
        first = gossip.round()
        assert first.report is not None and first.error is None and first.peer is not None
        assert [peer.behind for peer in first.peers] == [0]
    second = gossip.round()
    assert second.report is None and second.error is not None and second.error.code == "E513"
    assert gossip.round().peer is None, "it is left alone"
    gossip.came(Replica.open(one).key)
    assert gossip.round().peer is not None, "it came by itself"
    itself = Gossip(one, [str(serving.ticket)])
    assert [peer.key for peer in itself.peers()] == [Replica.open(other).key]


def test_what_was_refused_in_a_round_is_named(one: Path) -> None:
    other, place = member_of(one, one.parent / "other"), one.parent / "place"
    place.mkdir()
    add(one, 1)
    Replica.open(one).sync(place)
    newest = max(place.glob("ops/*/*"), key=lambda path: int(path.name.partition("-")[0]))
    newest.write_bytes(newest.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))
    forget_all(other)
    said = conjoin("-C", other, "gossip", str(place), "--rounds", "1")
    assert f"1 refused, ops/{newest.parent.name}/{newest.name}: " in said and "(E4" in said, said


def test_peers_that_cannot_be_meant_are_refused_at_once(one: Path) -> None:
    Replica.init(one.parent / "foreign", one.parent / "base.safetensors").close()
    with Serving(one.parent / "foreign") as foreign, pytest.raises(WrongSpaceError):
        Gossip(one, [str(foreign.ticket)])
    with pytest.raises(BadTicketError):
        Gossip(one, ["conjoin:nonsense"])
