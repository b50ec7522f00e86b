"""docs/spec/vectors/peers.json, read from the page's text alone and by the library, and the limits that it names."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from conjoin.errors import ProtocolError
from conjoin.sync.messages import FRAME_BYTES_MAX, Found, Offer, decode, encode
from conjoin.sync.peers import answering, lines
from conjoin.sync.peers.handshake import Transcript
from conjoin.sync.peers.iroh_runtime import binding
from conjoin.sync.peers.ticket import parse_ticket
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
    assert answering.SMALL_FRAME_BYTES_MAX == lines.SMALL_FRAME_BYTES_MAX
    assert f"{answering.SMALL_FRAME_BYTES_MAX:,}" in PAGE


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
