"""The demo's real checkpoints as input of the command line tests."""

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from tests.e2e.shell import here as here

MODELS = ("base", "north", "south", "west")


def lay_out(folder: Path) -> Path:
    """Copy the shipped checkpoints into `folder`; the base becomes a Hugging Face folder with a config."""
    data = Path(str(files("conjoin.apps.demo"))) / "data"
    (folder / "base").mkdir(parents=True)
    shutil.copy(data / "base.safetensors", folder / "base" / "model.safetensors")
    (folder / "base" / "config.json").write_text('{"model_type": "digits"}\n')
    for name in MODELS[1:]:
        shutil.copy(data / f"{name}.safetensors", folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base/, north.safetensors, south.safetensors and west.safetensors."""
    return lay_out(tmp_path_factory.mktemp("e2e"))
