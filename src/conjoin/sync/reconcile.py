"""Which operations does the other side lack: what a log holds, as short lists that two sides compare; believes nothing.

An author's operations are a chain, so one point (seq, short id) says that everything up to it is held. An author who
forked has a point for every end. Short ids are made under a nonce of the session, so nobody can prepare two that are
equal; if two are, the worst is that something is sent twice or only with the next nonce.

Among many authors the ones that differ are found by ranges of short ids: a range whose fingerprint differs is cut into
parts until it is small (Meyer, Range-Based Set Reconciliation, SRDS 2023).
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, pairwise

from conjoin.log import Log, Operation
from conjoin.sync.messages import AUTHORS_MAX, RANGES_MAX, SHORT_CHARS, Holding, Point, Range
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, sha256

WHOLE_MAX = 128
"""So many points are listed at once; among more, ranges are compared first."""
PARTS = 16
"""Into so many parts a range that differs is cut."""
LISTED_MAX = 16
"""A range of at most so many points is listed and not cut."""
SAMPLE_MAX = 512
"""Of an author with more ends than this a sample is stated, another one under every nonce."""
MESSAGE_MAX = 8192
"""Points in one message, so that authors who fork without end cannot make it too large to be read."""
ASKED_MAX = RANGES_MAX // PARTS
"""Ranges in one question, so that the answer has room for the parts of all."""


class Comparison:
    """What a log holds when the comparison begins, under one nonce. Does not follow the log when it grows."""

    def __init__(self, log: Log, nonce: str) -> None:
        self._log = log
        self._nonce = bytes.fromhex(nonce)
        ends: dict[str, list[Operation]] = {}
        for tip in log.ancestry.tips:
            operation = log.get(tip)
            ends.setdefault(operation.author, []).append(operation)
        self._authors = {self._short(author): author for author in ends}
        self._points = {short: tuple(map(self._point, ends[author])) for short, author in self._authors.items()}
        self._order = sorted(self._points)

    def _short(self, digest: str) -> str:
        return sha256(self._nonce + bytes.fromhex(digest))[:SHORT_CHARS]

    def _point(self, operation: Operation) -> Point:
        return operation.seq, self._short(operation.id)

    def holding(self, author: str) -> Holding:
        """What is held of the author with this short id."""
        points = sorted(self._points.get(author, ()), key=lambda point: point[1])[:SAMPLE_MAX]
        return Holding(author, tuple(sorted(points)))

    # ------------------------------------------------------------------------------------------------ ranges
    def opening(self) -> tuple[Range, ...]:
        """The ranges that begin a comparison: everything, listed where it is little and cut where it is much."""
        whole = Range("", "", None)
        return (self._listed(whole),) if self._size(whole) <= WHOLE_MAX else self._cut(whole)

    def compare(self, ranges: Iterable[Range]) -> tuple[tuple[Range, ...], tuple[Holding, ...]]:
        """The other side's ranges against what is held: smaller ranges that differ, and what the other side holds.

        The holdings are those of listed ranges, of authors of whom this side holds something else. A range that this
        message has no room to list stays as it is, for the other side to list.
        """
        smaller: list[Range] = []
        theirs: list[Holding] = []
        left = MESSAGE_MAX
        for given in ranges:
            if given.fingerprint is None:
                listed = {holding.author: holding for holding in given.holdings}
                for author in dict.fromkeys((*listed, *self._within(given))):
                    other = listed.get(author, Holding(author, ()))
                    if other != self.holding(author):
                        theirs.append(other)
            elif given.fingerprint != (fingerprint := self._fingerprint(given)):
                if self._size(given) > LISTED_MAX and len(self._within(given)) > 1:
                    smaller += self._cut(given)
                else:
                    whole = self._listed(given)
                    left -= _points(whole)
                    smaller.append(whole if left >= 0 else Range(given.start, given.end, fingerprint))
        return tuple(smaller), tuple(theirs)

    def _size(self, given: Range) -> int:
        return sum(len(self._points[author]) for author in self._within(given))

    def _within(self, given: Range) -> Sequence[str]:
        start = bisect_left(self._order, given.start)
        return self._order[start : bisect_left(self._order, given.end) if given.end else None]

    def _listed(self, given: Range) -> Range:
        return Range(given.start, given.end, None, tuple(map(self.holding, self._within(given))))

    def _cut(self, given: Range) -> tuple[Range, ...]:
        """Parts of about equal numbers of authors, each with its fingerprint."""
        authors = self._within(given)
        parts = max(1, min(PARTS, len(authors)))
        bounds = [given.start, *(authors[len(authors) * part // parts] for part in range(1, parts)), given.end]
        ranges = [Range(start, end, None) for start, end in pairwise(bounds)]
        return tuple(Range(part.start, part.end, self._fingerprint(part)) for part in ranges)

    def _fingerprint(self, given: Range) -> Digest:
        held = [[author, [list(point) for point in sorted(self._points[author])]] for author in self._within(given)]
        return sha256(canonical.encode(held))

    # ------------------------------------------------------------------------------------------------ operations
    def knows(self, other: Holding) -> bool:
        """Whether this side has every operation that the other one points to."""
        return all(self._find(other.author, point) is not None for point in other.points)

    def lacking(self, others: Iterable[Holding]) -> list[Operation]:
        """What is held here and not by a side that holds `others`, in causal order; only of authors it speaks of.

        Nothing is listed of an author of whom it points to nothing that is known here: it may be ahead. If it points
        to a first operation that is not known here, the two have none in common.
        """
        found: list[Operation] = []
        for other in others:
            author = self._authors.get(other.author)
            known = [end for point in other.points if (end := self._find(other.author, point)) is not None]
            if author is None or (other.points and not known and min(other.points)[0] > 0):
                continue
            found += self._beyond(author, known)
        nodes = self._log.ancestry.nodes
        return sorted(found, key=lambda o: (nodes[o.id].height, o.author, o.seq, o.id))

    def ladder(self, author: str) -> Holding:
        """What is held of an author, with points ever further back, by which a side that forked from it finds where."""
        points = set(self.holding(author).points)
        for end in self._ends(author):
            operation, step = end, 1
            while operation.prev is not None and len(points) < SAMPLE_MAX:
                for _ in range(step):
                    if operation.prev is not None:
                        operation = self._log.get(operation.prev)
                points.add(self._point(operation))
                step *= 2
        return Holding(author, tuple(sorted(points)))

    def _ends(self, short: str) -> Iterator[Operation]:
        for point in self.holding(short).points:
            found = self._find(short, point)
            if found is not None:
                yield self._log.get(found)

    def _find(self, short: str, point: Point) -> Digest | None:
        author = self._authors.get(short)
        seq, end = point
        there = self._log.chains()[author].get(seq, ()) if author is not None else ()
        return next((one for one in there if self._short(one) == end), None)

    def _beyond(self, author: str, known: Sequence[Digest]) -> list[Operation]:
        """The author's operations that are neither among `known` nor before one of them in its chain."""
        chain = self._log.chains()[author]
        if all(len(there) == 1 for there in chain.values()):
            start = max((self._log.get(one).seq for one in known), default=-1) + 1
            return [self._log.get(chain[seq][0]) for seq in range(start, len(chain))]
        covered: set[Digest] = set()
        for one in known:
            at: Digest | None = one
            while at is not None and at not in covered:
                covered.add(at)
                at = self._log.get(at).prev
        return [self._log.get(one) for there in chain.values() for one in there if one not in covered]


def first_of(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """As many of `ranges`, from the first on, as one question has room for; at least one."""
    found: list[Range] = []
    left = MESSAGE_MAX
    for one in ranges[:ASKED_MAX]:
        left -= _points(one)
        if found and left < 0:
            break
        found.append(one)
    return tuple(found)


def _points(one: Range) -> int:
    return sum(len(holding.points) for holding in one.holdings)


def fitting(holdings: Iterable[Holding]) -> tuple[Holding, ...]:
    """As many of `holdings` as one message has room for; the others are spoken of in another one."""
    found: list[Holding] = []
    left = MESSAGE_MAX
    for holding in islice(holdings, AUTHORS_MAX):
        left -= len(holding.points)
        if left < 0:
            break
        found.append(holding)
    return tuple(found)


def full(holdings: Collection[Holding]) -> bool:
    """Whether these may be fewer than there were, because one message has no room for more."""
    return len(holdings) == AUTHORS_MAX or sum(len(one.points) for one in holdings) > MESSAGE_MAX - SAMPLE_MAX
