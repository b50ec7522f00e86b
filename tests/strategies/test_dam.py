"""DAM under the suite: learned shares of columns are applied exactly."""

import struct
from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import MissingAssetError, WrongAssetError
from conjoin.strategies.base import find_strategy
from conjoin.strategies.dam import columns_of
from conjoin.testing.strategy_suite import StrategySuite, assert_same, run, wild_model

SUBJECT, AVERAGE = find_strategy("dam"), find_strategy("weight_average")


def hexed(values) -> str:
    return np.asarray(values, "<f4").tobytes().hex()


class TestDam(StrategySuite):
    strategy = "dam"
    vectors: ClassVar = [{}]

    def fit(self, model, setting):
        """Shares that differ by column and add up to k, in eighths, so that equal contributions stay what they are."""
        count, found = len(model.digests), {}
        for name in model.names:
            column = np.arange(columns_of(model.shape(name)))
            steps = [(i + column) % 5 / 8 for i in range(count - 1)]
            nothing = np.zeros(len(column))
            rows = [1 + after - before for after, before in zip([*steps, nothing], [nothing, *steps], strict=True)]
            found[name] = {digest: hexed(row) for digest, row in zip(model.digests, rows, strict=True)}
        return {"coefficient": found}


@pytest.mark.parametrize("form", ["BF16", "F64"])
@pytest.mark.parametrize("weights", [(1, 1, 1), ("2.5", "0", "0.1")])
def test_shares_never_moved_are_the_mean(form, weights):
    model = wild_model(form, 3, {"w": (7, 9), "b": 5})
    given = dict(zip(model.digests, map(Fraction, weights), strict=True))
    ones = {"coefficient": {"*": dict.fromkeys(model.digests, hexed([1.0]))}}
    model = replace(model, weights=given)
    assert_same(run(SUBJECT, replace(model, fitted=ones)), run(AVERAGE, model))


def test_equal_contributions_at_unmoved_shares_stay_what_they_are():
    model = wild_model("F32", 3, {"w": (7, 9)})
    same = replace(model, contributions=dict.fromkeys(model.digests, model.contributions[model.digests[0]]))
    ones = {"coefficient": {"*": dict.fromkeys(model.digests, hexed([1.0]))}}
    assert_same(run(SUBJECT, replace(same, fitted=ones)), same.contributions[same.digests[0]])


def test_columns_of_four_dimensions_are_all_but_the_first():
    model = wild_model("F32", 2, {"w": (3, 2, 1, 2)})
    rows = {model.digests[0]: [2.0, 0.0, 1.5, 1.0], model.digests[1]: [0.0, 2.0, 0.5, 1.0]}
    fitted = {"coefficient": {"w": {digest: hexed(row) for digest, row in rows.items()}}}
    result = kernels.decode(run(SUBJECT, replace(model, fitted=fitted))["w"], "F32").reshape(3, 4)
    first, second = (kernels.decode(model.contributions[d]["w"], "F32").reshape(3, 4) for d in model.digests)
    assert (result[:, 0] == first[:, 0]).all()
    assert (result[:, 1] == second[:, 1]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "holds no `coefficient`"),
        ({"w": ["00", "00"]}, "hex of 1 or 9"),
        ({"w": [hexed([1.0] * 8)] * 2}, "hex of 1 or 9"),
        ({"w": [hexed([float("nan")] * 9)] * 2}, "finite"),
        ({"w": [1, 2]}, "hex of 1 or 9"),
        ({"v": [hexed([1.0])] * 2}, "nothing for this tensor"),
    ],
)
def test_a_broken_asset_is_named(values, message):
    model = wild_model("F32", 2, {"w": (7, 9)})
    rows = {name: dict(zip(model.digests, row, strict=True)) for name, row in values.items()}
    with pytest.raises(WrongAssetError, match=message):
        run(SUBJECT, replace(model, fitted={"coefficient": rows} if rows else {}))


def test_without_asset():
    with pytest.raises(MissingAssetError, match="conjoin fit dam"):
        run(SUBJECT, wild_model("F32", 2, {"w": 3}))


def test_elements_against_fractions():
    model = TestDam().equipped(wild_model("F32", 3, {"w": (4, 3)}), {})
    tiny = {d: {"w": kernels.encode(np.arange(12) * (i + 1) / 7, "F32")} for i, d in enumerate(model.digests)}
    result = kernels.decode(run(SUBJECT, replace(model, contributions=tiny))["w"], "F32")
    for e, found in enumerate(result):
        exact = Fraction(0)
        for digest in model.digests:
            share = struct.unpack_from("<f", bytes.fromhex(model.fitted["coefficient"]["w"][digest]), 4 * (e % 3))[0]
            exact += Fraction(share) * Fraction(kernels.decode(tiny[digest]["w"], "F32")[e]) / 3
        assert abs(Fraction(found) - exact) <= abs(exact) * Fraction(1, 2**24)
