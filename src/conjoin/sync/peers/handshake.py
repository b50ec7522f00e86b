"""How two peers prove their keys to each other before anything else is said; opens no connection and reads no clock.

Both sign a transcript of what both chose: nonces, keys, the certificate of the connection, the space. So a signature
is worth nothing in another session, at another peer, over another connection or for another purpose.

1. greeting, client → server: its key, its nonce, the space.
2. welcome, server → client: its nonce, its signature. The client compares the key with the ticket's.
3. proof, client → server: the server's nonce, its signature, the invite if it has one.
4. pass, server → client: a random token, which every later request shows.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from conjoin.errors import (
    BadKeyError,
    BadSignatureError,
    PeerRefusedError,
    ProtocolError,
    TrustError,
    WrongPeerError,
    WrongSpaceError,
)
from conjoin.log.fields import exact_fields, hex_field
from conjoin.sync.peers.ticket import INVITE_CHARS, Ticket
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, parse_digest
from conjoin.wire.keys import check_key_hex

PROTOCOL = "conjoin/handshake/1"
NONCE_CHARS = 64
TOKEN_CHARS = 64
SIGNATURE_CHARS = 128
MESSAGE_BYTES_MAX = 4096
"""No message of a handshake is longer."""
PENDING_MAX = 256
PENDING_SECONDS = 30.0


class Signer(Protocol):
    """An Ed25519 key pair."""

    @property
    def public(self) -> str:
        """The public key in hex."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The 64-byte signature of `data`."""
        ...


@dataclass(frozen=True, slots=True)
class Transcript:
    """What both sides sign: the client's and the server's public key and nonce, the certificate, the space."""

    client: str
    client_nonce: str
    server: str
    server_nonce: str
    certificate: Digest
    space: Digest

    def signed_by(self, side: str) -> bytes:
        """The bytes that `side`, "client" or "server", signs. No operation's signature covers bytes that begin so."""
        value = {
            "certificate": self.certificate,
            "client": self.client,
            "client_nonce": self.client_nonce,
            "server": self.server,
            "server_nonce": self.server_nonce,
            "space": self.space,
        }
        return f"{PROTOCOL} {side}\n".encode("ascii") + canonical.encode(value)


