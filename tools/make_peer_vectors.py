"""Writes docs/spec/vectors/peers.json: a ticket, what both sides sign in a handshake, and a frame of every message."""

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conjoin.sync.messages import (
    Delta,
    Found,
    Get,
    Hello,
    Holding,
    Object,
    Offer,
    Put,
    Range,
    Refused,
    Take,
    Taken,
    Wanted,
    encode,
)
from conjoin.sync.peers.handshake import Transcript, hash_of_invite
from conjoin.sync.peers.iroh_runtime import binding
from conjoin.sync.peers.ticket import IrohAddress, Ticket
from conjoin.wire.digest import Digest

TARGET = Path(__file__).parents[1] / "docs" / "spec" / "vectors" / "peers.json"
A, B, C = Digest("aa" * 32), Digest("bb" * 32), Digest("cc" * 32)
SHORT, NONCE, INVITE = "0123456789abcdef", "00" * 16, "ee" * 16
MESSAGES = (
    Hello(A, NONCE, (Range("", "", None, (Holding(SHORT, ((3, SHORT),)),)),), (), True),
    Found(B, (Range("", SHORT, C),), (Holding(SHORT, ()),), (f"manifest/{C}",), (b"one", b"other")),
    Offer((b"one", b"other"), True),
    Wanted((f"manifest/{C}",), ((B, "E404"),)),
    Put(f"leaf/bb/{B}", b"bytes"),
    Take(),
    Taken(2, B),
    Get(f"leaf/bb/{B}", Delta(C, 2)),
    Object(f"leaf/bb/{B}", b"bytes"),
    Refused("E505", "no room"),
)


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    client, server = (
        Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name).digest()) for name in (b"client", b"server")
    )
    public = [key.public_key().public_bytes_raw().hex() for key in (client, server)]
    transcript = Transcript(public[0], "11" * 32, public[1], "22" * 32, C, A)
    signed = {side: transcript.signed_by(side) for side in ("client", "server")}
    ticket = Ticket(("192.0.2.7:4433", "[2001:db8::1]:443"), public[1], C, A, INVITE)
    endpoint = IrohAddress(public[0], ("192.0.2.7:4433",), "https://relay.example.org")
    over_iroh = Ticket((), public[1], Digest(""), A, INVITE, endpoint)
    return {
        "frames": [{"hex": encode(message).hex(), "type": type(message).__name__.lower()} for message in MESSAGES],
        "handshake": {
            "certificate": C,
            "client": public[0],
            "client_nonce": "11" * 32,
            "server": public[1],
            "server_nonce": "22" * 32,
            "signatures": {
                "client": client.sign(signed["client"]).hex(),
                "server": server.sign(signed["server"]).hex(),
            },
            "signed": {side: data.decode("ascii") for side, data in signed.items()},
            "space": A,
        },
        "invite": {"hash": hash_of_invite(INVITE), "secret": INVITE},
        "iroh": {
            "binding": binding(bytes.fromhex(public[1]), bytes.fromhex(public[0])),
            "client": public[0],
            "server": public[1],
            "ticket": {
                "addresses": over_iroh.addresses,
                "certificate": "",
                "invite": INVITE,
                "iroh": {
                    "addresses": endpoint.addresses,
                    "endpoint": endpoint.endpoint,
                    "relay": endpoint.relay,
                },
                "key": public[1],
                "space": A,
                "text": str(over_iroh),
            },
        },
        "ticket": {
            "addresses": ticket.addresses,
            "certificate": C,
            "invite": INVITE,
            "key": public[1],
            "space": A,
            "text": str(ticket),
        },
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(vectors(), indent=1) + "\n", encoding="ascii")
