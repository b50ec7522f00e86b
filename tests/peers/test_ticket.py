"""Tickets: one line of text, read strictly; an invite in one shows nowhere else."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from conjoin.errors import BadTicketError
from conjoin.sync.peers.ticket import IrohAddress, Ticket, parse_address, parse_ticket
from conjoin.wire import canonical
from conjoin.wire.digest import Digest

KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"server").digest()).public_key().public_bytes_raw().hex()
TICKET = Ticket(("example.org:4433", "[2001:db8::1]:443"), KEY, Digest("c" * 64), Digest("d" * 64), "e" * 32)


def spelled(value: object) -> str:
    return "conjoin:" + base64.urlsafe_b64encode(canonical.encode(value)).decode().rstrip("=")


VALUE = {
    "addresses": ["127.0.0.1:1"],
    "certificate": "c" * 64,
    "invite": "",
    "key": KEY,
    "space": "d" * 64,
    "version": 1,
}
IROH = {"addresses": ["192.0.2.7:9"], "endpoint": KEY, "relay": "https://relay.example.org:443/"}


def test_a_ticket_is_read_as_it_was_written() -> None:
    assert parse_ticket(str(TICKET)) == TICKET
    assert parse_ticket(f"  {TICKET}\n") == TICKET
    assert parse_ticket(spelled(VALUE)) == Ticket(("127.0.0.1:1",), KEY, Digest("c" * 64), Digest("d" * 64))


def test_a_ticket_names_an_endpoint_beside_or_instead_of_addresses() -> None:
    beside = Ticket(("127.0.0.1:1",), KEY, Digest("c" * 64), Digest("d" * 64), "", IrohAddress(KEY, ("192.0.2.7:9",)))
    relay = IrohAddress(KEY, (), "https://relay.example.org")
    instead = Ticket((), KEY, Digest(""), Digest("d" * 64), "e" * 32, relay)
    for ticket in (beside, instead):
        assert parse_ticket(str(ticket)) == ticket
    assert parse_ticket(spelled({**VALUE, "version": 2, "iroh": IROH})).places == (
        "127.0.0.1:1",
        "192.0.2.7:9 (iroh)",
        "relay https://relay.example.org:443/",
    )
    assert "relay https://relay.example.org" in instead.where and "e" * 32 not in instead.where


def test_an_invite_is_shown_in_the_ticket_only() -> None:
    assert "e" * 32 not in repr(TICKET) + TICKET.where + repr(TICKET.without_invite)
    assert parse_ticket(str(TICKET.without_invite)).invite == ""


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": "1"},
        {"version": True},
        {"iroh": IROH},
        {"version": 2, "iroh": None},
        {"version": 2, "iroh": {**IROH, "endpoint": "0" * 64}},
        {"version": 2, "iroh": {**IROH, "relay": "http://relay.example.org"}},
        {"version": 2, "iroh": {**IROH, "relay": "https://relay.example.org/path"}},
        {"version": 2, "iroh": {**IROH, "relay": "", "addresses": []}},
        {"version": 2, "iroh": {**IROH, "addresses": ["192.0.2.7:0"]}},
        {"version": 2, "iroh": IROH, "addresses": []},
        {"version": 2, "iroh": IROH, "certificate": ""},
        {"more": 1},
        {"key": "0" * 64},
        {"key": KEY.upper()},
        {"certificate": "c" * 63},
        {"space": None},
        {"invite": "e" * 31},
        {"invite": None},
        {"addresses": []},
        {"addresses": "127.0.0.1:1"},
        {"addresses": ["127.0.0.1:1"] * 17},
        {"addresses": ["127.0.0.1:0"]},
        {"addresses": ["127.0.0.1:65536"]},
        {"addresses": ["user@127.0.0.1:1"]},
        {"addresses": ["127.0.0.1:1/path"]},
    ],
)
def test_what_is_wrong_in_it_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadTicketError):
        parse_ticket(spelled({**VALUE, **change}))


@pytest.mark.parametrize(
    "text", ["", "conjoin:", "conjoin:!", "conjoin:AAAA", "hello", str(TICKET)[:-4], str(TICKET) + "A", str(TICKET)[8:]]
)
def test_what_is_no_ticket_is_refused(text: str) -> None:
    with pytest.raises(BadTicketError):
        parse_ticket(text)


def test_two_spellings_of_one_ticket_are_not_both_read() -> None:
    loose = base64.urlsafe_b64encode(canonical.encode(VALUE) + b" ").decode().rstrip("=")
    with pytest.raises(BadTicketError):
        parse_ticket("conjoin:" + loose)


@given(st.text(max_size=60))
def test_no_text_is_an_address_by_accident(text: str) -> None:
    try:
        address = parse_address(text)
    except BadTicketError:
        return
    host, _, port = address.rpartition(":")
    assert host and 1 <= int(port) <= 65_535 and not set(address) & set(" /@?#\\\n")
