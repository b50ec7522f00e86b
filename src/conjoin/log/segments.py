"""Segments: how operations travel and lie together, as runs of one author's chain; decides nothing about admission."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from conjoin.errors import ConjoinError, DamagedObjectError, MissingObjectError
from conjoin.log.log import Log
from conjoin.log.operation import Operation, parse
from conjoin.wire.digest import Digest
from conjoin.wire.objects import SegmentName, fork_name, parse_fork, parse_operation, parse_segment
from conjoin.wire.segment import (
    SEGMENT_BYTES_MAX,
    SEGMENT_OPERATIONS_MAX,
    Link,
    check_links,
    join_segment,
    split_segment,
)

SEGMENT_OPERATIONS_MIN = 16
"""Fewer operations than this travel as objects of their own."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An object that holds operations: one operation's envelope, or a segment."""

    name: str
    data: bytes
    operations: tuple[Operation, ...]


def read_segment(name: str, data: bytes) -> list[Operation]:
    """The operations of a segment: each parsed and verified, and together what the name says.

    Raises:
        DamagedObjectError: the segment is not what its name says.
        TrustError: as `parse`, for one of its operations.
    """
    parts = parse_segment(name)
    if parts is None:
        raise MissingObjectError("the name is not that of a segment", where=name)
    operations = [parse(envelope) for envelope in split_segment(parts, data)]
    check_links(parts, [_link(operation) for operation in operations])
    return operations


def salvage(data: bytes) -> list[Operation]:
    """The operations of a damaged segment that still are whole."""
    found: list[Operation] = []
    for envelope in data.split(b"\n"):
        try:
            found.append(parse(envelope))
        except ConjoinError:
            continue
    return found


def runs(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    """Cut operations into runs of one author's chain, as long as can be: one after the other they are a causal order.

    A run ends where the author forked, and where an operation needs one that comes in a later run. A genesis is a run
    of its own. Of several runs that could come next, the one whose first operation was given first does.
    """
    every = {operation.id: operation for operation in operations}
    place = {one: number for number, one in enumerate(every)}
    lacking: dict[Digest, int] = {}
    children: dict[Digest, list[Operation]] = {}
    for operation in every.values():
        parents = [parent for parent in operation.parents if parent in every]
        lacking[operation.id] = len(parents)
        for parent in parents:
            children.setdefault(parent, []).append(operation)
    ready = [(place[one], one) for one, count in lacking.items() if not count]
    heapq.heapify(ready)
    done: set[Digest] = set()
    while ready:
        _, first = heapq.heappop(ready)
        run: list[Operation] = []
        following: Operation | None = every[first] if first not in done else None
        while following is not None:
            run.append(following)
            done.add(following.id)
            for child in children.get(following.id, ()):
                lacking[child.id] -= 1
                if not lacking[child.id]:
                    heapq.heappush(ready, (place[child.id], child.id))
            following = _successor(following, children, lacking)
        if run:
            yield run


def _successor(
    operation: Operation, children: dict[Digest, list[Operation]], lacking: dict[Digest, int]
) -> Operation | None:
    """What continues a run after `operation`: the one operation that follows it in its chain, if that may come now."""
    following = [child for child in children.get(operation.id, ()) if child.prev == operation.id]
    if len(following) != 1 or lacking[following[0].id] or operation.space is None:
        return None
    return following[0]


def pieces(run: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """Cut a run so that each part fits into a segment."""
    start, size_bytes = 0, 0
    for index, operation in enumerate(run):
        more = len(operation.envelope) + 1
        if index - start == SEGMENT_OPERATIONS_MAX or size_bytes + more > SEGMENT_BYTES_MAX:
            yield run[start:index]
            start, size_bytes = index, 0
        size_bytes += more
    if run[start:]:
        yield run[start:]


def pack(operations: Iterable[Operation], least: int = SEGMENT_OPERATIONS_MIN) -> Iterator[Packed]:
    """Operations as objects, in a causal order: segments of at least `least` operations, and single ones."""
    for run in runs(operations):
        for piece in pieces(run):
            if len(piece) >= least:
                yield segment_of(piece)
            else:
                yield from (Packed(one.name, one.envelope, (one,)) for one in piece)


def segment_of(piece: Sequence[Operation]) -> Packed:
    """The segment of a run that fits into one."""
    name = SegmentName(piece[0].author, piece[0].seq, piece[-1].seq, piece[-1].id)
    return Packed(str(name), join_segment(one.envelope for one in piece), tuple(piece))


def evidence_of(log: Log, places: Iterable[tuple[str, int]]) -> Iterator[Packed]:
    """The operations of these authors and seqs as objects that say that the author forked there."""
    for author, seq in places:
        for one in sorted(log.chains()[author][seq]):
            operation = log.get(one)
            yield Packed(fork_name(author, seq, one), operation.envelope, (operation,))


def object_of(log: Log, name: str) -> bytes | None:
    """The bytes of an object that holds admitted operations; None where one of them is not admitted.

    Raises:
        DamagedObjectError: no object can have this name.
    """
    if segment := parse_segment(name):
        inside = members(log, segment)
        return None if inside is None else segment_of(inside).data
    parts = parse_operation(name) or parse_fork(name)
    if parts is None or not log.has(parts.id):
        return None
    operation = log.get(parts.id)
    if (operation.author, operation.seq) != (parts.author, parts.seq):
        raise DamagedObjectError("the operation in the name is another than its author and seq say", where=name)
    return operation.envelope


def members(log: Log, name: SegmentName) -> list[Operation] | None:
    """The admitted operations that a segment of this name holds; None where its last one is not admitted.

    Raises:
        DamagedObjectError: no segment can have this name.
    """
    if not log.has(name.id):
        return None
    found = [log.get(name.id)]
    while found[-1].seq > name.first and found[-1].prev is not None and len(found) < SEGMENT_OPERATIONS_MAX:
        found.append(log.get(found[-1].prev))
    found.reverse()
    if (found[0].author, found[0].seq, found[-1].seq) != (name.author, name.first, name.last):
        raise DamagedObjectError("the operation in the name is another than its author and seq say", where=str(name))
    return found


def _link(operation: Operation) -> Link:
    return Link(operation.author, operation.seq, operation.prev, operation.id, operation.space is None)
