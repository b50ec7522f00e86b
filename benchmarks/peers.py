"""The tools compared with, each run as its users run it, in an environment of their own; reads none of their code.

mergekit is under LGPL-3.0, crdt-merge under BUSL-1.1; neither is a dependency.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PINS = (
    "torch==2.13.0",  # by its exact version: the build for processors
    "mergekit==0.1.5",
    "crdt-merge==0.11.0",
    "transformers==5.23.0",
    "accelerate==1.15.0",
    "pydantic==2.14.3",
    "numpy==2.4.6",
)

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def install(folder: Path) -> Path:
    """An environment with the pinned packages in `folder`, made on first use; returns its `bin`."""
    stamp = folder / "pins.json"
    if not stamp.is_file() or json.loads(stamp.read_text()) != list(PINS):
        print("installing mergekit and crdt-merge …", flush=True)
        environment(folder, PINS[0])
        environment(folder, *PINS)
        stamp.write_text(json.dumps(PINS))
    return folder / "bin"


def environment(folder: Path, *packages: str) -> None:
    """Install packages into the environment in `folder`, which is made where there is none."""
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)


def mergekit(
    tools: Path,
    config: Path,
    out: Path,
    method: str,
    models: Sequence[Path],
    *,
    base: Path | None = None,
    threads: int = 1,
    parameters: Sequence[Mapping[str, float]] | None = None,
    overall: Mapping[str, float] | None = None,
) -> list[str | Path]:
    """A command line of mergekit; writes its configuration to `config`.

    Args:
        tools: from `install`.
        config: where the configuration goes.
        out: the folder it makes.
        method: name of its merge method.
        models: folders.
        base: folder of the base model, where the method takes one.
        threads: of its computation.
        parameters: for each model.
        overall: given to the method.
    """
    document: dict[str, object] = {
        "merge_method": method,
        "dtype": "bfloat16",
        "models": [
            {"model": str(model), "parameters": dict(given)}
            for model, given in zip(models, parameters or [{}] * len(models), strict=True)
        ],
    }
    if base is not None:
        document["base_model"] = str(base)
    if overall:
        document["parameters"] = dict(overall)
    config.write_text(json.dumps(document))  # JSON is YAML
    options = ("--no-copy-tokenizer", "--no-write-model-card", "--quiet")
    return [tools / "mergekit-yaml", config, out, "--num-threads", str(threads), *options]
