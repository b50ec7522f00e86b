"""Who is let in: both keys are proven, over this connection, in this session, once; everybody else is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import conjoin.sync.peers.invites as invites_room
from conjoin.errors import (
    BadKeyError,
    BadSignatureError,
    KeyFileError,
    NotAMemberError,
    NotPermittedError,
    PeerRefusedError,
    ProtocolError,
    WrongPeerError,
    WrongSpaceError,
)
from conjoin.sync.peers.certificate import provide_certificate
from conjoin.sync.peers.handshake import (
    PENDING_MAX,
    PENDING_SECONDS,
    Caller,
    Door,
    Transcript,
    granted,
    hash_of_invite,
    new_token,
)
from conjoin.sync.peers.invites import Invites
from conjoin.sync.peers.ticket import Ticket
from conjoin.wire.digest import Digest

SPACE, CERTIFICATE = Digest("a" * 64), Digest("c" * 64)


class Key:
    def __init__(self, name: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.public = self._private.public_key().public_bytes_raw().hex()

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


SERVER, CLIENT = Key("server"), Key("client")


class World:
    """A door with a clock one can turn, and who came in."""

    def __init__(self, key: Key = SERVER, certificate: Digest = CERTIFICATE) -> None:
        self.now = 0.0
        self.asked: list[tuple[str, str]] = []
        self.refusing = False
        self.door = Door(key, SPACE, certificate, self.admit, lambda: self.now)
        self.ticket = Ticket(("127.0.0.1:1",), key.public, certificate, SPACE, "e" * 32)

    def admit(self, key: str, invite: str) -> None:
        self.asked.append((key, invite))
        if self.refusing:
            raise NotAMemberError("not a member")


def test_both_prove_their_keys() -> None:
    world = World()
    caller = Caller(world.ticket, CLIENT)
    proof = caller.proof(world.door.welcome(caller.greeting()))
    assert world.door.proven(proof) == CLIENT.public
    assert world.asked == [(CLIENT.public, "e" * 32)]
    token = new_token()
    assert caller.token(granted(token)) == token


def test_a_proof_is_good_once() -> None:
    world = World()
    caller = Caller(world.ticket, CLIENT)
    proof = caller.proof(world.door.welcome(caller.greeting()))
    world.door.proven(proof)
    with pytest.raises(PeerRefusedError):
        world.door.proven(proof)
    assert len(world.asked) == 1


def test_a_proof_comes_in_time() -> None:
    world = World()
    caller = Caller(world.ticket, CLIENT)
    proof = caller.proof(world.door.welcome(caller.greeting()))
    world.now = PENDING_SECONDS + 1
    with pytest.raises(PeerRefusedError):
        world.door.proven(proof)


def test_a_proof_for_one_server_or_certificate_is_none_for_another() -> None:
    """Whoever passes a client's messages on to another server, over another connection, gets in nowhere."""
    for other in (World(Key("other")), World(certificate=Digest("d" * 64))):
        world = World()
        caller = Caller(world.ticket, CLIENT)
        proof = caller.proof(world.door.welcome(caller.greeting()))
        relayed = json.loads(other.door.welcome(caller.greeting()))
        forged = {**json.loads(proof), "nonce": relayed["nonce"]}
        with pytest.raises(BadSignatureError):
            other.door.proven(json.dumps(forged, sort_keys=True, separators=(",", ":")).encode())
        assert not other.asked


def test_a_server_with_another_key_or_certificate_is_told_apart() -> None:
    for other in (World(Key("other")), World(certificate=Digest("d" * 64))):
        caller = Caller(World().ticket, CLIENT)
        with pytest.raises(WrongPeerError):
            caller.proof(other.door.welcome(caller.greeting()))


def test_an_old_welcome_does_not_convince() -> None:
    world = World()
    first, second = Caller(world.ticket, CLIENT), Caller(world.ticket, CLIENT)
    with pytest.raises(WrongPeerError):
        second.proof(world.door.welcome(first.greeting()))


