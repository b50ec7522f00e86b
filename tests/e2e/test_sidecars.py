"""What goes in and comes out beside the tensors, through the real command line: side-cars, roles, masks, assets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import conjoin
from conjoin.apps.cli import run
from tests.e2e.shell import InProcess

NAMES = ("north", "south", "west")


@pytest.fixture
def replica(models: Path, tmp_path: Path) -> Path:
    assert run(["-q", "init", str(tmp_path / "site"), "--base", str(models / "base")]) == 0
    return tmp_path / "site"


def fisher_of(path: Path, out: Path, sign: float = 1) -> Path:
    random = np.random.default_rng(list(path.name.encode()))
    tensors = {n: np.float32(sign) * (0.5 + random.random(t.shape, np.float32)) for n, t in load_file(path).items()}
    save_file(tensors, out)
    return out


def add(here: InProcess, replica: Path, path: Path, **extras: Path) -> str:
    options = [o for name, file in extras.items() for o in ("--extra", f"{name}={file}")]
    return json.loads(here.ok("-C", replica, "add", path, *options, "--json"))["contribution"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def same_elsewhere(here: InProcess, replica: Path, tmp_path: Path, *arguments: Any) -> Path:
    """Resolve here and on a clone: the same files, and the clone verifies and recomputes them."""
    other, first, second = tmp_path / "clone", tmp_path / "first", tmp_path / "second"
    here.run("-q", "clone", replica, other)
    here.ok("-C", replica, "-q", "resolve", *arguments, "-o", first)
    here.ok("-C", other, "-q", "resolve", *arguments, "-o", second)
    assert files(first) == files(second)
    assert "the same bytes" in here.ok("-C", other, "verify", first, "--recompute")
    return first


def test_fisher_side_cars_travel_and_count(here: InProcess, models: Path, replica: Path, tmp_path: Path) -> None:
    for name in NAMES[:2]:
        path = models / f"{name}.safetensors"
        add(here, replica, path, fisher=fisher_of(path, tmp_path / f"{name}.fisher.safetensors"))
    merged = same_elsewhere(here, replica, tmp_path, "fisher_merge")
    here.ok("-C", replica, "-q", "resolve", "weight_average", "-o", tmp_path / "mean")
    assert files(merged)["model.safetensors"] != files(tmp_path / "mean")["model.safetensors"]

    bare = add(here, replica, models / "west.safetensors")
    refused = here.run("-C", replica, "resolve", "fisher_merge", "-o", tmp_path / "not")
    assert refused.status == 2
    assert "error[E106]" in refused.stderr
    assert bare in refused.stderr
    assert "conjoin stats fisher" in refused.stderr
    assert not (tmp_path / "not").exists()


def test_a_negative_fisher_value_leaves_nothing_behind(
    here: InProcess, models: Path, replica: Path, tmp_path: Path
) -> None:
    path = models / "north.safetensors"
    add(here, replica, path, fisher=fisher_of(path, tmp_path / "negative.safetensors", sign=-1))
    refused = here.run("-C", replica, "resolve", "fisher_merge", "-o", tmp_path / "not")
    assert refused.status == 3
    assert "error[E213]" in refused.stderr
    assert not [path for path in tmp_path.iterdir() if "not" in path.name]


def test_emr_gives_each_site_its_model(here: InProcess, models: Path, replica: Path, tmp_path: Path) -> None:
    digests = {name: add(here, replica, models / f"{name}.safetensors") for name in NAMES}
    merged = same_elsewhere(here, replica, tmp_path, "emr")
    base, one = load_file(models / "base" / "model.safetensors"), load_file(merged / "model.safetensors")
    sides = load_file(merged / "sidecars" / "sidecars.safetensors")
    for name, digest in digests.items():
        own = load_file(models / f"{name}.safetensors")
        here.ok("-C", replica, "-q", "task", merged, digest[:10], "-o", tmp_path / name)
        made = load_file(tmp_path / name / "model.safetensors")
        model = conjoin.load_task(merged, digest, models / "base")
        assert {p.name for p in (tmp_path / name).iterdir()} >= {p.name for p in (models / "base").iterdir()}
        for tensor, values in made.items():
            assert (values == model.tensors[tensor]).all()
            key = f"{digest[:32]}.{tensor}"
            mask = np.unpackbits(sides[f"mask.{key}"], bitorder="little", count=values.size).astype(bool)
            scale = sides[f"rescale.{key}"][0]
            assert 0.5 < scale < 2
            start, unified = base[tensor].ravel().astype(np.float64), one[tensor].ravel().astype(np.float64)
            expected = np.where(mask, (start + scale * (unified - start)).astype(np.float32), start)
            assert (values.ravel() == expected).all()
            moved = own[tensor].ravel().astype(np.float64) - start
            assert (mask == (moved * (unified - start) > 0)).all()
    refused = here.run("-C", replica, "task", merged, "0" * 12, "-o", tmp_path / "not")
    assert (refused.status, "error[E108]" in refused.stderr) == (2, True)
    damaged = merged / "sidecars" / "sidecars.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    assert here.run("-C", replica, "verify", merged).status == 1


def test_one_contribution_alone_comes_back_whole(here: InProcess, models: Path, replica: Path, tmp_path: Path) -> None:
    digest = add(here, replica, models / "west.safetensors")
    here.ok("-C", replica, "-q", "resolve", "emr", "-o", tmp_path / "merged")
    here.ok("-C", replica, "-q", "task", tmp_path / "merged", digest, "-o", tmp_path / "west")
    own, made = load_file(models / "west.safetensors"), load_file(tmp_path / "west" / "model.safetensors")
    assert all((own[name] == made[name]).all() for name in own)
    refused = here.run("-C", replica, "task", tmp_path / "merged", digest, "-o", tmp_path / "west")
    assert "error[E208]" in refused.stderr
    here.ok("-C", replica, "-q", "resolve", "ties", "-o", tmp_path / "plain")
    refused = here.run("-C", replica, "task", tmp_path / "plain", digest, "-o", tmp_path / "not")
    assert (refused.status, "one model for all tasks" in refused.stderr) == (2, True)


def test_roles_by_contribution_and_by_author(here: InProcess, models: Path, replica: Path, tmp_path: Path) -> None:
    north, south = (add(here, replica, models / f"{name}.safetensors") for name in NAMES[:2])
    status = json.loads(here.ok("-C", replica, "status", "--json"))
    author = status["key"]
    here.ok("-C", replica, "-q", "resolve", "negative_merge", "-p", f"role.{north[:8]}=forget",
            "-p", f"role.{south[:8]}=forget", "-o", tmp_path / "each")  # fmt: skip
    here.ok(
        "-C", replica, "-q", "resolve", "negative_merge", "-p", f"role.{author[:8]}=forget", "-o", tmp_path / "author"
    )
    assert files(tmp_path / "each") == files(tmp_path / "author")
    refused = here.run("-C", replica, "resolve", "safe_merge", "-o", tmp_path / "not")
    assert (refused.status, "error[E116]" in refused.stderr) == (2, True)
    refused = here.run("-C", replica, "resolve", "safe_merge", "-p", f"role.{north[:8]}=saef", "-o", tmp_path / "not")
    assert "did you mean `safe`" in refused.stderr


def test_an_asset_is_part_of_the_merge(here: InProcess, models: Path, replica: Path, tmp_path: Path) -> None:
    digests = sorted(add(here, replica, models / f"{name}.safetensors") for name in NAMES)
    refused = here.run("-C", replica, "resolve", "ada_merging", "-o", tmp_path / "not")
    assert (refused.status, "error[E114]" in refused.stderr) == (2, True)
    assert "conjoin fit ada_merging" in refused.stderr
    names = load_file(models / "base" / "model.safetensors")
    status = json.loads(here.ok("-C", replica, "status", "--json"))
    values = {"scale": {name: dict.fromkeys(digests, "0.25") for name in names}}
    asset = conjoin.Asset("ada_merging", status["base"], tuple(digests), values, {})
    (tmp_path / "asset.json").write_bytes(asset.encode())
    merged = same_elsewhere(here, replica, tmp_path, "ada_merging", "--asset", tmp_path / "asset.json")
    here.ok("-C", replica, "-q", "resolve", "task_arithmetic", "-p", "scale=0.25", "-o", tmp_path / "same")
    assert files(merged)["model.safetensors"] == files(tmp_path / "same")["model.safetensors"]
    here.ok("-C", replica, "-q", "retract", digests[0])
    refused = here.run(
        "-C", replica, "resolve", "ada_merging", "--asset", tmp_path / "asset.json", "-o", tmp_path / "x"
    )
    assert (refused.status, "error[E115]" in refused.stderr) == (2, True)
    assert "not current" in here.ok("-C", replica, "verify", merged)
    (tmp_path / "asset.json").write_bytes(b"{}")
    refused = here.run(
        "-C", replica, "resolve", "ada_merging", "--asset", tmp_path / "asset.json", "-o", tmp_path / "x"
    )
    assert "error[E115]" in refused.stderr
