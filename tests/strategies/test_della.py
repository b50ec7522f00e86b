"""DELLA under the suite, and what follows from its formula."""

from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run, wild_model


class TestDella(StrategySuite):
    strategy = "della"
    variants: ClassVar = [
        {"density": "1", "window": "0"},
        {"density": "0.5", "window": "0.3", "agg": "sum", "zero_sign": "plus", "mask_scope": "contribution"},
    ]
    vectors: ClassVar = [
        {},
        {"density": "0.5", "window": "0.3", "agg": "sum", "zero_sign": "plus", "mask_scope": "contribution"},
        {"density": "0.4", "window": "0.5", "scope": "tensor", "agg": "all", "scale": "1.1"},
    ]


def merged(model: Model, strategy: str = "della", **params: str):
    return run(find_strategy(strategy), model, params)


def flat(values: np.ndarray, shape: tuple[int, ...]) -> Model:
    """One contribution of these values on a base of zeros."""
    zeros = np.zeros(values.size, np.uint64)
    contributions = {digest_number(0): {"w": kernels.encode(values.ravel(), "F64")}}
    return Model("F64", {"w": zeros}, contributions, shapes={"w": shape})


def test_probabilities_by_rank():
    """Of (8, −4, 1, 0) at ½ ± 0.15 the largest is kept with 0.65, then 0.55, 0.45, 0.35: so what is kept is divided."""
    tau = np.array([[8.0, -4, 1, 0]] * 64)
    result = kernels.decode(merged(flat(tau, (64, 4)), density="0.5", window="0.3")["w"], "F64").reshape(64, 4)
    for column, q in enumerate((0.65, 0.55, 0.45)):
        kept = result[:, column][result[:, column] != 0]
        assert 0 < len(kept) < 64
        assert np.abs(kept - tau[0, column] / q).max() < 1e-7


def test_window_0_is_dare_ties():
    """Once they draw alike: the draws of both are named after the strategy."""
    model = wild_model("F32", 3, {"w": (20, 25), "v": 33})
    for agg in ("mean", "sum", "max"):
        setting = {"density": "1", "agg": agg, "zero_sign": "plus"}
        assert_same(merged(model, window="0", **setting), merged(model, "dare_ties", **setting))
    one = flat(np.arange(1.0, 400.0), (399,))
    kept = kernels.decode(merged(one, density="0.25", window="0")["w"], "F64")
    assert set(np.unique(kept[kept != 0] / np.arange(1.0, 400.0)[kept != 0])) == {4.0}


def test_a_vector_is_one_row():
    model = flat(np.arange(-50.0, 50.0), (100,))
    as_matrix = flat(np.arange(-50.0, 50.0), (1, 100))
    assert_same(merged(model), merged(as_matrix))
    assert_same(merged(model), merged(model, scope="tensor"))


def test_rows_of_a_tensor_of_three_dimensions():
    model = flat(np.arange(-60.0, 60.0), (4, 5, 6))
    assert_same(merged(model), merged(flat(np.arange(-60.0, 60.0), (4, 30))))
    assert (merged(model)["w"] != merged(model, scope="tensor")["w"]).any()


def test_draws_are_unbiased():
    """Many rows alike: the mean of every column is right within four standard deviations."""
    rows = 5000
    tau = np.tile(np.array([3.0, -1.0, 0.5, 2.0]), (rows, 1))
    result = kernels.decode(merged(flat(tau, (rows, 4)), density="0.5", window="0.3")["w"], "F64").reshape(rows, 4)
    for column, q in ((0, 0.65), (1, 0.45), (2, 0.35), (3, 0.55)):
        assert abs(result[:, column].mean() / tau[0, column] - 1) < 4 * ((1 - q) / q / rows) ** 0.5


def test_signs_can_be_flipped():
    zeros = {"w": np.zeros(400, np.uint32)}
    given = {d: {"w": wild_model("F32", 3, {"w": 400}).contributions[d]["w"]} for d in map(digest_number, range(3))}
    flipped = {d: {"w": t["w"] ^ np.uint32(1 << 31)} for d, t in given.items()}
    one, other = (merged(Model("F32", zeros, c, shapes={"w": (4, 100)})) for c in (given, flipped))
    assert (kernels.decode(one["w"], "F32") == -kernels.decode(other["w"], "F32")).all()


def test_a_weight_of_0_has_no_vote():
    model = wild_model("F32", 3, {"w": (20, 25)})
    digests = model.digests
    without = Model("F32", model.base, {d: model.contributions[d] for d in digests[1:]}, shapes=model.shapes)
    weights = {digests[0]: Fraction(0)}
    three = Model("F32", model.base, model.contributions, weights, shapes=model.shapes)
    assert_same(merged(three), merged(without))


@pytest.mark.parametrize(
    ("density", "window"), [("0", "0"), ("0.1", "0.2"), ("0.95", "0.2"), ("0.5", "1"), ("1.1", "0"), ("0.3", "-0.1")]
)
def test_probabilities_outside_are_refused(density, window):
    with pytest.raises(BadParameterError, match="della"):
        merged(flat(np.ones(4), (4,)), density=density, window=window)
