"""Procedural classification of 1-D signals, everything from integer seeds; reads no file.

The recipe of MNIST-1D (Greydanus and Kobak, 2024): random 12-point templates, placed, stretched, sheared, under
correlated noise. Each task has ten classes of its own and a domain: a carrier wave is added, an envelope multiplied.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Signals = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

LENGTH = 40
CLASSES = 10
TEMPLATE = 12
CANVAS = 72
"""Length of a signal before it is sampled at LENGTH points."""


@dataclass(frozen=True)
class Examples:
    """Signals (n, LENGTH) and their classes (n,)."""

    signals: Signals
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Examples":
        """As many from the front."""
        return Examples(self.signals[:count], self.labels[:count])

    def of_classes(self, classes: Iterable[int]) -> "Examples":
        """Those of some classes."""
        chosen = np.isin(self.labels, list(classes))
        return Examples(self.signals[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Sizes:
    """How many examples of each kind a task has."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Task:
    """One classification task."""

    train: Examples
    validation: Examples
    test: Examples


def make_task(seed: int, kind: str, number: int, sizes: Sizes, *, domain: float) -> Task:
    """Task `number` of a kind, such as `pretraining`; other numbers and kinds share nothing with it.

    Args:
        seed: of the whole benchmark.
        kind: names a family of tasks.
        number: within the family.
        sizes: of the three parts.
        domain: amplitude of the carrier and of the envelope; 0 for neither.
    """
    name = [seed, *kind.encode(), number]
    templates = _templates(np.random.default_rng([*name, 0]))
    shift = _Domain.drawn(np.random.default_rng([*name, 1]), domain)
    parts = (sizes.train, sizes.validation, sizes.test)
    return Task(
        *(_examples(np.random.default_rng([*name, 2, part]), templates, n, shift) for part, n in enumerate(parts))
    )


@dataclass(frozen=True)
class _Domain:
    """What all signals of a task have in common: a wave added to them, another one multiplied with them."""

    amplitude: float
    frequency: float
    phase: float
    envelope_frequency: float
    envelope_phase: float

    @staticmethod
    def drawn(rng: np.random.Generator, amplitude: float) -> "_Domain":
        frequency, phase, envelope, envelope_phase = rng.random(4)
        return _Domain(amplitude, 2 + 10 * frequency, 2 * np.pi * phase, 0.5 + 2 * envelope, 2 * np.pi * envelope_phase)

    def apply(self, signals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        where = 2 * np.pi * np.linspace(0, 1, LENGTH)
        carrier = np.sin(self.frequency * where + self.phase)
        envelope = np.sin(self.envelope_frequency * where + self.envelope_phase)
        return signals * (1 + self.amplitude * envelope) + self.amplitude * carrier


def _templates(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A smooth random curve of TEMPLATE points per class, of mean 0 and deviation 1."""
    rough = rng.standard_normal((CLASSES, TEMPLATE + 2))
    smooth = 0.25 * rough[:, :-2] + 0.5 * rough[:, 1:-1] + 0.25 * rough[:, 2:]
    centred = smooth - smooth.mean(1, keepdims=True)
    return centred / centred.std(1, keepdims=True)


def _examples(rng: np.random.Generator, templates: npt.NDArray[np.float64], count: int, domain: _Domain) -> Examples:
    labels = rng.integers(0, CLASSES, count)
    width = 22 + 12 * rng.random((count, 1))
    start = (CANVAS - width) * rng.random((count, 1))
    place = (np.linspace(0, CANVAS, LENGTH) - start) / width * (TEMPLATE - 1)
    inside = (place >= 0) & (place <= TEMPLATE - 1)
    left = np.clip(place.astype(int), 0, TEMPLATE - 2)
    chosen = templates[labels]
    low, high = np.take_along_axis(chosen, left, 1), np.take_along_axis(chosen, left + 1, 1)
    curve = low + (high - low) * (place - left)
    size = 1 + 0.4 * (rng.random((count, 1)) - 0.5)
    slope = 0.75 * (rng.random((count, 1)) - 0.5) * np.linspace(-1, 1, LENGTH)
    signals = np.where(inside, size * curve, _noise(rng, count)) + slope
    signals += 0.02 * rng.standard_normal(signals.shape)
    return Examples(domain.apply(signals).astype(np.float32), labels)


def _noise(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Noise in which neighbours are alike."""
    rough = rng.standard_normal((count, LENGTH + 4))
    return 0.25 * sum(rough[:, shift : shift + LENGTH] for shift in range(5)) / np.sqrt(5)
