"""A ticket: one line of text that tells where a live peer answers and how to know that it is the one; opens nothing.

`conjoin:` and then base64url, without padding, of canonical JSON. Whoever has a ticket with an invite can become a
member by it, once: it is a secret until then.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field, replace
from typing import Self

from conjoin.errors import BadTicketError, TrustError
from conjoin.log.fields import exact_fields, hex_field
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, parse_digest
from conjoin.wire.keys import check_key_hex

PREFIX = "conjoin:"
VERSION = 1
"""Of a ticket without an iroh endpoint."""
IROH_VERSION = 2
TICKET_CHARS_MAX = 4096
ADDRESSES_MAX = 16
INVITE_CHARS = 32
_BASE64 = re.compile(r"[A-Za-z0-9_-]+")
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]"
_ADDRESS = re.compile(rf"({_HOST}):([1-9][0-9]{{0,4}})")
_RELAY = re.compile(rf"https://(?:{_HOST})(?::[1-9][0-9]{{0,4}})?/?")
_FIELDS = ("addresses", "certificate", "invite", "key", "space", "version")
_HINT = "copy the whole line that `conjoin serve` printed, without spaces or line breaks"


@dataclass(frozen=True, slots=True)
class IrohAddress:
    """How a live peer is reached over iroh.

    Attributes:
        endpoint: the public key of its connections in hex, which is not the peer's own key.
        addresses: `host:port` by UDP; none where only a relay leads there.
        relay: URL of a relay that passes on what it cannot read; empty for none.
    """

    endpoint: str
    addresses: tuple[str, ...]
    relay: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where a live peer answers, and how to know it.

    Attributes:
        addresses: `host:port` over HTTPS, in the order in which they are tried; none where it answers over iroh alone.
        key: the peer's public key in hex, which it proves to hold.
        certificate: SHA-256 of the certificate (DER) that it shows over HTTPS, in hex; empty without addresses.
        space: id of the space it serves.
        invite: 16 random bytes in hex that make a member of whoever shows them first; empty for none.
        iroh: how it is reached over iroh, if it is.
    """

    addresses: tuple[str, ...]
    key: str
    certificate: Digest
    space: Digest
    invite: str = field(default="", repr=False)
    iroh: IrohAddress | None = None

    @property
    def where(self) -> str:
        """How errors and reports name the peer; holds no secret."""
        return f"peer {self.key[:12]} at {', '.join(self.places)}"

    @property
    def places(self) -> tuple[str, ...]:
        """Where it answers, for people."""
        if self.iroh is None:
            return self.addresses
        relay = (f"relay {self.iroh.relay}",) if self.iroh.relay else ()
        return (*self.addresses, *(f"{address} (iroh)" for address in self.iroh.addresses), *relay)

    @property
    def without_invite(self) -> Self:
        """The same, fit to be kept and shown."""
        return replace(self, invite="")

    def __str__(self) -> str:
        value: dict[str, canonical.Json] = {
            "addresses": list(self.addresses),
            "certificate": self.certificate,
            "invite": self.invite,
            "key": self.key,
            "space": self.space,
            "version": VERSION,
        }
        if self.iroh is not None:
            value["version"] = IROH_VERSION
            value["iroh"] = {
                "addresses": list(self.iroh.addresses),
                "endpoint": self.iroh.endpoint,
                "relay": self.iroh.relay,
            }
        return PREFIX + base64.urlsafe_b64encode(canonical.encode(value)).decode("ascii").rstrip("=")


def parse_ticket(text: str) -> Ticket:
    """Read a ticket.

    Raises:
        BadTicketError: it is none, or one of another version.
    """
    text = text.strip()
    body = text.removeprefix(PREFIX)
    if body == text or len(text) > TICKET_CHARS_MAX or _BASE64.fullmatch(body) is None:
        raise BadTicketError(f"a ticket is {PREFIX!r} and base64url after it, and this is not", hint=_HINT)
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        if base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=") != body:
            raise BadTicketError("the ticket is not canonical base64: its unused bits are not zero", hint=_HINT)
        value = canonical.decode(raw, "the ticket")
        version = value.get("version") if isinstance(value, dict) else None
        if isinstance(version, bool) or version not in (VERSION, IROH_VERSION):
            what = f"the ticket has version {version!r:.20}, not {VERSION} or {IROH_VERSION}"
            raise BadTicketError(what, hint="update the older side")
        fields = exact_fields(value, (*_FIELDS, "iroh") if version == IROH_VERSION else _FIELDS, "the ticket")
        invite, iroh = fields["invite"], _iroh(fields["iroh"]) if version == IROH_VERSION else None
        addresses = _addresses(fields["addresses"], 0 if iroh else 1)
        return Ticket(
            addresses,
            check_key_hex(fields["key"]),
            _certificate(fields["certificate"], needed=bool(addresses)),
            parse_digest(fields["space"], "space"),
            invite if invite == "" else hex_field(invite, INVITE_CHARS, "invite"),
            iroh,
        )
    except (TrustError, binascii.Error) as cause:
        what = cause.what if isinstance(cause, TrustError) else "a part of its end is missing"
        raise BadTicketError(f"the ticket cannot be read: {what}", hint=_HINT) from cause


def parse_address(text: object) -> str:
    """Return `text` as an address `host:port`; an IPv6 address stands in brackets.

    Raises:
        BadTicketError: it is none.
    """
    match = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[2]) > 65_535:
        raise BadTicketError(f"{text!r:.80} is no address", hint="write it as host:port, such as 192.0.2.7:4433")
    return match[0]


def parse_bind(text: str) -> str:
    """Return `text` as where to listen: an address of this machine, whose port may be 0 for any free one.

    Raises:
        BadTicketError: it is none.
    """
    host, _, port = text.rpartition(":")
    if port != "0":
        return parse_address(text)
    parse_address(f"{host}:1")
    return text


def parse_relay(text: object) -> str:
    """Return `text` as the URL of a relay.

    Raises:
        BadTicketError: it is none.
    """
    match = _RELAY.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise BadTicketError(f"{text!r:.80} is no URL of a relay", hint="write it as https://relay.example.org")
    return match[0]


def _iroh(value: canonical.Json) -> IrohAddress:
    fields = exact_fields(value, ("addresses", "endpoint", "relay"), "the ticket's iroh")
    relay = "" if fields["relay"] == "" else parse_relay(fields["relay"])
    return IrohAddress(check_key_hex(fields["endpoint"]), _addresses(fields["addresses"], 0 if relay else 1), relay)


def _certificate(value: canonical.Json, *, needed: bool) -> Digest:
    if not needed and value == "":
        return Digest("")
    if not needed:
        raise BadTicketError("a certificate without an address belongs to nothing")
    return parse_digest(value, "certificate")


def _addresses(value: canonical.Json, least: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not least <= len(value) <= ADDRESSES_MAX:
        raise BadTicketError(f"a ticket has {least} to {ADDRESSES_MAX} addresses here")
    return tuple(parse_address(item) for item in value)
