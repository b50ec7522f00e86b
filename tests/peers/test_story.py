"""Two laptops: real processes over HTTPS on loopback, through the command line."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from conjoin.errors import (
    BadTicketError,
    MissingExtraError,
    NotPermittedError,
    PeerRefusedError,
    UnreachableError,
    WrongPeerError,
    WrongSpaceError,
)
from conjoin.replica import Replica
from conjoin.serving import Serving
from conjoin.sync.peers.ticket import parse_ticket
from tests.peers.world import (
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
        assert not (folder / "three").exists()
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
        assert not (folder / "stranger").exists() and objects(founder) == before
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
