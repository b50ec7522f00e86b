"""Requests to learn, for what is visible in a replica or for tensors in memory: reads data and models."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from conjoin.errors import BadDataError, BadParameterError, NothingVisibleError, UsageError
from conjoin.executor.execute import read_side_file
from conjoin.fitting.data import read_data
from conjoin.fitting.fitters import Request
from conjoin.fitting.learning import ada_merging, adarank, dam, surgery
from conjoin.fitting.learning.problem import Problem, Settings, Tensors, require_data
from conjoin.fitting.machine import Tensor, torch
from conjoin.fitting.models import Model, as_tensor, open_factory, open_folder
from conjoin.fitting.tasks import Task, read_head
from conjoin.memory import CRDTMergeState, digests_of, models_of
from conjoin.plan.layout import choose_side_files
from conjoin.progress import SILENT, Progress
from conjoin.replica import Replica
from conjoin.store.base import read_tensor
from conjoin.strategies.base import canonical_decimal, find_strategy, parse_decimal
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest

Options = Mapping[str, Any]

_SETTINGS = {
    "ada_merging": ada_merging.SETTINGS,
    "adarank": adarank.SETTINGS,
    "dam": dam.SETTINGS,
    "representation_surgery": surgery.SETTINGS,
}
"""How each strategy learns unless told otherwise."""


def fit(request: Request) -> Asset:
    """Learn for what is visible in a replica.

    Raises:
        BadDataError: a contribution has no data, or data or model cannot be used.
        UsageError, BadParameterError: an option is not what it takes.
        MissingExtraError: torch is not installed.
    """
    torch()
    replica, options = request.replica, request.options
    visible = replica.visible
    if not visible:
        raise NothingVisibleError("there is nothing to learn for", hint="`conjoin add` a contribution first")
    known = {info.digest: info for info in replica.contributions()}
    manifests = {digest: replica.inventory.manifest(known[digest].weights) for digest in visible}
    base = replica.inventory.manifest(replica.base)
    settings, data = settings_of(request.strategy, options), _by_contribution(replica, options, "data")
    require_data(visible, data)
    find_strategy(request.strategy).parse(dict(request.params))
    with tempfile.TemporaryDirectory(prefix="conjoin-fit-") as folder:
        _write_files(replica, Path(folder))
        shapes = {entry.name: entry.shape for entry in base.tensors}
        factory = options.get("model")
        model = open_factory(factory, shapes) if factory else open_folder(Path(folder), shapes)
        tasks = _tasks(data, _by_contribution(replica, options, "head"), model, None if factory else folder)
        origin = _read(replica, base)
        problem = Problem(
            request.strategy,
            replica.base,
            origin,
            {digest: _filled(origin, _read(replica, manifest)) for digest, manifest in manifests.items()},
            tasks,
            settings,
            {digest: Fraction(known[digest].weight) for digest in visible},
            request.progress,
        )
        return learn(problem, request.params, options)


def fit_learning(
    models: Any,
    strategy: str,
    tasks: Sequence[Task],
    *,
    base: Any = None,
    weights: Sequence[object] | None = None,
    progress: Progress = SILENT,
    options: Options | None = None,
    **params: Any,
) -> Asset:
    """Learn for arrays in memory: the asset is for `conjoin.resolve` with the same arrays, base and weights.

    Args:
        models: k mappings from name to array, as `conjoin.resolve` takes them.
        strategy: ada_merging, adarank, dam or representation_surgery.
        tasks: k tasks, in the order of the models; whatever digest they name is replaced.
        base: the common base, where the strategy needs one.
        weights: k positive numbers, in the order of the models; 1 each if left out.
        progress: is told of the steps.
        options: steps, batch, rate, seed, and the strategy's own, as `conjoin fit` takes them.
        params: the strategy's parameters.

    Raises:
        BadDataError: see there; and what `conjoin.resolve` raises.
    """
    find_strategy(strategy).parse(params)
    digests = digests_of(models, base=base, weights=weights)
    if len(tasks) != len(digests):
        raise BadDataError(f"{len(tasks)} tasks are given for {len(digests)} models", hint="give one for each")
    given, _ = models_of(models)
    shares = [canonical_decimal(parse_decimal(one, "a weight")) for one in weights or ["1"] * len(digests)]
    problem = Problem(
        strategy,
        CRDTMergeState(base=base).base_digest,
        _floats(base or {}),
        {digest: _floats(model) for digest, model in zip(digests, given, strict=True)},
        {digest: replace(task, contribution=digest) for digest, task in zip(digests, tasks, strict=True)},
        settings_of(strategy, options or {}),
        {digest: Fraction(share) for digest, share in zip(digests, shares, strict=True)},
        progress,
    )
    return learn(problem, params, options or {})


def learn(problem: Problem, params: Mapping[str, Any], options: Options) -> Asset:
    """Learn what the problem's strategy applies, with parameters and options as users give them."""
    parsed = find_strategy(problem.strategy).parse(dict(params))
    if problem.strategy == "ada_merging":
        density, task_wise = canonical_decimal(parsed["density"]), bool(options.get("task_wise"))
        return ada_merging.fit(problem, task_wise=task_wise, plus_plus=parsed["plus_plus"], density=density)
    if problem.strategy == "adarank":
        if parsed["variant"] != "asset":
            raise UsageError("`-p variant=energy` needs no asset", hint="`conjoin resolve adarank -p variant=energy`")
        initial = _decimal(options, "initial", adarank.INITIAL[parsed["origin"]], 1)
        return adarank.fit(problem, initial=initial, origin=parsed["origin"])
    if problem.strategy == "dam":
        return dam.fit(problem)
    inner = surgery.Inner(parsed["inner"], parsed["scale"], parsed["density"])
    rank = _whole(options, "rank", surgery.RANK, least=1)
    return surgery.fit(problem, inner=inner, rank=rank, features_of=str(options.get("features_of", "")))