def verify(key: str, signature: str, data: bytes) -> None:
    """Check a signature given in hex.

    Raises:
        BadSignatureError: it does not verify.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), data)
    except InvalidSignature as cause:
        raise BadSignatureError(f"the signature of the handshake does not verify under key {key[:12]}") from cause


def hash_of_invite(invite: str) -> Digest:
    """What is kept of an invite."""
    return Digest(hashlib.sha256(b"conjoin/invite/1\n" + bytes.fromhex(invite)).hexdigest())


class Caller:
    """The client's side of one handshake."""

    def __init__(self, ticket: Ticket, signer: Signer) -> None:
        self._ticket = ticket
        self._signer = signer
        self._nonce = secrets.token_hex(NONCE_CHARS // 2)

    def greeting(self) -> bytes:
        """The first message."""
        value = {"key": self._signer.public, "nonce": self._nonce, "protocol": PROTOCOL, "space": self._ticket.space}
        return canonical.encode(value)

    def proof(self, welcome: bytes) -> bytes:
        """The third message.

        Raises:
            WrongPeerError: the server does not hold the ticket's key.
            ProtocolError: what came is no welcome.
        """
        fields = _read(welcome, ("nonce", "signature"), "welcome")
        transcript = Transcript(
            self._signer.public,
            self._nonce,
            self._ticket.key,
            _hex(fields["nonce"], NONCE_CHARS, "nonce"),
            self._ticket.certificate,
            self._ticket.space,
        )
        try:
            verify(
                self._ticket.key,
                _hex(fields["signature"], SIGNATURE_CHARS, "signature"),
                transcript.signed_by("server"),
            )
        except BadSignatureError as cause:
            raise WrongPeerError(
                f"what answers there does not hold the key {self._ticket.key[:12]} of the ticket",
                hint="ask for a new ticket: the peer may have taken a new key",
            ) from cause
        signature = self._signer.sign(transcript.signed_by("client")).hex()
        value = {"invite": self._ticket.invite, "nonce": transcript.server_nonce, "signature": signature}
        return canonical.encode(value)

    def token(self, granted: bytes) -> str:
        """The token in the fourth message.

        Raises:
            ProtocolError: what came is no pass.
        """
        return _hex(_read(granted, ("token",), "pass")["token"], TOKEN_CHARS, "token")


class Door:
    """The server's side of all handshakes; several threads may use it at once.

    Args:
        signer: the server's key.
        space: what is served.
        certificate: digest of the certificate that is shown.
        admit: returns if a proven key may come in, given the invite that it showed or the empty string.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        signer: Signer,
        space: Digest,
        certificate: Digest,
        admit: Callable[[str, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._signer = signer
        self._space = space
        self._certificate = certificate
        self._admit = admit
        self._clock = clock
        self._lock = Lock()
        self._pending: dict[str, tuple[float, Transcript]] = {}

    def welcome(self, greeting: bytes) -> bytes:
        """The answer to a greeting, which is remembered for a short time.

        Raises:
            ProtocolError: it is none.
            BadKeyError: its key is refused.
            WrongSpaceError: it is about another space.
        """
        fields = _read(greeting, ("key", "nonce", "protocol", "space"), "greeting")
        if fields["protocol"] != PROTOCOL:
            raise ProtocolError(f"the other side speaks {fields['protocol']!r:.40}, this one {PROTOCOL}")
        key = check_key_hex(fields["key"])
        try:
            space = parse_digest(fields["space"], "space")
        except TrustError as cause:
            raise ProtocolError(f"the greeting cannot be read: {cause.what}") from cause
        if space != self._space:
            raise WrongSpaceError(f"this is space {self._space[:12]}, the ticket is for {space[:12]}")
        nonce = _hex(fields["nonce"], NONCE_CHARS, "nonce")
        if key == self._signer.public:
            raise BadKeyError("the peer has the key of this replica: one of the two is a copy of the other")
        mine = secrets.token_hex(NONCE_CHARS // 2)
        transcript = Transcript(key, nonce, self._signer.public, mine, self._certificate, self._space)
        with self._lock:
            self._forget()
            self._pending[mine] = self._clock(), transcript
        return canonical.encode({"nonce": mine, "signature": self._signer.sign(transcript.signed_by("server")).hex()})

    def proven(self, proof: bytes) -> str:
        """The key that a proof is of, once it is verified and admitted. Each welcome is good for one proof.

        Raises:
            ProtocolError: it is none.
            PeerRefusedError: it answers no welcome that was given lately, or the key may not come in.
            BadSignatureError: the key is not proven.
        """
        fields = _read(proof, ("invite", "nonce", "signature"), "proof")
        invite = "" if fields["invite"] == "" else _hex(fields["invite"], INVITE_CHARS, "invite")
        signature = _hex(fields["signature"], SIGNATURE_CHARS, "signature")
        nonce = _hex(fields["nonce"], NONCE_CHARS, "nonce")
        with self._lock:
            self._forget()
            found = self._pending.pop(nonce, None)
        if found is None:
            raise PeerRefusedError("this handshake was not begun here, is over, or took too long")
        _, transcript = found
        verify(transcript.client, signature, transcript.signed_by("client"))
        self._admit(transcript.client, invite)
        return transcript.client

    def _forget(self) -> None:
        """Drop welcomes that are too old, and the oldest if there are too many."""
        oldest = self._clock() - PENDING_SECONDS
        while self._pending:
            nonce, (begun, _) = next(iter(self._pending.items()))
            if begun >= oldest and len(self._pending) < PENDING_MAX:
                return
            del self._pending[nonce]


def granted(token: str) -> bytes:
    """The fourth message."""
    return canonical.encode({"token": token})


def new_token() -> str:
    """A token nobody can guess."""
    return secrets.token_hex(TOKEN_CHARS // 2)


def _read(data: bytes, names: tuple[str, ...], what: str) -> dict[str, canonical.Json]:
    try:
        return exact_fields(canonical.decode(data, what), names, what)
    except TrustError as cause:
        raise ProtocolError(f"the {what} of a handshake cannot be read: {cause.what}") from cause


def _hex(value: canonical.Json, chars: int, what: str) -> str:
    try:
        return hex_field(value, chars, what)
    except TrustError as cause:
        raise ProtocolError(f"the handshake cannot be read: {cause.what}") from cause
