"""The OR-Set of contributions: which digests are visible, and the join of two states; knows no tensor, file or peer.

A state is three grow-only sets: adds (dot → element), tombstones (dot of a retraction → the add dots it covers) and
the context (every dot seen). A delta is a state that holds less. Laws, for all states reachable by `add`, `retract`
and `join` from the empty state, with no dot given out twice:

- `join` is commutative, associative and idempotent, and `a | b` is the least state above both (⊑ is inclusion).
- `state | delta` is the state after the operation; a delta may arrive twice, late, or before what it follows.
- An element is visible iff it has an add dot that no tombstone covers. A retraction covers the add dots it has seen,
  so a concurrent add survives it (add-wins), and adding again afterwards makes the element visible again.
- What is retracted stays retracted: no old copy of a state holds a dot that a tombstone does not cover already.
- `root` is a function of the visible set alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Self, TypeVar, cast

from conjoin.crdt.context import CausalContext, Dot, check_dot
from conjoin.errors import CopiedReplicaError, MalformedOperationError, UnknownDigestError
from conjoin.wire.canonical import Json
from conjoin.wire.digest import Digest, merkle_root_of, parse_digest, raw

FORMAT = "conjoin/state/1"
T = TypeVar("T")


def root_of(digests: Iterable[str]) -> Digest:
    """The root over a set of digests: Merkle root over the leaf digests of their 32 bytes in canonical order."""
    return merkle_root_of([raw(Digest(digest)) for digest in sorted(set(digests))])


def _no_adds() -> Mapping[Dot, str]:
    return {}


def _no_tombstones() -> Mapping[Dot, frozenset[Dot]]:
    return {}


@dataclass(frozen=True)
class MergeState:
    """A state or a state delta; frozen, joined with `|`.

    Attributes:
        adds: the element (a digest) that each add dot put in.
        tombstones: for the dot of each retraction, the add dots it covers.
        context: every dot whose effect this state holds, including dots of events that changed nothing here.

    Raises (when made):
        MalformedOperationError: an element is no digest, a dot stands for two things, or the context lacks a dot.
    """

    adds: Mapping[Dot, str] = field(default_factory=_no_adds)
    tombstones: Mapping[Dot, frozenset[Dot]] = field(default_factory=_no_tombstones)
    context: CausalContext = field(default_factory=CausalContext)

    def __post_init__(self) -> None:
        for dot, element in self.adds.items():
            parse_digest(element, "element")
            self._check_seen(dot)
        for dot, covered in self.tombstones.items():
            self._check_seen(dot)
            if not covered:
                raise MalformedOperationError(f"tombstone {dot} covers nothing")
        if not self.adds.keys().isdisjoint(self.tombstones):
            raise MalformedOperationError("a dot stands for an add and for a retraction")
        object.__setattr__(self, "adds", MappingProxyType(dict(self.adds)))
        object.__setattr__(self, "tombstones", MappingProxyType(dict(self.tombstones)))

    def _check_seen(self, dot: Dot) -> None:
        if dot not in self.context:
            raise MalformedOperationError(f"dot {dot} is not in the causal context")

    def __or__(self, other: "MergeState") -> "MergeState":
        return join(self, other)

    def __hash__(self) -> int:
        return hash((frozenset(self.adds), frozenset(self.tombstones), self.context))

    def __le__(self, other: "MergeState") -> bool:
        """Whether `other` holds everything this state holds."""
        return (
            self.adds.items() <= other.adds.items()
            and self.tombstones.items() <= other.tombstones.items()
            and self.context <= other.context
        )

    def add(self, replica: str, element: str) -> "MergeState":
        """The delta of adding `element` at `replica`: one new dot. The new state is `state | delta`."""
        dot = self._next_dot(replica)
        return MergeState({dot: parse_digest(element, "element")}, {}, CausalContext.of([dot]))

    def retract(self, replica: str, element: str) -> "MergeState":
        """The delta of retracting `element` at `replica`: one new dot that covers the element's uncovered add dots.

        Raises:
            UnknownDigestError: the element is not visible here, so there is nothing to retract.
        """
        covered = self.dots_of(element)
        if not covered:
            raise UnknownDigestError(f"{element!r:.80} is not visible, so it cannot be retracted")
        dot = self._next_dot(replica)
        return MergeState({}, {dot: frozenset(covered)}, CausalContext.of([dot]))

    def _next_dot(self, replica: str) -> Dot:
        return check_dot(replica, self.context.next_counter(replica))

    @cached_property
    def _covered(self) -> frozenset[Dot]:
        return frozenset[Dot]().union(*self.tombstones.values())

    @cached_property
    def _visible(self) -> Mapping[str, tuple[Dot, ...]]:
        """The uncovered add dots of each visible element, both ascending."""
        alive: dict[str, list[Dot]] = {}
        for dot, element in self.adds.items():
            if dot not in self._covered:
                alive.setdefault(element, []).append(dot)
        return {element: tuple(sorted(alive[element])) for element in sorted(alive)}

    def visible(self) -> tuple[Digest, ...]:
        """The visible elements in canonical order."""
        return tuple(Digest(element) for element in self._visible)

    def dots_of(self, element: str) -> tuple[Dot, ...]:
        """The uncovered add dots of `element`, ascending; empty when it is not visible."""
        return self._visible.get(element, ())

    def root(self) -> Digest:
        """The root over the visible set; the same on every replica that sees the same set."""
        return root_of(self._visible)

    def missing(self, context: CausalContext) -> "MergeState":
        """The delta that brings a replica with `context` up to this state: what is here and not there."""
        return MergeState(
            {dot: element for dot, element in self.adds.items() if dot not in context},
            {dot: covered for dot, covered in self.tombstones.items() if dot not in context},
            self.context - context,
        )

    def to_json(self) -> dict[str, Json]:
        """The state as a JSON value with every list ascending: equal states give equal canonical bytes."""
        return {
            "adds": [[*dot, self.adds[dot]] for dot in sorted(self.adds)],
            "context": self.context.to_json(),
            "format": FORMAT,
            "tombstones": [[*dot, [list(d) for d in sorted(self.tombstones[dot])]] for dot in sorted(self.tombstones)],
        }

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Read what `to_json` wrote.

        Raises:
            MalformedOperationError: it is not a state of this format, or breaks a rule of states.
        """
        if not isinstance(value, dict) or set(value) != {"adds", "context", "format", "tombstones"}:
            raise MalformedOperationError("a state has exactly the fields adds, context, format, tombstones")
        if value["format"] != FORMAT:
            raise MalformedOperationError(f"state has format {value['format']!r:.40}, not {FORMAT!r}")
        adds = {dot: parse_digest(element, "element") for dot, element in _read_rows(value["adds"])}
        tombstones = {
            dot: frozenset(_read_dot(pair) for pair in _read_list(covered))
            for dot, covered in _read_rows(value["tombstones"])
        }
        state = cls(adds, tombstones, CausalContext.from_json(value["context"]))
        if state.to_json() != value:
            raise MalformedOperationError("state repeats a dot or its lists are not ascending")
        return state

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{element[:16]}</code></td><td>{len(dots)}</td></tr>"
            for element, dots in self._visible.items()
        )
        return (
            f"<p>{len(self._visible)} visible, root <code>{self.root()[:16]}</code></p>"
            f"<table><tr><th>contribution</th><th>adds</th></tr>{rows}</table>"
        )


