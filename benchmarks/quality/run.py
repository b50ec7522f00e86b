"""Runs the whole of it: trains, takes statistics, merges and measures, in as many processes as there are cores."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.methods import METHODS, Method
from benchmarks.quality.orderings import Scores

NICENESS = 5


@dataclass(frozen=True)
class Row:
    """One method on one seed.

    Attributes:
        default: test accuracy per task with the strategy's own parameters.
        tuned: the same with the scale that validation chose; None where there is nothing to choose.
        scale: that scale.
        fit_s: CPU-seconds to learn or search what it applies; 0 where that was on disk.
        merge_s: CPU-seconds of one merge in memory, of a model per task through the replica on disk.
    """

    default: list[float]
    tuned: list[float] | None
    scale: float | None
    fit_s: float
    merge_s: float

    @property
    def best(self) -> float:
        """Mean accuracy, tuned where it is tuned."""
        return float(np.mean(self.tuned or self.default))


@dataclass
class Found:
    """All of one seed.

    Attributes:
        seed: the seed.
        references: per task: `base`, `individual` and `multitask`.
        rows: by name of the method.
        roles: scores of the strategies with roles: `forget NAME`, `kept NAME`, `safety NAME`, `utility NAME`.
        same: strategy → whether disk and memory gave the same bytes.
    """

    seed: int
    references: dict[str, list[float]] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    roles: dict[str, float] = field(default_factory=dict)
    same: dict[str, bool] = field(default_factory=dict)

    @property
    def scores(self) -> Scores:
        """What orderings are about."""
        found = {name: float(np.mean(row)) for name, row in self.references.items()}
        for name, row in self.rows.items():
            found[name] = row.best
        single = [row.best for name, row in self.rows.items() if name in _SINGLE]
        return {**found, **self.roles, "best single model": max(single), "worst single model": min(single)}


_SINGLE = {method.name for method in METHODS if not method.by_task}
BYTES = ("ties", "regression_mean", "dare", "ada_merging")
"""Strategies whose result through a replica on disk is compared with that in memory."""


def run(seeds: Sequence[int], folder: Path, *, quick: bool = False, workers: int = 2) -> list[Found]:
    """Everything, of these seeds.

    Args:
        seeds: one set of tasks each.
        folder: where what is made is kept; what is there already is not made again.
        quick: learn and search less.
        workers: processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {seed: Found(seed) for seed in seeds}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _begin) as pool:

        def each(work: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], what: str) -> list[Any]:
            start = time.perf_counter()
            results = list(pool.map(work, *zip(*((folder, quick, *job) for job in jobs), strict=True)))
            print(f"{what}: {time.perf_counter() - start:.0f} s", flush=True)
            return results

        for seed, references in zip(seeds, each(_train, [(seed,) for seed in seeds], "training"), strict=True):
            found[seed].references = references
        each(_statistics, [(seed, number) for seed in seeds for number in range(8)], "side-cars")
        each(_replica, [(seed,) for seed in seeds], "replicas")
        jobs = [(seed, method.name) for seed in seeds for method in sorted(METHODS, key=_longest_first)]
        for (seed, name), row in zip(jobs, each(_measure, jobs, "merging"), strict=True):
            found[seed].rows[name] = row
        rest = each(_roles_and_bytes, [(seed,) for seed in seeds], "roles and bytes")
        for seed, (roles, same) in zip(seeds, rest, strict=True):
            found[seed].roles, found[seed].same = roles, same
    order = [method.name for method in METHODS]
    for one in found.values():
        one.rows = {name: one.rows[name] for name in order}
    return list(found.values())


def _longest_first(method: Method) -> int:
    """What learns comes first, so that no core waits for it at the end."""
    slow = ("adarank", "dam", "ada_merging")
    if not method.asset:
        return len(slow) + 1
    return slow.index(method.strategy) if method.strategy in slow else len(slow)


def _begin() -> None:
    """One thread per process."""
    import torch

    os.nice(NICENESS)
    torch.set_num_threads(1)


def _train(folder: Path, quick: bool, seed: int) -> dict[str, list[float]]:
    from benchmarks.quality.train import accuracies, make_bench

    bench = make_bench(seed, folder, quick=quick)
    return {
        "base": accuracies(bench, bench.base),
        "individual": [accuracies(bench, one)[number] for number, one in enumerate(bench.tuned)],
        "multitask": accuracies(bench, bench.multitask),
    }


def _statistics(folder: Path, quick: bool, seed: int, number: int) -> None:
    from benchmarks.quality.sidecars import make_sidecar
    from benchmarks.quality.train import make_bench

    make_sidecar(make_bench(seed, folder, quick=quick), number)


def _replica(folder: Path, quick: bool, seed: int) -> None:
    from benchmarks.quality.merging import open_place

    open_place(seed, folder, quick).replica.close()


def _measure(folder: Path, quick: bool, seed: int, name: str) -> Row:
    from benchmarks.quality.fits import make_asset
    from benchmarks.quality.merging import open_place

    method = next(one for one in METHODS if one.name == name)
    place = open_place(seed, folder, quick)
    start = time.process_time()
    asset = make_asset(place, name, method.strategy, method.params) if method.asset else None
    fitted = time.process_time()
    if method.by_task:
        default = place.by_task(name, method.strategy, asset, **method.params)
        ready = time.process_time()
        place.resolved(name, method.strategy, asset, **method.params)
        return Row(default, None, None, fitted - start, time.process_time() - ready)
    place.merge(method.strategy, asset, bare=method.bare, **method.params)  # compiles what is not compiled yet
    ready = time.process_time()
    merged = place.merge(method.strategy, asset, bare=method.bare, **method.params)
    taken = time.process_time() - ready
    if not method.grid:
        return Row(place.test(merged), None, None, fitted - start, taken)

    def at(scale: float) -> Any:
        if method.scale == "after":
            return place.scaled(merged, scale)
        return place.merge(method.strategy, asset, bare=method.bare, **{**method.params, "scale": scale})

    tried = [(place.validation(at(scale)), -scale) for scale in method.grid[:: 3 if quick else 1]]
    scale = -max(tried)[1]
    return Row(place.test(merged), place.test(at(scale)), scale, fitted - start, taken)


def _roles_and_bytes(folder: Path, quick: bool, seed: int) -> tuple[dict[str, float], dict[str, bool]]:
    from benchmarks.quality import roles
    from benchmarks.quality.fits import make_asset
    from benchmarks.quality.merging import open_place

    place = open_place(seed, folder, quick)
    scores: dict[str, float] = {}
    for one in roles.forgetting(place.bench):
        scores |= {f"forget {one.name}": one.forgotten, f"kept {one.name}": one.kept}
        if one.scale is not None:
            scores[f"scale {one.name}"] = one.scale
    for two in roles.safety(place.bench):
        scores |= {f"safety {two.name}": two.safety, f"utility {two.name}": two.utility}
    same: dict[str, bool] = {}
    for strategy in BYTES:
        asset = make_asset(place, strategy, strategy, {}) if strategy == "ada_merging" else None
        same[strategy] = place.same_bytes(strategy, asset)
    return scores, same
