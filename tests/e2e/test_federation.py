"""`conjoin demo federation` as a user types it: once to its end in real processes, and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conjoin.apps.demo import live
from conjoin.apps.demo.federation import Event, Standing
from tests.e2e.shell import InProcess

COMMAND = [sys.executable, "-m", "conjoin", "demo", "federation"]
SITES = ["north", "south", "west", "centre", "east"]
PROXIED = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
"""The demo asks no proxy for what is on loopback."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("federation")


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """What the one whole run says."""
    done = subprocess.run([*COMMAND, "--json"], cwd=folder, env=PROXIED, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


def groups(event: dict[str, Any]) -> set[frozenset[str]]:
    """The sites by their root."""
    roots = {standing["root"] for standing in event["standings"]}
    return {frozenset(s["site"] for s in event["standings"] if s["root"] == root) for root in roots}


def seen(event: dict[str, Any], site: str) -> set[str]:
    return next(set(s["visible"]) for s in event["standings"] if s["site"] == site)


def test_the_roots_part_and_come_together(told: dict[str, Any]) -> None:
    parts = [[e for e in told["events"] if e["part"] == part] for part in ("all together", "partitioned", "healed")]
    together, apart, healed = (part[-1] for part in parts)
    assert groups(together) == {frozenset(SITES)}
    assert seen(together, "west") == {"south", "centre"}
    assert groups(apart) == {frozenset(SITES[:3]), frozenset(SITES[3:])}
    assert seen(apart, "west") == {"north", "west", "centre"}, "their own adds, and south's retraction"
    assert seen(apart, "east") == {"east", "south"}, "their own adds, and centre's retraction"
    assert groups(healed) == {frozenset(SITES)}
    assert seen(healed, "east") == {"north", "south", "west", "east"}, "an add that a retraction had not seen survives"


def test_a_killed_process_loses_nothing(told: dict[str, Any]) -> None:
    kill = told["kill"]
    assert (kill["site"], kill["damaged"]) == ("east", 0)
    assert kill["leaves_before"] > 0 and kill["leaves_after"] > 0, "it was in the middle of a transfer"
    assert kill["leaves_before"] + kill["leaves_after"] == 12
    processes = [next(s["pid"] for s in e["standings"] if s["site"] == "east") for e in told["events"]]
    before, gone, after = dict.fromkeys(processes)
    assert before == kill["pid"] and gone is None and after not in (None, before)


def test_five_processes_make_the_same_bytes(told: dict[str, Any], folder: Path) -> None:
    made = folder / "conjoin-federation" / "merged"
    assert sorted(path.name for path in made.iterdir()) == sorted(SITES)
    for name in ("model.safetensors", "conjoin.json"):
        assert len({(made / site / name).read_bytes() for site in SITES}) == 1
    assert told["identical"] is True
    assert sorted(told["files_compared"]) == ["conjoin.json", "model.safetensors"]
    assert len({(end["root"], end["output"], end["operations"]) for end in told["replicas"]}) == 1
    alone = [model["correct"] for model in told["models"]]
    assert told["replicas"][0]["correct"] > 1.2 * max(alone)


def test_no_process_is_left(told: dict[str, Any], folder: Path) -> None:
    pids = {standing["pid"] for event in told["events"] for standing in event["standings"]} - {None}
    assert len(pids) == 6
    assert not conjoins_in(folder)


def conjoins_in(folder: Path) -> list[str]:
    """The command lines of processes that name something in a folder, or work there."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_text().replace("\0", " ")
            if "conjoin" in line and (str(folder) in line or os.readlink(process / "cwd").startswith(str(folder))):
                found.append(line)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_neither_processes_nor_a_folder(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until = time.monotonic() + 60
    while len(conjoins_in(tmp_path)) < 6 and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    assert not conjoins_in(tmp_path)


def test_without_the_extra_it_says_what_to_install(
    here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = here.run("demo", "federation", tmp_path / "new")
    assert result.status == 2
    assert "error[E117]" in result.stderr and "pip install 'conjoin[net]'" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_of_that_name_and_a_story_that_there_is_not(
    here: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "federation").mkdir()
    assert "error[E208]" in here.run("demo", "./federation").stderr
    taken = here.run("demo", "federation", "federation")
    assert "error[E208]" in taken.stderr and "conjoin demo federation DIR" in taken.stderr
    unknown = here.run("demo", "nonsense", "folder")
    assert (unknown.status, "error[E111]" in unknown.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == [tmp_path / "federation"]


def events() -> list[Event]:
    whole = Standing("north", 7, 3, ("south",), "a" * 64)
    killed = Standing("east", None, 2, (), "b" * 64)
    back = Standing("east", 8, 3, ("south",), "a" * 64)
    return [Event("apart", "kill -9 6: east", (whole, killed)), Event("healed", "east is back", (whole, back))]


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with live.Screen() as screen:
        for event in events():
            screen.tell(event)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["", "apart", "kill -9 6: east", "", "healed", "east is back"]
    assert lines[2].endswith("2 roots") and lines[5].endswith("1 root")


def test_a_table_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with live.Screen() as screen:
        for event in events():
            screen.tell(event)
    shown = capsys.readouterr().out
    before, after = shown.split("east is back")
    assert "killed" in before and "bbbbbbbbbbbb" in before
    last = after.rpartition("\x1b[2K")[2]
    assert "serving, 8" in last and "killed" not in last
