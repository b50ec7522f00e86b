"""SHA-256 digests and Merkle trees (RFC 9162 hashing); says what is equal, never what is trusted."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NewType

from conjoin.errors import MalformedOperationError

Digest = NewType("Digest", str)
"""A SHA-256 digest as 64 lower-case hexadecimal characters."""

LEAF_BYTES = 4 * 1024 * 1024
"""Size of a leaf: the unit of storage, transfer and verification. Part of every content digest, so it never changes."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: object) -> bool:
    """Whether `text` is a full digest."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def parse_digest(text: object, what: str = "digest") -> Digest:
    """Return `text` as a digest.

    Raises:
        MalformedOperationError: it is not 64 lower-case hexadecimal characters.
    """
    if isinstance(text, str) and _DIGEST.fullmatch(text):
        return Digest(text)
    raise MalformedOperationError(f"{what} is not a SHA-256 digest of 64 lower-case hex characters: {text!r:.80}")


def raw(digest: Digest) -> bytes:
    """The 32 bytes of a digest."""
    return bytes.fromhex(digest)


def sha256(*parts: bytes | bytearray | memoryview) -> Digest:
    """SHA-256 over the concatenation of `parts`."""
    state = hashlib.sha256(parts[0] if parts else b"")
    for part in parts[1:]:
        state.update(part)
    return Digest(state.hexdigest())


def tagged(tag: str, *parts: bytes) -> Digest:
    """SHA-256 over an ASCII tag and then `parts`: one hash function per purpose."""
    return sha256(tag.encode("ascii"), *parts)


def leaf_digest(data: bytes | bytearray | memoryview) -> Digest:
    """Digest of one Merkle leaf: SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00", data)


class LeafHasher:
    """The digest of a leaf whose bytes come in pieces."""

    def __init__(self) -> None:
        self._state = hashlib.sha256(b"\x00")

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next piece."""
        self._state.update(piece)

    def digest(self) -> Digest:
        """The leaf's digest, equal to `leaf_digest` of all pieces joined."""
        return Digest(self._state.hexdigest())


def merkle_root(leaves: Sequence[Digest]) -> Digest:
    """Merkle tree hash over leaf digests, RFC 9162 section 2.1.1.

    A node is SHA-256(0x01 ‖ left ‖ right); a tree of n > 1 leaves splits at the largest power of two below n. The
    root of no leaves is SHA-256 of the empty string.
    """
    return leaves[0] if len(leaves) == 1 else _merkle_root([raw(leaf) for leaf in leaves])


def merkle_root_of(values: Iterable[bytes]) -> Digest:
    """Merkle tree hash over short values, each hashed as a leaf."""
    return _merkle_root([hashlib.sha256(b"\x00" + value).digest() for value in values])


def _merkle_root(level: list[bytes]) -> Digest:
    if not level:
        return sha256(b"")
    # Pairing neighbours and carrying an odd last one upward gives the same tree as the recursive split.
    while len(level) > 1:
        paired = [hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return Digest(level[0].hex())


def leaf_sizes(size_bytes: int) -> list[int]:
    """Lengths in bytes of the leaves of a tensor of `size_bytes`; empty for an empty tensor."""
    full, rest = divmod(size_bytes, LEAF_BYTES)
    return [LEAF_BYTES] * full + ([rest] if rest else [])
