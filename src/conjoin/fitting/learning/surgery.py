"""Representation surgery, the learning: adapters that move a backbone's features to those of each contribution.

Yang et al., ICML 2024, arXiv:2402.02705: rank 16, W_up from 0, W_down Kaiming-uniform (a = √5) from draws, ‖ẑ − zᵢ‖₁,
Adam.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from conjoin.errors import BadDataError
from conjoin.fitting.data import Batch
from conjoin.fitting.learning.deltas import backbone
from conjoin.fitting.learning.problem import Problem, Settings, Tensors
from conjoin.fitting.machine import Tensor, deterministic, torch
from conjoin.fitting.surgery import hex_of
from conjoin.kernels import draw_key, draws
from conjoin.strategies.representation_surgery import backbone as in_words
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest

SETTINGS = Settings(steps=500)
RANK = 16


@dataclass(frozen=True)
class Inner:
    """What merges the backbone, by the words of the strategy's own parameters."""

    strategy: str = "weight_average"
    scale: Fraction = Fraction("0.3")
    density: Fraction = Fraction("0.2")

    @property
    def described(self) -> dict[str, Any]:
        """As the asset says it."""
        return in_words(self.strategy, self.scale, self.density)


def fit(
    problem: Problem,
    *,
    inner: Inner | str = "weight_average",
    rank: int = RANK,
    features_of: str = "",
) -> Asset:
    """Learn an adapter per contribution.

    Args:
        problem: what is learned on.
        inner: what merges the backbone, or the name of the strategy with its defaults.
        rank: of the adapters.
        features_of: module whose input the features are; the last Linear if empty.

    Raises:
        BadDataError: the loss is not a number, or a model fails.
    """
    described = (Inner(inner) if isinstance(inner, str) else inner).described
    with deterministic():
        strategy, params = described["strategy"], {name: v for name, v in described.items() if name != "strategy"}
        merged = problem.whole(backbone(problem, strategy, params))
        learned = {digest: _Adapted(problem, digest, merged, rank, features_of) for digest in problem.digests}
        problem.progress.start("learning", problem.settings.steps * len(learned))
        losses = [one.learn() for one in learned.values()]
        adapters = {digest: one.values() for digest, one in learned.items()}
    total = (sum(start for start, _ in losses), sum(end for _, end in losses))
    return problem.asset({"adapters": adapters, "inner": described}, total, rank=rank, features_of=features_of)


def down_start(seed: int, digest: Digest, rank: int, width: int) -> Tensor:
    """W_down at first, (rank, width): uniform within ±1/√width, element e from word e of a draw."""
    words = draws(draw_key(seed.to_bytes(32, "little"), "representation_surgery", "down", digest), 0, rank * width)
    unit = torch().tensor([(2 * (word >> 9) + 1) / 2**23 - 1 for word in words.tolist()], dtype=torch().float32)
    return (unit / math.sqrt(width)).reshape(rank, width)


class _Adapted:
    """One task's adapter and what it is learned from."""

    def __init__(self, problem: Problem, digest: Digest, merged: Tensors, rank: int, features_of: str) -> None:
        self._problem, self._digest, self._merged, self._features_of = problem, digest, merged, features_of
        width = self._pair(next(problem.measured(digest)))[0].shape[-1]
        self.down = down_start(problem.settings.seed, digest, rank, width).requires_grad_()
        self.up = torch().zeros(width, rank, requires_grad=True)

    def learn(self) -> tuple[float, float]:
        """Minimise the loss; it before and after."""
        problem, start = self._problem, self._measured()
        optimiser = torch().optim.Adam([self.down, self.up], lr=float(problem.settings.rate))
        for step in range(problem.settings.steps):
            optimiser.zero_grad()
            loss = self._loss(problem.batch(self._digest, step))
            if not torch().isfinite(loss):
                where = f"the task of contribution {self._digest}"
                raise BadDataError(f"the loss became {float(loss.detach())} in step {step + 1}", where=where)
            loss.backward()
            optimiser.step()
            problem.progress.advance(1)
        return start, self._measured()

    def values(self) -> dict[str, Any]:
        """What the asset holds."""
        return {"rank": len(self.down), "down": hex_of(self.down.tolist()), "up": hex_of(self.up.tolist())}

    def _loss(self, batch: Batch) -> Tensor:
        z, wanted = self._pair(batch)
        return (z - torch().relu(z @ self.down.T) @ self.up.T - wanted).abs().mean()

    def _measured(self) -> float:
        with torch().no_grad():
            parts = [(float(self._loss(one)), len(one.indices)) for one in self._problem.measured(self._digest)]
        return sum(value * count for value, count in parts) / sum(count for _, count in parts)

    def _pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features of the backbone and of the contribution; of texts those of real tokens."""
        task, found = self._problem.tasks[self._digest], list[Tensor]()
        with torch().no_grad():
            for tensors in (self._merged, self._problem.contributions[self._digest]):
                z = task.features(tensors, batch, self._features_of)
                found.append(z[batch.mask] if batch.mask is not None and z.dim() == 3 else z)
        return found[0], found[1]
