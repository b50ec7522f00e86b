"""Side-cars, roles and assets of generated contributions, so that every strategy can run; the values mean nothing.

What a strategy costs does not depend on them, but for what a mask or a density leaves out: masks keep half.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from conjoin.store.checkpoint import open_checkpoint
from conjoin.wire.asset import Asset

EXTRAS = {"fisher_merge": "fisher", "regression_mean": "gram", "led_merge": "importance"}
"""The side-car that a strategy needs."""
LEARNED = ("ada_merging", "adarank", "dam", "representation_surgery", "evolutionary_merge", "genetic_merge")
"""The strategies that apply an asset."""
RANK = 16


def write_side_car(kind: str, checkpoint: Path, seed: int, out: Path) -> None:
    """Write a side-car for the checkpoint in a folder.

    Args:
        kind: fisher, gram or importance.
        checkpoint: folder with model.safetensors.
        seed: which contribution.
        out: file to write, float32.
    """
    random = np.random.default_rng(seed)
    save_file(dict(_tensors(kind, read_shapes(checkpoint), random)), out)


def _tensors(
    kind: str, shapes: Mapping[str, tuple[int, ...]], random: np.random.Generator
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    for name, shape in shapes.items():
        if kind == "gram":
            if len(shape) == 2 and "embed" not in name:
                inputs = random.normal(0, 1, (64, shape[1])).astype(np.float32)
                yield name, (inputs.T @ inputs / 64).astype(np.float32)
            continue
        for prefix in ("base.", "tuned.") if kind == "importance" else ("",):
            yield prefix + name, random.random(shape, np.float32)


def asset_for(strategy: str, base: str, contributions: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> Asset:
    """An asset for a strategy, made by hand."""
    digests = sorted(contributions)
    scales = {"*": dict.fromkeys(digests, "0.3")}
    values: dict[str, Any]
    if strategy == "ada_merging":
        values = {"scale": scales}
    elif strategy == "adarank":
        ranks = {name: min(shape[0], shape[1]) for name, shape in shapes.items() if len(shape) == 2}
        kept = {name: dict.fromkeys(digests, "10" * (n // 2) + "1" * (n % 2)) for name, n in ranks.items()}
        values = {"scale": scales, "kept": kept}
    elif strategy == "dam":
        sizes = {name: shape[-1] for name, shape in shapes.items()}
        rows = {name: np.linspace(0.5, 1.5, size, dtype="<f4").tobytes().hex() for name, size in sizes.items()}
        values = {"coefficient": {name: dict.fromkeys(digests, row) for name, row in rows.items()}}
    elif strategy == "representation_surgery":
        text = np.zeros(RANK * 64, "<f4").tobytes().hex()
        adapters = {digest: {"rank": RANK, "down": text, "up": text} for digest in digests}
        values = {"inner": {"strategy": "weight_average"}, "adapters": adapters}
    else:
        genes = {digest: [["1", "0.5"]] for digest in digests}
        values = {"inner": "dare_ties", "normalize": "true", "groups": [["*"]], "genes": genes, "seed": "00" * 32}
    return Asset(strategy, base, tuple(digests), values, {"made": "for a benchmark"})  # type: ignore[arg-type]


def read_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name."""
    return {tensor.name: tuple(tensor.shape) for tensor in open_checkpoint(checkpoint).tensors}


def roles_of(strategy: str, contributions: Sequence[str]) -> dict[str, str]:
    """Role by contribution digest, for strategies that need some."""
    if strategy != "safe_merge":
        return {}
    first, second, *_ = sorted(contributions)
    return {first: "safe", second: "unaligned"}


if __name__ == "__main__":
    kind, folder, seed, out = sys.argv[1:]
    write_side_car(kind, Path(folder), int(seed), Path(out))
    print(json.dumps({"written": out}))
