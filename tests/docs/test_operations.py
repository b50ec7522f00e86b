"""The commands of docs/operations.md run as they are written, one block after the other, in real processes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import typer.main

from conjoin.apps.cli import run
from conjoin.apps.cli.app import app
from conjoin.replica import Replica
from conjoin.store.instance import create_instance

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
MODELS = {"base": "base", "tuned-north": "north", "tuned-south": "south", "tuned-late": "west"}
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def is_plain(block: str) -> bool:
    """Whether a block is nothing but commands of ours, without a shell's help."""
    lines = block.splitlines()
    return all(line.startswith("conjoin ") and not re.search(r"[$|&<>;]", line) for line in lines)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with the models, and an environment in which `conjoin` is this one."""
    data = Path(str(files("conjoin.apps.demo"))) / "data"
    here = tmp_path / "here"
    for folder in (here, tmp_path / "bin"):
        folder.mkdir()
    for name, model in MODELS.items():
        (here / f"{name}.safetensors").write_bytes((data / f"{model}.safetensors").read_bytes())
    program = tmp_path / "bin" / "conjoin"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m conjoin "$@"\n')
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    yield here, {**environment, "PATH": f"{program.parent}:{environment['PATH']}", "COLUMNS": "80"}


def test_the_commands_run_as_written(
    shell: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, environment = shell
    monkeypatch.chdir(here)
    said = ""
    for block in blocks("sh"):
        if is_plain(block):
            for line in block.splitlines():
                assert run(shlex.split(line)[1:]) == 0, (line, capsys.readouterr())
            continue
        script = re.sub(r"^(.*?) +# exit status (\d+)$", r'r=0; \1 || r=$?; test "$r" = \2', block, flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, (block, done.stdout, done.stderr)
        said += done.stdout
    assert "freed 0 B" in said and "would free" in said, "a week has not passed"
    replicas = [Replica.open(here / name) for name in ("north", "south", "north-again", "north-copy")]
    assert [replica.role for replica in replicas] == ["admin"] * 4
    for replica in replicas:
        replica.sync(here / "backup")
    for replica in replicas:
        replica.sync(here / "backup")
        status = replica.status()
        assert (status.forks, status.key_used_elsewhere) == ((), None), "following the page forks nothing"
    assert (here / "merged" / "conjoin.json").is_file()


def test_the_hourly_check_tells_of_forks_that_nobody_has_looked_into(shell: tuple[Path, dict[str, str]]) -> None:
    here, environment = shell
    north = Replica.init(here / "north", here / "base.safetensors")
    shutil.copytree(here / "north", here / "copy")
    create_instance(here / "copy" / ".conjoin" / "local" / "instance")
    north.add(here / "tuned-north.safetensors")
    Replica.open(here / "copy").add(here / "tuned-south.safetensors")
    (here / "meeting").mkdir()
    for name in ("copy", "north"):
        Replica.open(here / name).sync(here / "meeting")
    Replica.open(here / "north").rekey()
    (check,) = (block for block in blocks("sh") if "python3 -c" in block)
    assert check.endswith("' 0\n")
    for known, status, said in (("0", 1, "look at: ['forks']\n"), ("1", 0, "")):
        script = check.removesuffix("0\n") + known
        done = subprocess.run(
            ["bash", "-c", script], cwd=here, env=environment, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (status, said)


def test_the_service_is_one(shell: tuple[Path, dict[str, str]]) -> None:
    (unit,) = blocks("ini")
    words = shlex.split(re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)[0])
    assert words[:3] == ["/usr/local/bin/conjoin", "-C", "/srv/models/north"]
    COMMANDS[words[3]].make_context(words[3], words[4:])


def test_every_command_that_is_spoken_of_is_there() -> None:
    spoken = re.findall(r"`conjoin (?:-C \S+ )?([a-z]+)", PAGE.read_text(encoding="utf-8"))
    assert len(spoken) >= 3
    assert set(spoken) <= set(COMMANDS)
