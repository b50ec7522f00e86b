"""Plan: everything about a resolve that can be checked without reading a tensor; opens no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from conjoin.crdt.orset import root_of
from conjoin.errors import BadRecipeError, NothingVisibleError, UnknownDigestError
from conjoin.plan.layout import OutTensor, Shard, SideFile, choose_side_files, encode_index, lay_out_shards
from conjoin.plan.recipe import Recipe
from conjoin.plan.tasks import Group, Source, Task, draft_tasks, require_fit
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, raw, tagged
from conjoin.wire.manifest import Manifest

NOTHING = Digest("0" * 64)
"""Stands for the space or the base where there is none (in memory)."""

SHARD_SIZE_BYTES = 5 * 10**9


@dataclass(frozen=True, slots=True)
class PlannedContribution:
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
        shards: the output's files.
        index: bytes of the index file, None for a single shard.
        side_files: the base's files that come along.
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
    shards: tuple[Shard, ...]
    index: bytes | None
    side_files: tuple[SideFile, ...]
    shard_size_bytes: int

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
) -> Plan:
    """Plan a resolve and check everything that can be checked without reading a tensor.

    Args:
        space: digest of the space, or NOTHING.
        base: the base's tensors; None where there is no base, which only exists in memory.
        files: the base's other files, each one a U8 tensor; None for none.
        contributions: (digest, tensors, own weight) in any order; a digest that is given twice counts once.
        recipe: how to combine them.
        shard_size_bytes: largest size of the data in one output file.

    Raises:
        NothingVisibleError: there is no contribution.
        UnknownDigestError: the recipe names a contribution that is not among them.
        MismatchedTensorsError: tensors do not fit; every difference of every contribution is listed.
        MissingBaseError, BadWeightError: see there.
        BadRecipeError: a rule matches no tensor.
    """
    chosen = sorted({digest: (digest, weights, weight) for digest, weights, weight in contributions}.values())
    if not chosen:
        raise NothingVisibleError(
            "there is nothing to merge: the visible set is empty", hint="`conjoin add CHECKPOINT`"
        )
    _require_known(recipe, [digest for digest, _, _ in chosen])
    sources = [Source(digest, weights, recipe.weight_of(digest, weight)) for digest, weights, weight in chosen]
    require_fit(base, sources, recipe)
    tasks, groups = draft_tasks(base, sources, recipe)
    tensors = tuple(
        sorted(
            (OutTensor(name, t.out_dtype, t.shape) for t in tasks for name in t.names), key=lambda tensor: tensor.name
        )
    )
    _require_rules_match(recipe, [tensor.name for tensor in tensors])
    shards = lay_out_shards(tensors, shard_size_bytes)
    changed = any(task.out_dtype != task.dtype for task in tasks)
    base_digest = NOTHING if base is None else base.digest
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
        shards=shards,
        index=encode_index(shards, tensors),
        side_files=choose_side_files(files, recipe.out_dtype if changed else None),
        shard_size_bytes=shard_size_bytes,
    )


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
