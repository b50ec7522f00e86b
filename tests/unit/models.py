"""Small random models for tests of planning and execution: arrays, manifests in a store, and files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from conjoin.plan import NOTHING, Plan, Recipe, make_plan
from conjoin.store.memory import MemoryStore
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import LEAF_BYTES, Digest, leaf_digest
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import leaf_name

Model = Mapping[str, np.ndarray[Any, Any]]

DTYPES = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
SPACE = Digest("5c" * 32)


def keep(store: MemoryStore, model: Model) -> Manifest:
    """Put a model's leaves into a store."""
    entries = []
    for name, array in model.items():
        data = np.ascontiguousarray(array).tobytes()
        pieces = [data[at : at + LEAF_BYTES] for at in range(0, len(data), LEAF_BYTES)]
        leaves = tuple(leaf_digest(piece) for piece in pieces)
        for leaf, piece in zip(leaves, pieces, strict=True):
            store.put(leaf_name(leaf), piece)
        entries.append(TensorEntry(name, NAMES[array.dtype], array.shape, leaves))
    return Manifest.of(entries)


def keep_files(store: MemoryStore, files: Mapping[str, bytes]) -> Manifest:
    """Put files beside the weights into a store."""
    return keep(store, {name: np.frombuffer(data, np.uint8) for name, data in files.items()})


def contributions(
    base: Manifest | None, manifests: Sequence[Manifest], weights: Sequence[str] | None = None
) -> list[tuple[Digest, Manifest, str]]:
    """The manifests as contributions, in the order given."""
    digest = NOTHING if base is None else base.digest
    chosen = weights or ["1"] * len(manifests)
    return [
        (Contribution(manifest.digest, digest, weight).digest, manifest, weight)
        for manifest, weight in zip(manifests, chosen, strict=True)
    ]


def plan_of(
    store: MemoryStore,
    base: Model | None,
    models: Sequence[Model],
    recipe: Recipe,
    *,
    weights: Sequence[str] | None = None,
    files: Mapping[str, bytes] | None = None,
    shard_size_bytes: int = 10**9,
) -> Plan:
    """A plan over models that are put into `store`."""
    theta0 = None if base is None else keep(store, base)
    return make_plan(
        space=SPACE,
        base=theta0,
        files=None if files is None else keep_files(store, files),
        contributions=contributions(theta0, [keep(store, model) for model in models], weights),
        recipe=recipe,
        shard_size_bytes=shard_size_bytes,
    )


def read_output(out: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a checkpoint folder, by the safetensors library."""
    from safetensors import safe_open

    tensors = {}
    for path in sorted(out.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return tensors


def write_model(folder: Path, model: Model, files: Mapping[str, bytes] | None = None) -> Path:
    """A checkpoint folder of one safetensors file."""
    folder.mkdir(parents=True)
    save_file(dict(model), folder / "model.safetensors", metadata={"format": "pt"})
    for name, data in (files or {}).items():
        (folder / name).write_bytes(data)
    return folder


def noisy(shapes: Mapping[str, tuple[int, ...]], seed: int, dtype: str = "BF16") -> dict[str, np.ndarray[Any, Any]]:
    """A model of normal numbers."""
    random = np.random.default_rng(seed)
    return {name: random.normal(0, 0.02, shape).astype(DTYPES[dtype]) for name, shape in shapes.items()}
