"""Layer 2, and both layers under the paper's names, on arrays in memory; writes no file and needs no replica."""

import secrets
import warnings as python_warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Self

import numpy as np

from conjoin.arrays import Restore, Taken, take
from conjoin.crdt import MergeState
from conjoin.errors import (
    BadParameterError,
    BadSidecarError,
    BadWeightError,
    MalformedCheckpointError,
    MismatchedTensorsError,
    NonFiniteError,
    NothingVisibleError,
    WrongBaseError,
)
from conjoin.executor.engine import Engine
from conjoin.executor.held import HeldTensors
from conjoin.executor.reader import cut_leaves
from conjoin.executor.sinks import MemorySink
from conjoin.hashing import expect, leaf_digests
from conjoin.kernels import FORMATS, count_nonfinite
from conjoin.plan import NOTHING, Recipe, compare_manifests, make_plan
from conjoin.strategies.base import canonical_decimal, find_strategy, parse_decimal
from conjoin.wire.asset import Asset
from conjoin.wire.contribution import Contribution, check_weight
from conjoin.wire.digest import Digest, parse_digest, tagged
from conjoin.wire.manifest import Manifest, TensorEntry, name_problem, shape_problem

_SIDE_DTYPES = {"U8": np.uint8, "F64": np.float64}
_ASSET = "asset"
ONLY = "tensor"
"""Name of the tensor where a single array stands for a model."""

Model = Mapping[str, Any]
Extras = Mapping[str, Any]
"""The side-cars of one model by name, each a mapping from tensor name to array, or one array."""
_Checked = dict[str, Taken]
"""A model's tensors as bytes, which hold no NaN and no Inf."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A model whose tensors are held, and how to give them back as they came."""

    manifest: Manifest
    restores: Mapping[str, Restore]
    extras: Mapping[str, Manifest] = field(default_factory=dict[str, Manifest])


def resolve(
    tensors: Mapping[str, Sequence[Any]] | Sequence[Model] | Sequence[Any],
    strategy: str | Recipe,
    *,
    base: Any = None,
    weights: Sequence[object] | None = None,
    seed: object = None,
    extras: Sequence[Extras] | None = None,
    asset: Asset | None = None,
    sidecars: dict[str, Any] | None = None,
    **params: Any,
) -> Any:
    """Merge arrays in memory: the same plan, the same arithmetic and the same bytes as a merge of files.

    The models are a set: their order changes nothing, and a model given twice with the same weight counts once.

    Args:
        tensors: a mapping from tensor name to the k models' arrays; or k mappings from name to array; or k arrays,
            which stand for models with one tensor called `tensor`.
        strategy: a strategy's name, or a whole recipe.
        base: the common base, a mapping from name to array (or one array), where the strategy needs one.
        weights: k positive numbers, in the order of the models; 1 each if left out.
        seed: names the draws: the space's digest as 64 hex characters or 32 bytes gives what a replica of that space
            gives; an int is hashed; None stands for 32 zero bytes.
        extras: per model its side-cars, such as `{"fisher": {"w": array}}`, where the strategy needs them.
        asset: what was learned for just these models, where the strategy applies that.
        sidecars: a dict to be filled with what the strategy writes beside the tensors: NumPy arrays by the name that
            they have in `sidecars/sidecars.safetensors`.
        params: the strategy's parameters; one that is given per contribution takes k values, None for the default.

    Returns:
        A mapping from name to array, or one array where arrays were given; kind and dtype of the inputs.

    Raises:
        NothingVisibleError: no model is given.
        MismatchedTensorsError, NonFiniteError, MissingBaseError, BadWeightError: see there.
        MissingSidecarError, BadSidecarError, MissingAssetError, WrongAssetError, BadRoleError: see there.
        UnknownStrategyError, UnknownParameterError, BadParameterError: see there.
    """
    held = HeldTensors()
    origin, kept, found, single = _taken(held, tensors, base, weights, extras)
    if asset is not None:
        params = {_ASSET: asset.digest, **params}
    if isinstance(strategy, Recipe):
        if params:
            raise BadParameterError("parameters are given beside a recipe", hint="put them into the recipe")
        recipe = strategy
    else:
        recipe = Recipe.of(strategy, _keyed(strategy, params, [one.digest for one in found]))
    entries = {one.digest: (one, model) for one, model in zip(found, kept, strict=True)}
    result, beside = _run(held, origin, entries, recipe, space_of(seed), [] if asset is None else [asset])
    if sidecars is not None:
        sidecars.update(beside)
    return result[ONLY] if single else result


