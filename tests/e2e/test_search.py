"""`fit` and `resolve --evaluator` of the strategies that search: one winner on every replica, nothing half-written."""

import json
import sys
from pathlib import Path

import pytest

from conjoin.apps.cli import run
from conjoin.fitting import searching
from tests.e2e.shell import InProcess

BYTES = "import sys; n = sum(open(sys.argv[1] + '/model.safetensors', 'rb').read()[-4000:]); print(n % 1000, 1000)"
EVALUATOR = f'{sys.executable} -S -c "{BYTES}" {{}}'
"""Counts something that depends on nothing but the candidate's bytes."""
FEW = ("--evaluations", "4", "--population", "2")


@pytest.fixture(scope="module")
def site(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica with three contributions."""
    site = tmp_path_factory.mktemp("search") / "site"
    assert run(["-q", "init", str(site), "--base", str(models / "base")]) == 0
    for name in ("north", "south", "west"):
        assert run(["-q", "-C", str(site), "add", str(models / f"{name}.safetensors")]) == 0
    return site


def test_replicas_find_one_asset_and_make_one_checkpoint(here: InProcess, site: Path, tmp_path: Path) -> None:
    here.ok("clone", site, tmp_path / "other")
    found = []
    for number, replica in enumerate((site, tmp_path / "other")):
        out = tmp_path / f"{number}.json"
        told = here.ok("-C", replica, "fit", "genetic_merge", "--evaluator", EVALUATOR, *FEW, "-o", out)
        digest = here.ok("-C", replica, "-q", "resolve", "genetic_merge", "--asset", out, "-o", tmp_path / f"{number}")
        assert "candidate" in told
        assert "next: " in told
        found.append((out.read_bytes(), digest))
        assert here.run("-C", site, "verify", tmp_path / f"{number}", "--recompute").status == 0
    assert found[0] == found[1]
    scores = [trial["correct"] for trial in json.loads(found[0][0])["evidence"]["history"]]
    assert json.loads(found[0][0])["evidence"]["winner"] == scores.index(max(scores))


def test_resolve_searches_in_one_step(
    here: InProcess, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(searching.EVALUATIONS, "evolutionary_merge", 3)
    out, asset = tmp_path / "out", tmp_path / "asset.json"
    choices = ("evolutionary_merge", "--evaluator", EVALUATOR, "-p", "inner=linear")
    done = json.loads(here.ok("-C", site, "resolve", *choices, "-o", out, "--json"))
    fitted = json.loads(here.ok("-C", site, "fit", *choices, "-o", asset, "--json"))
    assert done["recipe"]["params"]["asset"] == fitted["digest"]
    assert next((out / "sidecars").glob("asset-*.json")).read_bytes() == asset.read_bytes()
    assert here.run("-C", site, "resolve", *choices, "-o", out).status == 3
    assert here.run("-C", site, "resolve", *choices, "--asset", asset, "-o", tmp_path / "again").status == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("evolutionary_merge",), "E111"),
        (("ties", "--evaluator", "true"), "E111"),
        (("tise", "--evaluator", "true"), "E101"),
        (("evolutionary_merge", "--evaluator", "true", "--steps", "3"), "E111"),
        (("evolutionary_merge", "--evaluator", "true"), "E214"),
        (("evolutionary_merge", "--evaluator", "echo 0.5 #"), "E214"),
        (("evolutionary_merge", "--evaluator", "false"), "E214"),
        (("evolutionary_merge", "--evaluator", f"{sys.executable} -S -c 'import time; time.sleep(99)'"), "E214"),
        (("evolutionary_merge", "--evaluator", "true", "-p", "inner=tie"), "E103"),
        (("evolutionary_merge", "--evaluator", "true", "--group", "nothing.*"), "E103"),
        (("evolutionary_merge", "--evaluator", "true", "--data", "/no/such"), "E209"),
    ],
)
def test_what_cannot_be_fitted_leaves_nothing(
    here: InProcess, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: str
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    limit = ("--timeout", "0.3") if "time.sleep" in words[-1] else ()
    result = here.run("-C", site, "fit", *words, *limit, "-o", tmp_path / "asset.json")
    assert result.status
    assert f"error[{code}]" in result.stderr
    assert "hint: " in result.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["scratch"]
