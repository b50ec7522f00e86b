"""Merges a seed's fine-tunes through conjoin, in memory or through a replica on disk, and measures what comes out."""

import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

import conjoin
from benchmarks.quality.model import Arrays, net_of
from benchmarks.quality.sidecars import EXAMPLES, make_sidecars
from benchmarks.quality.train import Bench, accuracies, accuracy, make_bench
from conjoin.fitting.surgery import Adapter
from conjoin.memory import digests_of
from conjoin.wire.asset import Asset


@dataclass(frozen=True)
class Place:
    """A seed's models, ready to be merged.

    Attributes:
        bench: what was trained.
        extras: side-cars of every fine-tune.
    """

    bench: Bench
    extras: Sequence[Mapping[str, Arrays]]

    @property
    def models(self) -> list[Arrays]:
        """The fine-tunes."""
        return list(self.bench.tuned)

    @functools.cached_property
    def digests(self) -> list[str]:
        """Of the contributions, by task."""
        return list(digests_of(self.models, base=self.bench.base, extras=self.extras))

    def merge(self, strategy: str, asset: Asset | None = None, *, bare: bool = False, **params: Any) -> Arrays:
        """One encoder from all fine-tunes; `bare` leaves their side-cars out."""
        return conjoin.resolve(
            self.models,
            strategy,
            base=self.bench.base,
            extras=None if bare else self.extras,
            asset=asset,
            seed=self.bench.seed,
            **params,
        )

    def scaled(self, merged: Arrays, scale: float) -> Arrays:
        """A merged encoder moved away from the base by another factor, for strategies that have none of their own."""
        return conjoin.resolve([merged], "task_arithmetic", base=self.bench.base, scale=scale)

    @functools.cached_property
    def replica(self) -> conjoin.Replica:
        """A replica on disk with the same contributions; made on first use."""
        home = self.bench.folder / f"replica-{self.bench.seed}"
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            (home / "base").mkdir()
            save_file(dict(self.bench.base), home / "base" / "model.safetensors")
            with conjoin.Replica.init(home / "space", home / "base") as replica:
                for number, encoder in enumerate(self.models):
                    save_file(dict(encoder), home / f"{number}.safetensors")
                    extras = {kind: self.bench.folder / f"{kind}-{number}.safetensors" for kind in EXAMPLES}
                    added = replica.add(home / f"{number}.safetensors", title=f"task {number}", extras=extras)
                    assert added.contribution == self.digests[number]
            (home / "complete").touch()
        return conjoin.Replica.open(home / "space")

    def resolved(self, name: str, strategy: str, asset: Asset | None = None, **params: Any) -> Path:
        """The folder that the replica resolves to."""
        out = self.bench.folder / "resolved" / name.replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(exist_ok=True)
        given = {key: value if isinstance(value, bool) else str(value) for key, value in params.items()}
        self.replica.resolve(strategy, out, assets=[] if asset is None else [asset], threads=1, **given)
        return out

    def same_bytes(self, strategy: str, asset: Asset | None = None, **params: Any) -> bool:
        """Whether the replica on disk and the call in memory give the same bytes."""
        out = self.resolved(f"bytes {strategy}", strategy, asset, **params)
        mine = conjoin.resolve(
            self.models,
            strategy,
            base=self.bench.base,
            extras=self.extras,
            asset=asset,
            seed=self.replica.space,
            **params,
        )
        disk = load_file(out / "model.safetensors")
        return sorted(disk) == sorted(mine) and all(
            disk[name].dtype == mine[name].dtype and disk[name].tobytes() == mine[name].tobytes() for name in disk
        )

    def by_task(self, name: str, strategy: str, asset: Asset | None = None, **params: Any) -> list[float]:
        """Test accuracies of every task's own model, from what the strategy wrote beside the tensors or learned."""
        out = self.resolved(name, strategy, asset, **params)
        found: list[float] = []
        for digest, head, task in zip(self.digests, self.bench.heads, self.bench.tasks, strict=True):
            own = conjoin.load_task(out, digest, self.replica)
            found.append(accuracy(net_of(own.tensors, head), task.test, _on_features(own.adapter)))
        return found

    def test(self, encoder: Arrays) -> list[float]:
        """Test accuracies of one encoder for all tasks."""
        return accuracies(self.bench, encoder)

    def validation(self, encoder: Arrays) -> float:
        """Mean validation accuracy."""
        return float(np.mean(accuracies(self.bench, encoder, "validation")))


def _on_features(adapter: Adapter | None) -> Callable[[Tensor], Tensor] | None:
    """The adapter as a function of torch's tensors."""
    if adapter is None:
        return None
    return lambda found: torch.from_numpy(adapter(found.numpy())).float()


@functools.lru_cache(1)
def open_place(seed: int, folder: Path, quick: bool) -> Place:
    """The place of a seed; trains and measures what is not on disk yet."""
    bench = make_bench(seed, folder, quick=quick)
    return Place(bench, make_sidecars(bench))
