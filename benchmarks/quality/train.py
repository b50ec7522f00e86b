"""Makes what is merged: a base, its fine-tunes and one encoder trained on all tasks; keeps them on disk by seed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, normalize

from benchmarks.quality.data import CLASSES, Examples, Sizes, Task, make_task
from benchmarks.quality.model import FEATURES, SHARPNESS, Arrays, Net, encoder_of, net_of

VERSION = 1
"""Goes up when anything changes that is trained; older files are then left alone."""
TASKS, PRETRAINING_TASKS, UNSAFE = 8, 16, 4
SIZES = Sizes(train=2000, validation=150, test=800)
PRETRAINING = Sizes(train=1500, validation=0, test=0)
DOMAIN = 0.4
"""Amplitude of each task's carrier and envelope."""
HEAD_EXAMPLES = 6
"""Of each class, for its prototype."""
BATCH = 128
PRETRAINING_EPOCHS, EPOCHS = 6, 8
PRETRAINING_RATE, RATE = 1e-3, 3e-4


@dataclass(frozen=True)
class Bench:
    """Everything of one seed.

    Attributes:
        seed: of all of it.
        folder: where it is kept, with room for more.
        tasks: the eight tasks.
        heads: their frozen heads.
        base: the encoder before fine-tuning.
        tuned: one encoder per task.
        multitask: one encoder trained on all tasks together.
        unlearning: encoders fine-tuned on the last task with other settings, for what is to be forgotten.
        shards: encoders fine-tuned on parts of the last task, one per half of its classes.
        unsafe: encoders tuned on the first tasks from the one that was tuned on the last.
        safe: that one, tuned on its own task once more.
        quick: made with little training; statistics are on few examples.
    """

    seed: int
    folder: Path
    tasks: Sequence[Task]
    heads: Sequence[np.ndarray[Any, Any]]
    base: Arrays
    tuned: Sequence[Arrays]
    multitask: Arrays
    unlearning: Sequence[Arrays]
    shards: Sequence[Arrays]
    unsafe: Sequence[Arrays]
    safe: Arrays
    quick: bool = False


@dataclass(frozen=True)
class Settings:
    """How a fine-tune is made."""

    epochs: int = EPOCHS
    rate: float = RATE
    decay: float = 0.01
    batch: int = BATCH


UNLEARNING = (
    Settings(),
    Settings(rate=6e-4),
    Settings(epochs=4),
    Settings(rate=1.5e-4, decay=0.1),
    Settings(batch=64),
)
"""Fine-tunes of one task that NegMerge compares."""


def make_bench(seed: int, folder: Path, *, quick: bool = False) -> Bench:
    """Train, or read what was trained before.

    Args:
        seed: of everything.
        folder: where results of every seed are kept.
        quick: pre-train half as long.
    """
    place = folder / f"{'quick' if quick else 'seed'}-{seed}-v{VERSION}"
    place.mkdir(parents=True, exist_ok=True)
    tasks = [make_task(seed, "task", number, SIZES, domain=DOMAIN) for number in range(TASKS)]
    epochs = PRETRAINING_EPOCHS // 2 if quick else PRETRAINING_EPOCHS
    base = kept(place / "base", lambda: _pretrained(seed, epochs))
    heads = [_head(base, task) for task in tasks]

    def tuned(name: str, number: int, examples: Examples, settings: Settings, start: Arrays = base) -> Arrays:
        return kept(place / name, lambda: _tuned(start, [heads[number]], [examples], _seed(seed, name), settings))

    last = TASKS - 1
    fine = [tuned(f"tuned-{number}", number, task.train, Settings()) for number, task in enumerate(tasks)]
    halves = [tasks[last].train.of_classes(range(start, CLASSES, 2)) for start in range(2)]
    return Bench(
        seed,
        place,
        tasks,
        heads,
        base,
        fine,
        kept(
            place / "multitask", lambda: _tuned(base, heads, [t.train for t in tasks], _seed(seed, "all"), Settings())
        ),
        [tuned(f"unlearning-{i}", last, tasks[last].train, one) for i, one in enumerate(UNLEARNING)],
        [tuned(f"shard-{i}", last, half, Settings()) for i, half in enumerate(halves)],
        [tuned(f"unsafe-{i}", i, tasks[i].train, Settings(), fine[last]) for i in range(UNSAFE)],
        tuned("safe", last, tasks[last].train, Settings(), fine[last]),
        quick,
    )


