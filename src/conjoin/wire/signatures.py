"""Verifies Ed25519 signatures by the cofactorless equation; signs nothing, and judges no key.

The verifier is the one of `cryptography` (OpenSSL), which computes R' = [S]B - [k]A, refuses S >= L and compares R'
with R as bytes. libsodium computes the same in half the time and refuses R of small order besides, so its yes is
believed, and what it refuses OpenSSL decides. A libsodium that was built to say yes to more is not used.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FEW = 200
"""So many signatures are verified before libsodium is loaded, which takes as long as it saves by then."""
_DATA = b"conjoin"
_KEY = bytes.fromhex("c12a07a296d5762f37e1f7e496bb3a48ee636815acf2feebf9b9771cdfbac889")
_TAKEN_BY_OTHERS = (
    # R is off by a point of order 8, so that only the cofactored equation holds.
    bytes.fromhex(
        "c5cd01790028f91b9d3ade7dcf62e80887f5b89452f01c82e04bac94a392f829"
        "88c6a98c12b5f2be274148aa507708f096c8968eca87f83496d67532f48c7d01"
    ),
    # S is not below L.
    bytes.fromhex(
        "46ec2673540b85055c10b9ec8294688ada5b59b15d9f997876f31f346f964279"
        "e29aad6a6f9eaf231cd840c3196916cd0d088986403828ee5e2bdb4e2d765916"
    ),
)
"""Signatures of `_DATA` by `_KEY` that other verifiers accept, some builds of libsodium among them."""

_verified = count()


def holds(key: str, signature: bytes, data: bytes) -> bool:
    """Whether a signature verifies, by the cofactorless equation (RFC 8032, section 5.1.7).

    Args:
        key: 64 hex characters, a key that `wire.keys` admits.
        signature: 64 bytes, R and S.
        data: what is said to be signed, of any length.
    """
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
    """Whether libsodium accepts a signature by a key of some data; None where it is not here or accepts too much."""
    try:
        from nacl.bindings import crypto_sign_open
        from nacl.exceptions import BadSignatureError
    except Exception:  # noqa: BLE001 - what cffi raises where its parts do not fit is nothing else
        return None

    def accepts(key: bytes, signature: bytes, data: bytes) -> bool:
        try:
            crypto_sign_open(signature + data, key)
        except BadSignatureError:
            return False
        return True

    return None if any(accepts(_KEY, signature, _DATA) for signature in _TAKEN_BY_OTHERS) else accepts
