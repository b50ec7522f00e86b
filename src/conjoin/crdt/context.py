"""Causal context: the set of dots a state has seen, kept as ranges; never says what a dot means, never loses one."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple, Self

from conjoin.errors import MalformedOperationError
from conjoin.wire.canonical import Json

COUNTER_MAX = 2**53 - 2
REPLICA_CHARS_MAX = 256

Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of counters: ascending, disjoint and not adjacent, so one set has one spelling."""


class Dot(NamedTuple):
    """The name of one event: which replica, and the how-manieth of its events, from 0. Never derived from content."""

    replica: str
    counter: int


def check_dot(replica: object, counter: object) -> Dot:
    """A dot from two untrusted values.

    Raises:
        MalformedOperationError: the replica is not a string of 1 to 256 characters, or the counter not in 0 … 2^53 - 2.
    """
    if not isinstance(replica, str) or not 0 < len(replica) <= REPLICA_CHARS_MAX:
        raise MalformedOperationError(f"the replica of a dot is a string of 1 to 256 characters: {replica!r:.80}")
    if type(counter) is not int or not 0 <= counter <= COUNTER_MAX:
        raise MalformedOperationError(f"the counter of a dot is an integer from 0: {counter!r:.80}")
    return Dot(replica, counter)


def _no_ranges() -> Mapping[str, Ranges]:
    return {}


@dataclass(frozen=True)
class CausalContext:
    """A set of dots: a version vector for the gapless beginnings and a cloud for the rest, both held as ranges.

    Set algebra on it (`|`, `-`, `<=`, `in`) costs time linear in the number of ranges, not of dots.
    """

    ranges: Mapping[str, Ranges] = field(default_factory=_no_ranges)

    def __post_init__(self) -> None:
        for replica, ranges in self.ranges.items():
            edge = -2
            for start, stop in ranges:
                check_dot(replica, start)
                check_dot(replica, stop - 1)
                if start <= edge or stop <= start:
                    raise MalformedOperationError(f"ranges of {replica!r:.80} are not ascending with gaps between them")
                edge = stop
            if not ranges:
                raise MalformedOperationError(f"context names {replica!r:.80} without a dot")
        object.__setattr__(self, "ranges", MappingProxyType(dict(sorted(self.ranges.items()))))

    @classmethod
    def of(cls, dots: Iterable[Dot]) -> Self:
        """The context of exactly these dots."""
        counters: dict[str, list[int]] = {}
        for replica, counter in dots:
            counters.setdefault(replica, []).append(counter)
        return cls({name: _union((n, n + 1) for n in sorted(values)) for name, values in counters.items()})

    @property
    def vector(self) -> dict[str, int]:
        """The version vector: for each replica, how many of its events are seen without a gap from the first."""
        return {name: ranges[0][1] for name, ranges in self.ranges.items() if ranges[0][0] == 0}

    @property
    def cloud(self) -> frozenset[Dot]:
        """The dots beyond the version vector: seen, while an earlier one of the same replica is not."""
        return frozenset(
            Dot(replica, counter)
            for replica, ranges in self.ranges.items()
            for start, stop in ranges
            if start > 0
            for counter in range(start, stop)
        )

    def next_counter(self, replica: str) -> int:
        """The first counter above every dot seen of `replica`."""
        ranges = self.ranges.get(replica)
        return ranges[-1][1] if ranges else 0

    def __contains__(self, dot: object) -> bool:
        if not isinstance(dot, tuple) or len(dot) != 2:
            return False
        replica, counter = dot
        ranges = self.ranges.get(replica, ())
        if ranges and counter < ranges[0][1]:
            return counter >= ranges[0][0]
        place = bisect_right(ranges, counter, key=lambda pair: pair[0])
        return place > 0 and counter < ranges[place - 1][1]

    def __iter__(self) -> Iterator[Dot]:
        for replica, ranges in self.ranges.items():
            for start, stop in ranges:
                yield from (Dot(replica, counter) for counter in range(start, stop))

    def __len__(self) -> int:
        return sum(stop - start for ranges in self.ranges.values() for start, stop in ranges)

    def __or__(self, other: "CausalContext") -> "CausalContext":
        """The dots of either."""
        merged = dict(self.ranges)
        for replica, ranges in other.ranges.items():
            mine = merged.get(replica)
            merged[replica] = ranges if mine is None or mine == ranges else _union(sorted(chain(mine, ranges)))
        return CausalContext(merged)

    def __sub__(self, other: "CausalContext") -> "CausalContext":
        """The dots of this context that are not in `other`."""
        rest = {name: _difference(ranges, other.ranges.get(name, ())) for name, ranges in self.ranges.items()}
        return CausalContext({name: ranges for name, ranges in rest.items() if ranges})

    def __le__(self, other: "CausalContext") -> bool:
        """Whether every dot of this context is in `other`."""
        return not (self - other).ranges

    def __hash__(self) -> int:
        return hash(tuple(self.ranges.items()))

    def to_json(self) -> dict[str, Json]:
        """The ranges by replica as a JSON value."""
        return {name: [list(pair) for pair in ranges] for name, ranges in self.ranges.items()}

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Read what `to_json` wrote.

        Raises:
            MalformedOperationError: it is not an object of ascending half-open ranges by replica.
        """
        if not isinstance(value, dict):
            raise MalformedOperationError("a causal context is an object of ranges by replica")
        return cls({name: tuple(_read_range(pair) for pair in _list(ranges)) for name, ranges in value.items()})


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise MalformedOperationError(f"not a list of ranges: {value!r:.80}")
    return value


def _read_range(pair: Json) -> tuple[int, int]:
    if not isinstance(pair, list) or len(pair) != 2 or any(type(edge) is not int for edge in pair):
        raise MalformedOperationError(f"not a range of two integers: {pair!r:.80}")
    return pair[0], pair[1]


def _union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Unite ranges given in ascending order of their starts."""
    result: list[tuple[int, int]] = []
    for start, stop in ranges:
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return tuple(result)


def _difference(ranges: Ranges, holes: Ranges) -> Ranges:
    """What is left of `ranges` without `holes`, in one pass over both."""
    result: list[tuple[int, int]] = []
    place = 0
    for start, stop in ranges:
        while place < len(holes) and holes[place][1] <= start:
            place += 1
        look = place
        while look < len(holes) and holes[look][0] < stop:
            if start < holes[look][0]:
                result.append((start, holes[look][0]))
            start = max(start, holes[look][1])
            look += 1
        if start < stop:
            result.append((start, stop))
    return tuple(result)