def digests_of(
    tensors: Mapping[str, Sequence[Any]] | Sequence[Model] | Sequence[Any],
    *,
    base: Any = None,
    weights: Sequence[object] | None = None,
    extras: Sequence[Extras] | None = None,
) -> list[Digest]:
    """The digests by which `resolve` knows models, in their order; arguments and errors as there."""
    return [contribution.digest for contribution in _taken(HeldTensors(), tensors, base, weights, extras)[2]]


def _taken(
    held: HeldTensors, tensors: Any, base: Any, weights: Sequence[object] | None, extras: Sequence[Extras] | None
) -> tuple[_Kept | None, list[_Kept], list[Contribution], bool]:
    """The base, the models and their contributions; and whether they are single arrays. No tensor is copied."""
    models, single = models_of(tensors)
    origin = [] if base is None else [_checked(_model(base), "the base")]
    checked = [_checked(model, f"model {number}") for number, model in enumerate(models)]
    chosen = [_weight(weight) for weight in weights] if weights is not None else ["1"] * len(models)
    if len(chosen) != len(models):
        raise BadWeightError(f"{len(chosen)} weights are given for {len(models)} models", hint="give one for each")
    if extras is not None and len(extras) != len(models):
        raise BadSidecarError(f"side-cars of {len(extras)} models are given for {len(models)}", hint="one for each")
    beside = [_checked_extras(given) for given in extras or [{}] * len(models)]
    kept = iter(_hold(held, [*origin, *checked, *(side for sides in beside for side in sides.values())]))
    first = next(kept) if origin else None
    plain = list(islice(kept, len(models)))
    whole = [
        replace(model, extras={name: next(kept).manifest for name in sides}) if sides else model
        for model, sides in zip(plain, beside, strict=True)
    ]
    found = [_contribution(model, first, weight) for model, weight in zip(whole, chosen, strict=True)]
    return first, whole, found, single


def _checked_extras(extras: Extras, *, copy: bool = False) -> dict[str, _Checked]:
    return {name: _checked(_model(given), f"side-car {name}", copy=copy) for name, given in extras.items()}


class Payloads:
    """The tensors that a CRDTMergeState carries along, by contribution; grows only."""

    def __init__(self) -> None:
        self.held = HeldTensors()
        self.kept: dict[Digest, tuple[Contribution, _Kept, bool]] = {}

    def take_over(self, other: "Payloads") -> None:
        """Keep everything that `other` keeps too."""
        if not other.kept.keys() <= self.kept.keys():
            self.held.take_over(other.held)
            self.kept = {**other.kept, **self.kept}


