"""The two phases of the audit: the raw operation, and the same strategy through both layers; prints nothing.

Phase 1 asks of f(a, b) whether f(a, b) = f(b, a), f(f(a, b), c) = f(a, f(b, c)) and f(a, a) = a, within the paper's
tolerance and to the bit. Phase 2 asks the same of the join of two states followed by resolve, and whether three
replicas agree in all six orders of joining: always to the bit.
"""

import hashlib
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conjoin.apps.audit.outfit import Outfit, Replica
from conjoin.apps.audit.paper import LAYERED, PROPERTIES, TOLERANCE
from conjoin.apps.audit.raw import Array, Operand, Operation
from conjoin.apps.audit.shapes import Layer, Shapes
from conjoin.apps.audit.tensors import Family, family
from conjoin.errors import ConjoinError
from conjoin.strategies.base import Strategy

DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}
ORDERS = tuple(itertools.permutations(range(3)))
_PART = 1 << 22


@dataclass(frozen=True, slots=True)
class RawResult:
    """What Phase 1 found about one strategy on some shapes.

    Attributes:
        letters: P or F per property, within the tolerance.
        bitwise: the same, to the bit.
        gaps: largest difference of the two sides, per property.
        layers: layers run on.
        cpu_s: seconds of processor time.
        problem: the error that ended it, None where there was none; the letters are then empty.
    """

    letters: str
    bitwise: str
    gaps: tuple[float, ...]
    layers: tuple[str, ...]
    cpu_s: float
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class LayeredResult:
    """What Phase 2 found: P or F for each column of Table 4, to the bit, over all layers run on."""

    letters: str
    layers: tuple[str, ...]
    resolves: int
    cpu_s: float
    problem: str | None = None

    @property
    def passes(self) -> bool:
        """Whether every property holds."""
        return self.letters == "P" * len(LAYERED)


def models_of(shapes: Shapes, layer: Layer, dtype: str, seed: int) -> Family:
    """The base and the three fine-tunes of a layer."""
    return family(layer, dtype, values=DTYPES[shapes.values], seed=seed)


def raw(strategy: Strategy, families: Iterable[Family], params: dict[str, Any] | None = None) -> RawResult:
    """Phase 1 of one strategy.

    Args:
        strategy: what f is.
        families: the models it is tried on, one tensor each.
        params: parameters other than the defaults.
    """
    began, layers, gaps = time.process_time(), dict[str, None](), [0.0] * len(PROPERTIES)
    same = [True] * len(PROPERTIES)
    try:
        for models in families:
            layers[models.layer.name] = None
            for at, (gap, equal) in enumerate(_raw_gaps(strategy, models, params or {})):
                gaps[at], same[at] = max(gaps[at], gap), same[at] and equal
    except ConjoinError as error:
        return RawResult("", "", (), tuple(layers), time.process_time() - began, str(error))
    return RawResult(
        _letters(gap <= TOLERANCE for gap in gaps),
        _letters(same),
        tuple(gaps),
        tuple(layers),
        time.process_time() - began,
    )


def _raw_gaps(strategy: Strategy, models: Family, params: dict[str, Any]) -> Iterable[tuple[float, bool]]:
    """Per property the largest difference of the two sides, and whether they are the same bits."""
    base = Operand.of(models.base)
    a, b, c = map(Operand.of, models.models)
    outfit = Outfit.of(strategy, base, models.layer, params)
    operation = Operation(strategy, models.layer.name, base)

    def f(left: Operand, right: Operand) -> Operand:
        return operation(*outfit.raw((left, right)))

    ab = f(a, b)
    yield _gap(ab, f(b, a))
    left = f(ab, c)
    del ab
    right = f(a, f(b, c))
    yield _gap(left, right)
    del left, right
    yield _gap(f(a, a), a)


def _gap(left: Operand, right: Operand) -> tuple[float, bool]:
    """The largest difference of two tensors of one shape, and whether they are the same bits."""
    if left.digest == right.digest:
        return 0.0, True
    one, other = left.array.reshape(-1), right.array.reshape(-1)
    largest = 0.0
    for start in range(0, len(one), _PART):
        part = slice(start, start + _PART)
        difference = np.abs(one[part].astype(np.float64) - other[part])
        largest = max(largest, float(difference.max()))
    return largest, False


def layered(strategy: Strategy, families: Iterable[Family]) -> LayeredResult:
    """Phase 2 of one strategy."""
    began, layers, holds, resolves = time.process_time(), dict[str, None](), [True] * len(LAYERED), 0
    try:
        for models in families:
            layers[models.layer.name] = None
            outcome = _Replicas(strategy, models)
            for at, digests in enumerate(outcome.sides()):
                holds[at] = holds[at] and len(set(digests)) == 1
            resolves += outcome.resolves
    except ConjoinError as error:
        return LayeredResult("", tuple(layers), resolves, time.process_time() - began, str(error))
    return LayeredResult(_letters(holds), tuple(layers), resolves, time.process_time() - began)


class _Replicas:
    """Three replicas, each with one of the models, and what they resolve to after joining in some order."""

    def __init__(self, strategy: Strategy, models: Family) -> None:
        outfit = Outfit.of(strategy, Operand.of(models.base), models.layer, {})
        self.alone = [Replica.with_model(outfit, f"{at}", Operand.of(one)) for at, one in enumerate(models.models)]
        self.resolves = 0

    def sides(self) -> Iterable[Sequence[str]]:
        """Per column of Table 4 the digests that must be one."""
        a, b, c = self.alone
        yield self.resolved(a | b), self.resolved(b | a)
        left = self.resolved((a | b) | c)
        yield left, self.resolved(a | (b | c))
        yield self.resolved(a | a), self.resolved(a)
        orders = [[self.alone[at] for at in order] for order in ORDERS[1:]]
        yield left, *(self.resolved((x | y) | z) for x, y, z in orders)

    def resolved(self, replica: Replica) -> str:
        """The digest of what a replica resolves to."""
        self.resolves += 1
        return digest_of(replica.resolve())


def digest_of(array: Array) -> str:
    """SHA-256 over a tensor's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _letters(holds: Iterable[bool]) -> str:
    return "".join("P" if one else "F" for one in holds)
