"""How the command line behaves as a program: start-up, JSON, interruption, pipes, sizes, control characters."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conjoin.apps.cli.options import assignments, parameters, size_in_bytes
from conjoin.errors import UsageError
from tests.e2e.shell import Shell

CONJOIN = [sys.executable, "-m", "conjoin"]


@pytest.fixture(scope="module")
def shell(models: Path) -> Shell:
    made = Shell(models)
    made.ok("init", "replica", "--base", "base")
    made.ok("-C", "replica", "add", "north.safetensors", "--title", "red \x1b[31mand\x07 [bold]loud")
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
def test_help_and_version(models: Path, arguments: list[str]) -> None:
    assert Shell(models).ok(*arguments)


def test_no_arguments_prints_the_help(models: Path) -> None:
    result = Shell(models).run()
    assert (result.status, result.stdout) == (2, "")
    assert "Usage: conjoin" in result.stderr


def test_every_command_prints_one_json_document(shell: Shell) -> None:
    (shell.folder / "folder").mkdir()
    digest = json.loads(shell.ok("-C", "replica", "status", "--json"))["contributions"][0]["digest"]
    commands = [
        ["init", "another", "--base", "base"],
        ["clone", "replica", "copy"],
        ["-C", "replica", "whoami"],
        ["-C", "replica", "add", "north.safetensors"],
        ["-C", "replica", "sync", "folder"],
        ["-C", "replica", "log"],
        ["-C", "replica", "log", "--graph"],
        ["-C", "replica", "show", digest[:8]],
        ["-C", "replica", "resolve", "weight_average", "-o", "out"],
        ["-C", "replica", "verify", "out"],
        ["-C", "replica", "retract", digest],
        ["-C", "replica", "fsck"],
        ["strategies"],
        ["strategies", "ties"],
    ]
    for command in commands:
        assert json.loads(shell.ok(*command, "--json")) is not None


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
def test_errors_as_json(tmp_path: Path, arguments: list[str], code: str) -> None:
    result = Shell(tmp_path).run(*arguments)
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["exit_status"], result.stderr) == (code, result.status, "")


def test_quiet_prints_the_bare_result(shell: Shell) -> None:
    digest = shell.ok("-C", "replica", "-q", "add", "south.safetensors").strip()
    assert len(digest) == 64
    assert shell.ok("-C", "replica", "retract", "-q", digest).strip() == digest
    assert shell.ok("-C", "replica", "-q", "fsck") == ""


def test_titles_cannot_steer_the_terminal(shell: Shell) -> None:
    out = shell.ok("-C", "replica", "status")
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]loud" in out


def test_the_replica_is_found_upward(shell: Shell) -> None:
    inside = shell.folder / "replica" / "some" / "where"
    inside.mkdir(parents=True, exist_ok=True)
    assert "space" in Shell(inside).ok("status")


def test_a_closed_pipe_is_quiet(shell: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*CONJOIN, "strategies"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_interruption_is_one_line(shell: Shell) -> None:
    code = (
        "import os, signal, threading, sys; from conjoin.apps.cli import run\n"
        "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "import conjoin.strategies.base, time; conjoin.strategies.base.strategies = lambda: time.sleep(5)\n"
        "sys.exit(run(['strategies']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=shell.folder)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("interrupted")


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


def test_a_real_interrupt_leaves_nothing_half_made(shell: Shell) -> None:
    process = subprocess.Popen([*CONJOIN, "demo", "cut-short"], cwd=shell.folder, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (shell.folder / "cut-short" / "north" / ".conjoin").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert not (shell.folder / "cut-short").exists()


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
