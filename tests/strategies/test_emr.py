"""EMR-Merging under the suite, what its side tensors mean, and its identities."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.kernels import decode, encode
from conjoin.strategies.base import TaskBlock, find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, digest_number, run, wild_model

EMR = find_strategy("emr")
TAUS = [[8, -4, 1, 0, 2, -6, 3, 5], [4, 6, -2, 0, -3, -1, 7, -5], [-1, 2, 3, 0, 5, -4, -8, 6]]


class TestEmr(StrategySuite):
    strategy = "emr"
    variants: ClassVar = [{"scale": "-0.3"}]
    vectors: ClassVar = [{}, {"rescale_scope": "tensor", "scale": "0.5"}, {"rescale_scope": "model"}]

    def test_rescalers_are_finite(self) -> None:
        for form in ("BF16", "F64"):
            model = wild_model(form, 3, {"w": 300, "v": 1})
            for setting in self.settings():
                result = self.run(model, setting)
                assert all(np.isfinite(rescalers(result, name)).all() for name in model.names)


def rescalers(result, name="w"):
    return result[f"{name}|rescale"].view(np.float64)


def masks(result, count, n, name="w"):
    return kernels.unpack(result[f"{name}|mask"].reshape(count, -1), n)


def made(taus, base=None, form="F32"):
    origin = np.zeros(len(taus[0])) if base is None else base
    digests = sorted(map(digest_number, range(len(taus))))
    thetas = {d: {"w": encode(origin + np.array(t, float), form)} for d, t in zip(digests, taus, strict=True)}
    return Model(form, {"w": encode(origin, form)}, thetas)


def task(model, result, index, name="w"):
    """θ₀ + rescaleᵢ · maskᵢ ⊙ (θ − θ₀), as `load_task` makes it."""
    rows = result[f"{name}|mask"].reshape(len(model.digests), -1)
    side = {"mask": rows[index], "rescale": rescalers(result, name)[index : index + 1]}
    block = TaskBlock(result[name], model.base[name], model.form, model.form, side)
    return decode(EMR.one_task(block, EMR.parse({})), model.form)


@pytest.mark.parametrize("scale", ["1", "0.5", "-2"])
@pytest.mark.parametrize("scope", ["official", "model", "tensor"])
def test_one_contribution_comes_back_exactly(scale, scope):
    rng = np.random.default_rng(1)
    model = made([rng.integers(-100, 100, 70) / 64.0], rng.integers(-100, 100, 70) / 64.0)
    result = run(EMR, model, {"scale": scale, "rescale_scope": scope})
    assert (encode(task(model, result, 0), "F32") == model.contributions[model.digests[0]]["w"]).all()
    assert rescalers(result).tolist() == [1 / float(scale)]


@pytest.mark.parametrize("scope", ["official", "model", "tensor"])
def test_each_task_by_the_formula(scope):
    """Three tensors of different sizes; everything again from float64 arrays."""
    rng = np.random.default_rng(2)
    sizes, k = {"a": 7, "b": 300, "c": 40}, 4
    base = {name: rng.normal(size=n).astype(np.float32).astype(float) for name, n in sizes.items()}
    taus = [{name: rng.normal(size=n).astype(np.float32) * (i + 1) / 64 for name, n in sizes.items()} for i in range(k)]
    digests = sorted(map(digest_number, range(k)))
    thetas = {
        d: {name: encode(base[name] + tau[name], "F64") for name in sizes}
        for d, tau in zip(digests, taus, strict=True)
    }  # fmt: skip
    weights = dict(zip(digests, map(Fraction, ("1", "0.5", "2", "0")), strict=True))
    model = Model("F64", {name: encode(base[name], "F64") for name in sizes}, thetas, weights)
    result = run(EMR, model, {"rescale_scope": scope})
    whole, kept = np.zeros((k, len(sizes))), np.zeros((k, len(sizes)))
    expected = {}
    for at, name in enumerate(sizes):
        rows = np.array([decode(thetas[d][name], "F64") for d in digests]) - base[name]
        sign = np.where((rows * [[1], [0.5], [2], [0]]).sum(0) > 0, 1, -1)
        unified = sign * np.maximum((rows[:3] * sign).max(0), 0)
        mask = rows * unified > 0
        assert (masks(result, k, sizes[name], name) == mask).all()
        assert np.allclose(decode(result[name], "F64"), base[name] + unified, rtol=1e-15)
        expected[name] = mask * unified
        measure = np.mean if scope == "official" else np.sum
        whole[:, at], kept[:, at] = measure(np.abs(rows), axis=1), measure(np.abs(expected[name]), axis=1)
    factors = whole / kept if scope == "tensor" else np.repeat((whole.sum(1) / kept.sum(1))[:, None], 3, axis=1)
    for at, name in enumerate(sizes):
        assert np.allclose(rescalers(result, name), factors[:, at], rtol=1e-13)
        origin, theta = base[name], decode(result[name], "F64")
        for index in range(k):
            written = (
                origin + rescalers(result, name)[index] * (theta - origin) * masks(result, k, sizes[name], name)[index]
            )
            assert np.allclose(task(model, result, index, name), written, rtol=1e-15)
            rebuilt = base[name] + factors[index, at] * expected[name][index]
            assert np.allclose(task(model, result, index, name), rebuilt, rtol=1e-12)


def test_the_scale_does_not_change_the_tasks():
    model = made(np.array(TAUS) / 8, np.arange(8) / 4, "F64")
    plain, half = run(EMR, model), run(EMR, model, {"scale": "0.5"})
    for index in range(3):
        assert task(model, plain, index).tolist() == task(model, half, index).tolist()


def test_identical_contributions():
    result = run(EMR, made([TAUS[0]] * 3))
    assert decode(result["w"], "F32").tolist() == TAUS[0]
    assert rescalers(result).tolist() == [1, 1, 1]
    assert (masks(result, 3, 8) == (np.array(TAUS[0]) != 0)).all()


def test_two_take_the_larger_value_and_the_negative_of_opposites():
    result = run(EMR, made([[4.0, -4, 1, 2], [-4.0, 4, -3, 1]]))
    assert decode(result["w"], "F32").tolist() == [-4, -4, -3, 2]


def test_a_negated_model_has_the_same_masks_where_no_sum_is_zero():
    """f(−τ) = −f(τ); where Στ = 0 the sign is − for both."""
    plain, negated = run(EMR, made(TAUS)), run(EMR, made(-np.array(TAUS)))
    assert decode(negated["w"], "F32").tolist() == (-decode(plain["w"], "F32")).tolist()
    assert (plain["w|mask"] == negated["w|mask"]).all()
    assert (plain["w|rescale"] == negated["w|rescale"]).all()


def test_scaled_task_vectors_scale_the_result():
    plain, scaled = run(EMR, made(TAUS)), run(EMR, made(4 * np.array(TAUS)))
    assert decode(scaled["w"], "F32").tolist() == (4 * decode(plain["w"], "F32")).tolist()
    assert (plain["w|rescale"] == scaled["w|rescale"]).all()


def test_a_base_moved_moves_the_result():
    move = np.arange(8) * 16.0
    plain, moved = run(EMR, made(TAUS)), run(EMR, made(TAUS, move))
    assert decode(moved["w"], "F32").tolist() == (decode(plain["w"], "F32") + move).tolist()
    assert (plain["w|rescale"] == moved["w|rescale"]).all()


def test_of_pairs_the_unified_vector_is_a_join():
    """k = 2: commutative, associative, idempotent."""
    rng = np.random.default_rng(3)
    a, b, c = rng.integers(-5, 6, (3, 500))

    def join(left, right):
        return decode(run(EMR, made([left, right]))["w"], "F32")

    assert (join(a, b) == join(b, a)).all()
    assert (join(join(a, b), c) == join(a, join(b, c))).all()
    assert (join(a, a) == a).all()


def test_nothing_to_divide_by_gives_one():
    assert rescalers(run(EMR, made([[0.0, 0], [0, 0]]))).tolist() == [1, 1]
    assert rescalers(run(EMR, made([[1.0, 0], [-2, 0]])))[0] == 1


def test_scale_zero_is_refused():
    with pytest.raises(BadParameterError, match="`scale` of emr is 0"):
        run(EMR, made(TAUS), {"scale": "0"})


def test_the_cut_of_a_large_tensor_does_not_show_in_the_official_rescaler():
    model = wild_model("BF16", 2, {"w": 3 * 65_536 + 5, "v": 9})
    whole, cut = run(EMR, model), run(EMR, replace(model), slice_elements=65_536)
    assert (rescalers(whole) == rescalers(cut)).all()
    assert (rescalers(whole) == rescalers(whole, "v")).all()
