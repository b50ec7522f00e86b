"""What is learned on: base, contributions and tasks, in float32; the order of examples comes from draws."""

import functools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from conjoin.errors import BadDataError
from conjoin.fitting.data import Batch
from conjoin.fitting.machine import Tensor, torch
from conjoin.fitting.tasks import Task
from conjoin.kernels import draw_key, draws
from conjoin.progress import SILENT, Progress
from conjoin.strategies.base import canonical_decimal
from conjoin.wire.asset import Asset
from conjoin.wire.digest import Digest

Tensors = Mapping[str, Tensor]
MEASURED_EXAMPLES = 256
"""Examples per task on which the loss is taken before and after."""
PLACES = 9
"""Decimals of a learned number."""


@dataclass(frozen=True)
class Settings:
    """How long and how fast to learn.

    Attributes:
        steps: of the optimiser.
        batch: examples of a task in a step.
        rate: the optimiser's learning rate, as a decimal string.
        seed: names the order of the examples.
    """

    steps: int
    batch: int = 16
    rate: str = "0.001"
    seed: int = 0


@dataclass(frozen=True)
class Problem:
    """What an asset is to be made for.

    Attributes:
        strategy: name of the strategy.
        base_digest: content digest of the base, 64 zeros where there is none.
        base: its tensors; floats in float32. Empty where there is none.
        contributions: tensors by contribution digest.
        tasks: task by contribution digest.
        settings: how long and how fast to learn.
        weights: weight by contribution digest; 1 where none is given.
        progress: is told of the steps.

    Raises (when made):
        BadDataError: a contribution has no data.
    """

    strategy: str
    base_digest: Digest
    base: Tensors
    contributions: Mapping[Digest, Tensors]
    tasks: Mapping[Digest, Task]
    settings: Settings
    weights: Mapping[Digest, Fraction] = field(default_factory=dict[Digest, Fraction])
    progress: Progress = SILENT

    def __post_init__(self) -> None:
        require_data(self.digests, {digest for digest, task in self.tasks.items() if len(task.data)})

    @property
    def digests(self) -> tuple[Digest, ...]:
        """The contributions in canonical order."""
        return tuple(sorted(self.contributions))

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that are merged: those of floats."""
        one = self.contributions[self.digests[0]]
        return tuple(sorted(name for name, tensor in one.items() if tensor.is_floating_point()))

    def weight(self, digest: Digest) -> Fraction:
        """A contribution's weight."""
        return self.weights.get(digest, Fraction(1))

    def share(self, digest: Digest) -> Fraction:
        """A contribution's share of all weights."""
        return self.weight(digest) / sum((self.weight(one) for one in self.digests), Fraction(0))

    def whole(self, merged: Tensors) -> dict[str, Tensor]:
        """Merged floats with the other tensors of a contribution."""
        first = self.contributions[self.digests[0]]
        return {**{name: tensor for name, tensor in first.items() if not tensor.is_floating_point()}, **merged}

    def batch(self, digest: Digest, step: int) -> Batch:
        """The examples of a task in a step: its data in a drawn order, and when it is through, in another one."""
        task, size = self.tasks[digest], self.settings.batch
        count = len(task.data)
        places = range(step * min(size, count), (step + 1) * min(size, count))
        rounds = {at // count: self._order(digest, at // count) for at in places}
        return task.batch([rounds[at // count][at % count] for at in places])

    def _order(self, digest: Digest, turn: int) -> Sequence[int]:
        return _order(self.settings.seed, self.strategy, digest, turn, len(self.tasks[digest].data))

    def measured(self, digest: Digest) -> Iterator[Batch]:
        """The examples of a task on which the loss is taken before and after."""
        yield from self.tasks[digest].data.batches(self.settings.batch, MEASURED_EXAMPLES)

    def asset(self, values: Mapping[str, Any], losses: tuple[float, float], **more: Any) -> Asset:
        """What was learned, with how it was."""
        evidence = {
            "batch": self.settings.batch,
            "data": {digest: self.tasks[digest].data.digest for digest in self.digests},
            "loss": {"end": decimal(losses[1]), "start": decimal(losses[0])},
            "rate": self.settings.rate,
            "seed": self.settings.seed,
            "steps": self.settings.steps,
            "torch": str(torch().__version__),
            **more,
        }
        return Asset(self.strategy, self.base_digest, self.digests, values, evidence)


def require_data(digests: Sequence[Digest], having: Container[Digest]) -> None:
    """Refuse contributions without data.

    Raises:
        BadDataError: there are some; they are named.
    """
    without = [digest for digest in digests if digest not in having]
    if without:
        raise BadDataError(
            f"{len(without)} of {len(digests)} contributions have no data to learn on",
            where="\n".join(f"contribution {digest}" for digest in without[:20]),
            hint="give `--data DIGEST=FILE` for every contribution",
        )


@functools.lru_cache(64)
def _order(seed: int, strategy: str, digest: str, turn: int, count: int) -> Sequence[int]:
    """All examples, by a draw of their own each."""
    key = draw_key(seed.to_bytes(32, "little"), strategy, f"examples, turn {turn}", digest)
    words = draws(key, 0, count).tolist()
    return sorted(range(count), key=words.__getitem__)


def decimal(value: float) -> str:
    """A number as assets hold it, rounded to PLACES.

    Raises:
        BadDataError: it is NaN or Inf.
    """
    if value - value != 0:
        raise BadDataError(f"what is learned has become {value}", hint="a smaller `--rate`, or other data")
    return canonical_decimal(Fraction(f"{value:.{PLACES}f}"))


def per_tensor(names: Iterable[str], digests: Sequence[str], rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """A number per tensor and contribution, as assets hold them."""
    return {
        name: {d: decimal(v) for d, v in zip(digests, row, strict=True)} for name, row in zip(names, rows, strict=True)
    }
