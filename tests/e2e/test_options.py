"""Each option of the command line does what its help says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from conjoin.apps.cli import run
from tests.e2e.refusal import check_refused, contents
from tests.e2e.shell import InProcess


@pytest.fixture(scope="module")
def made(models: Path) -> Path:
    """`alice` with north and south."""
    alice = str(models / "alice")
    for command in (
        ["init", alice, "--base", str(models / "base")],
        ["-C", alice, "add", str(models / "north.safetensors"), "--title", "north"],
        ["-C", alice, "add", str(models / "south.safetensors"), "--weight", "3", "--title", "south"],
    ):
        assert run(["-q", *command]) == 0
    return models


def _resolve(here: InProcess, replica: Path, out: Path, *arguments: str) -> dict[str, Any]:
    return json.loads(here.ok("-C", replica, "resolve", *arguments, "-o", out, "--json"))


def _contribution(here: InProcess, replica: Path, title: str) -> dict[str, Any]:
    status = json.loads(here.ok("-C", replica, "status", "--json"))
    return next(info for info in status["contributions"] if info["title"] == title)


def test_bytes_do_not_depend_on_how_they_are_made(here: InProcess, made: Path, tmp_path: Path) -> None:
    plain = _resolve(here, made / "alice", tmp_path / "plain", "ties", "-p", "density=0.50")
    for number, options in enumerate((["--threads", "1"], ["--threads", "3"], ["--memory", "64MB"], ["--trust-store"])):
        again = _resolve(here, made / "alice", tmp_path / str(number), "ties", "-p", "density=0.5", *options)
        assert again == plain
        assert contents(tmp_path / str(number)) == contents(tmp_path / "plain")


def test_shard_size(here: InProcess, made: Path, tmp_path: Path) -> None:
    whole = _resolve(here, made / "alice", tmp_path / "whole", "weight_average")
    cut = _resolve(here, made / "alice", tmp_path / "cut", "weight_average", "--shard-size", "33kB")
    assert cut["output"] == whole["output"]
    index = json.loads((tmp_path / "cut" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    joined = {name: load_file(tmp_path / "cut" / shard)[name] for name, shard in index["weight_map"].items()}
    for name, tensor in load_file(tmp_path / "whole" / "model.safetensors").items():
        assert joined[name].tobytes() == tensor.tobytes()


def test_dtype(here: InProcess, made: Path, tmp_path: Path) -> None:
    _resolve(here, made / "alice", tmp_path / "half", "weight_average", "--dtype", "F16")
    with safe_open(tmp_path / "half" / "model.safetensors", "np") as file:
        assert file.get_tensor("fc1.weight").dtype == np.float16


def test_weights(here: InProcess, made: Path, tmp_path: Path) -> None:
    north, south = (_contribution(here, made / "alice", title)["digest"] for title in ("north", "south"))
    own = _resolve(here, made / "alice", tmp_path / "own", "weight_average")
    stated = [f"--weight={north[:8]}=1", f"--weight={south[:8]}=3.0"]
    assert _resolve(here, made / "alice", tmp_path / "stated", "weight_average", *stated)["output"] == own["output"]
    only = _resolve(here, made / "alice", tmp_path / "only", "weight_average", f"--weight={south}=0")
    assert only["output"] == _contribution(here, made / "alice", "north")["weights"]


def test_parameters_by_contribution(here: InProcess, made: Path, tmp_path: Path) -> None:
    digests = sorted(_contribution(here, made / "alice", title)["digest"] for title in ("north", "south"))
    first, second = digests
    shares = ["-p", f"t.{first[:10]}=0.25", "-p", f"t.{second[:8]}=0.75"]
    both = _resolve(here, made / "alice", tmp_path / "both", "slerp", *shares)
    assert both["recipe"]["params"]["t"] == {first: "0.25", second: "0.75"}
    check_refused(
        here.run("-C", made / "alice", "resolve", "slerp", "-p", "t.00000000=1", "-o", tmp_path / "none"), "E108"
    )


def test_recipe_file_is_the_same_as_options(here: InProcess, made: Path, tmp_path: Path) -> None:
    options = ["dare", "-p", "density=0.5", "-p", "mask_scope=contribution", "--dtype", "BF16"]
    by_options = _resolve(here, made / "alice", tmp_path / "options", *options)
    (tmp_path / "recipe.json").write_text(json.dumps(by_options["recipe"]))
    by_file = _resolve(here, made / "alice", tmp_path / "file", "--recipe", str(tmp_path / "recipe.json"))
    assert by_file == by_options
    both = here.run("-C", made / "alice", "resolve", "ties", "--recipe", tmp_path / "recipe.json", "-o", tmp_path / "x")
    check_refused(both, "E111", "--recipe")


def test_singleton(here: InProcess, made: Path, tmp_path: Path) -> None:
    here.ok("init", tmp_path / "one", "--base", made / "base")
    here.ok("-C", tmp_path / "one", "add", made / "north.safetensors", "--title", "alone")
    weights = _contribution(here, tmp_path / "one", "alone")["weights"]
    copied = _resolve(here, tmp_path / "one", tmp_path / "copied", "ties", "--singleton", "identity")
    applied = _resolve(here, tmp_path / "one", tmp_path / "applied", "ties", "--singleton", "apply")
    assert copied["output"] == weights != applied["output"]


def test_partial_missing_and_extra(here: InProcess, made: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    here.ok("init", replica, "--base", made / "base")
    tensors = dict(load_file(made / "north.safetensors"))
    del tensors["fc3.weight"]
    tensors["new.head"] = np.ones((3, 4), np.float32)
    save_file(tensors, tmp_path / "partial.safetensors")
    check_refused(here.run("-C", replica, "add", tmp_path / "partial.safetensors"), "E204", "fc3.weight", "new.head")
    here.ok("-C", replica, "add", tmp_path / "partial.safetensors", "--partial")
    here.ok("-C", replica, "add", made / "south.safetensors")
    out = tmp_path / "out"
    refused = here.run("-C", replica, "resolve", "weight_average", "-o", out)
    check_refused(refused, "E204", "fc3.weight", "new.head")
    _resolve(here, replica, out, "weight_average", "--missing", "exclude", "--extra-tensors", "keep")
    merged = load_file(out / "model.safetensors")
    assert merged["fc3.weight"].tobytes() == load_file(made / "south.safetensors")["fc3.weight"].tobytes()
    assert merged["new.head"].tobytes() == tensors["new.head"].tobytes()
    _resolve(here, replica, tmp_path / "other", "weight_average", "--missing", "base", "--extra-tensors", "drop")
    other = load_file(tmp_path / "other" / "model.safetensors")
    assert "new.head" not in other
    assert other["fc3.weight"].tobytes() != merged["fc3.weight"].tobytes()


def test_extra_is_part_of_the_contribution(here: InProcess, made: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    here.ok("init", replica, "--base", made / "base")
    plain = here.ok("-C", replica, "-q", "add", made / "north.safetensors")
    fisher = made / "west.safetensors"
    added = here.ok("-C", replica, "-q", "add", made / "north.safetensors", "--extra", f"fisher={fisher}")
    assert added != plain
    shown = json.loads(here.ok("-C", replica, "show", added.strip()[:8], "--json"))
    assert list(shown["extras"]) == ["fisher"]


def test_in_place_copies_nothing(here: InProcess, made: Path, tmp_path: Path) -> None:
    here.ok("init", tmp_path / "light", "--base", made / "base", "--in-place")
    here.ok("-C", tmp_path / "light", "add", made / "north.safetensors", "--in-place")
    assert sum(len(data) for data in contents(tmp_path / "light").values()) < 30_000
    _resolve(here, tmp_path / "light", tmp_path / "out", "weight_average")


def test_an_open_space_admits_everybody(here: InProcess, made: Path, tmp_path: Path) -> None:
    here.ok("init", tmp_path / "a", "--base", made / "base", "--open")
    (tmp_path / "place").mkdir()
    here.ok("-C", tmp_path / "a", "sync", tmp_path / "place")
    here.ok("clone", tmp_path / "place", tmp_path / "b")
    here.ok("-C", tmp_path / "b", "add", made / "north.safetensors")
    here.ok("-C", tmp_path / "b", "sync", tmp_path / "a")
    assert "1 visible contribution" in here.ok("-C", tmp_path / "a", "status")


def test_members_may_retract_where_the_policy_says_so(here: InProcess, made: Path, tmp_path: Path) -> None:
    here.ok("init", tmp_path / "a", "--base", made / "base", "--retract", "member")
    digest = here.ok("-C", tmp_path / "a", "-q", "add", made / "north.safetensors").strip()
    here.ok("clone", tmp_path / "a", tmp_path / "b")
    here.ok("-C", tmp_path / "b", "retract", digest)
    assert "retracted" in here.ok("-C", tmp_path / "b", "status")


def test_invited_admins_invite(here: InProcess, made: Path, tmp_path: Path) -> None:
    here.ok("init", tmp_path / "a", "--base", made / "base")
    (tmp_path / "place").mkdir()
    place = tmp_path / "place"
    here.ok("-C", tmp_path / "a", "sync", place)
    keys = [here.ok("-q", "clone", place, tmp_path / name).strip() for name in ("b", "c")]
    here.ok("-C", tmp_path / "a", "invite", keys[0], "--admin")
    here.ok("-C", tmp_path / "a", "sync", place)
    here.ok("-C", tmp_path / "b", "sync", place)
    here.ok("-C", tmp_path / "b", "invite", json.loads(here.ok("-C", tmp_path / "c", "whoami", "--json"))["openssh"])
    here.ok("-C", tmp_path / "b", "sync", place)
    here.ok("-C", tmp_path / "c", "sync", place)
    assert json.loads(here.ok("-C", tmp_path / "c", "whoami", "--json"))["role"] == "member"


def test_a_place_with_several_spaces(here: InProcess, made: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    spaces = [here.ok("-q", "init", tmp_path / name, "--base", made / "base").strip() for name in ("a", "b")]
    here.ok("-C", tmp_path / "a", "sync", place)
    shutil.copytree(tmp_path / "b" / ".conjoin" / "ops", place / "ops", dirs_exist_ok=True)
    check_refused(here.run("clone", place, tmp_path / "c"), "E503", *(space[:12] for space in spaces))
    here.ok("clone", place, tmp_path / "c", "--space", spaces[0][:8])
    assert json.loads(here.ok("-C", tmp_path / "c", "status", "--json"))["space"] == spaces[0]


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
def test_an_openssh_key(here: InProcess, made: Path, tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@home", "-f", key], check=True)
    printed = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout
    here.ok("init", tmp_path / "a", "--base", made / "base", "--key", key)
    who = json.loads(here.ok("-C", tmp_path / "a", "whoami", "--json"))
    assert who["fingerprint"] in printed
    assert (tmp_path / "id_ed25519.pub").read_text().startswith(who["openssh"])
    here.ok("-C", tmp_path / "a", "add", made / "north.safetensors")


def test_shell_completion() -> None:
    def completed(words: str) -> list[str]:
        environment = os.environ | {
            "_CONJOIN_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        command = [sys.executable, "-m", "conjoin"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.split()

    assert completed("conjoin re") == ["retract", "resolve", "rekey"]
    assert completed("conjoin resolve ti") == ["ties"]


def test_a_place_is_forgotten(here: InProcess, made: Path, tmp_path: Path) -> None:
    replica, place = tmp_path / "a", tmp_path / "place"
    here.ok("init", replica, "--base", made / "base")
    place.mkdir()
    here.ok("-C", replica, "sync", place)
    assert len(json.loads(here.ok("-C", replica, "status", "--json"))["peers"]) == 1
    check_refused(here.run("-C", replica, "sync", "--forget", "--full", place), "E111", "--forget moves nothing")
    told = json.loads(here.ok("-C", replica, "sync", "--forget", "--json", place))
    assert [peer["where"] for peer in told["forgotten"]] == [str(place)]
    assert json.loads(here.ok("-C", replica, "status", "--json"))["peers"] == []
    check_refused(here.run("-C", replica, "sync", "--forget", place), "E501", str(place))
