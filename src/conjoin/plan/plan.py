"""Plan: everything about a resolve that can be checked without reading a tensor; opens no file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from conjoin.crdt.orset import root_of
from conjoin.errors import (
    BadRecipeError,
    MissingAssetError,
    NothingVisibleError,
    UnknownDigestError,
    WrongAssetError,
)
from conjoin.plan.layout import (
    OutTensor,
    Shard,
    SideFile,
    choose_side_files,
    encode_index,
    lay_out_shards,
    require_shard_size,
    side_shard_of,
)
from conjoin.plan.recipe import Recipe
from conjoin.plan.sides import lay_out_sides
from conjoin.plan.tasks import Group, Source, Task, draft_tasks, require_fit
from conjoin.wire import canonical
from conjoin.wire.asset import Asset, asset_file
from conjoin.wire.digest import Digest, raw, tagged
from conjoin.wire.manifest import Manifest

NOTHING = Digest("0" * 64)
"""Stands for the space or the base where there is none (in memory)."""

SHARD_SIZE_BYTES = 5 * 10**9


class PlannedContribution(NamedTuple):
    """One merged contribution: its digest, its weights' content digest, its own weight in canonical form."""

    digest: Digest
    weights: Digest
    weight: str


@dataclass(frozen=True)
class Plan:
    """What a resolve will read, compute and write. The output's bytes depend on it alone.

    Attributes:
        space: space the result belongs to, or NOTHING.
        root: root over the merged contributions.
        recipe: how they are combined.
        base: content digest of the base, or NOTHING.
        files: digest of the base's files, or None.
        contributions: what is merged, in canonical order.
        seeds: 32-byte seeds of the draws by mask scope.
        tasks: one per tensor (tied tensors: one for all), in name order.
        groups: what each strategy sees as one model.
        tensors: the output's tensors in name order.
        side_files: the base's files that come along.
        shard_size_bytes: largest size of the data in one output file.
        assets: what was learned or searched for this merge.
        side_tensors: what strategies write beside the tensors.
    """

    space: Digest
    root: Digest
    recipe: Recipe
    base: Digest
    files: Digest | None
    contributions: tuple[PlannedContribution, ...]
    seeds: Mapping[str, bytes]
    tasks: tuple[Task, ...]
    groups: tuple[Group, ...]
    tensors: tuple[OutTensor, ...]
    side_files: tuple[SideFile, ...]
    shard_size_bytes: int
    assets: tuple[Asset, ...] = ()
    side_tensors: tuple[OutTensor, ...] = ()

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The output's files, which a merge in memory does not have."""
        return lay_out_shards(self.tensors, self.shard_size_bytes)

    @cached_property
    def index(self) -> bytes | None:
        """Bytes of the index file, None for a single shard."""
        return encode_index(self.shards, self.tensors)

    @cached_property
    def side_shard(self) -> Shard | None:
        """The file of what strategies write beside the tensors, None where they write nothing."""
        return side_shard_of(self.side_tensors) if self.side_tensors else None

    @property
    def added_files(self) -> tuple[str, ...]:
        """Names of the files that come from the merge itself, besides shards, index and receipt."""
        side = () if self.side_shard is None else (self.side_shard.name,)
        return (*side, *(asset_file(asset.digest) for asset in self.assets))

    @cached_property
    def digest(self) -> Digest:
        """SHA-256("conjoin/plan/1" ‖ canonical JSON of everything the plan was made from)."""
        value = {
            "base": self.base,
            "contributions": [c.digest for c in self.contributions],
            "files": self.files,
            "recipe": self.recipe.digest,
            "shard_size_bytes": str(self.shard_size_bytes),
            "space": self.space,
        }
        return tagged("conjoin/plan/1", canonical.encode(value))

    @property
    def out_bytes(self) -> int:
        """Size of all output tensors' data in bytes."""
        return sum(tensor.size_bytes for tensor in self.tensors)


def seeds_of(space: Digest, base: Digest, root: Digest, recipe: Digest) -> dict[str, bytes]:
    """The 32-byte seeds of the draws: `root` changes with the visible set, `contribution` does not."""
    return {
        "root": raw(tagged("conjoin/seed/1", raw(space), raw(root), raw(recipe))),
        "contribution": raw(tagged("conjoin/seed/contribution/1", raw(space), raw(base), raw(recipe))),
    }


