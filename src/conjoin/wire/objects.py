"""Names of immutable objects, the same on a replica's disk and in a meeting place; opens nothing.

`leaf/ab/<digest>`, `manifest/<digest>`, `ops/<author>/<seq>-<digest>`, `seg/<author>/<from>-<to>-<digest>` and
`fork/<author>/<seq>-<digest>`: the name alone says what the bytes must be.
"""

import re
from dataclasses import dataclass

from conjoin.wire.digest import Digest

_LEAF = re.compile(r"leaf/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_MANIFEST = re.compile(r"manifest/([0-9a-f]{64})")
_OPERATION = re.compile(r"ops/([0-9a-f]{64})/([0-9]{10})-([0-9a-f]{64})")
_FORK = re.compile(r"fork/([0-9a-f]{64})/([0-9]{10})-([0-9a-f]{64})")
_SEGMENT = re.compile(r"seg/([0-9a-f]{64})/([0-9]{10})-([0-9]{10})-([0-9a-f]{64})")
SEQ_MAX = 10**10 - 1
TOP = ("fork", "leaf", "manifest", "ops", "seg")
"""The folders that hold objects, ascending."""


@dataclass(frozen=True, slots=True)
class OperationName:
    """What the name of an operation object, or of evidence of a fork, says: author key (hex), seq, operation id."""

    author: str
    seq: int
    id: Digest


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What the name of a segment says: author key (hex), the first and the last seq in it, id of the last operation."""

    author: str
    first: int
    last: int
    id: Digest

    def __str__(self) -> str:
        return f"seg/{self.author}/{self.first:010d}-{self.last:010d}-{self.id}"


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


def fork_name(author: str, seq: int, operation: Digest) -> str:
    """Name of an operation as evidence that its author signed several operations of this seq."""
    return f"fork/{author}/{seq:010d}-{operation}"


def parse_fork(name: str) -> OperationName | None:
    """The parts of the name of evidence of a fork, or None for any other name."""
    match = _FORK.fullmatch(name)
    return OperationName(match.group(1), int(match.group(2)), Digest(match.group(3))) if match else None


def parse_segment(name: str) -> SegmentName | None:
    """The parts of a segment's name, or None for any other name."""
    match = _SEGMENT.fullmatch(name)
    if match is None or int(match.group(2)) > int(match.group(3)):
        return None
    return SegmentName(match.group(1), int(match.group(2)), int(match.group(3)), Digest(match.group(4)))


def is_content(name: str) -> bool:
    """Whether a name is that of a manifest or a leaf."""
    return bool(parse_leaf(name) or parse_manifest(name))