class CRDTMergeState:
    """The paper's spelling of both layers, for tensors in memory: `add`, `remove`, `merge`, `resolve`.

    A thin cover over `MergeState` (layer 1) and `resolve` (layer 2) that carries the tensors along. A model is a
    mapping from name to array, or one array. Replicas that have merged with each other in any order, any number of
    times, resolve to the same bytes if they were made with the same strategy, parameters and base.
    """

    def __init__(
        self,
        strategy: str = "weight_average",
        *,
        base: Any = None,
        node: str | None = None,
        seed: object = None,
        **params: Any,
    ) -> None:
        """Begin with nothing visible.

        Args:
            strategy: what `resolve` does.
            base: the common base, where the strategy needs one.
            node: this replica's name; a fresh random one if left out. Two replicas must never share one.
            seed: see `resolve`.
            params: the strategy's parameters; one that is given per contribution takes a mapping by digest.
        """
        self._strategy, self._params = strategy, params
        self._takes_asset = any(parameter.kind == "asset" for parameter in find_strategy(strategy).parameters)
        self._recipe = Recipe.of(strategy, {_ASSET: NOTHING, **params} if self._takes_asset else params)
        self._space = space_of(seed)
        self.payloads = Payloads()
        self._base = None
        if base is not None:
            self._base = _hold(self.payloads.held, [_checked(_model(base), "the base", copy=True)])[0]
        self._node = node or secrets.token_hex(8)
        self._state = MergeState()

    def add(self, tensors: Any, weight: object = "1", node: str | None = None, extras: Extras | None = None) -> Digest:
        """Add a model and return the digest of the contribution; adding it again after a removal makes it visible.

        Args:
            tensors: a mapping from name to array, or one array.
            weight: its weight.
            node: who adds it, this replica if left out.
            extras: its side-cars by name.

        Raises:
            MismatchedTensorsError: tensors differ from the base's in name, shape or dtype.
            NonFiniteError, UnsupportedDtypeError, BadWeightError: see there.
        """
        kept = _hold(self.payloads.held, [_checked(_model(tensors), "the model", copy=True)])[0]
        if self._base is not None:
            _require_fit(self._base.manifest, kept.manifest)
        sides = _checked_extras(extras or {}, copy=True)
        beside = _hold(self.payloads.held, list(sides.values()))
        kept = replace(kept, extras={name: side.manifest for name, side in zip(sides, beside, strict=True)})
        contribution = _contribution(kept, self._base, _weight(weight))
        self._state |= self._state.add(node or self._node, contribution.digest)
        self.payloads.kept.setdefault(contribution.digest, (contribution, kept, not isinstance(tensors, Mapping)))
        return contribution.digest

    def remove(self, digest: str, node: str | None = None) -> None:
        """Take a visible contribution back; an add of it that this replica has not seen survives.

        Raises:
            UnknownDigestError: it is not visible here.
        """
        self._state |= self._state.retract(node or self._node, digest)

    def merge(self, other: "CRDTMergeState") -> Self:
        """Take over everything `other` knows, tensors included (⊔), and return this replica.

        Raises:
            WrongBaseError: the two have different bases.
            CopiedReplicaError: both have written under one name.
        """
        if self.base_digest != other.base_digest:
            raise WrongBaseError(
                f"the bases differ: {self.base_digest[:12]} here, {other.base_digest[:12]} there",
                hint="replicas that merge are made with the same base",
            )
        self._state |= other.state
        self.payloads.take_over(other.payloads)
        return self

    def resolve(self, asset: Asset | None = None) -> Any:
        """Merge what is visible: a mapping from name to array, or one array where arrays were added.

        Args:
            asset: what was learned for just what is visible, where the strategy applies that.

        Raises: see the function `resolve`.
        """
        recipe = self._recipe
        if asset is not None or self._takes_asset:
            learned = {} if asset is None else {_ASSET: asset.digest}
            recipe = Recipe.of(self._strategy, {**learned, **self._params})
        chosen = {digest: self.payloads.kept[digest] for digest in self.visible}
        entries = {digest: (contribution, kept) for digest, (contribution, kept, _) in chosen.items()}
        assets = [] if asset is None else [asset]
        result, _ = _run(self.payloads.held, self._base, entries, recipe, self._space, assets)
        return result[ONLY] if all(single for _, _, single in chosen.values()) else result

    @property
    def visible(self) -> tuple[Digest, ...]:
        """The visible contributions in canonical order."""
        return self._state.visible()

    @property
    def root(self) -> Digest:
        """Root over the visible set; the paper's H."""
        return self._state.root()

    @property
    def V(self) -> dict[str, int]:  # noqa: N802 - the paper's name
        """The paper's version vector: per replica, the number of its operations up to which all are known."""
        return self._state.context.vector

    @property
    def state(self) -> MergeState:
        """Layer 1 alone."""
        return self._state

    @property
    def base_digest(self) -> Digest:
        """Content digest of the base; zeros where there is none."""
        return NOTHING if self._base is None else self._base.manifest.digest

    def _repr_html_(self) -> str:
        rows = "".join(f"<li><code>{digest[:16]}</code></li>" for digest in self.visible)
        title = f"{self._strategy} of {len(self.visible)} visible, root <code>{self.root[:16]}</code>"
        return f"<p>{title}</p><ul>{rows}</ul>"


