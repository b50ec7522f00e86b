"""Searches on arrays and on replicas: the candidates' bytes are those of a resolve, and everybody finds the same."""

import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import conjoin
from conjoin import Replica
from conjoin.errors import (
    BadParameterError,
    BadWeightError,
    EvaluatorError,
    MissingBaseError,
    MissingFileError,
    NothingVisibleError,
    UnknownStrategyError,
    UsageError,
    WrongAssetError,
)
from conjoin.fitting import FITTERS, Request, Settings, fit, fit_search, search_and_asset
from conjoin.verification import verify
from conjoin.wire.asset import Asset

STRATEGIES = ("evolutionary_merge", "genetic_merge")
SHAPES = {"layers.0.w": (6, 9), "layers.1.w": (9, 4), "bias": (7,)}


def model(seed: int, around: Any = None, dtype: Any = np.float32) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    steps = {name: draw.standard_normal(shape) for name, shape in SHAPES.items()}
    made = {n: (step if around is None else around[n] + step / 9).astype(dtype) for n, step in steps.items()}
    return {**made, "tied": made["bias"], "positions": np.arange(3)}


BASE = model(0)
MODELS = [model(seed, BASE) for seed in (1, 2, 3)]
TARGET = {name: MODELS[1][name] * 0.8 + MODELS[2][name] * 0.2 for name in SHAPES}


def near(candidate: Any) -> tuple[int, int]:
    """How many elements are close to a mixture of the second and the third."""
    close = [np.abs(candidate[name].astype(np.float64) - TARGET[name]) < 0.03 for name in SHAPES]
    return sum(int(one.sum()) for one in close), sum(one.size for one in close)


def searched(strategy: str, models: Any = MODELS, evaluator: Any = near, **more: Any) -> Asset:
    return fit_search(models, strategy, evaluator, **{"base": BASE, "evaluations": 12, **more})


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("inner", ["dare_ties", "ties", "task_arithmetic", "linear"])
def test_every_candidate_has_the_bytes_of_a_resolve(strategy: str, inner: str):
    made: list[dict[str, Any]] = []

    def keep(candidate: Any) -> tuple[int, int]:
        made.append(candidate)
        return near(candidate)

    asset = searched(strategy, evaluator=keep, inner=inner, groups=["layers"], evaluations=8)
    history, winner = asset.evidence["history"], asset.evidence["winner"]
    assert max(history, key=lambda t: t["correct"])["correct"] == history[winner]["correct"]
    resolved = conjoin.resolve(MODELS, strategy, base=BASE, asset=asset, inner=inner)
    assert near(resolved) == (history[winner]["correct"], history[winner]["total"])
    assert any(all((one[name] == resolved[name]).all() for name in resolved) for one in made)
    assert set(resolved) == set(made[0]) == {*SHAPES, "tied", "positions"}
    assert (made[0]["positions"] == BASE["positions"]).all()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_the_winner_of_any_dtype_is_what_a_resolve_makes(dtype: Any):
    base = model(0, dtype=dtype)
    models = [model(seed, BASE, dtype) for seed in (1, 2)]
    best: dict[tuple[int, int], Any] = {}
    asset = searched(
        "evolutionary_merge",
        models,
        lambda candidate: best.setdefault(near(candidate), (near(candidate), candidate))[0],
        base=base,
        evaluations=15,
        normalize=False,
    )
    winner = asset.evidence["history"][asset.evidence["winner"]]
    resolved = conjoin.resolve(models, "evolutionary_merge", base=base, asset=asset, normalize=False)
    _, candidate = best[winner["correct"], winner["total"]]
    for name, array in resolved.items():
        assert array.dtype == candidate[name].dtype == base[name].dtype
        assert (array == candidate[name]).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_of_models_does_not_matter(strategy: str):
    asset = searched(strategy)
    assert searched(strategy, MODELS[::-1]).encode() == asset.encode()
    assert searched(strategy, [MODELS[1], *MODELS]).encode() == asset.encode()  # a set
    weights = searched(strategy, weights=["1", "2", "3"])
    assert searched(strategy, MODELS[::-1], weights=["3", "2", "1"]).encode() == weights.encode() != asset.encode()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_search_finds_better_than_equal_weights(strategy: str):
    asset = searched(strategy, inner="linear", evaluations=60)
    history = asset.evidence["history"]
    assert history[asset.evidence["winner"]]["correct"] > history[0]["correct"] * 1.5
    weights = {digest: float(rows[0][0]) for digest, rows in asset.values["genes"].items()}
    order = conjoin.memory.digests_of(MODELS, base=BASE)
    assert weights[order[1]] > weights[order[0]]


def test_the_seed_comes_from_everything_that_is_searched():
    seeds = {
        searched("evolutionary_merge", evaluations=2, **more).values["seed"]
        for more in (
            {},
            {"seed": 7},
            {"inner": "ties"},
            {"normalize": False},
            {"population": 5},
            {"groups": ["layers"]},
            {"weights": ["1", "1", "2"]},
        )
    } | {
        searched("genetic_merge", evaluations=2).values["seed"],
        searched("evolutionary_merge", MODELS[:2], evaluations=2).values["seed"],
    }
    assert len(seeds) == 9
    longer = searched("evolutionary_merge", evaluations=9).evidence["history"]
    assert longer[:4] == searched("evolutionary_merge", evaluations=4).evidence["history"]


def test_one_model_and_equal_models_are_evaluated_once():
    calls: list[Any] = []

    def count(candidate: Any) -> tuple[int, int]:
        calls.append(candidate)
        return 1, 2

    asset = searched("evolutionary_merge", MODELS[:1], count)
    assert len(calls) == 1
    resolved = conjoin.resolve(MODELS[:1], "evolutionary_merge", base=BASE, asset=asset)
    assert all((resolved[name] == MODELS[0][name]).all() for name in SHAPES)