def join(a: MergeState, b: MergeState) -> MergeState:
    """The least state that holds what either holds (⊔). Costs O(|a| + |b|) and touches no tensor.

    Raises:
        CopiedReplicaError: one dot stands for two different things: two replicas wrote under one name.
    """
    adds, tombstones = _unite(a.adds, b.adds), _unite(a.tombstones, b.tombstones)
    if not adds.keys().isdisjoint(tombstones):
        raise _reused(next(iter(adds.keys() & tombstones.keys())))
    return _state(adds, tombstones, a.context | b.context)


def _state(adds: Mapping[Dot, str], tombstones: Mapping[Dot, frozenset[Dot]], context: CausalContext) -> MergeState:
    """A state made of checked ones, whose rules hold without being checked again."""
    state = object.__new__(MergeState)
    fields = {"adds": MappingProxyType(adds), "tombstones": MappingProxyType(tombstones), "context": context}
    for name, value in fields.items():
        object.__setattr__(state, name, value)
    return state


def _unite(a: Mapping[Dot, T], b: Mapping[Dot, T]) -> dict[Dot, T]:
    united = cast("MappingProxyType[Dot, T]", a) | b  # of two proxies, as fast as of two dicts
    if len(united) < len(a) + len(b):
        for dot, value in a.items():
            if united[dot] != value:
                raise _reused(dot)
    return united


def _reused(dot: Dot) -> CopiedReplicaError:
    return CopiedReplicaError(
        f"dot {dot.counter} of replica {dot.replica!r:.80} stands for two different things",
        hint="two copies of one replica have written; give every copy its own replica name",
    )


def _read_list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise MalformedOperationError(f"not a list: {value!r:.80}")
    return value


def _read_rows(value: Json) -> list[tuple[Dot, Json]]:
    rows: list[tuple[Dot, Json]] = []
    for row in _read_list(value):
        if not isinstance(row, list) or len(row) != 3:
            raise MalformedOperationError(f"not a row of replica, counter and value: {row!r:.80}")
        rows.append((check_dot(row[0], row[1]), row[2]))
    return rows


def _read_dot(pair: Json) -> Dot:
    if not isinstance(pair, list) or len(pair) != 2:
        raise MalformedOperationError(f"not a dot of replica and counter: {pair!r:.80}")
    return check_dot(pair[0], pair[1])
