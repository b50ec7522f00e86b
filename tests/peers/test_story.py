"""Two laptops: real processes over HTTPS on loopback, through the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from conjoin.errors import (
    BadTicketError,
    KeyFileError,
    MissingExtraError,
    NoReplicaError,
    NotPermittedError,
    PeerRefusedError,
    ReplicaExistsError,
    UnreachableError,
    UsageError,
    WrongPeerError,
    WrongSpaceError,
)
from conjoin.replica import Replica
from conjoin.serving import TURNED_AWAY_TOLD, Serving
from conjoin.store.home import is_replica
from conjoin.store.keys import load_key
from conjoin.sync import SyncReport
from conjoin.sync.peers.ticket import parse_ticket
from conjoin.wire.objects import leaf_name
from tests.peers.world import (
    SMALL_BYTES,
    Server,
    assert_same_objects,
    conjoin,
    key_of,
    objects,
    report_of,
    write_model,
)


def test_two_laptops(folder: Path) -> None:
    """init, serve with an invite, clone, add on both sides, sync, resolve on both: the same bytes."""
    base = write_model(folder / "base.safetensors", 0)
    one, two = folder / "one", folder / "two"
    conjoin("init", one, "--base", base)
    with Server(one, "--invite") as server:
        assert json.loads(conjoin("clone", server.ticket, two, "--json"))["role"] == "member"
        conjoin("-C", two, "add", write_model(folder / "m2.safetensors", 2))
        conjoin("-C", one, "add", write_model(folder / "m1.safetensors", 1))
        report = report_of(conjoin("-C", two, "sync", server.ticket, "--json"))
        assert (report["operations_in"], report["operations_out"], report["refused"]) == (1, 1, [])
        assert parse_ticket(server.ticket).invite not in json.dumps(report)
        assert_same_objects(one, two)
        again = report_of(conjoin("-C", two, "sync", server.ticket, "--json"))
        assert (again["objects_in"], again["objects_out"]) == (0, 0)
        text = conjoin("clone", server.ticket, folder / "three", "--json", status=6)
        assert json.loads(text)["error"]["code"] == "E505", "the invite was used"
        assert not is_replica(folder / "three")
    for side in (one, two):
        conjoin("-C", side, "resolve", "weight_average", "-o", folder / f"{side.name}-merged")
    first, second = (folder / f"{side.name}-merged" / "model.safetensors" for side in (one, two))
    assert first.read_bytes() == second.read_bytes()


def test_two_clients_at_once_while_somebody_adds(founder: Path, member: Path, folder: Path) -> None:
    """Three writers on one directory: two peers and another process; nothing is lost and all end equal."""
    other = folder / "other"
    Replica.clone(founder, other).close()
    for number, side in enumerate((member, other)):
        Replica.open(side).add(write_model(folder / f"m{number}.safetensors", 1 + number, tensors=60))
    write_model(folder / "mine.safetensors", 9, tensors=60)
    with Server(founder) as server:
        failures: list[BaseException] = []

        def sync(side: Path) -> None:
            try:
                report = Replica.open(side).sync(server.ticket)
                assert report.failure is None and not report.refused, report
            except BaseException as error:  # noqa: BLE001 - told in the main thread
                failures.append(error)

        threads = [threading.Thread(target=sync, args=(side,)) for side in (member, other)]
        for thread in threads:
            thread.start()
        conjoin("-C", founder, "add", folder / "mine.safetensors")
        for thread in threads:
            thread.join()
        assert not failures
        for side in (member, other, member):
            Replica.open(side).sync(server.ticket)
    assert len(Replica.open(founder).visible) == 3
    for side in (member, other):
        assert_same_objects(founder, side)


def test_strangers_and_wrong_peers_are_refused_before_anything_is_read(founder: Path, folder: Path) -> None:
    new, foreign = folder / "new", folder / "foreign"
    for path in (new, foreign):
        Replica.init(path, folder / "base.safetensors").close()
    with Serving(founder) as serving, Serving(foreign) as impostor:
        before = objects(founder)
        with pytest.raises(PeerRefusedError, match="not a member") as refused:
            Replica.clone(str(serving.ticket), folder / "stranger")
        assert "--invite" in (refused.value.hint or "")
        assert objects(founder) == before
        assert list((folder / "stranger" / ".conjoin-new" / "leaf").iterdir()) == [], "its key is kept, to be invited"
        with pytest.raises(WrongSpaceError):
            Replica.open(foreign).sync(str(serving.ticket))
        elsewhere = replace(serving.ticket, addresses=impostor.ticket.addresses)
        with pytest.raises(WrongPeerError):
            Replica.clone(str(elsewhere), folder / "fooled")
        forged = replace(elsewhere, certificate=impostor.ticket.certificate, space=impostor.ticket.space)
        with pytest.raises(WrongPeerError, match="does not hold the key"):
            Replica.clone(str(forged), folder / "fooled")
        Replica.open(founder).invite(key_of(new).public)
        both = replace(elsewhere, addresses=(*elsewhere.addresses, *serving.ticket.addresses))
        found = Replica.clone(str(both), folder / "patient", key=new / ".conjoin" / "local" / "key")
        assert found.role == "member"
    with pytest.raises(UnreachableError) as gone:
        Replica.clone(str(serving.ticket), folder / "gone")
    assert gone.value.retryable and "conjoin serve" in (gone.value.hint or "")
    with pytest.raises(BadTicketError):
        Replica.clone(str(serving.ticket)[:-9], folder / "bad")
    assert not any((folder / name).exists() for name in ("gone", "bad")), "no key was shown"


class Cut:
    """Progress that breaks the command off when so many bytes have come."""

    def __init__(self, after_bytes: int, kill: bool = False) -> None:
        self._left_bytes = after_bytes
        self._kill = kill
        self._raised = False

    def start(self, what: str, total_bytes: int) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        self._left_bytes -= done_bytes
        if self._left_bytes <= 0:
            if self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._raised:
                time.sleep(0.5)  # other threads move no more until the first one's end is noticed
            self._raised = True
            raise KeyboardInterrupt


HALF_BYTES = 30 * SMALL_BYTES


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("way", ["peer", "place"])
def test_a_clone_that_was_broken_off_goes_on_with_the_same_key(
    founder: Path, folder: Path, way: str, kill: bool
) -> None:
    target, place = folder / "new", folder / "place"
    place.mkdir()
    Replica.open(founder).sync(place)
    with Serving(founder, invite_seconds=60.0) as serving:
        source = str(serving.ticket) if way == "peer" else str(place)
        if kill:
            code = (
                f"from conjoin.replica import Replica; from tests.peers.test_story import Cut; "
                f"Replica.clone({source!r}, {str(target)!r}, progress=Cut({HALF_BYTES}, kill=True))"
            )
            assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
        else:
            with pytest.raises(KeyboardInterrupt):
                Replica.clone(source, target, progress=Cut(HALF_BYTES))
        key = load_key(target / ".conjoin-new" / "local" / "key").public
        with pytest.raises(KeyFileError):
            Replica.clone(source, target, key=folder / "nosuch")
        with pytest.raises(NoReplicaError, match="broken off"):
            Replica.open(target)
        with pytest.raises(ReplicaExistsError, match="broken off"):
            Replica.init(target, write_model(folder / "other.safetensors", 5))
        reports: list[SyncReport] = []
        made = Replica.clone(source, target, tell=reports.append)
    assert (made.key, made.role) == (key, "member" if way == "peer" else None)
    assert reports[0].skipped_in.size_bytes >= HALF_BYTES - 4 * SMALL_BYTES
    assert made.status().missing == () and made.fsck().damage == ()
    assert not (target / ".conjoin-new").exists() and not (target / ".conjoin" / "local" / "resuming").exists()


def test_what_serve_says_to_and_of_those_who_are_no_members(founder: Path, folder: Path) -> None:
    with Server(founder, quiet=False) as server:
        said = server.line("conjoin -C DIR sync")
        server.line("makes nobody a member")
        ticket = said.split()[-1]
        conjoin("clone", ticket, folder / "new", status=6)
        key = load_key(folder / "new" / ".conjoin-new" / "local" / "key").public
        assert f"key {key} was turned away: it is not a member" in server.line("turned away")
    turned_away: list[str] = []
    with Serving(founder, turned_away=lambda key, _: turned_away.append(key)) as serving:
        for _ in range(TURNED_AWAY_TOLD + 2):
            with pytest.raises(PeerRefusedError):
                Replica.clone(str(serving.ticket), folder / "new")
    assert turned_away == [key] * TURNED_AWAY_TOLD
    for options in (("--bind", "127.0.0.1:99999"), ("--bind", "localhost"), ("--invite", "--expires", "0s")):
        status = 6 if "--bind" in options else 2
        told = json.loads(conjoin("-C", founder, "serve", *options, "--json", status=status))
        assert told["error"]["code"] in ("E506", "E111") and told["error"]["hint"]


def test_a_replica_does_not_sync_with_itself(founder: Path) -> None:
    with Serving(founder) as serving:
        for source in (serving.ticket, founder, founder / ".conjoin"):
            with pytest.raises(UsageError, match="itself"):
                Replica.open(founder).sync(str(source))
    assert Replica.open(founder).peers() == ()


def test_who_is_refused_is_let_in_by_the_key_that_was_named(founder: Path, folder: Path) -> None:
    with Serving(founder) as serving:
        with pytest.raises(PeerRefusedError) as refused:
            Replica.clone(str(serving.ticket), folder / "new")
        (key,) = re.findall(r"[0-9a-f]{64}", refused.value.what)
        Replica.open(founder).invite(key)
        assert Replica.clone(str(serving.ticket), folder / "new").key == key


def test_what_is_left_of_another_space_is_refused_and_kept(founder: Path, folder: Path) -> None:
    """Its key may be let in there, and no invite may be left for another one."""
    other = Replica.init(folder / "other", write_model(folder / "m9.safetensors", 9))
    with pytest.raises(KeyboardInterrupt):
        Replica.clone(founder, folder / "new", progress=Cut(HALF_BYTES))
    left = folder / "new" / ".conjoin-new"
    key = load_key(left / "local" / "key").public
    for attempt in (
        partial(Replica.clone, other.path, folder / "new"),
        partial(Replica.init, folder / "new", folder / "m9.safetensors"),
    ):
        with pytest.raises(ReplicaExistsError, match="broken off"):
            attempt()
        assert load_key(left / "local" / "key").public == key
    shutil.rmtree(left)
    assert Replica.clone(other.path, folder / "new").key != key
    assert objects(folder / "new", "leaf") == objects(folder / "other", "leaf")


def test_only_an_admin_gives_invites(member: Path) -> None:
    with pytest.raises(NotPermittedError):
        Serving(member, invite_seconds=60)


def test_an_invite_ends(founder: Path, folder: Path) -> None:
    with Serving(founder, invite_seconds=-1) as serving, pytest.raises(PeerRefusedError, match="ended"):
        Replica.clone(str(serving.ticket), folder / "late")


def test_a_missing_extra_is_named(founder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError) as missing:
        Serving(founder)
    assert "conjoin[net]" in (missing.value.hint or "")


def test_a_place_that_is_taken_is_named(founder: Path) -> None:
    with Serving(founder) as serving, pytest.raises(UnreachableError, match="nothing can listen"):
        Serving(founder, bind=serving.address)


@pytest.mark.parametrize("way", ["pulled", "pushed"])
def test_a_leaf_whose_likeness_is_damaged_there_moves_whole(founder: Path, member: Path, way: str) -> None:
    tuned = load_file(founder.parent / "base.safetensors")
    tuned["t000"] = tuned["t000"].copy()
    tuned["t000"][0] += 1
    save_file(tuned, founder.parent / "near.safetensors")
    giver, taker = (founder, member) if way == "pulled" else (member, founder)
    Replica.open(giver).add(founder.parent / "near.safetensors")
    (entry, *_) = Replica.open(founder).inventory.manifest(Replica.open(founder).base).tensors
    leaf = founder / ".conjoin" / leaf_name(entry.leaves[0])
    data = bytearray(leaf.read_bytes())
    data[-1] ^= 1
    leaf.write_bytes(data)
    with Serving(founder) as serving:
        report = Replica.open(member).sync(str(serving.ticket))
    assert (report.refused, report.failure, report.missing) == ((), None, ())
    assert report.bytes_in + report.bytes_out > len(data), "whole, after a difference that was of no use"
    assert Replica.open(taker).status().missing == () and len(Replica.open(taker).visible) == 1
    assert [found.name for found in Replica.open(founder).fsck().damage] == [leaf_name(entry.leaves[0])]
    assert Replica.open(member).fsck().damage == ()
