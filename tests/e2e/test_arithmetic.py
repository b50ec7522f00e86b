"""What a user sees where the fast arithmetic cannot run: the same bytes, later, and one warning that says why."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin.apps.cli import run

ELEMENTS = 1_100_000
"""Base and contribution together are too many for the reference to be chosen for little work."""

PLAIN = "import sys; from conjoin.apps.cli.entry import main; main()"
WRONG = f"""
import conjoin.kernels.compiled.elementwise as compiled
real = compiled.linear
def linear(*arguments):
    found = real(*arguments)
    found[-1] ^= 1
    return found
compiled.linear = linear
{PLAIN}
"""
REFUSED = f"""
import conjoin.kernels.compiled.elementwise as compiled
def linear(*arguments):
    raise RuntimeError("LLVM ERROR: cannot select")
compiled.linear = linear
{PLAIN}
"""

IMPAIRED = {
    "no numba": ("raise ModuleNotFoundError(\"No module named 'numba'\", name='numba')", {}, PLAIN, "numba"),
    "a damaged library": ("raise OSError('libllvmlite.so: wrong ELF class')", {}, PLAIN, "wrong ELF class"),
    "no compiler": (None, {"NUMBA_DISABLE_JIT": "1"}, PLAIN, "numba cannot be imported"),
    "an unknown processor": (None, {}, REFUSED, "cannot run `elementwise.linear` on this machine"),
    "other bits": (None, {}, WRONG, "does not reproduce the golden vector of `elementwise.linear`"),
}


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica with a base and one contribution."""
    folder = tmp_path_factory.mktemp("arithmetic")
    values = np.arange(ELEMENTS, dtype=np.float32)
    for name, tensor in (("base", values), ("tuned", values * np.float32(1.5))):
        (folder / name).mkdir()
        save_file({"w": tensor}, folder / name / "model.safetensors", metadata={"format": "pt"})
    assert run(["-q", "init", str(folder / "r"), "--base", str(folder / "base")]) == 0
    assert run(["-q", "-C", str(folder / "r"), "add", str(folder / "tuned")]) == 0
    return folder / "r"


def resolve(replica: Path, out: Path, case: str, *options: str) -> subprocess.CompletedProcess[str]:
    fake, settings, program, _ = IMPAIRED[case]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONJOIN")}
    if fake is not None:
        package = out.parent / "fake" / "numba"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(fake)
        environment["PYTHONPATH"] = os.pathsep.join([str(package.parent), environment.get("PYTHONPATH", "")])
    command = ["-C", str(replica), "resolve", "task_arithmetic", "-p", "scale=0.3", "-o", str(out), *options]
    return subprocess.run(
        [sys.executable, "-c", program, *command],
        env={**environment, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def expected(replica: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of the fast arithmetic."""
    out = tmp_path_factory.mktemp("expected") / "out"
    assert run(["-q", "-C", str(replica), "resolve", "task_arithmetic", "-p", "scale=0.3", "-o", str(out)]) == 0
    return (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("case", IMPAIRED)
def test_the_bytes_stay_and_the_user_is_told_once(case: str, replica: Path, expected: bytes, tmp_path: Path) -> None:
    done = resolve(replica, tmp_path / "out", case, "--quiet")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/model.safetensors").read_bytes() == expected
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: ")
    assert IMPAIRED[case][3] in line
    assert "slower reference" in line


def test_json_carries_the_note(replica: Path, tmp_path: Path) -> None:
    done = resolve(replica, tmp_path / "out", "no numba", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert "numba" in told["arithmetic_note"]
    assert "arithmetic_note" not in json.loads((tmp_path / "out/conjoin.json").read_text())
