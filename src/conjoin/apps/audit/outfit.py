"""What strategies need beside tensors, made from the content of the tensor it belongs to; trains and measures nothing.

Fisher information, Grams, importances, roles and learned coefficients come from data in earnest. The audit has none and
asks about algebra: so each is a fixed function of the digest of the tensor's content. The same tensor always has the
same ones, another tensor has others, and a merged tensor, which no data ever saw, has them by the same rule.
"""

import copy
import hashlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conjoin import kernels
from conjoin.apps.audit.raw import Array, Equipment, Operand
from conjoin.apps.audit.shapes import Layer
from conjoin.apps.audit.tensors import DENSE_ELEMENTS, noise
from conjoin.memory import CRDTMergeState, digests_of
from conjoin.strategies.base import SideCar, Strategy
from conjoin.wire.asset import Asset

EVALUATIONS = 8
"""Candidates of a search."""
SEARCHED_ELEMENTS = 1 << 14
"""Elements that a search is on."""
REFERENCE_SCALE = 2.0**-10

Values = Callable[["Occasion"], Mapping[str, Any]]
"""What is merged → values of an asset."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What is merged: one tensor of some contributions.

    Attributes:
        strategy: its name.
        layer: which tensor.
        base: θ₀.
        operands: the tensors, by name of the contribution: its digest in Phase 2, that of the content in Phase 1.
        params: parameters other than the defaults.
    """

    strategy: str
    layer: Layer
    base: Operand
    operands: Mapping[str, Operand]
    params: Mapping[str, Any]


def side_car(side: SideCar, content: str, tensor: str, shape: tuple[int, ...]) -> Array:
    """The side-car tensor (float32) of a tensor with this content.

    A Gram is a positive diagonal and four outer products, so that it is symmetric and positive definite. Anything else
    is positive: noise, or where that would be much, the product of a row's and a column's.
    """
    key = kernels.draw_key(hashlib.sha256(side.extra.encode()).digest(), "audit", f"{side.name} {tensor}", content)
    if side.extra == "gram":
        return _gram(shape[0], key)
    if math.prod(shape) <= DENSE_ELEMENTS or len(shape) != 2:
        return _positive(shape, key)
    factors = _positive((sum(shape),), key)
    return factors[: shape[0], None] * factors[shape[0] :]


def _positive(shape: tuple[int, ...], key: kernels.DrawKey) -> Array:
    drawn = noise(shape, key)
    return (drawn * drawn + 2.0**-10).astype(np.float32)


def _gram(n: int, key: kernels.DrawKey) -> Array:
    """D + Σᵣ uᵣ uᵣᵀ."""
    rows = noise((5, n), key).astype(np.float32)
    gram = np.zeros((n, n), np.float32)
    gram[np.arange(n), np.arange(n)] = rows[0] * rows[0] + np.float32(0.5)
    for row in rows[1:]:
        gram += row[:, None] * row
    return gram


