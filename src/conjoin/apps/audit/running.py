"""Runs the audit: chooses layers, generates models, calls the phases and the sweep; writes and prints nothing."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conjoin.apps.audit.literature import SETTINGS
from conjoin.apps.audit.outfit import RULES
from conjoin.apps.audit.paper import ROWS
from conjoin.apps.audit.phases import DTYPES, LayeredResult, RawResult, layered, models_of, raw
from conjoin.apps.audit.report import Audit, Part, SettingResult
from conjoin.apps.audit.shapes import CONTROLLED, SHAPES, Layer, Shapes
from conjoin.apps.audit.sweep import Swept, sweep, swept_models
from conjoin.errors import UsageError
from conjoin.progress import SILENT, Progress
from conjoin.strategies.base import Scope, Strategy, strategies

MATRIX_ELEMENTS = 1 << 22
"""The largest layer that a strategy on whole matrices is run on, unless everything is asked for."""
TRIALS = 3
"""Draws of the models in Phase 2 on small shapes, and in Phase 1 when it must be quick."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to audit.

    Attributes:
        strategies: names, of the paper's; empty for all.
        shapes: names of shapes.
        sweep: whether to run the sweep.
        quick: fewer trials; of a model its smallest layer only.
        full: matrix strategies on every layer as well.
        seed: names every generated tensor.
    """

    strategies: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ("4x4",)
    sweep: bool = True
    quick: bool = False
    full: bool = False
    seed: int = 42


def run(request: Request, progress: Progress = SILENT) -> Audit:
    """Audit the strategies.

    Raises:
        UsageError: a strategy that is none of the paper's, or shapes that are not known.
    """
    began = time.process_time()
    names = _chosen(request.strategies, ROWS, "strategy of the paper")
    shapes = [SHAPES[name] for name in _chosen(request.shapes, SHAPES, "shapes")]
    registered = strategies()
    known = [registered[name] for name in names if name in registered]
    parts = tuple(_part(one, known, request, progress) for one in shapes)
    return Audit(
        strategies=names,
        seed=request.seed,
        parts=parts,
        settings=tuple(_settings(known, request)) if CONTROLLED in shapes else (),
        sweep=_swept(known, request, progress) if request.sweep else {},
        swept=request.sweep,
        rules={one.name: RULES[one.name].note for one in known if one.name in RULES},
        cpu_s=time.process_time() - began,
        peak_bytes=_peak_bytes(),
    )


def layers_for(shapes: Shapes, strategy: Strategy, request: Request) -> tuple[Layer, ...]:
    """The layers a strategy is run on, smallest first."""
    layers = sorted(shapes.layers, key=lambda layer: layer.elements)
    if request.quick:
        return tuple(layers[:1])
    if strategy.scope is Scope.MATRIX and not request.full:
        return tuple(layer for layer in layers if layer.elements <= MATRIX_ELEMENTS)
    return tuple(layers)


def _chosen(given: Sequence[str], known: object, what: str) -> tuple[str, ...]:
    names = tuple(known)  # type: ignore[arg-type]
    for name in given:
        if name not in names:
            raise UsageError(f"{name!r} is no {what}", hint=f"one of {', '.join(names)}")
    return tuple(name for name in names if name in given) if given else names


def _part(shapes: Shapes, known: Sequence[Strategy], request: Request, progress: Progress) -> Part:
    """Both phases on some shapes. Layer by layer, so that the models of one are in memory at a time."""
    raws: dict[str, list[RawResult]] = {one.name: [] for one in known}
    twos: dict[str, list[LayeredResult]] = {one.name: [] for one in known}
    plan = {layer: [s for s in known if layer in layers_for(shapes, s, request)] for layer in shapes.layers}
    plan = dict(sorted(plan.items(), key=lambda item: item[0].elements))
    progress.start(f"audit {shapes.title}", sum(2 * layer.elements * len(users) for layer, users in plan.items()))
    trials = min(shapes.trials, TRIALS) if request.quick else shapes.trials
    for layer, users in plan.items():
        if users:
            _layer(shapes, layer, users, (request.seed, trials), (raws, twos), progress)
    return Part(
        shapes.name,
        {name: _joined_raw(found) for name, found in raws.items()},
        {name: _joined_layered(found) for name, found in twos.items()},
    )


def _layer(
    shapes: Shapes,
    layer: Layer,
    users: Sequence[Strategy],
    seeds: tuple[int, int],
    into: tuple[dict[str, list[RawResult]], dict[str, list[LayeredResult]]],
    progress: Progress,
) -> None:
    seed, trials = seeds
    models = [models_of(shapes, layer, DTYPES[shapes.raw_format], seed + trial) for trial in range(trials)]
    for strategy in users:
        into[0][strategy.name].append(raw(strategy, models))
        progress.advance(layer.elements)
    stored = [one.stored_as(DTYPES[shapes.values]) for one in models[:TRIALS]]
    del models
    for strategy in users:
        into[1][strategy.name].append(layered(strategy, stored))
        progress.advance(layer.elements)


def _joined_raw(found: Sequence[RawResult]) -> RawResult:
    problems = [one.problem for one in found if one.problem]
    good = [one for one in found if not one.problem]
    return RawResult(
        _all([one.letters for one in good]) if not problems else "",
        _all([one.bitwise for one in good]) if not problems else "",
        tuple(map(max, zip(*(one.gaps for one in good), strict=True))),
        tuple(name for one in found for name in one.layers),
        sum(one.cpu_s for one in found),
        problems[0] if problems else None,
    )


def _joined_layered(found: Sequence[LayeredResult]) -> LayeredResult:
    problems = [one.problem for one in found if one.problem]
    return LayeredResult(
        _all([one.letters for one in found]) if not problems else "",
        tuple(name for one in found for name in one.layers),
        sum(one.resolves for one in found),
        sum(one.cpu_s for one in found),
        problems[0] if problems else None,
    )


def _all(words: Sequence[str]) -> str:
    """P where every word has P."""
    return "".join("P" if set(letters) == {"P"} else "F" for letters in zip(*words, strict=True))


def _settings(known: Sequence[Strategy], request: Request) -> Iterator[SettingResult]:
    """The strategies with other parameters, on 4×4."""
    layer, by_name = CONTROLLED.layers[0], {one.name: one for one in known}
    trials = TRIALS if request.quick else CONTROLLED.trials
    models = [models_of(CONTROLLED, layer, "float64", request.seed + trial) for trial in range(trials)]
    for setting in SETTINGS:
        if setting.strategy in by_name:
            yield SettingResult(setting, raw(by_name[setting.strategy], models, dict(setting.params)))


def _swept(known: Sequence[Strategy], request: Request, progress: Progress) -> dict[str, Swept]:
    models = swept_models(request.seed)
    progress.start("sweep", len(known))
    found: dict[str, Swept] = {}
    for strategy in known:
        found[strategy.name] = sweep(strategy, models, request.seed)
        progress.advance(1)
    return found


def _peak_bytes() -> int | None:
    """The most memory this process has had, None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
