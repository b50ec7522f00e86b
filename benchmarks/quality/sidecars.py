"""What the models' own examples say about them, by `conjoin.fitting`: side-cars for strategies that need some."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality import model
from benchmarks.quality.model import HEAD, Arrays
from benchmarks.quality.train import Bench, kept
from conjoin.fitting import models, statistics
from conjoin.fitting.data import Data, read_data
from conjoin.fitting.models import Model
from conjoin.fitting.statistics import Run, Statistic

EXAMPLES = {"fisher": 256, "gram": 512, "importance": 256}
"""Training examples of its own task that a statistic of a contribution is taken on."""
QUICK = 8
"""By how much a quick run divides them."""


def examples_file(bench: Bench, number: int) -> Path:
    """A task's training examples as `conjoin stats --data` and `conjoin fit --data` take them."""
    train = bench.tasks[number].train
    stem = bench.folder / f"examples-{number}"
    kept(stem, lambda: {"signals": train.signals, "labels": train.labels})
    return stem.with_suffix(".safetensors")


def data_of(bench: Bench, number: int) -> Data:
    """The same, read."""
    return read_data(examples_file(bench, number))


def model_of(bench: Bench) -> Model:
    """The net as conjoin runs it."""
    return models.build(model.make(), "benchmarks.quality.model:make", {n: a.shape for n, a in bench.base.items()})


def make_sidecars(bench: Bench) -> list[dict[str, Arrays]]:
    """Of every fine-tune."""
    return [make_sidecar(bench, number) for number in range(len(bench.tasks))]


def make_sidecar(bench: Bench, number: int) -> dict[str, Arrays]:
    """Side-cars of one fine-tune by name; read from the seed's folder where they were made before."""
    return {kind: _kept(bench, number, kind) for kind in EXAMPLES}


def _kept(bench: Bench, number: int, kind: str) -> Arrays:
    def make() -> Arrays:
        made = _statistic(bench, number, kind).tensors
        return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in made.items()}

    return kept(bench.folder / f"{kind}-{number}", make)


def _statistic(bench: Bench, number: int, kind: str) -> Statistic:
    def run(encoder: Arrays) -> Run:
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in encoder.items()}
        head = {HEAD: torch.from_numpy(bench.heads[number])}
        labels = "given" if kind == "importance" else "model"
        examples = EXAMPLES[kind] // (QUICK if bench.quick else 1)
        return Run(model_of(bench), tensors, data_of(bench, number), head, examples, labels)

    tuned = run(bench.tuned[number])
    if kind == "importance":
        return statistics.importance(tuned, run(bench.base))
    of: Mapping[str, Callable[[Run], Any]] = {"fisher": statistics.fisher, "gram": statistics.gram}
    return of[kind](tuned)
