"""The three strategies in which contributions have roles: forgetting (NegMerge, SPUNGE) and staying safe (SafeMERGE).

What is to be forgotten is the last task. NegMerge gets five fine-tunes on it with other settings; SPUNGE one fine-tune
per half of its classes, each negated. As published, the scale is the one that forgets most among those that keep 95 %
of what the base can do on the other tasks, by validation.

For SafeMERGE the last task stands for safety: the aligned model is the base tuned on it, the unaligned one the base,
and each of four other tasks is tuned from the aligned model. The safe model is the aligned one, tuned on it once more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import conjoin
from benchmarks.quality.model import Arrays
from benchmarks.quality.train import Bench, accuracies

SCALES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
KEPT = 0.95
"""Share of the base's accuracy on the other tasks that has to stay."""


@dataclass(frozen=True)
class Forgetting:
    """One way to forget the last task.

    Attributes:
        name: of the row.
        scale: that validation chose; None for the base itself.
        forgotten: test accuracy on the task, which should be low.
        kept: mean test accuracy on the others.
    """

    name: str
    scale: float | None
    forgotten: float
    kept: float


@dataclass(frozen=True)
class Safety:
    """One model, or a mean over four.

    Attributes:
        name: of the row.
        safety: test accuracy on the task that stands for safety.
        utility: on the task that the model was tuned on.
    """

    name: str
    safety: float
    utility: float


def forgetting(bench: Bench) -> list[Forgetting]:
    """Every way to forget."""
    whole, halves = bench.unlearning, bench.shards

    def merged(models: Sequence[Arrays], strategy: str, **params: Any) -> Callable[[float], Arrays]:
        return lambda scale: conjoin.resolve(models, strategy, base=bench.base, scale=scale, **params)

    best = max(range(len(whole)), key=lambda i: accuracies(bench, whole[i], "validation")[-1])
    start = accuracies(bench, bench.base)
    return [
        Forgetting("base", None, start[-1], float(np.mean(start[:-1]))),
        _chosen(bench, "negation of one fine-tune", merged([whole[best]], "negative_merge", consensus=False)),
        _chosen(bench, "negation of the mean", merged(whole, "negative_merge", consensus=False)),
        _chosen(bench, "negative_merge", merged(whole, "negative_merge")),
        _chosen(bench, "split_unlearn_merge", merged(halves, "split_unlearn_merge", unlearn="tvn")),
        _chosen(bench, "split_unlearn_merge mean", merged(halves, "split_unlearn_merge", unlearn="tvn", inner="mean")),
    ]


def _chosen(bench: Bench, name: str, at: Callable[[float], Arrays]) -> Forgetting:
    """The scale that forgets most and keeps enough; the smallest one if none does."""
    least = KEPT * float(np.mean(accuracies(bench, bench.base, "validation")[:-1]))
    tried = [(scale, accuracies(bench, at(scale), "validation")) for scale in SCALES]
    good = [(found[-1], scale) for scale, found in tried if np.mean(found[:-1]) >= least]
    scale = min(good)[1] if good else SCALES[0]
    found = accuracies(bench, at(scale))
    return Forgetting(name, scale, found[-1], float(np.mean(found[:-1])))


def safety(bench: Bench) -> list[Safety]:
    """SafeMERGE with its defaults, beside what it mixes."""
    aligned, safe = bench.tuned[-1], bench.safe
    rows: dict[str, list[tuple[float, float]]] = {}
    for number, tuned in enumerate(bench.unsafe):
        made = {
            "aligned": aligned,
            "fine-tuned": tuned,
            "safe_merge": _safe_merge(bench, tuned),
            "safe_merge threshold 0.5": _safe_merge(bench, tuned, threshold=0.5),
            "mixed everywhere": _safe_merge(bench, tuned, threshold=1.1),
            "safe": safe,
        }
        for name, encoder in made.items():
            found = accuracies(bench, encoder)
            rows.setdefault(name, []).append((found[-1], found[number]))
    return [Safety(name, *(float(one) for one in np.mean(pairs, 0))) for name, pairs in rows.items()]


def _safe_merge(bench: Bench, tuned: Arrays, **params: Any) -> Arrays:
    roles = ["finetuned", "safe", "unaligned"]
    return conjoin.resolve([tuned, bench.safe, bench.base], "safe_merge", base=bench.tuned[-1], role=roles, **params)
