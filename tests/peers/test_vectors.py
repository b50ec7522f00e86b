"""docs/spec/vectors/peers.json, read from the page's text alone and by the library, and the limits that it names."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from conjoin.errors import BadTicketError, ProtocolError
from conjoin.sync.messages import FRAME_BYTES_MAX, SMALL_FRAME_BYTES_MAX, Found, Offer, decode, encode
from conjoin.sync.peers import handshake
from conjoin.sync.peers.handshake import Transcript
from conjoin.sync.peers.iroh_runtime import ASK, REPLY, REQUEST, binding
from conjoin.sync.peers.ticket import Ticket, parse_ticket
from tests.unit.spec_reader import Refused, read_frame

TOP = Path(__file__).parents[2]
VECTORS = json.loads((TOP / "docs" / "spec" / "vectors" / "peers.json").read_text("ascii"))
PAGE = (TOP / "docs" / "spec" / "peers.md").read_text("utf-8")


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["type"])
def test_frames(vector: dict[str, str]) -> None:
    frame = bytes.fromhex(vector["hex"])
    header, body, operations = read_frame(frame)
    message = decode(frame)
    assert encode(message) == frame
    assert type(message).__name__.lower() == header["type"] == vector["type"]
    if isinstance(message, Found | Offer):
        assert list(message.operations) == operations
    assert getattr(message, "data", body) == body
    assert f"`{vector['type']}`" in PAGE
    for name in header:
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("vector", VECTORS["bad_frames"], ids=lambda vector: vector["why"])
def test_frames_that_are_refused(vector: dict[str, str]) -> None:
    frame = bytes.fromhex(vector["hex"])
    with pytest.raises(Refused) as refused:
        read_frame(frame)
    with pytest.raises(ProtocolError) as caught:
        decode(frame)
    assert refused.value.code == caught.value.code == vector["code"]


SHORT, DIGEST = "0123456789abcdef", "ab" * 32
HELLO = {
    "holdings": [],
    "nonce": "00" * 16,
    "protocol": "conjoin/peer/1",
    "ranges": [],
    "send": True,
    "space": DIGEST,
    "type": "hello",
}
WANTED = {"names": [], "refused": [], "type": "wanted"}


def framed(header: dict[str, Any], body: bytes = b"") -> bytes:
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return len(text).to_bytes(4, "big") + text + body


def ranges(count: int) -> list[dict[str, Any]]:
    bounds = [f"{place:016x}" for place in range(count + 1)]
    return [
        {"end": bounds[place + 1], "fingerprint": DIGEST, "holdings": [], "start": bounds[place]}
        for place in range(count)
    ]


LIMITS = {
    "ranges": (4096, lambda count: framed({**HELLO, "ranges": ranges(count)})),
    "holdings": (4096, lambda count: framed({**HELLO, "holdings": [[SHORT, []]] * count})),
    "points": (1024, lambda count: framed({**HELLO, "holdings": [[SHORT, [[1, SHORT]] * count]]})),
    "seq": (9_999_999_999, lambda seq: framed({**HELLO, "holdings": [[SHORT, [[seq, SHORT]]]]})),
    "names": (8192, lambda count: framed({**WANTED, "names": [f"manifest/{DIGEST}"] * count})),
    "refused": (4096, lambda count: framed({**WANTED, "refused": [[DIGEST, "E404"]] * count})),
    "name": (200, lambda chars: framed({"delta": None, "name": "x" * chars, "type": "get"})),
    "code": (10, lambda chars: framed({"code": "x" * chars, "type": "refused", "what": ""})),
    "what": (1000, lambda chars: framed({"code": "", "type": "refused", "what": "é" * chars})),
    "operations": (4096, lambda count: framed({"last": True, "type": "offer"}, bytes(4) * count)),
    "operations_bytes": (
        4_210_688,
        lambda size: framed({"last": True, "type": "offer"}, (size - 4).to_bytes(4, "big") + bytes(size - 4)),
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_those_of_the_page(name: str) -> None:
    limit, frame = LIMITS[name]
    assert f"{limit:,}" in PAGE
    assert encode(decode(frame(limit))) == frame(limit)
    read_frame(frame(limit))
    with pytest.raises(ProtocolError):
        decode(frame(limit + 1))
    with pytest.raises(Refused):
        read_frame(frame(limit + 1))


def test_no_frame_is_longer_than_the_page_says() -> None:
    assert f"{FRAME_BYTES_MAX:,}" in PAGE
    assert f"{SMALL_FRAME_BYTES_MAX:,}" in PAGE


def test_the_corpus_refuses_each_case_once() -> None:
    whys = [vector["why"] for vector in VECTORS["bad_frames"]]
    assert len(set(whys)) == len(whys) > 50


def test_the_handshake() -> None:
    given = VECTORS["handshake"]
    names = ("certificate", "client", "client_nonce", "server", "server_nonce", "space")
    body = json.dumps({name: given[name] for name in names}, separators=(",", ":"))
    for side in ("client", "server"):
        signed = f"conjoin/handshake/1 {side}\n{body}".encode()
        assert signed.decode() == given["signed"][side]
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(given[side]))
        key.verify(bytes.fromhex(given["signatures"][side]), signed)
        assert Transcript(**{name: given[name] for name in names}).signed_by(side) == signed


def test_the_bodies_of_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    given = VECTORS["handshake"]
    bodies = {name: text.encode("ascii") for name, text in given["bodies"].items()}
    client, server = given["client_nonce"], given["server_nonce"]
    space, signatures = given["space"], given["signatures"]
    plain = {
        "greet": {"key": given["client"], "nonce": client, "protocol": "conjoin/handshake/1", "space": space},
        "greet_answer": {"nonce": server, "signature": signatures["server"]},
        "prove": {"invite": VECTORS["invite"]["secret"], "nonce": server, "signature": signatures["client"]},
        "prove_answer": {"token": "33" * 32},
    }
    assert bodies == {name: json.dumps(value, separators=(",", ":")).encode() for name, value in plain.items()}
    nonces = iter((client, server))
    monkeypatch.setattr(handshake.secrets, "token_hex", lambda _: next(nonces))
    ticket = Ticket(("192.0.2.7:1",), given["server"], given["certificate"], space, VECTORS["invite"]["secret"])
    caller = handshake.Caller(ticket, Key(b"client"))
    admitted: list[tuple[str, str]] = []
    door = handshake.Door(
        Key(b"server"), space, given["certificate"], lambda *shown: admitted.append(shown), lambda: 0.0
    )
    assert caller.greeting() == bodies["greet"]
    assert door.welcome(bodies["greet"]) == bodies["greet_answer"]
    assert caller.proof(bodies["greet_answer"]) == bodies["prove"]
    assert door.proven(bodies["prove"]) == given["client"]
    assert admitted == [(given["client"], VECTORS["invite"]["secret"])]
    assert caller.token(bodies["prove_answer"]) == "33" * 32


class Key:
    """One of the two keys, made from its side's name."""

    def __init__(self, side: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(side).digest())
        self.public = self._private.public_key().public_bytes_raw().hex()

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