def settings_of(strategy: str, options: Options) -> Settings:
    """How long and how fast to learn.

    Raises:
        BadParameterError: a number is out of its range.
    """
    own = _SETTINGS[strategy]
    rate = parse_decimal(options.get("rate", own.rate), "`--rate`")
    if rate <= 0:
        raise BadParameterError(f"`--rate` is {options['rate']}: it must be above 0")
    return Settings(
        _whole(options, "steps", own.steps, least=0 if "steps" not in options else 1),
        _whole(options, "batch", own.batch, least=1),
        canonical_decimal(rate),
        _whole(options, "seed", own.seed, least=0),
    )


def _whole(options: Options, name: str, default: int, *, least: int) -> int:
    value = options.get(name, default)
    if type(value) is not int or not least <= value < 2**53:
        raise BadParameterError(f"`--{name}` is {value!r:.40}: it must be a whole number from {least} on")
    return value


def _decimal(options: Options, name: str, default: str, most: int) -> float:
    value = parse_decimal(options.get(name, default), f"`--{name}`")
    if not 0 <= value <= most:
        raise BadParameterError(f"`--{name}` is {options[name]}: it must be between 0 and {most}")
    return float(value)


def _tasks(
    data: Mapping[Digest, str], heads: Mapping[Digest, str], model: Model, tokenizer: str | None
) -> dict[Digest, Task]:
    """The tasks that `--data` and `--head` describe."""
    return {
        digest: Task(
            digest, read_data(path, tokenizer), model, read_head(heads[digest], model) if digest in heads else {}
        )
        for digest, path in data.items()
    }


def _by_contribution(replica: Replica, options: Options, name: str) -> dict[Digest, str]:
    """`DIGEST=FILE` as a mapping."""
    found: dict[Digest, str] = {}
    for text in options.get(name, ()):
        prefix, equals, path = str(text).partition("=")
        if not equals or not path:
            raise UsageError(f"`--{name} {text}` is not DIGEST=FILE", hint="`conjoin status` shows the digests")
        digest = replica.find_contribution(prefix)
        if digest not in replica.visible:
            raise UsageError(f"`--{name} {text}`: the contribution is not visible, so nothing is learned for it")
        if digest in found:
            raise UsageError(
                f"`--{name}` names contribution {digest[:12]} twice", hint="put its examples into one file"
            )
        found[digest] = path
    return found


def _write_files(replica: Replica, folder: Path) -> None:
    """The base's configuration and tokenizer."""
    for side in choose_side_files(replica.inventory.manifest(replica.inventory.files), None):
        target = folder / side.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read_side_file(replica.store, side))


def _read(replica: Replica, manifest: Manifest) -> Tensors:
    """The tensors of a manifest, floats in float32, each leaf verified."""
    return _narrow({e.name: as_tensor(read_tensor(replica.store, e), e.dtype, e.shape) for e in manifest.tensors})


def _filled(base: Tensors, own: Tensors) -> Tensors:
    """The base's tensors as a contribution has them; one that it lacks is the base's."""
    return {name: own.get(name, tensor) for name, tensor in base.items()}


def _floats(arrays: Mapping[str, Any]) -> Tensors:
    """Arrays as tensors, floats in float32."""
    return _narrow({name: torch().as_tensor(array) for name, array in arrays.items()})


def _narrow(tensors: Mapping[str, Tensor]) -> Tensors:
    return {
        name: tensor.to(torch().float32) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
