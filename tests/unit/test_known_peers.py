"""What a replica remembers of its peers: it comes back as it was written, and damage is named and got over."""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin.errors import DamagedPeersError, UnknownSourceError
from conjoin.store.peers import FAILURE_CHARS_MAX, NUMBER_MAX, PEERS_MAX, TEXT_CHARS_MAX, KnownPeer, KnownPeers
from conjoin.sync.known import known_as, named_by

NUMBERS = st.integers(0, NUMBER_MAX)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
PEERS = st.builds(
    KnownPeer,
    key=st.sampled_from(["", "a" * 64, "b" * 64]),
    source=TEXTS,
    where=TEXTS.filter(bool),
    met=NUMBERS,
    root=TEXTS,
    operations=NUMBERS,
    lacking=st.none() | NUMBERS,
    waiting=NUMBERS,
    failed=NUMBERS,
    failure=TEXTS,
)
PEER = KnownPeer("a" * 64, "conjoin:A", "127.0.0.1:1", 100, operations=7, lacking=2)


@pytest.fixture
def known(tmp_path: Path) -> KnownPeers:
    return KnownPeers(tmp_path / "peers.json")


@settings(max_examples=60, deadline=None)
@given(st.lists(PEERS, max_size=6))
def test_what_is_remembered_comes_back(peers: list[KnownPeer]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = KnownPeers(Path(folder) / "peers.json")
        expected: dict[str, KnownPeer] = {}
        for peer in peers:
            known.met(peer)
            before = expected.get(peer.identity)
            if before is not None and not peer.source:
                peer = replace(
                    peer, source=before.source, where=before.where, failed=before.failed, failure=before.failure
                )
            expected[peer.identity] = peer
        found = known.read()
        assert {peer.identity: peer for peer in found} == expected and len(found) == len(expected)
        assert [peer.met for peer in found] == sorted((peer.met for peer in found), reverse=True)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_named_and_the_next_sync_gets_over_it(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peers.json"
        known = KnownPeers(path)
        known.met(PEER)
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = data.draw(
            st.sampled_from([whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole + whole])
            | st.binary(max_size=50)
        )
        path.write_bytes(damaged)
        try:
            known.read()
        except DamagedPeersError as error:
            assert error.where == str(path) and "peers-damaged.json" in (error.hint or "")
            known.met(replace(PEER, met=200))
            assert known.read() == (replace(PEER, met=200),)
            assert (path.parent / "peers-damaged.json").read_bytes() == damaged
        else:  # one bit made another text or number of it
            known.met(replace(PEER, met=200))
            assert replace(PEER, met=200) in known.read()


@pytest.mark.parametrize(
    "change",
    [
        {"met": -1},
        {"met": 1.5},
        {"met": True},
        {"met": "100"},
        {"met": NUMBER_MAX + 1},
        {"lacking": "2"},
        {"where": None},
        {"where": "x" * (TEXT_CHARS_MAX + 1)},
        {"key": "", "where": ""},
        {"more": 1},
    ],
)
def test_a_field_that_cannot_be_meant_is_damage(change: dict[str, object]) -> None:
    whole = {name: getattr(PEER, name) for name in KnownPeer.__slots__}
    assert KnownPeer.from_json(whole) == PEER
    with pytest.raises(ValueError, match=r"fields|is no|no name"):
        KnownPeer.from_json({**whole, **change})


def test_nothing_is_known_at_first_and_what_is_no_file_is_damage(known: KnownPeers, tmp_path: Path) -> None:
    assert known.read() == ()
    known.failed("nobody", 1, "it is not known")
    assert known.read() == ()
    os.unlink(tmp_path / "peers.json")
    (tmp_path / "peers.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedPeersError):
        known.read()


def test_who_comes_stays_reachable_and_a_failure_stays_until_it_is_reached(known: KnownPeers) -> None:
    known.met(PEER)
    known.failed(PEER.key, 150, "x" * 1000)
    known.met(KnownPeer(PEER.key, "", "", 200, operations=9, lacking=0))
    (came,) = known.read()
    assert (came.source, came.where, came.met, came.operations, came.failed) == ("conjoin:A", PEER.where, 200, 9, 150)
    assert came.failure == "x" * FAILURE_CHARS_MAX
    known.met(replace(PEER, met=300))
    assert known.read() == (replace(PEER, met=300),)


def test_the_number_is_bounded_and_those_that_can_be_reached_stay(known: KnownPeers) -> None:
    known.met(PEER)
    for number in range(PEERS_MAX + 5):
        known.met(KnownPeer(f"{number:064x}", "", "", 1000 + number))
    found = known.read()
    assert len(found) == PEERS_MAX and PEER in found
    assert f"{0:064x}" not in {peer.key for peer in found}
    known.met(replace(PEER, where="x" * (TEXT_CHARS_MAX + 1), met=9999))
    assert known.read() == found, "what is too long is not kept"


def test_many_at_once_lose_nothing(known: KnownPeers, tmp_path: Path) -> None:
    def remember(number: int) -> None:
        for turn in range(4):
            KnownPeers(tmp_path / "peers.json").met(KnownPeer(f"{4 * number + turn:064x}", "", "", number))

    threads = [threading.Thread(target=remember, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known.read()) == 16


def test_how_far_behind() -> None:
    assert (PEER.behind(7), PEER.behind(10), PEER.behind(3)) == (2, 5, 2)
    assert replace(PEER, lacking=None).behind(10) == 3


@pytest.mark.parametrize(
    ("source", "kept", "where"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix", "s3://bucket/prefix"),
        ("sftp://ada@host/folder", "sftp://ada@host/folder", "sftp://ada@host/folder"),
        ("https://ada:secret@host/folder", "", "https://ada:…@host/folder"),
        ("https://host/folder?signature=secret", "", "https://host/folder?…"),
    ],
)
def test_a_secret_is_never_kept(source: str, kept: str, where: str) -> None:
    peer = named_by(source)
    assert (peer.key, peer.source, peer.where) == ("", kept, where)
    assert "secret" not in repr(peer)


def test_a_folder_is_named_as_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_by("place") == named_by(str(tmp_path / "place"))


def test_a_peer_is_found_by_its_key_and_a_place_by_its_name_and_forgotten(known: KnownPeers, tmp_path: Path) -> None:
    other, place = replace(PEER, key="a" * 63 + "b"), KnownPeer("", str(tmp_path), str(tmp_path), 5)
    for peer in (PEER, other, place):
        known.met(peer)
    assert known_as(known, PEER.key) == PEER
    assert known_as(known, str(tmp_path / "x" / "..")) == place
    for name, what in (("aaaaaaaa", "2 peers"), ("aaaaaaa", "no such"), ("s3://ada:secret@bucket", "no such")):
        with pytest.raises(UnknownSourceError, match=what) as refused:
            known_as(known, name)
        assert "secret" not in str(refused.value)
    known.forget(PEER.key)
    assert known_as(known, "aaaaaaaa") == other
    known.forget(place.where)
    assert known.read() == (other,)
