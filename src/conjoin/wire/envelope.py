"""DSSE envelopes: a payload, its author's key and one Ed25519 signature; refuses every spelling but the canonical one.

The bytes of an envelope are canonical JSON with exactly one signature, so they are a function of payload, author and
signature. Signatures are made and verified over DSSE's pre-authentication encoding. One verifier is pinned: the
Ed25519 of `cryptography` (OpenSSL), which computes R' = [S]B - [k]A, refuses S >= L and compares R' with R as bytes.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from conjoin.errors import BadSignatureError, MalformedOperationError
from conjoin.wire.keys import check_key_hex

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.conjoin.operation.v1+json"
PAYLOAD_BYTES_MAX = 65_536
SIGNATURE_BYTES = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def pre_authentication_encoding(payload: bytes) -> bytes:
    """The bytes that are signed (DSSE v1): `DSSEv1 LEN(type) type LEN(payload) payload`, lengths in ASCII decimal."""
    kind = PAYLOAD_TYPE.encode("ascii")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


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
    return _spell(base64.b64encode(payload).decode("ascii"), author, base64.b64encode(signature).decode("ascii"))


def unseal(envelope: bytes) -> tuple[bytes, str, bytes]:
    """Take an envelope apart into (payload, author key in hex, signature) without believing it; `verify` does that.

    Raises:
        MalformedOperationError: it is too large, or not the one canonical spelling of an envelope.
        BadKeyError: the key may not be an author's key.
    """
    if len(envelope) > ENVELOPE_BYTES_MAX:
        raise MalformedOperationError(f"envelope has {len(envelope)} bytes, the limit is {ENVELOPE_BYTES_MAX}")
    try:
        value = json.loads(envelope.decode("utf-8"))
        payload64 = value["payload"]
        [signature] = value["signatures"]
        author, signature64 = signature["keyid"], signature["sig"]
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise MalformedOperationError(f"not an envelope with one payload and one signature: {cause!r:.120}") from cause
    payload, raw_signature = _unbase64(payload64, "payload"), _unbase64(signature64, "signature")
    check_key_hex(author, "keyid")
    if _spell(payload64, author, signature64) != envelope:
        raise MalformedOperationError("envelope is not canonical: encoding its value again gives other bytes")
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise MalformedOperationError(f"payload has {len(payload)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
    if len(raw_signature) != SIGNATURE_BYTES:
        raise MalformedOperationError(f"signature has {len(raw_signature)} bytes, not {SIGNATURE_BYTES}")
    return payload, author, raw_signature


def verify(payload: bytes, author: str, signature: bytes) -> None:
    """Check the signature of `author` over `payload`.

    Raises:
        BadKeyError: `author` may not be an author's key.
        BadSignatureError: the signature does not verify.
    """
    from cryptography.exceptions import InvalidSignature

    check_key_hex(author, "author")
    try:
        _verifier(author).verify(signature, pre_authentication_encoding(payload))
    except InvalidSignature as cause:
        raise BadSignatureError(
            f"signature does not verify under key {author}",
            hint="the bytes were changed on their way, or somebody else signed them; fetch them from another peer",
        ) from cause


@lru_cache(maxsize=4096)
def _verifier(author: str) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(author))


def _spell(payload64: str, author: str, signature64: str) -> bytes:
    """The canonical JSON of an envelope; base64 and hex need no escapes."""
    return (
        f'{{"payload":"{payload64}","payloadType":"{PAYLOAD_TYPE}",'
        f'"signatures":[{{"keyid":"{author}","sig":"{signature64}"}}]}}'
    ).encode("ascii")


def _unbase64(text: object, what: str) -> bytes:
    if not isinstance(text, str) or _BASE64.fullmatch(text) is None:
        raise MalformedOperationError(f"{what} is not base64")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise MalformedOperationError(f"{what} is not base64: {cause}") from cause
    if base64.b64encode(data).decode("ascii") != text:
        raise MalformedOperationError(f"{what} is not canonical base64: its unused bits are not zero")
    return data


ENVELOPE_BYTES_MAX = len(_spell("A" * (4 * -(-PAYLOAD_BYTES_MAX // 3)), "0" * 64, "A" * 88))
"""Length of the envelope of a payload of PAYLOAD_BYTES_MAX bytes."""
