"""A small space on disk that each kill starts from."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin.replica import Replica
from conjoin.store.instance import create_instance

MEMORY, MEMORY_BYTES_MIN = Path("/dev/shm"), 2_000_000_000
LARGE_ELEMENTS = (4 << 20) // 4 + 17  # two leaves, the second one short


def write_model(folder: Path, seed: int) -> Path:
    """A checkpoint with a tensor of several leaves, one shared by all models, a rank-0 one and an integer one."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    tensors = {
        "large": random.normal(0, 0.02, LARGE_ELEMENTS).astype(np.float32),
        "shared": np.arange(5000, dtype=np.float32),
        "scale": np.array(seed, dtype=np.float32),
        "steps": np.array([7], dtype=np.int64),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "test"}')
    return folder


def fresh_copy(space: Path, to: Path) -> Path:
    """Copy a folder of replicas and make each copy believe that it is an original; immutable leaves are linked."""

    def copy(source: str, target: str) -> str:
        if "/leaf/" in source:
            os.link(source, target)
            return target
        return shutil.copy2(source, target)

    for name in ("a", "b", "meeting"):
        shutil.copytree(space / name, to / name, copy_function=copy)
    for home in to.rglob(".conjoin"):
        (home / "local" / "instance").unlink()
        create_instance(home / "local" / "instance")
    return to


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder in memory, where there is such a thing: a kill loses nothing that the system was given."""
    spacious = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN
    with tempfile.TemporaryDirectory(prefix="conjoin-kill-", dir=MEMORY if spacious else None) as folder:
        yield Path(folder)


@pytest.fixture
def tmp_path(place: Path) -> Iterator[Path]:
    """A folder for one test."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def space(place: Path) -> Path:
    """Two replicas; `a` has one contribution that `b` has not, `b` one that `a` has not; and a third model."""
    top = place / "space"
    for name, seed in (("base", 1), ("one", 2), ("two", 3), ("three", 4)):
        write_model(top / "models" / name, seed)
    with Replica.init(top / "a", top / "models" / "base") as a, Replica.clone(top / "a", top / "b") as b:
        a.add(top / "models" / "one")
        b.add(top / "models" / "two")
    (top / "meeting").mkdir()
    return top


def copies_of(space: Path, folder: Path) -> Callable[[int], Path]:
    """Makes a fresh copy of a space for each numbered kill, removing the one before."""

    def make(number: int) -> Path:
        shutil.rmtree(folder / str(number - 1), ignore_errors=True)
        return fresh_copy(space, folder / str(number))

    return make


@pytest.fixture
def copies(space: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Copies of the space."""
    return copies_of(space, tmp_path)