def kept(stem: Path, make: Callable[[], Arrays]) -> Arrays:
    """What is in the file; made and written if there is none."""
    path = stem.with_suffix(".safetensors")
    if not path.is_file():
        unfinished = stem.with_suffix(".unfinished")
        save_file(dict(make()), unfinished)
        unfinished.rename(path)
    return load_file(path)


def _seed(seed: int, name: str) -> torch.Generator:
    """Randomness of its own for everything that is trained."""
    words = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]) >> 1)


def _head(base: Arrays, task: Task) -> np.ndarray[Any, Any]:
    """Directions of the classes' mean features: what the base knows of a task."""
    with torch.no_grad():
        net = net_of(base)
        shown = [tensors_of(task.train.of_classes([one]).first(HEAD_EXAMPLES))[0] for one in range(CLASSES)]
        means = torch.stack([normalize(net.features(signals), dim=1).mean(0) for signals in shown])
        return normalize(means, dim=1).numpy()


def tensors_of(examples: Examples) -> tuple[Tensor, Tensor]:
    """Signals and labels for torch."""
    return torch.from_numpy(examples.signals), torch.from_numpy(examples.labels)


def _pretrained(seed: int, epochs: int) -> Arrays:
    """An encoder that has seen tasks of the same kind; heads are learned with it and thrown away."""
    random = _seed(seed, "pretraining")
    tasks = [make_task(seed, "pretraining", i, PRETRAINING, domain=DOMAIN) for i in range(PRETRAINING_TASKS)]
    net = Net()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=random) * (2 / parameter.shape[-1]) ** 0.5
        if parameter.dim() == 1:
            parameter.data.zero_()
    heads = torch.randn((len(tasks), CLASSES, FEATURES), generator=random, requires_grad=True)
    _optimise(net, heads, [task.train for task in tasks], random, Settings(epochs, PRETRAINING_RATE))
    return encoder_of(net)


def _tuned(
    base: Arrays,
    heads: Sequence[np.ndarray[Any, Any]],
    parts: Sequence[Examples],
    random: torch.Generator,
    settings: Settings,
) -> Arrays:
    """The base, trained on one task or several with their frozen heads."""
    net = net_of(base).train()
    _optimise(net, torch.from_numpy(np.stack(heads)), parts, random, settings)
    return encoder_of(net)


def _optimise(net: Net, heads: Tensor, parts: Sequence[Examples], random: torch.Generator, settings: Settings) -> None:
    """AdamW on the encoder, and on the heads if they want gradients."""
    signals = torch.cat([tensors_of(part)[0] for part in parts])
    labels = torch.cat([tensors_of(part)[1] for part in parts])
    task = torch.cat([torch.full((len(part),), number) for number, part in enumerate(parts)])
    learned = [parameter for name, parameter in net.named_parameters() if not name.startswith("head")]
    optimiser = torch.optim.AdamW(
        [*learned, *[heads] * heads.requires_grad], lr=settings.rate, weight_decay=settings.decay
    )
    for batch in _batches(len(labels), settings, random):
        found = normalize(net.features(signals[batch]), dim=1)
        if len(parts) == 1:
            logits = linear(found, normalize(heads[0], dim=1))
        else:
            logits = torch.einsum("nd,ncd->nc", found, normalize(heads, dim=2)[task[batch]])
        optimiser.zero_grad()
        cross_entropy(SHARPNESS * logits, labels[batch]).backward()
        optimiser.step()


def _batches(count: int, settings: Settings, random: torch.Generator) -> Iterator[Tensor]:
    order = torch.cat([torch.randperm(count, generator=random) for _ in range(settings.epochs)])
    yield from order[: len(order) // settings.batch * settings.batch].split(settings.batch)


def accuracy(net: Net, examples: Examples, adapt: Callable[[Tensor], Tensor] | None = None) -> float:
    """Percent of the examples that the net, head included, gets right; `adapt` changes its features first."""
    signals, labels = tensors_of(examples)
    with torch.no_grad():
        found = net.features(signals)
        logits = net.head(found if adapt is None else adapt(found))
        return 100 * (logits.argmax(1) == labels).double().mean().item()


def accuracies(bench: Bench, encoder: Arrays, part: str = "test") -> list[float]:
    """Of one encoder with every task's head, on its `test` or `validation` examples."""
    return [
        accuracy(net_of(encoder, head), getattr(task, part))
        for task, head in zip(bench.tasks, bench.heads, strict=True)
    ]
