"""AdaMerging under the suite: an asset is applied exactly."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import MissingAssetError, WrongAssetError
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run, wild_model

SUBJECT, ARITHMETIC = find_strategy("ada_merging"), find_strategy("task_arithmetic")


def trim(setting) -> dict:
    return {"trim": {"density": setting.get("density", "0.2")}} if setting.get("plus_plus") == "true" else {}


def uniform(model: Model, scale: str, setting=None) -> Model:
    return replace(model, fitted={"scale": {"*": dict.fromkeys(model.digests, scale)}, **trim(setting or {})})


def tame(count: int, form: str = "F32", n: int = 60) -> Model:
    def values(salt: int):
        return np.array([(salt * 37 + i * i * (salt + 3)) % 101 - 50 for i in range(n)]) / 64

    tensors = [{"w": kernels.encode(values(i), form), "b": kernels.encode(values(i)[:3], form)} for i in range(9)]
    return Model(form, tensors[0], {digest_number(i): tensors[i + 1] for i in range(count)})


class TestAdaMerging(StrategySuite):
    strategy = "ada_merging"
    variants: ClassVar = [{"plus_plus": "true", "density": "1"}, {"plus_plus": "true", "density": "0.0001"}]
    vectors: ClassVar = [{}, {"plus_plus": "true", "density": "0.5"}]

    def fit(self, model, setting):
        """Another coefficient for every tensor and contribution; task-wise ones for the tensors beyond the first."""
        first, *_ = model.names
        rows = {first: ["0.301", "0.25", "0.1234567", "1", "0", "0.7", "0.5"]}
        rows["*"] = ["0.3", "0.299000000953674316", "0.5", "0.8", "0.1", "0.2", "0.4"]
        scale = {name: dict(zip(model.digests, values, strict=False)) for name, values in rows.items()}
        return {"scale": scale, **trim(setting)}


@pytest.mark.parametrize("form", ["BF16", "F16", "F32"])
def test_coefficients_never_moved_are_task_arithmetic(form):
    model = tame(4, form)
    assert_same(run(SUBJECT, uniform(model, "0.3")), run(ARITHMETIC, model, {"scale": "0.3"}))


def test_coefficients_follow_their_contributions():
    model, first = tame(3), ["0.125", "0.875", "0.5"]
    scales = {"*": dict(zip(model.digests, first, strict=True))}
    swapped = {d: model.contributions[e] for d, e in zip(model.digests, reversed(model.digests), strict=True)}
    other = {"*": dict(zip(model.digests, reversed(first), strict=True))}
    # sums are taken in canonical order; these numbers are so short that every order is exact
    assert_same(
        run(SUBJECT, replace(model, contributions=swapped, fitted={"scale": other})),
        run(SUBJECT, replace(model, fitted={"scale": scales})),
    )


def test_exact_sums():
    model = tame(3)
    scales = dict(zip(model.digests, ["0.301", "0.25", "0.123456789"], strict=True))
    result = run(SUBJECT, replace(model, fitted={"scale": {"*": scales}}, weights={model.digests[0]: Fraction(2)}))
    base = kernels.decode(model.base["w"], "F32")
    for i, found in enumerate(kernels.decode(result["w"], "F32")):
        exact = Fraction(base[i])
        for number, digest in enumerate(model.digests):
            theta = Fraction(kernels.decode(model.contributions[digest]["w"], "F32")[i])
            exact += Fraction(scales[digest]) * (2 if number == 0 else 1) * (theta - Fraction(base[i]))
        assert abs(Fraction(found) - exact) <= abs(exact) * Fraction(1, 2**23) + Fraction(1, 2**24)


def test_plus_plus_trims_and_elects():
    """Density ½ of four: τ̂ = (8, −6, ., .), (., 5, −4, .), elected + − −; what disagrees goes."""
    base = np.zeros(4)
    rows = [[8.0, -6.0, 1.0, 0.5], [0.25, 5.0, -4.0, 1.0]]
    digests = sorted(digest_number(i) for i in range(2))
    tensors = {d: {"w": kernels.encode(np.array(row), "F64")} for d, row in zip(digests, rows, strict=True)}
    fitted = {"scale": {"w": {digests[0]: "0.5", digests[1]: "0.25"}}, "trim": {"density": "0.5"}}
    model = Model("F64", {"w": kernels.encode(base, "F64")}, tensors, fitted=fitted)
    result = run(SUBJECT, model, {"plus_plus": "true", "density": "0.5"})
    assert kernels.decode(result["w"], "F64").tolist() == [4.0, -3.0, -1.0, 0.0]


def test_plus_plus_of_agreeing_vectors_at_density_one_changes_nothing():
    model = tame(2)
    same = replace(model, contributions=dict.fromkeys(model.digests, model.contributions[model.digests[0]]))
    setting = {"plus_plus": "true", "density": "1"}
    assert_same(run(SUBJECT, uniform(same, "0.25", setting), setting), run(SUBJECT, uniform(same, "0.25")))


def test_without_asset():
    with pytest.raises(MissingAssetError, match="conjoin fit ada_merging"):
        run(SUBJECT, tame(2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "holds no `scale`"),
        ({"scale": {}}, "nothing for this tensor"),
        ({"scale": {"*": {}}}, "nothing for the contributions"),
        ({"scale": {"*": "0.3"}}, "no object"),
        ({"scale": {"*": {digest_number(0): "much", digest_number(1): "1"}}}, "not a decimal"),
    ],
)
def test_a_broken_asset_is_named(values, message):
    with pytest.raises(WrongAssetError, match=message):
        run(SUBJECT, replace(tame(2), fitted=values))


def test_wild_numbers_with_every_coefficient_zero_give_the_base():
    model = uniform(wild_model("BF16", 3, {"w": 50}), "0")
    result = kernels.decode(run(SUBJECT, model)["w"], "BF16")
    assert (result == kernels.decode(model.base["w"], "BF16")).all()


@pytest.mark.parametrize("setting", [{}, {"plus_plus": "true", "density": "0.3"}])
def test_what_was_learned_on_other_task_vectors_is_refused(setting):
    model = uniform(tame(2), "0.3", {"plus_plus": "true", "density": "0.5"})
    with pytest.raises(WrongAssetError, match="another `trim`"):
        run(SUBJECT, model, setting)
