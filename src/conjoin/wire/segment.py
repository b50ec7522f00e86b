"""Segments: a run of one author's chain as one object; checks that it is the run its name says, not who signed it.

The bytes are the envelopes in order, each followed by one newline. Every operation names the one before it by its id,
so the id of the last one, which is in the name, pins them all.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from conjoin.errors import DamagedObjectError, TrustError
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, sha256
from conjoin.wire.envelope import unseal
from conjoin.wire.objects import SegmentName

SEGMENT_OPERATIONS_MAX = 1024
SEGMENT_BYTES_MAX = 4 * 1024 * 1024


class Link(NamedTuple):
    """What of an operation matters to its place in a segment; `founds`: it is a genesis."""

    author: str
    seq: int
    prev: Digest | None
    id: Digest
    founds: bool


def join_segment(envelopes: Iterable[bytes]) -> bytes:
    """The bytes of a segment."""
    return b"".join(envelope + b"\n" for envelope in envelopes)


def split_segment(name: SegmentName, data: bytes) -> list[bytes]:
    """The envelopes in a segment, none of them looked at.

    Raises:
        DamagedObjectError: they are not as many as the name says, or too many, or too large together.
    """
    count = name.last - name.first + 1
    if count > SEGMENT_OPERATIONS_MAX:
        raise _damaged(name, f"{count} operations are over the limit of {SEGMENT_OPERATIONS_MAX} for a segment")
    if len(data) > SEGMENT_BYTES_MAX:
        raise _damaged(name, f"{len(data)} bytes are over the limit of {SEGMENT_BYTES_MAX} for a segment")
    lines = data.split(b"\n")
    if lines.pop() or len(lines) != count:
        raise _damaged(name, f"the segment holds {len(lines)} lines, the name says {count}")
    return lines


def check_links(name: SegmentName, links: Sequence[Link]) -> None:
    """Check that operations are the run that the name of a segment says.

    Raises:
        DamagedObjectError: one is not the successor of the one before, or the last one is not the one in the name.
    """
    for seq, link in enumerate(links, name.first):
        if link.author != name.author or link.seq != seq:
            raise _damaged(name, f"the segment holds seq {link.seq} of {link.author} where seq {seq} should be")
        if link.founds:
            raise _damaged(name, "the segment holds a genesis, which always is an object of its own")
        if seq > name.first and link.prev != links[seq - name.first - 1].id:
            raise _damaged(name, f"the operation of seq {seq} does not follow the one before it")
    if not links or links[-1].id != name.id:
        raise _damaged(name, "the last operation is not the one in the name")


def check_segment(name: SegmentName, data: bytes) -> list[tuple[bytes, str, bytes]]:
    """Check the bytes of a segment against its name; returns payload, author and signature of every operation.

    Raises:
        DamagedObjectError: they are not what the name says.
    """
    found = [_unsealed(name, envelope) for envelope in split_segment(name, data)]
    check_links(name, [_link(name, payload, author) for payload, author, _ in found])
    return found


def _unsealed(name: SegmentName, envelope: bytes) -> tuple[bytes, str, bytes]:
    try:
        return unseal(envelope)
    except TrustError as cause:
        raise _damaged(name, f"a line of the segment is not an operation's envelope: {cause.what}") from cause


def _link(name: SegmentName, payload: bytes, author: str) -> Link:
    try:
        fields = canonical.decode(payload, "operation")
    except TrustError as cause:
        raise _damaged(name, f"the payload of an operation is damaged: {cause.what}") from cause
    if not isinstance(fields, dict):
        raise _damaged(name, "the payload of an operation is not an object")
    seq, prev = fields.get("seq"), fields.get("prev")
    return Link(
        author=author,
        seq=seq if isinstance(seq, int) else -1,
        prev=Digest(prev) if isinstance(prev, str) else None,
        id=sha256(payload),
        founds=fields.get("type") == "genesis",
    )


def _damaged(name: SegmentName, what: str) -> DamagedObjectError:
    return DamagedObjectError(what, where=str(name))