def _run(
    held: HeldTensors,
    base: _Kept | None,
    entries: Mapping[Digest, tuple[Contribution, _Kept]],
    recipe: Recipe,
    space: Digest,
    assets: Sequence[Asset],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plan, carry out, and give back arrays: the tensors, and what was written beside them."""
    if not entries:
        raise NothingVisibleError("there is nothing to merge", hint="add a model first")
    plan = make_plan(
        space=space,
        base=None if base is None else base.manifest,
        files=None,
        contributions=[(digest, kept.manifest, one.weight) for digest, (one, kept) in entries.items()],
        recipe=recipe,
        side_cars=lambda digest, name: entries[digest][1].extras.get(name),
        assets=assets,
    )
    sink = MemorySink((*plan.tensors, *plan.side_tensors))
    Engine(plan, held, sink).run()
    for text in sorted(sink.warnings):
        python_warnings.warn(text, stacklevel=3)
    restores = {} if base is None else dict(base.restores)
    for _, kept in reversed(list(entries.values())):
        restores.update(kept.restores)
    beside = {t.name: sink.arrays[t.name].view(_SIDE_DTYPES[t.dtype]) for t in plan.side_tensors}
    return {t.name: restores[t.name](sink.arrays[t.name], t.dtype, t.shape) for t in plan.tensors}, beside


def models_of(tensors: Any) -> tuple[list[Model], bool]:
    """The models in any of the three spellings, and whether they are single arrays."""
    if isinstance(tensors, Mapping):
        counts = {name: len(arrays) for name, arrays in tensors.items()}
        if len(set(counts.values())) > 1:
            lines = "\n".join(f"  {name}: {count}" for name, count in sorted(counts.items()))
            raise MismatchedTensorsError(f"the tensors have different numbers of models:\n{lines}")
        count = max(counts.values(), default=0)
        return [{name: arrays[index] for name, arrays in tensors.items()} for index in range(count)], False
    models = list(tensors)
    if all(isinstance(model, Mapping) for model in models):
        return models, False
    return [{ONLY: model} for model in models], True


def _model(given: Any) -> Model:
    return given if isinstance(given, Mapping) else {ONLY: given}


def _checked(model: Model, where: str, *, copy: bool = False) -> _Checked:
    """A model's tensors as bytes; refuse what the gate for files refuses."""
    found: _Checked = {}
    bad: list[str] = []
    for name, array in model.items():
        taken = take(array, f"tensor {name!r:.80} of {where}", copy=copy)
        problem = name_problem(name) or shape_problem(taken.shape)
        if problem:
            raise MalformedCheckpointError(f"tensor {name!r:.80}: {problem}", where=where)
        if taken.dtype in FORMATS and count_nonfinite(taken.data.view(FORMATS[taken.dtype].raw), taken.dtype):
            bad.append(name)
        found[name] = taken
    if bad:
        raise NonFiniteError(
            f"{len(bad)} tensors hold NaN or Inf: {', '.join(sorted(bad)[:20])}",
            where=where,
            hint="this fine-tune diverged; merge an earlier one",
        )
    return found


def _hold(held: HeldTensors, models: Sequence[_Checked]) -> list[_Kept]:
    """Hold the tensors of models under the digests of their leaves, which are hashed side by side."""
    pieces = [cut_leaves(taken.data.data) for model in models for taken in model.values()]
    expect(sum(taken.data.nbytes for model in models for taken in model.values()))
    digests = iter(leaf_digests([piece for some in pieces for piece in some]))
    leaves = iter([tuple(islice(digests, len(some))) for some in pieces])
    kept: list[_Kept] = []
    for model in models:
        entries = [TensorEntry(name, taken.dtype, taken.shape, next(leaves)) for name, taken in model.items()]
        for entry in entries:
            held.hold(entry.leaves, model[entry.name].data)
        kept.append(_Kept(Manifest.of(entries), {name: taken.restore for name, taken in model.items()}))
    return kept


def _require_fit(base: Manifest, model: Manifest) -> None:
    differences = compare_manifests(base, model)
    if differences:
        lines = "\n".join(f"  {difference}" for difference in differences)
        raise MismatchedTensorsError(f"{len(differences)} tensors do not fit the base:\n{lines}")


def _contribution(kept: _Kept, base: _Kept | None, weight: str) -> Contribution:
    extras = {name: manifest.digest for name, manifest in kept.extras.items()}
    return Contribution(kept.manifest.digest, NOTHING if base is None else base.manifest.digest, weight, extras)


def _weight(value: object) -> str:
    """A weight in canonical form, from a number or a decimal string."""
    try:
        return check_weight(canonical_decimal(parse_decimal(value, "a weight")))
    except BadParameterError as cause:
        raise BadWeightError(cause.what, hint=cause.hint) from cause


def space_of(seed: object) -> Digest:
    """What stands for the space in the names of draws."""
    if seed is None:
        return NOTHING
    if isinstance(seed, bytes):
        return parse_digest(seed.hex(), "seed")
    if isinstance(seed, int):
        return tagged("conjoin/seed/integer/1", str(seed).encode("ascii"))
    return parse_digest(seed, "seed")


def _keyed(strategy: str, params: Mapping[str, Any], digests: Sequence[Digest]) -> dict[str, Any]:
    """Parameters with those that are given per model, in the order of the models, keyed by contribution."""
    kinds = {parameter.name: parameter.kind for parameter in find_strategy(strategy).parameters}
    keyed = dict(params)
    for name, value in params.items():
        if kinds.get(name) != "by-contribution" or isinstance(value, Mapping) or value is None:
            continue
        values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if len(values) != len(digests):
            raise BadParameterError(
                f"parameter `{name}` of {strategy} has {len(values)} values for {len(digests)} models",
                hint="give one for each model, None for those that take the default",
            )
        pairs = [(digest, one) for digest, one in zip(digests, values, strict=True) if one is not None]
        keyed[name] = dict(pairs)
        if any(keyed[name][digest] != one for digest, one in pairs):
            raise BadParameterError(f"parameter `{name}` of {strategy} differs for two models that are the same")
    return {name: value for name, value in keyed.items() if value is not None}
