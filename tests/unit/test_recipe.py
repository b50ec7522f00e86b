"""Recipes: canonical form, digests, and every refusal with its nearest name."""

import json
from pathlib import Path

import pytest

from conjoin.errors import (
    BadParameterError,
    BadRecipeError,
    BadWeightError,
    UnknownParameterError,
    UnknownStrategyError,
)
from conjoin.plan import Recipe, read_recipe
from conjoin.wire import canonical
from conjoin.wire.digest import sha256

A, B = "aa" * 32, "bb" * 32
VECTORS = Path(__file__).parents[2] / "docs" / "spec" / "vectors" / "recipe.json"


def test_defaults_are_filled_in_and_numbers_are_canonical_decimals() -> None:
    recipe = Recipe.of("ties", {"density": "0.20", "scale": 1})
    assert recipe.params["density"] == "0.2"
    assert recipe.params["scale"] == "1"
    assert recipe == Recipe.of("ties", {"density": 0.2})
    assert recipe.digest == Recipe.of("ties").digest
    assert set(recipe.params) == {parameter.name for parameter in recipe.step.traits.parameters}


def test_digest_is_of_the_canonical_json() -> None:
    recipe = Recipe.of("ties", {"density": "0.5"}, rules=[{"tensors": "*.bias", "strategy": "weight_average"}])
    assert recipe.digest == sha256(b"conjoin/recipe/1", canonical.encode(recipe.to_json()))


def test_json_round_trip_and_reading_a_file() -> None:
    recipe = Recipe.of(
        "slerp",
        {"t": {B: "0.3", A: "0.70"}},
        rules=[{"tensors": "layers.?.*", "strategy": "ties", "params": {"density": "0.1"}}],
        weights={B: 2, A: "0.50"},
        out_dtype="F32",
        missing="exclude",
        extra="keep",
        integers="majority",
        singleton="identity",
    )
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json(recipe.to_json()).digest == recipe.digest
    assert read_recipe(json.dumps(recipe.to_json(), indent=2).encode()) == recipe
    assert list(recipe.weights) == [A, B]
    assert dict(recipe.weights) == {A: "0.5", B: "2"}
    assert dict(recipe.params["t"]) == {A: "0.7", B: "0.3"}
    assert read_recipe(b'{"strategy": "ties", "params": {"density": 0.10}}').params["density"] == "0.1"


def test_parameters_by_contribution_follow_canonical_order() -> None:
    step = Recipe.of("slerp", {"t": {B: "0.3"}}).step
    assert step.parsed([A, B])["t"] == (None, step.parsed([B, A])["t"][0])
    assert Recipe.of("slerp").step.parsed([A, B])["t"] is None


def test_the_first_rule_that_matches_counts() -> None:
    rules = [
        {"tensors": "a.*", "strategy": "task_arithmetic"},
        {"tensors": "*.bias", "strategy": "linear"},
    ]
    recipe = Recipe.of("weight_average", rules=rules)
    assert recipe.step_for("a.bias").strategy == "task_arithmetic"
    assert recipe.step_for("b.bias").strategy == "linear"
    assert recipe.step_for("B.BIAS").strategy == "weight_average"


def test_every_field_changes_the_digest() -> None:
    variants = [
        Recipe.of("ties"),
        Recipe.of("ties", {"density": "0.3"}),
        Recipe.of("ties", out_dtype="F32"),
        Recipe.of("ties", singleton="identity"),
        Recipe.of("ties", missing="base"),
        Recipe.of("ties", extra="drop"),
        Recipe.of("ties", integers="majority"),
        Recipe.of("ties", weights={A: "2"}),
        Recipe.of("ties", rules=[{"tensors": "*", "strategy": "linear"}]),
        Recipe.of("dare"),
    ]
    assert len({recipe.digest for recipe in variants}) == len(variants)


@pytest.mark.parametrize(
    ("value", "error", "names"),
    [
        ({"strategy": "ties", "parms": {}}, BadRecipeError, "params"),
        ({"strategy": "tyes"}, UnknownStrategyError, "ties"),
        ({"strategy": "ties", "params": {"densty": "0.2"}}, UnknownParameterError, "density"),
        ({"strategy": "ties", "params": {"density": "2"}}, BadParameterError, "density"),
        ({"strategy": "ties", "params": []}, BadRecipeError, "params"),
        ({}, BadRecipeError, "strategy"),
        ([], BadRecipeError, "object"),
        ({"strategy": "ties", "out_dtype": "F31"}, BadRecipeError, "F32"),
        ({"strategy": "ties", "missing": "ignore"}, BadRecipeError, "exclude"),
        ({"strategy": "ties", "numerics": 2}, BadRecipeError, "numerics"),
        ({"strategy": "ties", "version": 99}, BadRecipeError, "version"),
        ({"strategy": "ties", "rules": {}}, BadRecipeError, "rules"),
        ({"strategy": "ties", "rules": [{"tensor": "*", "strategy": "ties"}]}, BadRecipeError, "tensors"),
        ({"strategy": "ties", "rules": [{"tensors": "", "strategy": "ties"}]}, BadRecipeError, "tensors"),
        ({"strategy": "ties", "weights": {"abc": "1"}}, BadRecipeError, "digest"),
        ({"strategy": "ties", "weights": {A: "-1"}}, BadWeightError, "-1"),
        ({"strategy": "ties", "weights": {A: "nan"}}, BadWeightError, "nan"),
        ({"strategy": "slerp", "params": {"t": {"abc": "0.5"}}}, BadRecipeError, "digest"),
        ({"strategy": "slerp", "params": {"t": "0.5"}}, BadParameterError, "per contribution"),
    ],
)
def test_what_is_refused_names_the_next_step(value: object, error: type[Exception], names: str) -> None:
    with pytest.raises(error) as caught:
        Recipe.from_json(value)
    assert names in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_files_that_are_not_json_are_refused(data: bytes) -> None:
    with pytest.raises(BadRecipeError):
        read_recipe(data)


def test_vectors_of_the_specification() -> None:
    vectors = json.loads(VECTORS.read_text())["vectors"]
    assert len(vectors) >= 4
    for vector in vectors:
        recipe = Recipe.from_json(vector["recipe"])
        assert recipe.to_json() == vector["canonical"]
        assert recipe.digest == vector["digest"]
