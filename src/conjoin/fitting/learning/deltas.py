"""Task vectors and backbones for learning, merged by the strategies themselves so that both mean the same."""

from collections.abc import Mapping
from typing import Any

from conjoin.fitting.learning.problem import Problem
from conjoin.fitting.machine import Tensor, torch
from conjoin.memory import CRDTMergeState, digests_of, resolve
from conjoin.strategies.base import canonical_decimal, find_strategy
from conjoin.strategies.learned import EVERY
from conjoin.wire.asset import Asset


def task_vectors(problem: Problem, density: str | None = None) -> dict[str, Tensor]:
    """wᵢτᵢ of all contributions, (k, …) float32 by tensor; with a density as AdaMerging++ trims and elects them."""
    if density is None:
        return {
            name: torch().stack(
                [
                    (problem.contributions[digest][name] - problem.base[name]) * float(problem.weight(digest))
                    for digest in problem.digests
                ]
            )
            for name in problem.names
        }
    models, weights = _models(problem)
    known = digests_of(models, base=problem.base, weights=weights)
    origin = CRDTMergeState(base=problem.base).base_digest
    found: list[Mapping[str, Tensor]] = []
    for digest in known:
        scale = {EVERY: {other: str(int(other == digest)) for other in known}}
        alone = Asset(
            "ada_merging", origin, tuple(sorted(set(known))), {"scale": scale, "trim": {"density": density}}, {}
        )
        params: dict[str, Any] = {"plus_plus": True, "density": density}
        merged = resolve(models, "ada_merging", base=problem.base, weights=weights, asset=alone, **params)
        found.append(merged)
    return {name: torch().stack([one[name] - problem.base[name] for one in found]) for name in problem.names}


def backbone(problem: Problem, strategy: str, params: Mapping[str, Any]) -> dict[str, Tensor]:
    """The contributions merged by a strategy that needs no asset."""
    models, weights = _models(problem)
    base = problem.base if find_strategy(strategy).needs_base else None
    return resolve(models, strategy, base=base, weights=weights, **params)


def _models(problem: Problem) -> tuple[list[Mapping[str, Tensor]], list[str]]:
    """The contributions and their weights as `resolve` takes them."""
    models = [problem.contributions[digest] for digest in problem.digests]
    return models, [canonical_decimal(problem.weight(digest)) for digest in problem.digests]
