"""docs/spec/vectors/peers.json, recomputed plainly and by the library, and the page that explains it."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from conjoin.sync.messages import decode, encode
from conjoin.sync.peers.handshake import Transcript
from conjoin.sync.peers.iroh_runtime import binding
from conjoin.sync.peers.ticket import parse_ticket

TOP = Path(__file__).parents[2]
VECTORS = json.loads((TOP / "docs" / "spec" / "vectors" / "peers.json").read_text("ascii"))
PAGE = (TOP / "docs" / "spec" / "peers.md").read_text("utf-8")


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["type"])
def test_frames(vector: dict[str, str]) -> None:
    frame = bytes.fromhex(vector["hex"])
    (size,) = struct.unpack(">I", frame[:4])
    header = json.loads(frame[4 : 4 + size])
    assert json.dumps(header, sort_keys=True, separators=(",", ":")).encode() == frame[4 : 4 + size]
    assert header["type"] == vector["type"]
    assert encode(decode(frame)) == frame
    assert type(decode(frame)).__name__.lower() == vector["type"]
    assert f"`{vector['type']}`" in PAGE
    for name in header:
        assert f"`{name}`" in PAGE


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
