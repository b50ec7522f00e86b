"""Keys of simulated replicas, and the shortcuts that make long runs possible; nothing here is of any use outside.

A run without shortcuts signs with Ed25519 and verifies every envelope at every replica, as the product does. Inside
`shortcuts()` a signature is a keyed hash, and an envelope or manifest is read once and remembered; nothing else of
the product changes, and a run says that it was made so.
"""

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conjoin.log import Operation, parse
from conjoin.log import log as log_room
from conjoin.sync import host, session, visit
from conjoin.wire import envelope, manifest

READ_MAX = 100_000
"""Envelopes and manifests remembered at a time."""
_READERS = (log_room, host, session, visit)
"""Where envelopes are read."""


class Signer:
    """A key made from a label, so that every run of a seed has the same keys."""

    def __init__(self, label: str, *, hashed: bool = False) -> None:
        """The key of `label`; with `hashed` it signs by a keyed hash, which only verifies inside `shortcuts`."""
        seed = hashlib.sha256(b"conjoin/simulator/key/" + label.encode("utf-8")).digest()
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._hashed = hashed
        self.label = label
        self.key = self._private.public_key().public_bytes_raw().hex()

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""
        return _keyed_hash(self.key, data) if self._hashed else self._private.sign(data)

    def seal(self, payload: bytes) -> bytes:
        """The envelope of `payload`, signed."""
        return envelope.seal(payload, self.key, self.sign)


@contextmanager
def shortcuts() -> Generator[None]:
    """A block in which keyed hashes stand for signatures, and every envelope and manifest is read once."""
    reading: Callable[[bytes], Operation] = lru_cache(READ_MAX)(parse)
    replaced: list[tuple[ModuleType, str, object]] = [
        (envelope, "holds", _is_keyed_hash),
        (manifest, "_read", lru_cache(READ_MAX)(vars(manifest)["_read"].__wrapped__)),
        *((room, "parse", reading) for room in _READERS),
    ]
    before = [(room, name, vars(room)[name]) for room, name, _ in replaced]
    for room, name, value in replaced:
        setattr(room, name, value)
    try:
        yield
    finally:
        for room, name, value in before:
            setattr(room, name, value)


def _is_keyed_hash(key: str, signature: bytes, data: bytes) -> bool:
    """Stands for `wire.signatures.holds`."""
    return signature == _keyed_hash(key, data)


def _keyed_hash(key: str, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=bytes.fromhex(key)).digest()
