"""AdaRank under the suite: learned masks over singular triplets are applied exactly."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadWeightError, MissingAssetError, WrongAssetError
from conjoin.strategies.adarank import energetic
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run, wild_model

SUBJECT, ADAPTIVE, ARITHMETIC = (find_strategy(name) for name in ("adarank", "ada_merging", "task_arithmetic"))


def width(shape) -> int:
    return min(shape[0], math.prod(shape[1:])) if len(shape) > 1 else 0


def masked(model: Model, pattern: str, scale: str = "0.5") -> Model:
    kept = {
        name: dict.fromkeys(model.digests, (pattern * width(model.shape(name)))[: width(model.shape(name))])
        for name in model.names
        if len(model.shape(name)) > 1
    }
    return replace(model, fitted={"scale": {"*": dict.fromkeys(model.digests, scale)}, "kept": kept})


def tame(count: int, shape=(6, 5), form: str = "F32") -> Model:
    n = math.prod(shape)

    def values(salt: int):
        return np.array([(salt * 37 + i * i * (salt + 3)) % 101 - 50 for i in range(n)]) / 64

    tensors = [{"w": kernels.encode(values(i), form), "b": kernels.encode(values(i)[:3], form)} for i in range(9)]
    digests = sorted(digest_number(i) for i in range(count))
    return Model(form, tensors[0], dict(zip(digests, tensors[1:], strict=False)), shapes={"w": shape})


class TestAdarank(StrategySuite):
    strategy = "adarank"
    variants: ClassVar = [{"variant": "energy", "density": "0.5", "scale": "0.7"}]
    vectors: ClassVar = [{}, {"variant": "energy", "density": "0.8"}, {"origin": "mean"}]

    def fit(self, model, setting):
        """Of two contributions every third triplet goes, not the same ones; the others keep all."""
        kept = {}
        for name in model.names:
            count = width(model.shape(name))
            if count:
                kept[name] = {
                    digest: "".join("10"[(i + j) % 3 == 2 and i < 2] for j in range(count))
                    for i, digest in enumerate(model.digests)
                }
        scales = ["0.301", "0.25", "0.1234567", "1", "0", "0.7", "0.5"]
        origin = {"origin": "mean"} if setting.get("origin") == "mean" else {}
        return {"scale": {"*": dict(zip(model.digests, scales, strict=False))}, "kept": kept, **origin}


@pytest.mark.parametrize("form", ["BF16", "F32"])
def test_all_masks_one_is_task_arithmetic(form):
    model = tame(3, form=form)
    result = run(SUBJECT, masked(model, "1", "0.3"))
    assert_same(result, run(ADAPTIVE, masked(model, "1", "0.3")))
    assert_same(result, run(ARITHMETIC, model, {"scale": "0.3"}))


def test_all_masks_zero_is_the_base_but_for_vectors():
    model = masked(tame(3), "0")
    result = run(SUBJECT, model)
    assert (result["w"] == model.base["w"]).all()
    assert (result["b"] == run(ADAPTIVE, model)["b"]).all()


def test_wild_numbers_with_masks_zero_are_the_base():
    model = wild_model("F32", 3, {"w": (9, 7)})
    result = kernels.decode(run(SUBJECT, masked(model, "0"))["w"], "F32")
    assert (result == kernels.decode(model.base["w"], "F32")).all()


@pytest.mark.parametrize("shape", [(6, 5), (5, 6), (4, 3, 2)])
def test_against_float64_of_numpy(shape):
    model = masked(tame(2, shape), "1101001", "0.5")
    result = kernels.decode(run(SUBJECT, model, out_form="F64")["w"], "F64")
    base = kernels.decode(model.base["w"], "F32")
    expected = base.copy()
    for digest in model.digests:
        tau = (kernels.decode(model.contributions[digest]["w"], "F32") - base).reshape(shape[0], -1)
        u, s, v = np.linalg.svd(tau, full_matrices=False)
        kept = np.array([bit == "1" for bit in model.fitted["kept"]["w"][digest]])
        expected += 0.5 * ((u * (s * kept)) @ v).ravel()
    assert np.abs(result - expected).max() < 1e-9


def test_around_the_mean_with_all_triplets_and_coefficients_one_is_twice_as_far():
    """Two contributions at ±d from their mean: mean + 1·d − 1·d is the mean; with one coefficient 2 it is θ₁ + d."""
    model = tame(2)
    first, second = (kernels.decode(model.contributions[d]["w"], "F32") for d in model.digests)
    both = replace(model, fitted={**masked(model, "1", "1").fitted, "origin": "mean"})
    assert (kernels.decode(run(SUBJECT, both, {"origin": "mean"})["w"], "F32") == (first + second) / 2).all()
    scale = {"scale": {"*": dict(zip(model.digests, ["2", "0"], strict=True))}}
    one = replace(both, fitted={**both.fitted, **scale})
    result = run(SUBJECT, one, {"origin": "mean"})
    assert (kernels.decode(result["w"], "F32") == first + (first - second) / 2).all()
    b, c = (kernels.decode(model.contributions[d]["b"], "F32") for d in model.digests)
    assert (kernels.decode(result["b"], "F32") == b + (b - c) / 2).all()


def test_around_the_mean_one_contribution_stays_itself_and_weights_must_not_vanish():
    model = tame(1)
    fitted = {**masked(model, "10").fitted, "origin": "mean"}
    result = run(SUBJECT, replace(model, fitted=fitted), {"origin": "mean"})
    assert_same(result, model.contributions[model.digests[0]])
    weightless = replace(model, fitted=fitted, weights=dict.fromkeys(model.digests, Fraction(0)))
    with pytest.raises(BadWeightError):
        run(SUBJECT, weightless, {"origin": "mean"})


def test_what_was_learned_around_another_origin_is_refused():
    with pytest.raises(WrongAssetError, match="another `origin`"):
        run(SUBJECT, masked(tame(2), "1"), {"origin": "mean"})


def test_energy_keeps_the_fewest_triplets_that_reach_the_share():
    values = np.array([3.0, 2.0, 1.0, 0.0])  # squares 9, 4, 1, 0 of 14
    for density, count in (("0.5", 1), ("9/14", 1), ("0.65", 2), ("13/14", 2), ("0.95", 3), ("1", 3)):
        assert energetic(values, Fraction(density)).tolist() == [i < count for i in range(4)]


def test_energy_needs_no_asset_and_the_method_does():
    model = tame(2)
    run(SUBJECT, model, {"variant": "energy"})
    with pytest.raises(MissingAssetError, match="conjoin fit adarank"):
        run(SUBJECT, model)


def test_a_cut_between_equal_singular_values_is_told():
    eye = {"w": kernels.encode(np.eye(3).ravel(), "F64")}
    zero = {"w": np.zeros(9, np.uint64)}
    model = masked(Model("F64", zero, {digest_number(0): eye}, shapes={"w": (3, 3)}), "110")
    told = []
    run(SUBJECT, model, warn=told.append)
    assert told == ["degenerate: singular values 2 and 3 of `w` are equal, and one of them is cut off"]


@pytest.mark.parametrize("mask", ["11", "11111x", "", 5, None])
def test_a_broken_mask_is_named(mask):
    model = masked(tame(2), "1")
    fitted = {**model.fitted, "kept": {"w": dict.fromkeys(model.digests, mask)}}
    with pytest.raises(WrongAssetError, match="string of 5 bits"):
        run(SUBJECT, replace(model, fitted=fitted))
