"""DSSE envelopes: a payload, its author's key and one Ed25519 signature; refuses every spelling but the canonical one.

The bytes of an envelope are canonical JSON with exactly one signature, so they are a function of payload, author and
signature. Signatures are made and verified over DSSE's pre-authentication encoding (`wire.signatures`).
"""

import binascii
from collections.abc import Callable

from conjoin.errors import BadSignatureError, MalformedOperationError
from conjoin.wire.keys import check_key_hex
from conjoin.wire.signatures import holds

PAYLOAD_TYPE = "application/vnd.conjoin.operation.v1+json"
PAYLOAD_BYTES_MAX = 65_536
SIGNATURE_BYTES = 64
_TYPE = PAYLOAD_TYPE.encode("ascii")
_PARTS = 19
"""An envelope has so many pieces between its quotes."""


def pre_authentication_encoding(payload: bytes) -> bytes:
    """The bytes that are signed (DSSE v1): `DSSEv1 LEN(type) type LEN(payload) payload`, lengths in ASCII decimal."""
    return b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE, len(payload), payload)


def seal(payload: bytes, author: str, sign: Callable[[bytes], bytes]) -> bytes:
    """The envelope of `payload`.

    Args:
        payload: canonical JSON of one operation.
        author: the signer's public key in hex.
        sign: returns the 64-byte Ed25519 signature of the bytes it is given.

    Raises:
        BadKeyError: `author` may not be an author's key.
        BadSignatureError: what `sign` returned does not verify under `author`.
    """
    check_key_hex(author, "author")
    signature = sign(pre_authentication_encoding(payload))
    verify(payload, author, signature)
    return _spell(payload, author, signature)


def unseal(envelope: bytes) -> tuple[bytes, str, bytes]:
    """Take an envelope apart into (payload, author key in hex, signature) without believing it; `verify` does that.

    Raises:
        MalformedOperationError: it is too large, or not the one canonical spelling of an envelope.
        BadKeyError: the key may not be an author's key.
    """
    if len(envelope) > ENVELOPE_BYTES_MAX:
        raise MalformedOperationError(f"envelope has {len(envelope)} bytes, the limit is {ENVELOPE_BYTES_MAX}")
    # It has one spelling and no escapes, so its parts are found by its quotes; spelling them again shows what is wrong.
    parts = envelope.split(b'"', _PARTS)
    if len(parts) != _PARTS:
        raise MalformedOperationError("not an envelope with one payload and one signature")
    try:
        payload, signature = binascii.a2b_base64(parts[3]), binascii.a2b_base64(parts[17])
        author = parts[13].decode("ascii")
    except ValueError as cause:
        raise MalformedOperationError("not an envelope with an author, a payload and a signature") from cause
    if _spell(payload, author, signature) != envelope:
        raise MalformedOperationError("envelope is not canonical: spelling its parts again gives other bytes")
    if "\\" in author:
        raise MalformedOperationError("envelope is not canonical: its keyid is spelled with an escape")
    check_key_hex(author, "keyid")
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise MalformedOperationError(f"payload has {len(payload)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
    if len(signature) != SIGNATURE_BYTES:
        raise MalformedOperationError(f"signature has {len(signature)} bytes, not {SIGNATURE_BYTES}")
    return payload, author, signature


def verify(payload: bytes, author: str, signature: bytes) -> None:
    """Check the signature of `author` over `payload`.

    Raises:
        BadKeyError: `author` may not be an author's key.
        BadSignatureError: the signature does not verify.
    """
    check_key_hex(author, "author")
    if not holds(author, signature, pre_authentication_encoding(payload)):
        raise BadSignatureError(
            f"signature does not verify under key {author}",
            hint="the bytes were changed on their way, or somebody else signed them; fetch them from another peer",
        )


def _spell(payload: bytes, author: str, signature: bytes) -> bytes:
    """The canonical JSON of an envelope; base64 and hex need no escapes."""
    return b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}' % (
        binascii.b2a_base64(payload, newline=False),
        _TYPE,
        author.encode("ascii"),
        binascii.b2a_base64(signature, newline=False),
    )


ENVELOPE_BYTES_MAX = len(_spell(bytes(PAYLOAD_BYTES_MAX), "0" * 64, bytes(SIGNATURE_BYTES)))
"""Length of the envelope of a payload of PAYLOAD_BYTES_MAX bytes."""
