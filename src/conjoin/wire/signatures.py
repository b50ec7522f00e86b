"""Verifies Ed25519 signatures by the cofactorless equation; signs nothing, and judges no key.

The verifier is the one of `cryptography` (OpenSSL), which computes R' = [S]B - [k]A, refuses S >= L and compares R'
with R as bytes. libsodium computes the same in half the time and refuses R of small order besides, so its yes is
believed, and what it refuses OpenSSL decides. A libsodium of the cofactored equation, which would say yes to more, is
not used.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FEW = 200
"""So many signatures are verified before libsodium is loaded, which takes as long as it saves by then."""
_COFACTORED = (
    bytes.fromhex("045dde626a48eef44407642ffea5a795efcdb2cb3574ad6e274d8b37eedf52ec"),
    bytes.fromhex(
        "cc8c0b70d8f9bed52aa890b0f2e6b953bc83e7a76260f511a2e68114b29a2529"
        "eb5e09d675cbe459bbe1dd4f431a8186e2803b7734f4162329fcc16f5e4d9d06"
    ),
    b"conjoin",
)
"""Key, signature and message of which only the cofactored equation holds: R is off by a point of order 8."""

_verified = count()


def holds(key: str, signature: bytes, data: bytes) -> bool:
    """Whether `signature` (64 bytes) is one of `data` by the key of 64 hex characters, which is an admissible one."""
    if next(_verified) >= FEW:
        accepts = _libsodium()
        if accepts is not None and accepts(bytes.fromhex(key), signature, data):
            return True
    from cryptography.exceptions import InvalidSignature

    try:
        _openssl(key).verify(signature, data)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=4096)
def _openssl(key: str) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))


@lru_cache(maxsize=1)
def _libsodium() -> Callable[[bytes, bytes, bytes], bool] | None:
    """Whether libsodium accepts a signature by a key of some data; None where it is not here or is another verifier."""
    try:
        from nacl.bindings import crypto_sign_open
        from nacl.exceptions import BadSignatureError
    except ImportError:
        return None

    def accepts(key: bytes, signature: bytes, data: bytes) -> bool:
        try:
            crypto_sign_open(signature + data, key)
        except BadSignatureError:
            return False
        return True

    return None if accepts(*_COFACTORED) else accepts