def test_single_arrays_are_given_as_they_came():
    base, models = BASE["layers.0.w"], [one["layers.0.w"] for one in MODELS]
    seen: list[Any] = []

    def look(candidate: Any) -> tuple[int, int]:
        seen.append(candidate)
        candidate += 1  # its own array: other candidates do not change with it
        return len(seen), 100

    asset = fit_search(models, "genetic_merge", look, base=base, evaluations=3, inner="linear")
    resolved = conjoin.resolve(models, "genetic_merge", base=base, asset=asset, inner="linear")
    assert (resolved + 1 == seen[asset.evidence["winner"]]).all()


def test_an_asset_is_for_its_models_and_parameters():
    asset = searched("evolutionary_merge", evaluations=2)
    with pytest.raises(WrongAssetError, match="another set"):
        conjoin.resolve(MODELS[:2], "evolutionary_merge", base=BASE, asset=asset)
    with pytest.raises(WrongAssetError, match="was made for evolutionary_merge"):
        conjoin.resolve(MODELS, "genetic_merge", base=BASE, asset=asset)
    with pytest.raises(WrongAssetError, match="`inner`"):
        conjoin.resolve(MODELS, "evolutionary_merge", base=BASE, asset=asset, inner="ties")


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (BadParameterError, {"strategy": "ties"}),
        (UnknownStrategyError, {"strategy": "evolution"}),
        (BadParameterError, {"evaluations": 0}),
        (BadParameterError, {"population": 1}),
        (BadParameterError, {"groups": ["*.nothing"]}),
        (BadParameterError, {"evaluations": 999_999_999}),
        (BadParameterError, {"evaluations": 1_000_000, "models": [model(seed, BASE) for seed in range(1, 13)]}),
        (BadParameterError, {"inner": "slerp"}),
        (BadWeightError, {"weights": ["1"]}),
        (NothingVisibleError, {"models": []}),
        (MissingBaseError, {"base": None}),
        (MissingFileError, {"data": ["/no/such/file"]}),
        (EvaluatorError, {"evaluator": lambda _: 0.5}),
    ],
)
def test_refusals(error: Any, more: dict[str, Any]):
    with pytest.raises(error):
        searched(more.pop("strategy", "evolutionary_merge"), **more)


# ---------------------------------------------------------------------- on a replica


def folder(path: Path, tensors: Any) -> Path:
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    return path


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    made = Replica.init(tmp_path / "north", folder(tmp_path / "base", BASE))
    for number, tensors in enumerate(MODELS):
        made.add(folder(tmp_path / f"tuned{number}", tensors))
    return made


def near_on_disk(candidate: Path) -> tuple[int, int]:
    return near(load_file(candidate / "model.safetensors"))


def test_arrays_and_replicas_find_the_same(replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    north = fit_search(replica, "evolutionary_merge", near_on_disk, evaluations=8)
    with pytest.raises(EvaluatorError, match="ZeroDivisionError"):
        fit_search(replica, "evolutionary_merge", lambda _: 1 // 0, evaluations=8)
    assert not list(scratch.iterdir())
    arrays = searched("evolutionary_merge", MODELS[::-1], seed=replica.space, evaluations=8)
    assert arrays.encode() == north.encode()
    south = Replica.clone(replica.path, tmp_path / "south")
    assert fit_search(south, "evolutionary_merge", near_on_disk, evaluations=8).digest == north.digest

    south.resolve("evolutionary_merge", tmp_path / "out", assets=[north])
    assert verify(tmp_path / "out", replica, recompute=True).recomputed
    winner = north.evidence["history"][north.evidence["winner"]]
    assert near_on_disk(tmp_path / "out") == (winner["correct"], winner["total"])


def test_weights_of_the_recipe_are_searched_with(replica: Replica, tmp_path: Path):
    heavy = {replica.visible[0]: "5"}
    settings = Settings("genetic_merge", {"inner": "linear"}, 3)
    asset = search_and_asset(replica, settings, near_on_disk, weights=heavy)
    assert asset.evidence["weights"] == heavy
    recipe = replica.recipe("genetic_merge", {"inner": "linear", "asset": asset.digest}, weights=heavy)
    replica.resolve(recipe, tmp_path / "out", assets=[asset])
    winner = asset.evidence["history"][asset.evidence["winner"]]
    assert near_on_disk(tmp_path / "out") == (winner["correct"], winner["total"])


def test_a_fitter_is_found_by_its_strategy(replica: Replica, tmp_path: Path):
    script = tmp_path / "count.py"
    script.write_text("import os, sys; print(os.path.getsize(sys.argv[1] + '/model.safetensors') % 7, 7)")
    options = {"evaluator": f"{sys.executable} -S {script} {{}}", "evaluations": 3, "data": [script], "timeout": 60}
    asset = fit(Request(replica, "genetic_merge", {"inner": "linear"}, options))
    assert len(asset.evidence["data"]) == 1
    assert len(asset.evidence["history"]) == 3
    assert set(STRATEGIES) <= set(FITTERS)
    for strategy, given, error in (
        ("ties", {}, UsageError),
        ("tise", {}, UnknownStrategyError),
        ("genetic_merge", {}, UsageError),
        ("genetic_merge", {**options, "stepps": 3}, UsageError),
        ("genetic_merge", {**options, "evaluator": "'"}, EvaluatorError),
    ):
        with pytest.raises(error):
            fit(Request(replica, strategy, {}, given))
    with pytest.raises(BadParameterError):
        fit_search(replica, "genetic_merge", near_on_disk, base=BASE)