def share(content: str, what: str, low: float, high: float) -> str:
    """A decimal between two others that belongs to a content."""
    word = int.from_bytes(hashlib.sha256(f"conjoin/audit/{what} {content}".encode()).digest()[:4], "little")
    return np.format_float_positional(low + (high - low) * (word >> 8) / 2.0**24, precision=6, trim="-")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one strategy needs, as text for the report and as functions.

    Attributes:
        note: the rule in words.
        params: (digests of the contents, references) → parameters; a list has one entry per operand and reference.
        values: values of the asset, where there is one.
        carries: (side-car, layer) → whether a contribution has one for it.
        references: models that are always there, as fixed as the base: in a raw operation, and in every replica.
    """

    note: str
    params: Callable[[Sequence[str], int], Mapping[str, Any]] = lambda _contents, _references: {}
    values: Values | None = None
    carries: Callable[[SideCar, Layer], bool] = lambda _side, _layer: True
    references: tuple[int, int] = (0, 0)


def _by_content(kind: str, low: float, high: float) -> Values:
    """A decimal per contribution, for every tensor."""
    return lambda x: {kind: {"*": {name: share(o.digest, kind, low, high) for name, o in x.operands.items()}}}


def _triplets(x: Occasion) -> Mapping[str, Any]:
    """Coefficients, and of the singular triplets the first and about half of the others."""
    count, kept = min(x.layer.shape), dict[str, str]()
    for name, operand in x.operands.items():
        words = kernels.draws(kernels.draw_key(bytes(32), x.strategy, x.layer.name, operand.digest), 0, count)
        kept[name] = "1" + "".join(str(word >> 31) for word in words[1:].tolist())
    return {**_by_content("scale", 0.2, 0.4)(x), "kept": {x.layer.name: kept}}


def _columns(x: Occasion) -> Mapping[str, Any]:
    """A coefficient between 0.75 and 1.25 per column; 1 where all contents are the same, which training keeps."""
    same = len({operand.digest for operand in x.operands.values()}) == 1
    rows: dict[str, str] = {}
    for name, operand in x.operands.items():
        words = kernels.draws(
            kernels.draw_key(bytes(32), x.strategy, x.layer.name, operand.digest), 0, x.layer.shape[1]
        )
        row = np.ones(len(words)) if same else 0.75 + (words >> np.uint32(16)) * 2.0**-17
        rows[name] = row.astype("<f4").tobytes().hex()
    return {"coefficient": {x.layer.name: rows}}


def _adapters(x: Occasion) -> Mapping[str, Any]:
    """An adapter of rank 1 for features of width 4 per contribution; they stand beside the tensors."""
    adapters: dict[str, Any] = {}
    for name, operand in x.operands.items():
        key = kernels.draw_key(bytes(32), x.strategy, x.layer.name, operand.digest)
        down, up = noise((2, 4), key).astype("<f4")
        adapters[name] = {"rank": 1, "down": down.tobytes().hex(), "up": up.tobytes().hex()}
    return {"adapters": adapters, "inner": {"strategy": "weight_average"}}


def _gram_of(side: SideCar, layer: Layer) -> bool:
    return {"out in": "gram", "in out": "gram_rows"}.get(layer.kind) == side.name


def _roles(contents: Sequence[str], references: int) -> Mapping[str, Any]:
    """The first reference is unaligned. Safe is the second, and without one the smaller digest, of equals the first."""
    if references > 1:
        return {"role": [*("finetuned" for _ in contents), "unaligned", "safe"]}
    safe = contents.index(min(contents))
    return {"role": [*("safe" if at == safe else "finetuned" for at in range(len(contents))), "unaligned"]}


def _searched(x: Occasion) -> Mapping[str, Any]:
    """The genome that the strategy's own search finds on the first rows, for counts of signs that a draw asks for."""
    from conjoin.fitting.searching import fit_search

    rows = max(1, SEARCHED_ELEMENTS // x.layer.shape[1])
    origin = x.base.array[:rows]
    models = {operand.digest: operand.array[:rows] for operand in x.operands.values()}
    words = kernels.draws(kernels.draw_key(bytes(32), "audit", x.layer.name, "0" * 64), 0, origin.size)
    wanted = (words >> np.uint32(31)).reshape(origin.shape) == 1

    def evaluate(candidate: Array) -> tuple[int, int]:
        return int(np.count_nonzero((candidate > origin) == wanted)), origin.size

    given = list(models.values())
    asset = fit_search(given, x.strategy, evaluate, base=origin, evaluations=EVALUATIONS, **x.params)
    found = dict(zip(models, digests_of(given, base=origin), strict=True))
    genes = {name: asset.values["genes"][found[operand.digest]] for name, operand in x.operands.items()}
    return {**asset.values, "genes": genes}


RULES: dict[str, Rule] = {
    "ada_merging": Rule("a coefficient between 0.2 and 0.4 per contribution", values=_by_content("scale", 0.2, 0.4)),
    "adarank": Rule(
        "a coefficient between 0.2 and 0.4 per contribution, and about half of the singular triplets", values=_triplets
    ),
    "dam": Rule("a coefficient between 0.75 and 1.25 per contribution and column; 1 among equals", values=_columns),
    "evolutionary_merge": Rule("a genome, searched by counting signs that a draw asks for", values=_searched),
    "genetic_merge": Rule("a genome, searched by counting signs that a draw asks for", values=_searched),
    "fisher_merge": Rule("positive Fisher information per contribution"),
    "led_merge": Rule("positive importances of the base and of the contribution, per contribution"),
    "regression_mean": Rule("a positive definite Gram; embeddings have none", carries=_gram_of),
    "representation_surgery": Rule("an adapter of rank 1 per contribution, beside the tensors", values=_adapters),
    "safe_merge": Rule(
        "an unaligned reference; safe is the operand with the smaller digest, and of replicas a second reference",
        params=_roles,
        references=(1, 2),
    ),
}
"""By strategy; one that is not here needs nothing but tensors and side-cars."""


@dataclass(frozen=True, slots=True)
class Outfit:
    """A strategy with its rule, for one tensor.

    Attributes:
        strategy: what is applied.
        base: θ₀.
        layer: which tensor.
        given: parameters other than the defaults.
        rule: what it needs.
    """

    strategy: Strategy
    base: Operand
    layer: Layer
    given: Mapping[str, Any]
    rule: Rule

    @classmethod
    def of(cls, strategy: Strategy, base: Operand, layer: Layer, given: Mapping[str, Any]) -> "Outfit":
        """The outfit of a strategy for one tensor."""
        return cls(strategy, base, layer, given, RULES.get(strategy.name, Rule("")))

    def params(self, contents: Sequence[str], references: int) -> dict[str, Any]:
        """Parameters for operands with these contents; a list has one entry per operand and reference."""
        return {**self.rule.params(contents, references), **self.given}

    def references(self, count: int) -> list[Operand]:
        """Models that are always there: the base and one direction, as alignment moves few."""
        base, found = self.base.array, list[Operand]()
        rows, columns = base.shape
        for index in range(count):
            drawn = noise((rows + columns,), kernels.draw_key(bytes(32), "audit", self.layer.name, f"{index:064x}"))
            left, right = drawn[:rows, None].astype(base.dtype), drawn[rows:].astype(base.dtype)
            found.append(Operand.of(base + left * (right * base.dtype.type(REFERENCE_SCALE))))
        return found

    def kinds(self) -> Sequence[SideCar]:
        """The side-cars that every contribution carries, though maybe not for this tensor."""
        alone = {key: value for key, value in self.params([""], 2).items() if not isinstance(value, list)}
        return self.strategy.side_cars(self.strategy.parse(alone))

    def side_cars(self, content: str) -> dict[str, tuple[SideCar, Array]]:
        """The side-car tensors that go with a tensor of this content, by SideCar name."""
        found: dict[str, tuple[SideCar, Array]] = {}
        for side in self.kinds():
            shape = side.shape(self.base.array.shape)
            if shape is not None and self.rule.carries(side, self.layer):
                found[side.name] = side, side_car(side, content, self.layer.name, shape)
        return found

    def values(self, operands: Mapping[str, Operand]) -> Mapping[str, Any] | None:
        """Values of the asset for these contributions, None where the strategy takes none."""
        if self.rule.values is None:
            return None
        return self.rule.values(Occasion(self.strategy.name, self.layer, self.base, operands, self.given))

    def raw(self, operands: Sequence[Operand]) -> tuple[Sequence[Operand], Equipment]:
        """What a raw operation on these operands is given, in their order: they and references, and what they need."""
        cars = [self.side_cars(operand.digest) for operand in operands]
        fixed = self.references(self.rule.references[0])
        equipment = Equipment(
            self.params([operand.digest for operand in operands], len(fixed)),
            {name: [one[name][1] for one in cars] for name in cars[0]},
            self.values({operand.digest: operand for operand in operands}),
        )
        return (*operands, *fixed), equipment


class Replica:
    """A replica of the paper: a CRDTMergeState for one strategy, and what its contributions need by the rule."""

    def __init__(self, outfit: Outfit, node: str) -> None:
        self.outfit, self.node = outfit, node
        self.known: dict[str, Operand] = {}
        self.fixed: dict[str, Operand] = {}
        self.state = self._state({})

    @classmethod
    def with_model(cls, outfit: Outfit, node: str, model: Operand) -> "Replica":
        """A replica that has added one model, and the references."""
        replica = cls(outfit, node)
        replica.known[replica._add(model)] = model
        for reference in outfit.references(outfit.rule.references[1]):
            replica.fixed[replica._add(reference)] = reference
        return replica

    def _add(self, model: Operand) -> str:
        extras: dict[str, dict[str, Array]] = {side.extra: {} for side in self.outfit.kinds()}
        name = self.outfit.layer.name
        for side, array in self.outfit.side_cars(model.digest).values():
            extras[side.extra][side.key(name)] = array
        return self.state.add({name: model.array}, extras=extras)

    def _state(self, known: Mapping[str, Operand]) -> CRDTMergeState:
        """A state that has seen nothing, with parameters for contributions that it is going to see."""
        params = self._params(known)
        keyed = {
            name: dict(zip([*known, *self.fixed], value, strict=True)) if isinstance(value, list) else value
            for name, value in params.items()
            if known or not isinstance(value, list)
        }
        base = {self.outfit.layer.name: self.outfit.base.array}
        return CRDTMergeState(self.outfit.strategy.name, base=base, node=self.node, **keyed)

    def _params(self, known: Mapping[str, Operand]) -> dict[str, Any]:
        references = self.outfit.rule.references[1]
        return self.outfit.params([operand.digest for operand in known.values()], references)

    def receive(self, other: "Replica") -> None:
        """Join the other's state into this one."""
        self.state.merge(other.state)
        self.known.update(other.known)
        self.fixed.update(other.fixed)

    def __or__(self, other: "Replica") -> "Replica":
        """A new replica with the join of both states, in this order; the tensors that it carries are not copied."""
        joined = copy.copy(self)
        joined.known, joined.fixed, joined.state = dict(self.known), dict(self.fixed), copy.copy(self.state)
        joined.receive(other)
        return joined

    def resolve(self) -> Array:
        """What is visible, merged."""
        visible: dict[str, Operand] = {
            digest: self.known[digest] for digest in self.state.visible if digest not in self.fixed
        }
        state = self.state
        if any(isinstance(value, list) for value in self._params(visible).values()):
            state = self._state(visible).merge(self.state)
        values, asset = self.outfit.values(visible), None
        if values is not None:
            asset = Asset(self.outfit.strategy.name, state.base_digest, state.visible, values, {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return state.resolve(asset)[self.outfit.layer.name]