def make_plan(
    *,
    space: Digest,
    base: Manifest | None,
    files: Manifest | None,
    contributions: Sequence[tuple[Digest, Manifest, str]],
    recipe: Recipe,
    shard_size_bytes: int = SHARD_SIZE_BYTES,
    side_cars: Callable[[Digest, str], Manifest | None] = lambda _digest, _name: None,
    assets: Sequence[Asset] = (),
) -> Plan:
    """Plan a resolve and check everything that can be checked without reading a tensor.

    Args:
        space: digest of the space, or NOTHING.
        base: the base's tensors; None where there is no base, which only exists in memory.
        files: the base's other files, each one a U8 tensor; None for none.
        contributions: (digest, tensors, own weight) in any order; a digest that is given twice counts once.
        recipe: how to combine them.
        shard_size_bytes: largest size of the data in one output file.
        side_cars: (contribution, name) → tensors of that side-car, None where it carries none.
        assets: what strategies of the recipe apply; others may be among them.

    Raises:
        MissingSidecarError, BadSidecarError, MissingAssetError, WrongAssetError: see there.
        NothingVisibleError: there is no contribution.
        UnknownDigestError: the recipe names a contribution that is not among them.
        MismatchedTensorsError: tensors do not fit; every difference of every contribution is listed.
        MissingBaseError, BadWeightError: see there.
        BadRecipeError: a rule matches no tensor.
        UsageError: the shard size is not positive.
    """
    require_shard_size(shard_size_bytes)
    chosen = sorted({digest: (digest, weights, weight) for digest, weights, weight in contributions}.values())
    if not chosen:
        raise NothingVisibleError(
            "there is nothing to merge: the visible set is empty", hint="`conjoin add CHECKPOINT`"
        )
    _require_known(recipe, [digest for digest, _, _ in chosen])
    wanted = sorted({side.extra for step in recipe.steps for side in step.side_cars})
    sources = [
        Source(
            digest,
            weights,
            recipe.weight_of(digest, weight),
            {name: found for name in wanted if (found := side_cars(digest, name)) is not None},
        )
        for digest, weights, weight in chosen
    ]
    base_digest = NOTHING if base is None else base.digest
    applied = _require_assets(recipe, assets, base_digest, [digest for digest, _, _ in chosen])
    require_fit(base, sources, recipe)
    tasks, groups = draft_tasks(base, sources, recipe, applied)
    side_tensors = lay_out_sides(tasks, groups)
    tensors = tuple(
        sorted(
            (OutTensor(name, t.out_dtype, t.shape) for t in tasks for name in t.names), key=lambda tensor: tensor.name
        )
    )
    _require_rules_match(recipe, [tensor.name for tensor in tensors])
    changed = any(task.out_dtype != task.dtype for task in tasks)
    root = root_of([digest for digest, _, _ in chosen])
    return Plan(
        space=space,
        root=root,
        recipe=recipe,
        base=base_digest,
        files=None if files is None else files.digest,
        contributions=tuple(PlannedContribution(digest, weights.digest, weight) for digest, weights, weight in chosen),
        seeds=seeds_of(space, base_digest, root, recipe.digest),
        tasks=tuple(tasks),
        groups=tuple(groups),
        tensors=tensors,
        side_files=choose_side_files(files, recipe.out_dtype if changed else None),
        shard_size_bytes=shard_size_bytes,
        assets=tuple(applied[digest] for digest in sorted(applied)),
        side_tensors=side_tensors,
    )


def _require_assets(
    recipe: Recipe, given: Sequence[Asset], base: Digest, contributions: Sequence[Digest]
) -> dict[str, Asset]:
    """The assets that the recipe names, by digest, if they were made for this merge."""
    known = {asset.digest: asset for asset in given}
    for step in recipe.steps:
        if not step.asset:
            continue
        asset = known.get(Digest(step.asset))
        if asset is None:
            raise MissingAssetError(
                f"the recipe applies asset {step.asset[:12]}, and it was not given",
                hint="give it with `--asset FILE`; a checkpoint that was made with it has it in `sidecars`",
            )
        problem = _asset_problem(asset, step.strategy, base, contributions)
        if problem:
            raise WrongAssetError(
                f"asset {asset.digest[:12]} {problem}",
                hint=f"`conjoin fit {step.strategy}` makes one for what is visible now",
            )
    return {digest: known[Digest(digest)] for digest in recipe.assets}


def _asset_problem(asset: Asset, strategy: str, base: Digest, contributions: Sequence[Digest]) -> str | None:
    """Why an asset cannot be applied here, or None."""
    if asset.strategy != strategy:
        return f"was made for {asset.strategy}, not for {strategy}"
    if asset.base != base:
        return f"was made for base {asset.base[:12]}, not for {base[:12]}"
    if list(asset.contributions) != list(contributions):
        gone = len(set(asset.contributions) - set(contributions))
        new = len(set(contributions) - set(asset.contributions))
        return (
            f"was made for another set of contributions: {new} of these are not in it, {gone} of its own are not here"
        )
    return None


def _require_known(recipe: Recipe, visible: Sequence[Digest]) -> None:
    named = set(recipe.weights).union(recipe.step.keyed_by(), *(rule.step.keyed_by() for rule in recipe.rules))
    unknown = sorted(named - set(visible))
    if unknown:
        raise UnknownDigestError(
            f"the recipe names {len(unknown)} contributions that are not visible",
            where="\n".join(unknown),
            hint="`conjoin status` shows what is visible",
        )


def _require_rules_match(recipe: Recipe, names: Sequence[str]) -> None:
    for number, rule in enumerate(recipe.rules, 1):
        if not any(rule.matches(name) for name in names):
            raise BadRecipeError(
                f"rule {number} is for tensors `{rule.tensors}`, and no tensor of the model is called so",
                hint="`conjoin show BASE` lists the names; `*` stands for any part of one",
            )
