"""Candidates of a search, made in memory or in a folder, and scored; the same output is evaluated once."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from conjoin.arrays import take
from conjoin.errors import BadWeightError
from conjoin.executor.jobs import head_of
from conjoin.executor.slices import Slice
from conjoin.fitting.evaluators import Evaluator, score_of
from conjoin.fitting.search import Score
from conjoin.kernels import FORMATS
from conjoin.memory import ONLY, CRDTMergeState, models_of
from conjoin.plan import NOTHING, Plan, Recipe, make_plan
from conjoin.plan.tasks import Leaves, Task
from conjoin.replica import Replica
from conjoin.strategies.base import Block, RawArray, find_strategy
from conjoin.strategies.genome import measured_whole
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest, sha256
from conjoin.wire.manifest import Manifest


class Place(Protocol):
    """Where candidates are made and scored.

    Attributes:
        space: digest of the space, or what stands for it.
        root: root over the contributions.
        base: content digest of the base.
        contributions: what is merged, in canonical order.
        weights: weights in place of the contributions' own, in canonical form.
        names: the tensors that are merged, ascending.
        size_bytes: size of a candidate.
    """

    space: Digest
    root: Digest
    base: Digest
    contributions: tuple[Digest, ...]
    weights: dict[str, str]
    names: list[str]
    size_bytes: int

    def score(self, asset: Asset, where: str) -> Score:
        """Make the candidate of an asset and evaluate it; `where` names it in errors."""
        ...


def _merged(manifest: Manifest) -> list[str]:
    """The tensors that a strategy sees: of floats, and not empty."""
    return sorted(entry.name for entry in manifest.tensors if entry.kind.kind == "float" and entry.elements)


class InMemory:
    """Candidates made by the strategy's function on whole tensors, with no plan, hashing or threads around it."""

    def __init__(
        self,
        strategy: str,
        params: Mapping[str, Any],
        models: Any,
        evaluator: Evaluator,
        base: Any,
        weights: Sequence[object] | None,
        space: Digest,
    ) -> None:
        """Take over the models; arguments as for `fit_search`."""
        self._strategy, self._evaluator = find_strategy(strategy), evaluator
        self._params = dict(params)
        self._known: dict[Digest, Score] = {}
        self._state = CRDTMergeState(strategy, base=base, seed=space, **params)
        given, self._single = models_of(models)
        if weights is not None and len(weights) != len(given):
            raise BadWeightError(f"{len(weights)} weights are given for {len(given)} models", hint="give one for each")
        for model, weight in zip(given, weights or ["1"] * len(given), strict=True):
            self._state.add(model, weight)
        self.space, self.root, self.base = space, self._state.root, self._state.base_digest
        self.contributions, self.weights = self._state.visible, dict[str, str]()
        self._origin = None if base is None else _manifest_of(base)
        kept = self._state.payloads.kept
        first = self._origin or (kept[self.contributions[0]][1].manifest if self.contributions else Manifest.of([]))
        self.names, self.size_bytes = _merged(first), sum(entry.size_bytes for entry in first.tensors)
        self._blocks: list[tuple[Task, Block]] = []
        self._frame: dict[str, Any] = {}

    def score(self, asset: Asset, where: str) -> Score:
        """Make the candidate and evaluate it, unless one of the same bytes was."""
        if not self._frame:
            self._prepare(asset)
        raws = [self._merge(block, asset) for _, block in self._blocks]
        key = sha256(*(raw.tobytes() for raw in raws))
        if key not in self._known:
            self._known[key] = score_of(self._evaluator, self._candidate(raws), where)
        return self._known[key]

    def _prepare(self, asset: Asset) -> None:
        """Resolve once in full: it refuses what cannot be merged, and makes what is the same in all candidates."""
        self._frame = dict(self._state.resolve(asset))
        kept = self._state.payloads.kept
        plan = make_plan(
            space=self.space,
            base=self._origin,
            files=None,
            contributions=[(d, kept[d][1].manifest, kept[d][0].weight) for d in self.contributions],
            recipe=Recipe.of(asset.strategy, {**self._params, "asset": asset.digest}),
            assets=[asset],
        )
        self._blocks = [(task, self._block(plan, task)) for task in plan.tasks if task.action == "strategy"]

    def _block(self, plan: Plan, task: Task) -> Block:
        """A tensor as one block, with all that does not change between candidates."""
        return replace(
            head_of(plan, task, Slice(0, task.elements)),
            tensors=tuple(self._patterns(leaves, task.dtype) for leaves in task.sources),
            base=None if task.base is None else self._patterns(task.base, task.dtype),
        )

    def _patterns(self, leaves: Leaves, dtype: str) -> RawArray:
        return self._state.payloads.held.tensor(leaves).view(FORMATS[dtype].raw)

    def _merge(self, block: Block, asset: Asset) -> RawArray:
        params = self._strategy.parse(self._params)
        whole = replace(block, fitted=asset.values)
        made = self._strategy.function(replace(whole, measured=measured_whole(whole, params)), **params)
        assert isinstance(made, np.ndarray)
        return made

    def _candidate(self, raws: Sequence[RawArray]) -> Any:
        """The candidate as the evaluator takes it; arrays of its own, which it may change."""
        made = {name: raw for (task, _), raw in zip(self._blocks, raws, strict=True) for name in task.names}
        candidate: dict[str, Any] = {}
        for name, array in self._frame.items():
            taken = take(array, name)
            data = made[name].view(np.uint8) if name in made else taken.data
            candidate[name] = taken.restore(data.copy(), taken.dtype, taken.shape)
        return candidate[ONLY] if self._single else candidate


def _manifest_of(base: Any) -> Manifest:
    """The manifest of a base in memory."""
    state = CRDTMergeState()
    return state.payloads.kept[state.add(base)][1].manifest


class OnDisk:
    """Candidates resolved into a folder, one after the other; copied content is not verified again."""

    def __init__(
        self,
        strategy: str,
        params: Mapping[str, Any],
        replica: Replica,
        evaluator: Evaluator,
        folder: Path,
        weights: Mapping[str, str] | None,
        options: Mapping[str, str] | None,
    ) -> None:
        """Look at what is visible; arguments as for `search_and_asset`, and an empty folder to work in."""
        self._replica, self._evaluator, self._folder = replica, evaluator, folder
        self._strategy, self._params = strategy, dict(params)
        self._weights, self._options = weights or {}, options or {}
        self._known: dict[Digest, Score] = {}
        self._made = 0
        self.space, self.root, self.base = replica.space, replica.root, replica.base
        self.contributions = replica.visible
        self.weights = dict(self._recipe(NOTHING).weights)
        manifest = replica.inventory.manifest(replica.base)
        self.names, self.size_bytes = _merged(manifest), sum(entry.size_bytes for entry in manifest.tensors)

    def score(self, asset: Asset, where: str) -> Score:
        """Resolve the candidate, evaluate its folder and remove it, unless one of the same bytes was evaluated."""
        self._made += 1
        out = self._folder / f"candidate-{self._made}"
        receipt = self._replica.resolve(self._recipe(asset.digest), out, trust_store=True, assets=[asset])
        try:
            if receipt.output not in self._known:
                self._known[receipt.output] = score_of(self._evaluator, out, where)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        return self._known[receipt.output]

    def _recipe(self, asset: Digest) -> Recipe:
        given = {**self._params, "asset": asset}
        return self._replica.recipe(self._strategy, given, weights=self._weights, **self._options)
