"""The shipped digit classifiers: checked, copied out, run and averaged in plain NumPy; trains nothing.

`tools/make_demo.py` made the files.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, load_file

from conjoin.errors import DamagedObjectError

Weights = Mapping[str, npt.NDArray[Any]]

SITES: dict[str, tuple[int, ...]] = {"north": (0, 1, 2, 3), "south": (4, 5, 6), "west": (7, 8, 9)}
"""Each site and the digits it tuned the base on."""
FEDERATION: dict[str, tuple[int, ...]] = {**SITES, "centre": (1, 2, 3, 4, 5), "east": (5, 6, 7, 8, 9)}
"""The same for the five sites of the federation."""


def shipped(name: str) -> bytes:
    """One shipped file, checked against its digest.

    Raises:
        DamagedObjectError: the installed file is not the one that was shipped.
    """
    data = files("conjoin.apps.demo") / "data"
    content = (data / name).read_bytes()
    expected = json.loads((data / "digests.json").read_text(encoding="ascii"))[name]
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DamagedObjectError(
            f"the shipped file has digest {found[:12]}, not {expected[:12]}",
            where=str(data / name),
            hint="install conjoin again",
        )
    return content


def copy_out(folder: Path, sites: Iterable[str]) -> dict[str, Path]:
    """Write the base and the sites' fine-tunes into `folder`, which exists; their paths by name."""
    paths = {name: folder / f"{name}.safetensors" for name in ("base", *sites)}
    for path in paths.values():
        path.write_bytes(shipped(path.name))
    return paths


def weights(path: Path) -> Weights:
    """The tensors of one safetensors file, or of a merged folder that has one."""
    return load_file(path if path.is_file() else path / "model.safetensors")


def correct(model: Weights, digits: Sequence[int] = range(10)) -> tuple[int, int]:
    """How many held-out rows with one of `digits` the model reads correctly, and how many there are."""
    test = load(shipped("test.safetensors"))
    chosen = np.isin(test["labels"], digits)
    hidden = test["pixels"][chosen].astype(np.float32) / 16
    for layer in ("fc1", "fc2"):
        hidden = np.maximum(hidden @ model[f"{layer}.weight"].T + model[f"{layer}.bias"], 0)
    found = (hidden @ model["fc3.weight"].T + model["fc3.bias"]).argmax(axis=1)
    return int((found == test["labels"][chosen]).sum()), int(chosen.sum())


def averaged_pairwise(models: Sequence[Weights]) -> Weights:
    """What merging each arrival into the model at hand gives: ((a + b)/2 + c)/2 …, in float32."""

    def mean(one: Weights, other: Weights) -> Weights:
        return {name: (one[name] + other[name]) / np.float32(2) for name in one}

    return reduce(mean, models)


def digest(model: Weights) -> str:
    """SHA-256 over the tensors' bytes by name: equal for equal models only."""
    state = hashlib.sha256()
    for name in sorted(model):
        state.update(name.encode() + b"\0" + model[name].tobytes())
    return state.hexdigest()
