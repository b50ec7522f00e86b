"""The story of three replicas through the real command line, each command in a process of its own.

The transcript is a snapshot: read it to see what a user sees.
"""

import filecmp
import json
import re
from pathlib import Path

import pytest

from tests.e2e.shell import Shell, check_snapshot, normalised


@pytest.fixture(scope="module")
def told(models: Path) -> Shell:
    """Everything that happens, once."""
    shell = Shell(models)
    shell.note("a space and three replicas; carol comes through a folder and has to be invited")
    said = shell.ok("init", "alice", "--base", "base", "--name", "digits")
    base = re.findall(r"base +([0-9a-f]{12})", said)[0]
    shell.ok("clone", "alice", "bob")
    (models / "stick").mkdir()
    shell.ok("-C", "alice", "sync", "stick")
    key = re.findall(r"conjoin invite ([0-9a-f]{64})", shell.ok("clone", "stick", "carol"))[0]
    assert shell.run("-C", "carol", "add", "west.safetensors").status == 5
    shell.ok("-C", "alice", "invite", key)
    shell.ok("-C", "alice", "sync", "stick")
    shell.ok("-C", "carol", "sync", "stick")
    shell.ok("-C", "carol", "whoami")
    shell.ok("-C", "alice", "log")
    shell.ok("-C", "alice", "log", "--graph")

    shell.note("each adds what it has")
    north = shell.ok("-C", "alice", "add", "north.safetensors", "--title", "digits 0 to 3").split()[2]
    shell.ok("-C", "bob", "add", "south.safetensors", "--title", "digits 4 to 6", "--license", "Apache-2.0")
    west = shell.ok("-C", "carol", "-q", "add", "west.safetensors", "--title", "digits 7 to 9").strip()

    shell.note("different orders, duplicates, a folder that is carried around")
    shell.ok("-C", "carol", "sync", "stick")
    shell.ok("-C", "bob", "sync", "stick")
    shell.ok("-C", "bob", "sync", "alice", "stick", "stick")
    shell.ok("-C", "carol", "sync", "bob")

    shell.note("a retraction, and an add after it")
    shell.ok("-C", "carol", "retract", west[:8])
    shell.ok("-C", "carol", "sync", "alice")
    shell.ok("-C", "alice", "resolve", "ties", "-p", "density=0.5", "-o", "without-west")
    shell.ok("-C", "carol", "add", "west.safetensors", "--title", "digits 7 to 9")
    shell.ok("-C", "carol", "sync", "stick")

    shell.note("late arrivals")
    shell.ok("-C", "alice", "sync", "stick")
    shell.ok("-C", "bob", "sync", "alice")
    shell.ok("-C", "alice", "status")

    shell.note("all three merge, and check each other")
    for name in ("alice", "bob", "carol"):
        shell.ok("-C", name, "resolve", "ties", "-p", "density=0.5", "-o", f"merged-{name}")
    shell.ok("-C", "carol", "verify", "merged-alice")
    shell.ok("-C", "alice", "verify", "merged-bob", "--recompute")
    shell.ok("-C", "alice", "verify", "without-west", "--recompute")
    shell.ok("-C", "bob", "resolve", "dare", "--weight", f"{north[:8]}=2", "--dtype", "BF16", "-o", "drawn")
    shell.ok("-C", "alice", "show", north[:8])
    shell.ok("-C", "alice", "show", base)
    shell.ok("-C", "bob", "fsck")
    shell.ok("strategies")
    shell.ok("strategies", "task_arithmetic")
    return shell


def test_transcript(told: Shell) -> None:
    check_snapshot("story", normalised("\n".join(told.transcript), told.folder))


def test_outputs_are_the_same_bytes(told: Shell) -> None:
    folders = [told.folder / f"merged-{name}" for name in ("alice", "bob", "carol")]
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1] == names[2] == ["config.json", "conjoin.json", "model.safetensors"]
    for other in folders[1:]:
        for name in names[0]:
            assert (folders[0] / name).read_bytes() == (other / name).read_bytes()
    assert not filecmp.cmp(
        folders[0] / "model.safetensors", told.folder / "without-west" / "model.safetensors", shallow=False
    )


def test_replicas_agree_about_everything(told: Shell) -> None:
    states = [json.loads(told.ok("-C", name, "status", "--json", record=False)) for name in ("alice", "bob", "carol")]
    for field in ("space", "root", "base", "members", "operations"):
        assert states[0][field] == states[1][field] == states[2][field]
    logs = [{o["id"] for o in json.loads(told.ok("-C", n, "log", "--json", record=False))} for n in ("alice", "bob")]
    assert logs[0] == logs[1]


def test_tables_fit_80_columns(told: Shell) -> None:
    for command in (["status"], ["log"], ["log", "--graph"]):
        out = told.ok("-C", "alice", *command, record=False)
        lines = [line for line in out.splitlines() if str(told.folder) not in line]
        assert max(map(len, lines)) <= 80, out
        assert "\x1b" not in out


def test_changed_output_is_noticed(told: Shell) -> None:
    out = told.folder / "merged-carol" / "model.safetensors"
    before = out.read_bytes()
    changed = bytearray(before)
    changed[-1] ^= 1
    out.write_bytes(changed)
    try:
        result = told.run("-C", "carol", "verify", "merged-carol", record=False)
        assert result.status == 1
        assert "error[E304]" in result.stderr
        assert "fc3.weight" in result.stderr or "model.safetensors" in result.stderr
    finally:
        out.write_bytes(before)


def test_graph_names_every_operation(told: Shell) -> None:
    operations = json.loads(told.ok("-C", "bob", "log", "--json", record=False))
    drawn = told.ok("-C", "bob", "log", "--graph", record=False)
    for operation in operations:
        assert operation["id"][:12] in drawn
