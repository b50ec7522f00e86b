"""Names of immutable objects, the same on a replica's disk and in a meeting place; opens nothing.

`leaf/ab/<digest>`, `manifest/<digest>`, `ops/<author>/<seq>-<digest>`: the name alone says what the bytes must be.
"""

import re
from dataclasses import dataclass

from conjoin.wire.digest import Digest

_LEAF = re.compile(r"leaf/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_MANIFEST = re.compile(r"manifest/([0-9a-f]{64})")
_OPERATION = re.compile(r"ops/([0-9a-f]{64})/([0-9]{10})-([0-9a-f]{64})")
SEQ_MAX = 10**10 - 1


@dataclass(frozen=True, slots=True)
class OperationName:
    """What the name of an operation object says: author key (hex), seq, operation id."""

    author: str
    seq: int
    id: Digest


def leaf_name(digest: Digest) -> str:
    """Name of a leaf object."""
    return f"leaf/{digest[:2]}/{digest}"


def manifest_name(digest: Digest) -> str:
    """Name of a manifest object."""
    return f"manifest/{digest}"


def operation_name(author: str, seq: int, operation: Digest) -> str:
    """Name of an operation object; `seq` is padded to ten digits so that names sort in chain order."""
    return f"ops/{author}/{seq:010d}-{operation}"


def parse_leaf(name: str) -> Digest | None:
    """The digest of a leaf object's name, or None for any other name."""
    match = _LEAF.fullmatch(name)
    return Digest(match.group(2)) if match else None


def parse_manifest(name: str) -> Digest | None:
    """The digest of a manifest object's name, or None for any other name."""
    match = _MANIFEST.fullmatch(name)
    return Digest(match.group(1)) if match else None


def parse_operation(name: str) -> OperationName | None:
    """The parts of an operation object's name, or None for any other name."""
    match = _OPERATION.fullmatch(name)
    return OperationName(match.group(1), int(match.group(2)), Digest(match.group(3))) if match else None
