"""What strategies apply that learn or search, made by `conjoin.fitting` on a seed's own tasks; kept on disk."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.quality.merging import Place
from benchmarks.quality.model import HEAD, Arrays, net_of
from benchmarks.quality.sidecars import data_of, model_of
from benchmarks.quality.train import tensors_of
from conjoin.fitting.learning import ada_merging, adarank, dam, surgery
from conjoin.fitting.learning.problem import Problem, Settings
from conjoin.fitting.searching import fit_search
from conjoin.fitting.tasks import Task
from conjoin.memory import CRDTMergeState
from conjoin.wire.asset import Asset

STEPS = 500
"""Of learning. AdaRank's authors take 10,000, which is beyond this benchmark's time."""
EVALUATIONS = {"evolutionary_merge": 100, "genetic_merge": 200}
"""Candidates a search tries: the strategies' defaults."""
QUICK = 10
"""By how much a quick run divides steps and candidates."""


def make_asset(place: Place, name: str, strategy: str, params: Mapping[str, Any]) -> Asset:
    """The asset of that name, made or read.

    Args:
        place: the seed's models.
        name: of one row of the results.
        strategy: what it is for.
        params: of the strategy.
    """
    path = place.bench.folder / f"asset-{name.replace(' ', '-')}.json"
    with contextlib.suppress(FileNotFoundError):
        return Asset.decode(path.read_bytes())
    make = functools.partial(_searched, strategy=strategy) if strategy in EVALUATIONS else _LEARNERS[strategy]
    made = make(place, params=params)
    path.write_bytes(made.encode())
    return made


def _problem(place: Place, strategy: str, settings: Settings) -> Problem:
    """Every contribution with its training inputs and its frozen head."""
    bench = place.bench
    if bench.quick:
        settings = replace(settings, steps=settings.steps // QUICK)
    model = model_of(bench)
    tasks = {
        digest: Task(digest, data_of(bench, number), model, {HEAD: torch.from_numpy(bench.heads[number])})
        for number, digest in enumerate(place.digests)
    }
    return Problem(
        strategy,
        CRDTMergeState(base=bench.base).base_digest,
        _tensors(bench.base),
        {digest: _tensors(one) for digest, one in zip(place.digests, bench.tuned, strict=True)},
        tasks,
        settings,
    )


def _tensors(encoder: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in encoder.items()}


def _ada_merging(place: Place, params: Mapping[str, Any]) -> Asset:  # noqa: ARG001
    return ada_merging.fit(_problem(place, "ada_merging", Settings(STEPS)))


def _adarank(place: Place, params: Mapping[str, Any]) -> Asset:  # noqa: ARG001
    return adarank.fit(_problem(place, "adarank", Settings(STEPS)))


def _dam(place: Place, params: Mapping[str, Any]) -> Asset:  # noqa: ARG001
    return dam.fit(_problem(place, "dam", Settings(STEPS)))


def _surgery(place: Place, params: Mapping[str, Any]) -> Asset:
    problem = _problem(place, "representation_surgery", Settings(STEPS))
    return surgery.fit(problem, inner=params.get("inner", "weight_average"))


_LEARNERS: dict[str, Callable[[Place, Mapping[str, Any]], Asset]] = {
    "ada_merging": _ada_merging,
    "adarank": _adarank,
    "dam": _dam,
    "representation_surgery": _surgery,
}


def _searched(place: Place, params: Mapping[str, Any], strategy: str) -> Asset:
    """A search whose fitness is the number of right answers on all tasks' validation examples."""
    bench = place.bench
    shown = [tensors_of(task.validation) for task in bench.tasks]

    def count(candidate: Arrays) -> tuple[int, int]:
        right = 0
        with torch.no_grad():
            for head, (signals, labels) in zip(bench.heads, shown, strict=True):
                right += int((net_of(candidate, head)(signals).argmax(1) == labels).sum())
        return right, sum(len(labels) for _, labels in shown)

    return fit_search(
        place.models,
        strategy,
        count,
        base=bench.base,
        evaluations=EVALUATIONS[strategy] // (QUICK if bench.quick else 1),
        **params,
    )
