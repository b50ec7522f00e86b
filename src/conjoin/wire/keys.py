"""Ed25519 public keys as 64 hex characters or OpenSSH lines; refuses every encoding on which verifiers differ.

A key is refused when its y coordinate is not below p, when it names no point of the curve, when it spells x = 0 with
the sign bit set, and when its point has order 1, 2, 4 or 8: for such a point one fixed signature can verify for every
message, so it would prove nothing.
"""

import base64
import binascii
import hashlib
import re
from functools import lru_cache

from conjoin.errors import BadKeyError

KEY_BYTES = 32
KEY_TYPE = "ssh-ed25519"
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_KEY_HEX = re.compile(r"[0-9a-f]{64}")
_HINT = "give 64 hex characters or a line of the form `ssh-ed25519 AAAA… comment`"

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_MINUS_ONE = pow(2, (_P - 1) // 4, _P)


def _decompress(raw: bytes) -> tuple[int, int]:
    """The affine point of a 32-byte encoding (RFC 8032 section 5.1.3), canonical encodings only."""
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        raise BadKeyError(f"key {raw.hex()} is not canonical: its y coordinate is not below 2^255 - 19")
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * _SQRT_MINUS_ONE % _P
    if v * x * x % _P != u:
        raise BadKeyError(f"key {raw.hex()} is not a point of the curve Ed25519")
    if x == 0 and sign:
        raise BadKeyError(f"key {raw.hex()} is not canonical: x is zero and its sign bit is set")
    return (_P - x if x & 1 != sign else x), y


def _double(x: int, y: int) -> tuple[int, int]:
    """Twice an affine point; the curve's addition law is complete, so no case is special."""
    t = _D * x * x * y * y
    return 2 * x * y * pow(1 + t, -1, _P) % _P, (y * y + x * x) * pow(1 - t, -1, _P) % _P


def check_public_key(raw: bytes) -> None:
    """Check that 32 bytes may be an author's key.

    Raises:
        BadKeyError: the length is wrong, or the point is non-canonical, not on the curve or of small order.
    """
    if len(raw) != KEY_BYTES:
        raise BadKeyError(f"an Ed25519 public key has {KEY_BYTES} bytes, not {len(raw)}", hint=_HINT)
    point = _decompress(raw)
    for _ in range(3):
        point = _double(*point)
    if point == (0, 1):
        raise BadKeyError(f"key {raw.hex()} is a point of small order: it could sign nothing that means anything")


def check_key_hex(text: object, what: str = "key") -> str:
    """Return `text` as a public key in the only form operations hold: 64 lower-case hex characters.

    Equal keys are mostly returned as one object, which a long log has room for.

    Raises:
        BadKeyError: it has another form, or the key is refused by `check_public_key`.
    """
    key = _checked(text) if isinstance(text, str) and len(text) == 2 * KEY_BYTES else None
    if key is None:
        raise BadKeyError(f"{what} is not a public key of 64 lower-case hex characters: {text!r:.80}")
    return key


@lru_cache(maxsize=4096)
def _checked(text: str) -> str | None:
    """These 64 characters, None if their form is wrong; `check_public_key` says what else may be wrong."""
    if _KEY_HEX.fullmatch(text) is None:
        return None
    check_public_key(bytes.fromhex(text))
    return text


def parse_public_key(text: str) -> str:
    """Read a key as a person gives it and return its 64 lower-case hex characters.

    Args:
        text: 64 hex characters, or one OpenSSH public key line (`ssh-ed25519 AAAA… comment`).

    Raises:
        BadKeyError: it is neither, holds another type of key, or the key is refused by `check_public_key`.
    """
    text = text.strip()
    if _HEX.fullmatch(text):
        return check_key_hex(text.lower())
    words = text.split(None, 2)
    if len(words) < 2 or "\n" in text:
        raise BadKeyError(f"not a public key: {text!r:.80}", hint=_HINT)
    if words[0] != KEY_TYPE:
        raise BadKeyError(
            f"key type is {words[0]!r:.40}, not {KEY_TYPE!r}", hint="make a key with `ssh-keygen -t ed25519`"
        )
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError) as cause:
        raise BadKeyError(f"the key in {words[1]!r:.80} is not base64, or was cut", hint=_HINT) from cause
    prefix = _blob(b"")[:-4] + KEY_BYTES.to_bytes(4, "big")
    if not blob.startswith(prefix) or len(blob) != len(prefix) + KEY_BYTES or _base64(blob) != words[1]:
        raise BadKeyError(f"the key in {words[1]!r:.80} is not one {KEY_TYPE} key of {KEY_BYTES} bytes", hint=_HINT)
    return check_key_hex(blob[len(prefix) :].hex())


def openssh_line(key: str) -> str:
    """The OpenSSH public key line of a key in hex, without a comment."""
    return f"{KEY_TYPE} {_base64(_blob(bytes.fromhex(key)))}"


def fingerprint(key: str) -> str:
    """The fingerprint of a key in hex as `ssh-keygen -l` prints it: `SHA256:` and 43 base64 characters."""
    return "SHA256:" + _base64(hashlib.sha256(_blob(bytes.fromhex(key))).digest()).rstrip("=")


def _blob(raw: bytes) -> bytes:
    """The SSH wire form: two strings, each behind its length in four big-endian bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (KEY_TYPE.encode("ascii"), raw))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
