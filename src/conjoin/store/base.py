"""Store: what every place for immutable, digest-named objects promises, and how an object is checked against its name.

Nothing here decides what is trusted: an operation's signature is the log's business.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, cast

from conjoin.errors import DamagedObjectError, MissingObjectError, TrustError
from conjoin.store.files import Bytes
from conjoin.wire.digest import LEAF_BYTES, Digest, leaf_digest, sha256
from conjoin.wire.envelope import unseal
from conjoin.wire.manifest import MANIFEST_BYTES_MAX, Manifest, TensorEntry
from conjoin.wire.objects import (
    OperationName,
    leaf_name,
    parse_fork,
    parse_leaf,
    parse_manifest,
    parse_operation,
    parse_segment,
)
from conjoin.wire.segment import SEGMENT_BYTES_MAX, check_segment

ENVELOPE_BYTES_MAX = 256 * 1024
REPAIR_HINT = "`conjoin fsck --repair-from SOURCE` lists every damaged object and brings back those that SOURCE has"


class Store(Protocol):
    """Immutable objects by name (wire/objects.py). One writer per name is not assumed: equal names mean equal bytes."""

    def has(self, name: str) -> bool:
        """Whether the object is here. Says nothing about its bytes; a name that names no object is never here."""
        ...

    def get(self, name: str) -> bytes:
        """The object's bytes, checked against its name.

        Raises:
            MissingObjectError: it is not here.
            DamagedObjectError: its bytes are not what its name says.
            ChangedFileError: it was added in place and the file has changed.
        """
        ...

    def read_leaf(self, digest: Digest, into: memoryview, *, trusted: bool = False) -> int:
        """Read a leaf into the start of `into` and return its length in bytes; `trusted` skips the hashing.

        Raises: as `get`. What `into` holds after an error is undefined.
        """
        ...

    def put(self, name: str, data: Bytes) -> None:
        """Keep an object whose bytes the caller has checked. When this returns it is durable; all or nothing is seen.

        Putting an object that is here does nothing.

        Raises:
            ReadOnlyError, DiskFullError, DeviceError: it could not be written; nothing is left behind.
        """
        ...

    def names(self, prefix: str) -> Iterator[str]:
        """The names that start with `prefix`, ascending; things that are not objects are not listed."""
        ...

    def remove(self, name: str) -> None:
        """Forget an object; does nothing if it is not here."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a leaf's bytes should be, nothing of it verified.

    Attributes:
        descriptor: a file opened for reading; whoever asked closes it.
        offset: of the leaf's first byte.
        size_bytes: of the leaf.
        stamp: None where only this store writes to the file; else what changes when somebody has changed it.
    """

    descriptor: int
    offset: int
    size_bytes: int
    stamp: tuple[int, ...] | None


def place_of(store: Store, digest: Digest) -> Place | None:
    """Where to read a leaf in pieces, for stores that keep leaves in files; None where only `read_leaf` can say."""
    place = getattr(store, "place", None)
    return cast("Place | None", place(digest)) if place else None


def batch(store: Store) -> AbstractContextManager[None]:
    """A block in which many leaves are put: stores that can make their names durable together do so.

    Inside it a leaf may be lost in a crash until the block ends or another kind of object is put, whichever is first.
    """
    begin = getattr(store, "batch", None)
    return cast("AbstractContextManager[None]", begin()) if begin else nullcontext()


def holds(store: Store, name: str) -> bool:
    """Whether a copy of the object is not needed: it is here, and not in a file outside that has changed since."""
    holds_it = getattr(store, "holds", None)
    return cast("bool", holds_it(name)) if holds_it else store.has(name)


def read_tensor(store: Store, entry: TensorEntry) -> bytearray:
    """All bytes of one tensor, or of one file that is kept as a tensor; each leaf is verified."""
    data = bytearray(entry.size_bytes)
    view, position = memoryview(data), 0
    for leaf, size in zip(entry.leaves, entry.leaf_sizes(), strict=True):
        store.read_leaf(leaf, view[position : position + size])
        position += size
    return data


def read_leaf(store: Store, digest: Digest, *, trusted: bool = True) -> bytes:
    """The bytes of one leaf; `trusted` skips the hashing, for those who hash what comes of it.

    Raises: as `Store.get`.
    """
    buffer = bytearray(LEAF_BYTES)
    return bytes(memoryview(buffer)[: store.read_leaf(digest, memoryview(buffer), trusted=trusted)])


def is_object(name: str) -> bool:
    """Whether `name` can name an object."""
    known = parse_leaf(name) or parse_manifest(name) or parse_operation(name) or parse_segment(name) or parse_fork(name)
    return known is not None


def size_limit(name: str) -> int:
    """The most bytes the object `name` can have."""
    if parse_leaf(name):
        return LEAF_BYTES
    if parse_segment(name):
        return SEGMENT_BYTES_MAX
    return MANIFEST_BYTES_MAX if parse_manifest(name) else ENVELOPE_BYTES_MAX


def missing(name: str) -> MissingObjectError:
    """The error for an object that is not here."""
    return MissingObjectError(
        "the object is not in this store", where=name, hint="sync with a replica or meeting place that has it"
    )


def damaged(name: str, what: str) -> DamagedObjectError:
    """The error for an object whose bytes are not what its name says."""
    return DamagedObjectError(what, where=name, hint=REPAIR_HINT)


def check_leaf(digest: Digest, data: Bytes) -> None:
    """Check a leaf's bytes.

    Raises:
        DamagedObjectError: they have another digest.
    """
    actual = leaf_digest(data)
    if actual != digest:
        raise damaged(leaf_name(digest), f"{len(data)} bytes have digest {actual} and not the one in the name")


def check_object(name: str, data: bytes) -> None:
    """Check an object's bytes against its name; of operations the payloads only, not who signed them.

    Raises:
        DamagedObjectError: they are not what the name says.
        MissingObjectError: the name names no object.
    """
    if leaf := parse_leaf(name):
        check_leaf(leaf, data)
    elif manifest := parse_manifest(name):
        Manifest.decode(data, manifest)
    elif operation := parse_operation(name) or parse_fork(name):
        _check_operation(name, operation, data)
    elif segment := parse_segment(name):
        check_segment(segment, data)
    else:
        raise missing(name)


def _check_operation(name: str, expected: OperationName, envelope: bytes) -> None:
    if len(envelope) > ENVELOPE_BYTES_MAX:
        raise damaged(name, f"{len(envelope)} bytes are over the limit of {ENVELOPE_BYTES_MAX} for an operation")
    try:
        payload, author, _ = unseal(envelope)
    except TrustError as cause:
        raise damaged(name, f"the object is not an operation's envelope: {cause.what}") from cause
    actual = sha256(payload)
    if actual != expected.id:
        raise damaged(name, f"the operation's payload has digest {actual} and not the one in the name")
    if author != expected.author:
        raise damaged(name, f"the operation is signed by {author} and not by the author in the name")
