"""How the command line behaves as a program: start-up, JSON, interruption, pipes, sizes, control characters."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conjoin.apps.cli import render, run
from conjoin.apps.cli.options import assignments, parameters, size_in_bytes
from conjoin.errors import UnreachableError, UsageError
from conjoin.sync import SyncReport
from conjoin.wire.digest import Digest
from tests.e2e.shell import InProcess

CONJOIN = [sys.executable, "-m", "conjoin"]


def said_of(**moved: object) -> list[str]:
    """What `conjoin sync` prints of a report in which nothing moved but this."""
    nothing = dict.fromkeys(
        ("operations_in", "operations_out", "bytes_in", "bytes_out", "objects_in", "objects_out"), 0
    )
    fields: dict[str, Any] = {"source": "place", "refused": (), "waiting": 0, "missing": (), "root": Digest("0" * 64)}
    return list(render.sync(SyncReport(**{**fields, **nothing, **moved})))


def test_a_sync_says_what_moved() -> None:
    assert said_of() == ["place: nothing new"]
    assert said_of(failure=UnreachableError("the place does not answer")) == ["place: nothing moved"]
    assert said_of(objects_out=1, bytes_out=300) == ["place: sent 1 object (300 B)"]
    assert said_of(operations_in=1, objects_in=1, bytes_in=300) == ["place: received 1 operation (1 object, 300 B)"]


@pytest.fixture(scope="module")
def replica(models: Path) -> Path:
    """A replica with one contribution."""
    made = models / "replica"
    assert run(["-q", "init", str(made), "--base", str(models / "base")]) == 0
    assert run(["-q", "-C", str(made), "add", str(models / "north.safetensors"), "--title", "[bold]loud"]) == 0
    return made


def test_help_loads_no_room() -> None:
    code = (
        "import sys; from conjoin.apps.cli import run; status = run(['--help'])\n"
        "heavy = {'numpy', 'numba', 'cryptography', 'safetensors', 'mpmath', 'rich.table', 'conjoin.replica'}\n"
        "sys.exit(f'loaded: {sorted(heavy & set(sys.modules))}' if heavy & set(sys.modules) else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: conjoin ")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["resolve", "--help"], ["--version"]])
def test_help_and_version(here: InProcess, arguments: list[str]) -> None:
    assert here.ok(*arguments)


def test_no_arguments_prints_the_help(here: InProcess) -> None:
    result = here.run()
    assert (result.status, result.stdout) == (2, "")
    assert "Usage: conjoin" in result.stderr


def test_every_command_prints_one_json_document(here: InProcess, replica: Path, models: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    digest = json.loads(here.ok("-C", replica, "status", "--json"))["contributions"][0]["digest"]
    commands: list[list[str | Path]] = [
        ["init", tmp_path / "another", "--base", models / "base"],
        ["clone", replica, tmp_path / "copy"],
        ["-C", replica, "whoami"],
        ["-C", replica, "add", models / "north.safetensors"],
        ["-C", replica, "sync", tmp_path / "folder"],
        ["-C", replica, "log"],
        ["-C", replica, "log", "--graph"],
        ["-C", replica, "show", digest[:8]],
        ["-C", replica, "resolve", "weight_average", "-o", tmp_path / "out"],
        ["-C", replica, "verify", tmp_path / "out"],
        ["-C", tmp_path / "copy", "retract", digest],
        ["-C", replica, "fsck"],
        ["strategies"],
        ["strategies", "ties"],
    ]
    for command in commands:
        result = here.run(*command, "--json")
        assert json.loads(result.stdout) is not None
        assert result.stderr == ""


def test_the_demo_as_json(here: InProcess, tmp_path: Path) -> None:
    story = json.loads(here.ok("demo", tmp_path / "demo", "--json"))
    assert story["identical"] is True
    assert len({(end["root"], end["output"]) for end in story["replicas"]}) == 1
    assert len({tuple(end["arrived"]) for end in story["replicas"]}) == 3
    assert len({one["digest"] for one in story["pairwise"]}) == 3
    alone = [model["correct"] for model in story["models"]]
    assert story["replicas"][0]["correct"] > 1.3 * max(alone)


def test_what_the_demo_says_to_try_next_works(here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = here.ok("demo", tmp_path / "my demo")
    assert "\n  cd " in said
    monkeypatch.chdir(tmp_path / "my demo")
    # the program is named by its path where it is not on PATH, as under `make test`
    commands = said[said.index("\n  cd ") :].strip().splitlines()[1:]
    assert len(commands) >= 4
    for command in commands:
        here.ok(*shlex.split(command)[1:])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status", "--json"], "E601"),
        (["--json", "status"], "E601"),
        (["strategies", "weigth_average", "--json"], "E101"),
        (["resolve", "--json"], "E111"),
        (["nonsense", "--json"], "E111"),
    ],
)
def test_errors_as_json(
    here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = here.run(*arguments)
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["exit_status"], result.stderr) == (code, result.status, "")


def test_quiet_prints_the_bare_result(here: InProcess, replica: Path, models: Path) -> None:
    digest = here.ok("-C", replica, "-q", "add", models / "south.safetensors").strip()
    assert len(digest) == 64
    assert here.ok("-C", replica, "retract", "-q", digest).strip() == digest
    assert here.ok("-C", replica, "-q", "fsck") == ""


def test_words_of_others_cannot_steer_the_terminal(here: InProcess, replica: Path, models: Path) -> None:
    assert "[bold]loud" in here.ok("-C", replica, "status")
    title = here.run("-C", replica, "add", models / "west.safetensors", "--title", "\x1b[31mred\x07")
    assert (title.status, "E401" in title.stderr) == (5, True)
    path = here.run("-C", replica, "add", models / "\x1b[31mred\x07.safetensors")
    assert (path.status, "E209" in path.stderr) == (3, True)
    assert not any(steering in title.stderr + path.stderr for steering in ("\x1b", "\x07"))


def test_the_replica_is_found_upward(here: InProcess, replica: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = replica / "some" / "where"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert "space" in here.ok("status")


def test_a_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*CONJOIN, "strategies"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def _may_interrupt() -> None:
    """What a terminal's shell sees to; a shell that starts tests in the background lets its children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interruption_is_one_line() -> None:
    code = (
        "import os, signal, threading, sys; from conjoin.apps.cli import run\n"
        "import conjoin.strategies.base, time; conjoin.strategies.base.strategies = lambda: time.sleep(5)\n"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "sys.exit(run(['strategies']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=_may_interrupt)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("interrupted")


def test_an_interruption_inside_generated_code_is_no_other(tmp_path: Path) -> None:
    (tmp_path / "cut.py").write_text(
        "import sys; from conjoin.apps.cli import run\n"
        "import conjoin.strategies.base; conjoin.strategies.base.strategies = lambda: exec('raise KeyboardInterrupt')\n"
        "sys.exit(run(['strategies']))"
    )
    done = subprocess.run([sys.executable, "-m", "cut"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)


def test_progress_shows_on_a_terminal_only(tmp_path: Path) -> None:
    code = (
        "import time; from conjoin.apps.cli.progress import Bar\n"
        "with Bar(enabled=True) as bar:\n"
        "    bar.start('reading', 4000)\n"
        "    for _ in range(8): time.sleep(0.1); bar.advance(500)\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    assert process.wait() == 0
    assert process.stdout is not None
    assert process.stdout.read() == b""
    assert b"reading" in shown
    assert b"4.0/4.0 kB" in shown
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (piped.stdout, piped.stderr) == (b"", b"")


def test_a_real_interrupt_leaves_nothing_half_made(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*CONJOIN, "demo", "cut-short"], cwd=tmp_path, stderr=subprocess.PIPE, preexec_fn=_may_interrupt
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "cut-short" / "north" / ".conjoin").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert not (tmp_path / "cut-short").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("512MiB", 512 << 20), ("1.5 kb", 1500), ("7", 7), ("2T", 2 * 10**12)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_in_bytes(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1e9", "5 parsecs"])
def test_refused_sizes(text: str) -> None:
    with pytest.raises(UsageError):
        size_in_bytes(text, "--memory")


def test_parameters() -> None:
    assert parameters(["density=0.2", "t.7f3a91c2=0.3", "t.02be44d0=0.7"]) == {
        "density": "0.2",
        "t": {"7f3a91c2": "0.3", "02be44d0": "0.7"},
    }
    for wrong in (["density"], ["=1"], ["a=1", "a=2"], ["t=1", "t.7f3a91c2=2"], ["t.7f3a91c2=2", "t=1"]):
        with pytest.raises(UsageError):
            parameters(wrong)
    with pytest.raises(UsageError):
        assignments(["fisher="], "--extra", "NAME=FILE")


def test_a_rehearsed_sync_says_what_moves_and_moves_nothing(here: InProcess, replica: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    said = here.ok("-C", replica, "sync", "--dry-run", place)
    assert "would send" in said
    assert not list(place.iterdir())
    told = json.loads(here.ok("-C", replica, "sync", "--dry-run", "--json", place))
    done = json.loads(here.ok("-C", replica, "sync", "--json", place))
    assert (told["dry_run"], done["dry_run"]) == (True, False)
    for figure in ("operations_out", "objects_out", "bytes_out"):
        assert told["sources"][0][figure] == done["sources"][0][figure] > 0
    assert "nothing new" in here.ok("-C", replica, "sync", "--dry-run", place)
