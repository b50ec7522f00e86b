"""Small real checkpoints for simulated replicas: manifests and leaves of a few floats, named by a number."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from conjoin.store.base import Store, read_tensor
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest, leaf_digest
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import leaf_name, manifest_name

SHAPE = (4, 8)
TENSORS = ("first.weight", "second.weight")


Model = Mapping[str, np.ndarray]


def tensors_of(number: int) -> Model:
    """Tensors named by a number; 0 stands for the base, of which all others change a row, the second in two ways."""
    tensors: dict[str, np.ndarray] = {}
    for at, (name, change) in enumerate(zip(TENSORS, (number, number % 3), strict=True)):
        tensors[name] = np.random.default_rng(at).standard_normal(SHAPE, np.float32)
        if change:
            row = np.random.default_rng((at, change))
            tensors[name][change % SHAPE[0]] += row.standard_normal(SHAPE[1], np.float32)
    return tensors


def objects_of(tensors: Model) -> tuple[Digest, dict[str, bytes]]:
    """The objects that hold tensors of floats, leaves first, and the digest of their manifest."""
    objects: dict[str, bytes] = {}
    entries: list[TensorEntry] = []
    for name, tensor in tensors.items():
        data = tensor.astype("<f4").tobytes()
        leaf = leaf_digest(data)
        objects[leaf_name(leaf)] = data
        entries.append(TensorEntry(name, "F32", tensor.shape, (leaf,)))
    manifest = Manifest.of(entries)
    objects[manifest_name(manifest.digest)] = manifest.encode()
    return manifest.digest, objects


@lru_cache(4096)
def _numbered(number: int) -> tuple[Digest, dict[str, bytes]]:
    return objects_of(tensors_of(number))


def keep(store: Store, number: int | None) -> Digest:
    """Put the content with this number, or content without tensors, into a store; returns its digest."""
    digest, objects = objects_of({}) if number is None else _numbered(number)
    for name, data in objects.items():
        store.put(name, data)
    return digest


def contribution(store: Store, base: Digest, number: int) -> Contribution:
    """A contribution with content in `store`."""
    return Contribution(keep(store, number), base, "1")


def complete(store: Store, content: Digest) -> bool:
    """Whether a manifest and all its leaves are in `store`."""
    name = manifest_name(content)
    if not store.has(name):
        return False
    manifest = Manifest.decode(store.get(name), content)
    return all(store.has(leaf_name(leaf)) for leaf in manifest.leaf_lengths())


def model(store: Store, content: Digest) -> dict[str, np.ndarray]:
    """The tensors of some content that is complete."""
    manifest = Manifest.decode(store.get(manifest_name(content)), content)
    return {
        entry.name: np.frombuffer(read_tensor(store, entry), "<f4").reshape(entry.shape) for entry in manifest.tensors
    }
