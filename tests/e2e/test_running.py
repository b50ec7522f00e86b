"""`resolve --running`: the same bytes and receipt, whatever was added, retracted, damaged or removed between."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conjoin.apps.cli import run
from conjoin.executor.kept import KeptSums
from conjoin.kernels import running_sum
from conjoin.wire.digest import Digest
from tests.e2e.shell import InProcess

NAMES = ("north", "south", "west")


@pytest.fixture
def replica(models: Path, tmp_path: Path) -> Path:
    """A replica without contributions."""
    assert run(["-q", "init", str(tmp_path / "site"), "--base", str(models / "base")]) == 0
    return tmp_path / "site"


class Resolving:
    """Resolves both ways, compares every file, and says what was done with the sums."""

    def __init__(self, here: InProcess, replica: Path) -> None:
        self.here, self.replica, self.count = here, replica, 0

    def __call__(self, *arguments: str) -> dict:
        self.count += 1
        plain, running = (self.replica.parent / f"{self.count}-{kind}" for kind in ("plain", "running"))
        receipt = json.loads(self.here.ok("-C", self.replica, "resolve", *arguments, "-o", plain, "--json"))
        found = json.loads(
            self.here.ok("-C", self.replica, "resolve", *arguments, "--running", "-o", running, "--json")
        )
        done = found.pop("running")
        assert found == receipt
        assert {p.name: p.read_bytes() for p in plain.iterdir()} == {p.name: p.read_bytes() for p in running.iterdir()}
        return {**done, "added": len(done["added"]), "taken_out": len(done["taken_out"])}


def test_a_story(here: InProcess, models: Path, replica: Path) -> None:
    resolve, sums = Resolving(here, replica), replica / ".conjoin" / "local" / "running"
    digests = {}
    for name in NAMES[:2]:
        added = here.ok("-C", replica, "add", models / f"{name}.safetensors", "--json")
        digests[name] = json.loads(added)["contribution"]
    first = resolve("weight_average")
    slices = first["slices"]
    assert first == {
        "added": 0, "taken_out": 0, "slices": slices, "from_sums": 0, "begun": slices, "unproven": 0, "not_kept": 0,
        "size_bytes": sum(path.stat().st_size for path in sums.iterdir()),
    }  # fmt: skip
    assert slices > 0
    here.ok("-C", replica, "add", models / "west.safetensors")
    second = resolve("weight_average")
    assert (second["added"], second["taken_out"], second["from_sums"]) == (1, 0, slices)
    shutil.rmtree(sums)
    assert resolve("weight_average")["begun"] == slices
    here.ok("-C", replica, "retract", digests["north"])
    third = resolve("weight_average")
    assert (third["added"], third["taken_out"], third["from_sums"]) == (0, 1, slices)
    other = resolve("task_arithmetic", "-p", "scale=0.7")
    assert (other["taken_out"], other["from_sums"]) == (1, slices), "it follows from the same sum"
    assert resolve("linear", "--weight", f"{digests['south'][:12]}=3")["begun"] == slices
    shutil.rmtree(sums)
    assert resolve("linear")["begun"] == slices
    assert resolve("ties")["slices"] == 0
    assert resolve("linear")["from_sums"] == slices, "a strategy without sums leaves those of others"
    before = set(sums.iterdir())
    assert resolve("dare", "-p", "mask_scope=contribution", "-p", "density=0.3")["begun"] == slices
    assert not before & set(sums.iterdir()), "sums of another recipe are not kept for ever"


def test_masked_task_vectors(here: InProcess, models: Path, replica: Path) -> None:
    resolve = Resolving(here, replica)
    for name in NAMES:
        here.ok("-C", replica, "add", models / f"{name}.safetensors")
        done = resolve("dare", "-p", "mask_scope=contribution", "-p", "density=0.3")
        assert done["slices"] == done["from_sums"] + done["begun"] + done["unproven"] > 0
    assert done["from_sums"] > 0
    assert resolve("dare", "-p", "density=0.3")["slices"] == 0, "masks that change with the visible set have no sum"


def test_damaged_sums_are_not_used(here: InProcess, models: Path, replica: Path) -> None:
    resolve, sums = Resolving(here, replica), replica / ".conjoin" / "local" / "running"
    here.ok("-C", replica, "add", models / "north.safetensors")
    resolve("weight_average")
    for number, path in enumerate(sorted(sums.iterdir())):
        data = bytearray(path.read_bytes())
        data[len(data) * (number % 7) // 7] ^= 1 << number % 8
        path.write_bytes(data if number % 5 else data[:-1])
    (sums / ".1-1").write_bytes(b"left by a process that was killed")
    here.ok("-C", replica, "add", models / "south.safetensors")
    done = resolve("weight_average")
    assert done["from_sums"] == 0
    assert done["begun"] + done["unproven"] == done["slices"]
    assert not (sums / ".1-1").exists()
    assert resolve("weight_average")["from_sums"] == done["slices"]


def test_sums_of_another_length_are_not_used(here: InProcess, models: Path, replica: Path) -> None:
    resolve, sums = Resolving(here, replica), KeptSums(replica / ".conjoin" / "local" / "running")
    here.ok("-C", replica, "add", models / "north.safetensors")
    resolve("weight_average")
    for path in sums.folder.iterdir():
        place = Digest(path.name)
        kept = sums.find(place)
        assert kept is not None
        longer = running_sum(None, [(np.zeros(kept.elements + 70_000, "<u2"), 1.0)], "BF16")
        assert sums.save(place, kept.factors, longer)
    here.ok("-C", replica, "add", models / "south.safetensors")
    done = resolve("weight_average")
    assert done["begun"] == done["slices"] > 0


def test_where_sums_cannot_be_kept(here: InProcess, models: Path, replica: Path) -> None:
    (replica / ".conjoin" / "local" / "running").write_text("in the way")
    here.ok("-C", replica, "add", models / "north.safetensors")
    done = Resolving(here, replica)("weight_average")
    assert done["not_kept"] == done["slices"] == done["begun"]


def test_what_is_said(here: InProcess, models: Path, replica: Path) -> None:
    here.ok("-C", replica, "add", models / "north.safetensors")
    here.ok("-C", replica, "add", models / "south.safetensors")
    here.ok("-C", replica, "resolve", "weight_average", "--running", "-o", replica.parent / "first")
    here.ok("-C", replica, "add", models / "west.safetensors")
    said = here.ok("-C", replica, "resolve", "weight_average", "--running", "-o", replica.parent / "second")
    assert "running  1 contribution added, 0 taken out, " in said
    said = here.ok("-C", replica, "resolve", "ties", "--running", "-o", replica.parent / "third")
    assert "running  no sum is kept: with these parameters ties does not follow" in said
