"""The peers of docs/spec/vectors: a ticket, what both sides sign in a handshake, frames good and bad; opens nothing."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conjoin.errors import BadTicketError, ProtocolError
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
    decode,
    encode,
)
from conjoin.sync.peers.handshake import PROTOCOL, Transcript, granted, hash_of_invite
from conjoin.sync.peers.iroh_runtime import ASK, REPLY, REQUEST, binding
from conjoin.sync.peers.ticket import IrohAddress, Ticket, parse_ticket
from conjoin.wire import canonical
from conjoin.wire.digest import Digest

Value = dict[str, Any]
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
    Hello(A, NONCE, (Range("", SHORT, C), Range(SHORT, "", B)), (Holding(SHORT, ((1, SHORT), (3, SHORT))),), False),
    Get(f"manifest/{C}"),
    Put(f"leaf/bb/{B}", b"a frame of zstd", Delta(C, 1)),
    Object(f"leaf/bb/{B}", b"a frame of zstd", Delta(C, 8)),
    Offer((), True),
    Wanted(()),
)
FIELDS: dict[str, Value] = {
    "found": {"holdings": [], "ranges": [], "root": B, "wanted": []},
    "get": {"delta": None, "name": f"leaf/bb/{B}"},
    "hello": {
        "holdings": [],
        "nonce": NONCE,
        "protocol": "conjoin/peer/1",
        "ranges": [],
        "send": True,
        "space": A,
    },
    "object": {"delta": None, "name": f"leaf/bb/{B}"},
    "offer": {"last": True},
    "put": {"delta": None, "name": f"leaf/bb/{B}"},
    "refused": {"code": "E505", "what": "no room"},
    "take": {},
    "taken": {"operations": 2, "root": B},
    "wanted": {"names": [], "refused": []},
}
"""The headers of good frames, by type."""


def framed(header: bytes, body: bytes = b"") -> bytes:
    """A frame around anything."""
    return len(header).to_bytes(4, "big") + header + body


def frame(kind: str, body: bytes = b"", **changes: Any) -> bytes:
    """A good frame with changes; a change to `...` leaves the field out."""
    header = {**FIELDS[kind], "type": kind, **changes}
    return framed(canonical.encode({name: value for name, value in header.items() if value is not ...}), body)


def between(start: str, end: str, **changes: Any) -> Value:
    """A range with a fingerprint."""
    return {"end": end, "fingerprint": C, "holdings": [], "start": start, **changes}


def bad_frames() -> Iterator[tuple[str, bytes]]:
    """Frames that are refused: why, and the frame."""
    good = frame("take")
    yield "nothing", b""
    yield "the length is cut", good[:3]
    yield "the header is cut", good[:-1]
    yield "a header of over 1 MiB", (1024 * 1024 + 1).to_bytes(4, "big") + good[4:]
    yield "white space in the header", framed(b'{"type": "take"}')
    yield "fields in another order", framed(b'{"type":"offer","last":true}')
    yield "a field twice", framed(b'{"type":"take","type":"take"}')
    yield "a header that is no object", framed(b'["take"]')
    yield "no type", framed(b"{}")
    yield "a type that is no text", framed(b'{"type":1}')
    yield "an unknown type", framed(b'{"type":"push"}')
    yield "an unknown field", frame("take", more=1)
    short = SHORT[:-1]
    changes: list[tuple[str, str, Value]] = [
        ("a field is missing", "offer", {"last": ...}),
        ("another protocol", "hello", {"protocol": "conjoin/peer/2"}),
        ("space in upper case", "hello", {"space": A.upper()}),
        ("a nonce of 15 bytes", "hello", {"nonce": NONCE[2:]}),
        ("send is 1", "hello", {"send": 1}),
        ("last is null", "offer", {"last": None}),
        ("a range without holdings", "hello", {"ranges": [{"end": "", "fingerprint": C, "start": ""}]}),
        ("a range with more", "hello", {"ranges": [between("", "", more=1)]}),
        ("a fingerprint of 63 characters", "hello", {"ranges": [between("", "", fingerprint=C[1:])]}),
        ("a bound of 15 characters", "hello", {"ranges": [between("", short)]}),
        ("a bound in upper case", "hello", {"ranges": [between("", SHORT.upper())]}),
        ("a range that ends where it starts", "hello", {"ranges": [between(SHORT, SHORT)]}),
        ("ranges that descend", "found", {"ranges": [between(SHORT, ""), between("", SHORT)]}),
        ("ranges that overlap", "found", {"ranges": [between("", "f" * 16), between(SHORT, "")]}),
        ("a range after one without end", "found", {"ranges": [between("", ""), between(SHORT, "")]}),
        ("a holding of three", "found", {"holdings": [[SHORT, [], 1]]}),
        ("an author of 15 characters", "found", {"holdings": [[short, []]]}),
        ("points that are no list", "found", {"holdings": [[SHORT, {}]]}),
        ("a point of one", "found", {"holdings": [[SHORT, [[1]]]]}),
        ("a negative seq", "found", {"holdings": [[SHORT, [[-1, SHORT]]]]}),
        ("a seq of eleven digits", "found", {"holdings": [[SHORT, [[10**10, SHORT]]]]}),
        ("a seq that is true", "found", {"holdings": [[SHORT, [[True, SHORT]]]]}),
        ("a point without an id", "found", {"holdings": [[SHORT, [[1, ""]]]]}),
        ("root is null", "found", {"root": None}),
        ("names are a text", "wanted", {"names": "leaf"}),
        ("a name that is no text", "wanted", {"names": [1]}),
        ("a name with a control character", "wanted", {"names": ["leaf/\n"]}),
        ("a refusal without a code", "wanted", {"refused": [[B]]}),
        ("a refusal of no operation", "wanted", {"refused": [["", "E404"]]}),
        ("a name that is null", "get", {"name": None}),
        ("a delta that is false", "get", {"delta": False}),
        ("a delta of a base alone", "get", {"delta": {"base": C}}),
        ("a delta in another coding", "get", {"delta": {"base": C, "coding": "zstd", "item_bytes": 2}}),
        ("a delta from no leaf", "get", {"delta": {"base": "", "item_bytes": 2}}),
        ("items of no byte", "get", {"delta": {"base": C, "item_bytes": 0}}),
        ("items of nine bytes", "put", {"delta": {"base": C, "item_bytes": 9}}),
        ("items of true bytes", "object", {"delta": {"base": C, "item_bytes": True}}),
        ("a negative number of operations", "taken", {"operations": -1}),
        ("a code that is a number", "refused", {"code": 505}),
        ("a sentence with a control character", "refused", {"what": "a\u001b[2Jb"}),
    ]
    for why, kind, change in changes:
        yield why, frame(kind, **change)
    for kind in ("get", "hello", "refused", "take", "taken", "wanted"):
        yield f"a body after {kind}", frame(kind, b"\0")
    yield "the length of an operation is cut", frame("offer", b"\0\0\0")
    yield "an operation is cut", frame("offer", b"\0\0\0\4one")
    yield "something follows the operations", frame("found", b"\0\0\0\3one\0")


def refused(frames: Iterator[tuple[str, bytes]]) -> list[Value]:
    """The bad frames as they stand in the file; every one is refused here."""
    made: list[Value] = []
    for why, data in frames:
        try:
            decode(data)
        except ProtocolError as error:
            made.append({"why": why, "code": error.code, "hex": data.hex()})
        else:
            raise AssertionError(why)
    return made


def ticket_text(value: Any, spelled: bytes | None = None) -> str:
    """A ticket that says anything."""
    data = canonical.encode(value) if spelled is None else spelled
    return "conjoin:" + base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def bad_tickets(key: str) -> list[Value]:
    """Texts that are no tickets."""
    one: Value = {"addresses": ["192.0.2.7:1"], "certificate": C, "invite": "", "key": key, "space": A, "version": 1}
    iroh: Value = {"addresses": ["192.0.2.7:9"], "endpoint": key, "relay": "https://relay.example.org:443/"}
    two: Value = {**one, "iroh": iroh, "version": 2}
    good = ticket_text(one)
    assert str(parse_ticket(good)) == good
    assert str(parse_ticket(ticket_text(two))) == ticket_text(two)
    small = (1).to_bytes(32, "little").hex()
    changes: list[tuple[str, Value]] = [
        ("version 3", {**one, "version": 3}),
        ("version as a text", {**one, "version": "1"}),
        ("version 2 without iroh", {**one, "version": 2}),
        ("version 1 with iroh", {**one, "iroh": iroh}),
        ("an unknown field", {**one, "more": 1}),
        ("a key of small order", {**one, "key": small}),
        ("a key in upper case", {**one, "key": key.upper()}),
        ("a certificate of 63 characters", {**one, "certificate": C[1:]}),
        ("an address without a certificate", {**one, "certificate": ""}),
        ("a certificate without an address", {**two, "addresses": []}),
        ("space is null", {**one, "space": None}),
        ("an invite of 15 bytes", {**one, "invite": INVITE[2:]}),
        ("no address", {**one, "addresses": []}),
        ("17 addresses", {**one, "addresses": ["192.0.2.7:1"] * 17}),
        ("an address without a port", {**one, "addresses": ["192.0.2.7"]}),
        ("port 0", {**one, "addresses": ["192.0.2.7:0"]}),
        ("port 65536", {**one, "addresses": ["192.0.2.7:65536"]}),
        ("a port with a leading zero", {**one, "addresses": ["192.0.2.7:01"]}),
        ("an address with a path", {**one, "addresses": ["192.0.2.7:1/path"]}),
        ("an address with a name of a user", {**one, "addresses": ["me@192.0.2.7:1"]}),
        ("iroh without address and relay", {**two, "iroh": {**iroh, "addresses": [], "relay": ""}}),
        ("iroh with a key of small order", {**two, "iroh": {**iroh, "endpoint": small}}),
        ("a relay without TLS", {**two, "iroh": {**iroh, "relay": "http://relay.example.org"}}),
        ("a relay with a path", {**two, "iroh": {**iroh, "relay": "https://relay.example.org/path"}}),
    ]
    odd = canonical.encode(one)
    texts = [(why, ticket_text(value)) for why, value in changes] + [
        ("nothing", ""),
        ("the prefix alone", "conjoin:"),
        ("without the prefix", good.removeprefix("conjoin:")),
        ("cut", good[:-4]),
        ("with padding", good + "=="),
        ("white space in the JSON", ticket_text(None, odd + b" ")),
        ("unused bits of base64 set", unused_bits_set(one)),
        ("over 4,096 characters", ticket_text({**one, "addresses": ["a" * 253 + ":1"] * 16})),
    ]
    made: list[Value] = []
    for why, text in texts:
        try:
            parse_ticket(text)
        except BadTicketError as error:
            made.append({"why": why, "code": error.code, "text": text})
        else:
            raise AssertionError(why)
    return made


def unused_bits_set(value: Value) -> str:
    """A ticket that base64 reads, and writes otherwise."""
    for port in ("1", "10", "100"):
        text = ticket_text({**value, "addresses": [f"192.0.2.7:{port}"]})
        if len(text.removeprefix("conjoin:")) % 4:
            bits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            return text[:-1] + bits[bits.index(text[-1]) | 1]
    raise AssertionError("every length is a multiple of three")


def peers() -> Value:
    """Everything in the file."""
    client, server = (
        Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name).digest()) for name in (b"client", b"server")
    )
    public = [key.public_key().public_bytes_raw().hex() for key in (client, server)]
    transcript = Transcript(public[0], "11" * 32, public[1], "22" * 32, C, A)
    signed = {side: transcript.signed_by(side) for side in ("client", "server")}
    signatures = {side: key.sign(signed[side]).hex() for side, key in (("client", client), ("server", server))}
    bodies = {
        "greet": canonical.encode({"key": public[0], "nonce": "11" * 32, "protocol": PROTOCOL, "space": A}),
        "greet_answer": canonical.encode({"nonce": "22" * 32, "signature": signatures["server"]}),
        "prove": canonical.encode({"invite": INVITE, "nonce": "22" * 32, "signature": signatures["client"]}),
        "prove_answer": granted("33" * 32),
    }
    question, answer = encode(Take()), encode(Taken(2, B))
    ticket = Ticket(("192.0.2.7:4433", "[2001:db8::1]:443"), public[1], C, A, INVITE)
    endpoint = IrohAddress(public[0], ("192.0.2.7:4433",), "https://relay.example.org")
    over_iroh = Ticket((), public[1], Digest(""), A, INVITE, endpoint)
    return {
        "bad_frames": refused(bad_frames()),
        "bad_tickets": bad_tickets(public[1]),
        "frames": [{"hex": encode(message).hex(), "type": type(message).__name__.lower()} for message in MESSAGES],
        "handshake": {
            "certificate": C,
            "bodies": {name: body.decode("ascii") for name, body in bodies.items()},
            "client": public[0],
            "client_nonce": "11" * 32,
            "server": public[1],
            "server_nonce": "22" * 32,
            "signatures": signatures,
            "signed": {side: data.decode("ascii") for side, data in signed.items()},
            "space": A,
        },
        "invite": {"hash": hash_of_invite(INVITE), "secret": INVITE},
        "iroh": {
            "binding": binding(bytes.fromhex(public[1]), bytes.fromhex(public[0])),
            "client": public[0],
            "exchange": {
                "answer_hex": (REPLY.pack(200, len(answer)) + answer).hex(),
                "ask_hex": (REQUEST.pack(ASK, len(question)) + question).hex(),
            },
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
