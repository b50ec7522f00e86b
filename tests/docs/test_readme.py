"""The README's first ten minutes run as they are written, on the demo's checkpoints."""

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from safetensors.numpy import load_file

TOP = Path(__file__).parents[2]
DATA = Path(str(files("conjoin.apps.demo"))) / "data"
MODELS = {"base": "base", "fine-tune-1": "north", "fine-tune-2": "south", "fine-tune": "west"}


def block(language: str, after: str) -> str:
    """The first fenced block of a language after a heading."""
    text = (TOP / "README.md").read_text(encoding="utf-8").split(after, 1)[1]
    match = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert match is not None
    return match.group(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the checkpoints the README speaks of."""
    top = tmp_path_factory.mktemp("readme")
    for name, model in MODELS.items():
        (top / "path" / "to" / name).mkdir(parents=True)
        (top / "path" / "to" / name / "model.safetensors").write_bytes((DATA / f"{model}.safetensors").read_bytes())
    return top


def test_the_commands_run_and_give_the_same_bytes(folder: Path) -> None:
    script = block("", "## The first ten minutes").replace("conjoin ", f"{sys.executable} -m conjoin ")
    assert script.count("DIGEST") == 1
    script = script.replace("--weight 2", "--weight 2 | tee added", 1)
    script = script.replace("DIGEST", "$(grep -oE '[0-9a-f]{64}' added)")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same bytes" in done.stdout


def test_the_strategies_run_as_written(folder: Path) -> None:
    script = block("", "## Twenty-six strategies").replace("conjoin ", f"{sys.executable} -m conjoin ")
    found = f"{sys.executable} -m conjoin -C alice status --json"
    pick = 'python3 -c \'import json,sys; print([c["digest"] for c in json.load(sys.stdin)["contributions"]][%d])\''
    add = f"{sys.executable} -m conjoin -C alice -q add path/to/fine-tune-2\n"
    names = f"DIGEST=$({found} | {pick % 0})\nOTHER=$({found} | {pick % 1})\n"
    script = add + names + script.replace("DIGEST", "$DIGEST").replace("OTHER", "$OTHER")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("unified", "own-model", "safer"):
        assert (folder / name / "model.safetensors").is_file()


def test_the_python_example_runs(folder: Path) -> None:
    arrays = "import numpy as np\na, b, c = (np.full((2, 2), x, np.float32) for x in (1, 2, 5))\n"
    code = arrays + block("python", "## The first ten minutes") + "\nassert merged['w'][0, 0] == 3.25, merged\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert set(load_file(folder / "merged" / "model.safetensors")) == set(load_file(DATA / "base.safetensors"))
