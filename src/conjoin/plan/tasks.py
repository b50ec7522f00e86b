"""Tasks: for every tensor of the output, what is read and what is done with it; never sees values."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from conjoin.errors import (
    BadSidecarError,
    BadWeightError,
    MismatchedTensorsError,
    MissingBaseError,
    MissingSidecarError,
)
from conjoin.plan.fit import compare_tensors
from conjoin.plan.recipe import Recipe, Step
from conjoin.strategies.base import SideCar, Strategy
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest
from conjoin.wire.dtype import DTYPES
from conjoin.wire.manifest import Manifest, TensorEntry

Leaves = tuple[Digest, ...]


class Source(NamedTuple):
    """One visible contribution as a plan needs it.

    Attributes:
        digest: its digest.
        weights: manifest of its weights.
        weight: its exact weight.
        extras: manifests of those of its side-cars that the recipe asks for, by name.
    """

    digest: Digest
    weights: Manifest
    weight: Fraction
    extras: Mapping[str, Manifest] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Side:
    """What goes with each source of a task: a tensor of a side-car.

    Attributes:
        name: the name the strategy knows it by.
        task: the side-car's tensor of every source, to be read like any other.
        elementwise: whether it is cut with the task's tensor, or read whole.
    """

    name: str
    task: "Task"
    elementwise: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One tensor to make.

    Attributes:
        names: the names it is written under; the first one names it in draws and errors, the others are tied to it.
        dtype: dtype of what is read.
        out_dtype: dtype of what is written.
        shape: shape of the whole tensor.
        action: `strategy` runs the strategy of the group; `copy` takes the only source; `choose` takes the source whose
            bytes are lexicographically smallest.
        sources: leaves of each source, for `strategy` in the order of the group's contributions.
        base: leaves of the base's tensor, or None where the strategy does not need it.
        group: index of the group, None for other actions than `strategy`.
        flat_offset: index of the first element in the concatenation of the group's tensors.
        sides: what goes with the sources.
    """

    names: tuple[str, ...]
    dtype: str
    out_dtype: str
    shape: tuple[int, ...]
    action: Literal["strategy", "copy", "choose"]
    sources: tuple[Leaves, ...]
    base: Leaves | None = None
    group: int | None = None
    flat_offset: int = 0
    sides: tuple[Side, ...] = ()

    @property
    def name(self) -> str:
        """The name that names it in draws and errors."""
        return self.names[0]

    @property
    def elements(self) -> int:
        """Number of elements; 1 for rank 0."""
        return prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes per element read."""
        return DTYPES[self.dtype].item_bytes

    @property
    def out_item_bytes(self) -> int:
        """Bytes per element written."""
        return DTYPES[self.out_dtype].item_bytes

    @property
    def reads(self) -> tuple[Leaves, ...]:
        """What is read: the base first, where there is one, then the sources."""
        return self.sources if self.base is None else (self.base, *self.sources)

    def chosen(self, index: int) -> "Task":
        """The task as a copy of one of its sources."""
        return replace(self, action="copy", sources=(self.sources[index],))


@dataclass(frozen=True)
class Group:
    """The tensors that one strategy sees as one model: same strategy, parameters, contributions and use of the base.

    `fitted` holds the values of the asset that the strategy applies, if any.
    """

    strategy: Strategy
    params: Mapping[str, Any]
    contributions: tuple[Digest, ...]
    weights: tuple[Fraction, ...]
    tasks: tuple[int, ...]
    elements: int
    fitted: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Draft:
    """A task before tied tensors are found and groups are numbered."""

    task: Task
    step: Step | None
    members: tuple[int, ...]
    roots: tuple[Digest, ...]


def require_fit(base: Manifest | None, sources: Sequence[Source], recipe: Recipe) -> None:
    """Check every contribution against the base, or without one against the first contribution.

    Raises:
        MismatchedTensorsError: a shape or dtype differs, or a name does and the recipe does not allow it. Every
            difference of every contribution is listed.
    """
    problems: list[str] = []
    expected = sources[0].weights if base is None else base
    for source in sources:
        if source.weights.described == expected.described:
            continue
        for difference in compare_tensors(expected.tensors, source.weights.tensors):
            allowed = (difference.kind == "missing" and recipe.missing != "error") or (
                difference.kind == "extra" and (recipe.extra if base is not None else recipe.missing) != "error"
            )
            if not allowed:
                problems.append(f"contribution {source.digest[:12]}: {difference}")
    if problems:
        raise MismatchedTensorsError(
            f"{len(problems)} tensors do not fit:\n" + "\n".join(f"  {line}" for line in problems),
            hint="was it tuned from another base? missing and extra tensors can be allowed in the recipe by `missing` "
            "and `extra`",
        )


def draft_tasks(
    base: Manifest | None, sources: Sequence[Source], recipe: Recipe, assets: Mapping[str, Asset]
) -> tuple[list[Task], list[Group]]:
    """Every task in name order, tied tensors joined, and the groups.

    Raises:
        MissingSidecarError, BadSidecarError: contributions lack what a strategy needs, or it does not fit.
        MissingBaseError: a strategy needs the base, or a base's tensor, that is not there.
        BadWeightError: the weights of a normalising strategy add up to zero.
    """
    names = set(base.by_name) if base is not None else set[str]()
    if base is None or recipe.extra == "keep":
        names.update(name for source in sources for name in source.weights.by_name)
    drafts = [_draft(name, base, sources, recipe) for name in sorted(names)]
    return _group(_join_tied(drafts), sources, assets)


def _draft(name: str, base: Manifest | None, sources: Sequence[Source], recipe: Recipe) -> _Draft:
    """What to do for the tensor `name`."""
    root = base.by_name.get(name) if base is not None else None
    members: list[int] = []
    entries: list[TensorEntry] = []
    for index, source in enumerate(sources):
        entry = source.weights.by_name.get(name)
        if entry is None and root is not None and recipe.missing == "base":
            entry = root
        if entry is not None:
            members.append(index)
            entries.append(entry)
    if not entries:
        assert root is not None
        return _copy(name, root, recipe)
    if entries[0].elements == 0 or (recipe.singleton == "identity" and len(sources) == 1):
        return _copy(name, entries[0], recipe)
    if entries[0].kind.kind != "float":
        return _settle(name, root, entries, recipe)
    step = recipe.step_for(name)
    if step.reads_base and root is None:
        if base is not None and all(entry.root == entries[0].root for entry in entries):
            return _copy(name, entries[0], recipe)
        raise MissingBaseError(
            f"{step.strategy} needs the base, and there is none"
            + (f" for tensor `{name}`" if base is not None else ""),
            hint="give a base, or a strategy without task vectors such as weight_average (by a rule, for some tensors)",
        )
    task = Task(
        (name,),
        entries[0].dtype,
        _out_dtype(entries[0], recipe),
        entries[0].shape,
        "strategy",
        tuple(entry.leaves for entry in entries),
        root.leaves if step.reads_base and root is not None else None,
        sides=side_tasks(step, name, entries[0].shape, [sources[index] for index in members]),
    )
    roots = (root.root if root is not None else Digest(""), *(entry.root for entry in entries))
    return _Draft(task, step, tuple(members), roots)


def side_tasks(step: Step, name: str, shape: tuple[int, ...], sources: Sequence[Source]) -> tuple[Side, ...]:
    """What goes with the sources of the tensor `name` for the strategy of a step.

    Raises:
        MissingSidecarError: a contribution carries no such side-car.
        BadSidecarError: a side-car lacks the tensor, or has it in another shape, or dtypes differ.
    """
    sides: list[Side] = []
    for wanted in step.side_cars:
        bare = [source.digest for source in sources if wanted.extra not in source.extras]
        if bare:
            lacking = "1 contribution carries" if len(bare) == 1 else f"{len(bare)} contributions carry"
            raise MissingSidecarError(
                f"{step.strategy} needs the side-car `{wanted.extra}`, and {lacking} none",
                where="\n".join(bare),
                hint=f"make it with `conjoin stats {wanted.extra}` and add the contribution with "
                f"`--extra {wanted.extra}=FILE`",
            )
        expected = wanted.shape(shape)
        if expected is None:
            continue
        key = wanted.key(name)
        entries = [source.extras[wanted.extra].by_name.get(key) for source in sources]
        if not wanted.required and not any(entries):
            continue
        sides.append(_side(wanted, name, key, expected, sources, entries))
    return tuple(sides)


def _side(
    wanted: SideCar,
    name: str,
    key: str,
    shape: tuple[int, ...],
    sources: Sequence[Source],
    entries: Sequence[TensorEntry | None],
) -> Side:
    """The side tensors of one tensor, if they fit."""
    problems: list[str] = []
    dtypes = {entry.dtype for entry in entries if entry is not None}
    for source, entry in zip(sources, entries, strict=True):
        at = f"contribution {source.digest[:12]}: `{key}`"
        if entry is None:
            problems.append(f"{at} is missing")
        elif tuple(entry.shape) != shape:
            problems.append(f"{at} is {tuple(entry.shape)}, not {shape}")
        elif entry.kind.kind != "float" or len(dtypes) > 1:
            problems.append(f"{at} is {entry.dtype}; side-cars of all contributions have one float dtype")
    if problems:
        raise BadSidecarError(
            f"side-car `{wanted.extra}` does not fit tensor `{name}`:\n" + "\n".join(f"  {p}" for p in problems),
            hint=f"make it again with `conjoin stats {wanted.extra}`, for the same model",
        )
    found = [entry for entry in entries if entry is not None]
    dtype = found[0].dtype
    leaves = tuple(entry.leaves for entry in found)
    return Side(wanted.name, Task((key,), dtype, dtype, shape, "copy", leaves), wanted.elementwise)


def _copy(name: str, entry: TensorEntry, recipe: Recipe) -> _Draft:
    task = Task((name,), entry.dtype, _out_dtype(entry, recipe), entry.shape, "copy", (entry.leaves,))
    return _Draft(task, None, (), (entry.root,))


def _settle(name: str, base: TensorEntry | None, entries: Sequence[TensorEntry], recipe: Recipe) -> _Draft:
    """An integer or bool tensor: copied when all agree, else the base's or the majority's."""
    counts = Counter(entry.root for entry in entries)
    if len(counts) == 1:
        return _copy(name, entries[0], recipe)
    if recipe.integers == "base" and base is not None:
        return _copy(name, base, recipe)
    most = max(counts.values())
    winners = {entry.root: entry for entry in entries if counts[entry.root] == most}
    if len(winners) == 1:
        return _copy(name, next(iter(winners.values())), recipe)
    first = entries[0]
    leaves = tuple(winners[root].leaves for root in sorted(winners))
    task = Task((name,), first.dtype, first.dtype, first.shape, "choose", leaves)
    return _Draft(task, None, (), tuple(sorted(winners)))


def _out_dtype(entry: TensorEntry, recipe: Recipe) -> str:
    return entry.dtype if recipe.out_dtype == "base" or entry.kind.kind != "float" else recipe.out_dtype


def _join_tied(drafts: Sequence[_Draft]) -> list[_Draft]:
    """Join float tensors that are equal in the base and in every contribution, and get the same step, into one task."""
    joined: dict[object, _Draft] = {}
    for draft in drafts:
        task = draft.task
        # An empty tensor, or one that is only copied, gains nothing from being joined.
        key: object = task.name
        if draft.step is not None:
            sides = tuple((side.name, side.task.sources) for side in task.sides)
            key = (task.dtype, task.shape, draft.roots, draft.members, task.base is None, _step_key(draft.step), sides)
        first = joined.get(key)
        if first is None:
            joined[key] = draft
        else:
            joined[key] = replace(first, task=replace(first.task, names=(*first.task.names, task.name)))
    return list(joined.values())


def _step_key(step: Step) -> str:
    return repr(sorted(step.to_json().items(), key=lambda item: item[0]))


def _group(
    drafts: Sequence[_Draft], sources: Sequence[Source], assets: Mapping[str, Asset]
) -> tuple[list[Task], list[Group]]:
    """Number the groups and give every task its place in its group."""
    indices: dict[object, int] = {}
    members: dict[int, list[int]] = defaultdict(list)
    elements: dict[int, int] = defaultdict(int)
    firsts: list[_Draft] = []
    tasks: list[Task] = []
    for number, draft in enumerate(drafts):
        task = draft.task
        if draft.step is not None:
            key = (_step_key(draft.step), draft.members, task.base is None)
            group = indices.setdefault(key, len(indices))
            if group == len(firsts):
                firsts.append(draft)
            task = replace(task, group=group, flat_offset=elements[group])
            members[group].append(number)
            elements[group] += task.elements
        tasks.append(task)
    return tasks, [_make_group(d, sources, members[i], elements[i], assets) for i, d in enumerate(firsts)]


def _make_group(
    draft: _Draft, sources: Sequence[Source], tasks: Sequence[int], elements: int, assets: Mapping[str, Asset]
) -> Group:
    assert draft.step is not None
    chosen = [sources[index] for index in draft.members]
    contributions = tuple(source.digest for source in chosen)
    weights = tuple(source.weight for source in chosen)
    strategy = draft.step.traits
    if strategy.normalises and not any(weights):
        raise BadWeightError(
            f"the weights of the {len(chosen)} contributions to tensor `{draft.task.name}` add up to zero",
            hint=f"{strategy.name} divides by their sum; give one of them a positive weight",
        )
    params = draft.step.parsed(contributions)
    strategy.check(params, weights)
    fitted = assets[draft.step.asset].values if draft.step.asset else None
    return Group(strategy, params, contributions, weights, tuple(tasks), elements, fitted)