@pytest.mark.parametrize("vector", VECTORS["bad_tickets"], ids=lambda vector: vector["why"])
def test_tickets_that_are_refused(vector: dict[str, str]) -> None:
    with pytest.raises(BadTicketError) as caught:
        parse_ticket(vector["text"])
    assert caught.value.code == vector["code"] == "E506"


def test_the_ticket_and_the_invite() -> None:
    given = dict(VECTORS["ticket"])
    text = given.pop("text")
    body = json.dumps({**given, "version": 1}, separators=(",", ":")).encode()
    assert "conjoin:" + base64.urlsafe_b64encode(body).decode().rstrip("=") == text
    assert str(parse_ticket(text)) == text
    given = dict(VECTORS["iroh"]["ticket"])
    text = given.pop("text")
    body = json.dumps({**given, "version": 2}, separators=(",", ":")).encode()
    assert "conjoin:" + base64.urlsafe_b64encode(body).decode().rstrip("=") == text
    assert str(parse_ticket(text)) == text
    invite = VECTORS["invite"]
    secret = bytes.fromhex(invite["secret"])
    assert hashlib.sha256(b"conjoin/invite/1\n" + secret).hexdigest() == invite["hash"]


def test_the_binding_to_a_connection_of_iroh() -> None:
    given = VECTORS["iroh"]
    server, client = (bytes.fromhex(given[side]) for side in ("server", "client"))
    assert hashlib.sha256(b"conjoin/iroh/1\n" + server + client).hexdigest() == given["binding"]
    assert binding(server, client) == given["binding"] != binding(client, server)
    assert r"`conjoin/iroh/1\n`" in PAGE


def test_a_message_over_iroh() -> None:
    given = VECTORS["iroh"]["exchange"]
    ask, answer = bytes.fromhex(given["ask_hex"]), bytes.fromhex(given["answer_hex"])
    assert (ask[0], int.from_bytes(ask[1:5], "big")) == (3, len(ask) - 5)
    assert (int.from_bytes(answer[:2], "big"), int.from_bytes(answer[2:6], "big")) == (200, len(answer) - 6)
    assert read_frame(ask[5:])[0] == {"type": "take"}
    assert read_frame(answer[6:])[0]["type"] == "taken"
    assert REQUEST.unpack(ask[: REQUEST.size]) == (ASK, len(ask) - REQUEST.size)
    assert REPLY.unpack(answer[: REPLY.size]) == (200, len(answer) - REPLY.size)