def test_somebody_elses_key_is_not_proven() -> None:
    world = World()

    class Thief(Key):
        public = CLIENT.public

        def __init__(self) -> None:
            super().__init__("thief")
            self.public = CLIENT.public

    caller = Caller(world.ticket, Thief())
    with pytest.raises(BadSignatureError):
        world.door.proven(caller.proof(world.door.welcome(caller.greeting())))
    assert not world.asked


def test_the_server_has_the_last_word() -> None:
    world = World()
    world.refusing = True
    caller = Caller(world.ticket, CLIENT)
    with pytest.raises(NotAMemberError):
        world.door.proven(caller.proof(world.door.welcome(caller.greeting())))


def test_what_the_two_sides_sign_differs_and_is_no_operation() -> None:
    transcript = Transcript(CLIENT.public, "1" * 64, SERVER.public, "2" * 64, CERTIFICATE, SPACE)
    client, server = transcript.signed_by("client"), transcript.signed_by("server")
    assert client != server
    assert not client.startswith(b"DSSEv1") and not server.startswith(b"DSSEv1")


def test_a_copy_of_the_server_and_other_spaces_are_refused() -> None:
    world = World()
    with pytest.raises(BadKeyError):
        world.door.welcome(Caller(world.ticket, SERVER).greeting())
    elsewhere = Ticket(("127.0.0.1:1",), SERVER.public, CERTIFICATE, Digest("b" * 64))
    with pytest.raises(WrongSpaceError):
        world.door.welcome(Caller(elsewhere, CLIENT).greeting())


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"key":1,"nonce":2,"protocol":3,"space":4}', b"[" * 4000]
)
def test_garbage_is_refused(data: bytes) -> None:
    world = World()
    with pytest.raises((ProtocolError, BadKeyError)):
        world.door.welcome(data)
    with pytest.raises(ProtocolError):
        world.door.proven(data)
    with pytest.raises(ProtocolError):
        Caller(world.ticket, CLIENT).proof(data)


def test_many_who_greet_and_never_prove_are_forgotten() -> None:
    world = World()
    for _ in range(PENDING_MAX * 2):
        world.door.welcome(Caller(world.ticket, CLIENT).greeting())
    assert len(world.door._pending) == PENDING_MAX


def test_an_invite_works_once_and_ends(tmp_path: Path) -> None:
    invites = Invites(tmp_path / "invites.json")
    first, second = invites.give(1000.0, 60), invites.give(1000.0, 60)
    assert first.encode() not in (tmp_path / "invites.json").read_bytes()
    assert hash_of_invite(first) in (tmp_path / "invites.json").read_text()
    assert invites.use(first, 1001.0)
    assert not Invites(tmp_path / "invites.json").use(first, 1001.0)
    assert not invites.use("0" * 32, 1001.0)
    assert not invites.use(second, 1061.0)


def test_a_damaged_file_of_invites_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "invites.json"
    invite = Invites(path).give(0.0, 60)
    path.write_bytes(path.read_bytes()[:-1])
    assert not Invites(path).use(invite, 1.0)


def test_only_so_many_invites_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invites_room, "INVITES_MAX", 2)
    invites = Invites(tmp_path / "invites.json")
    invites.give(0.0, 60)
    invites.give(0.0, 90)
    with pytest.raises(NotPermittedError):
        invites.give(1.0, 60)
    invites.give(61.0, 60)


def test_the_certificate_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    digest = provide_certificate(path)
    assert provide_certificate(path) == digest
    assert path.stat().st_mode & 0o077 == 0
    assert provide_certificate(tmp_path / "other.pem") != digest
    path.chmod(0o644)
    with pytest.raises(KeyFileError):
        provide_certificate(path)
    path.chmod(0o600)
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(KeyFileError):
        provide_certificate(path)
