"""Model Breadcrumbs under the suite, and against the formula written out."""

from typing import ClassVar

import numpy as np
import pytest

import conjoin
from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import (
    BLOCK_ELEMENTS,
    Model,
    StrategySuite,
    assert_same,
    digest_number,
    run,
    wild_model,
)


class TestModelBreadcrumbs(StrategySuite):
    strategy = "model_breadcrumbs"
    variants: ClassVar = [
        {"scope": "tensor", "count_rule": "exact", "density": "0.5", "outliers": "0.125", "scale": "1"},
        {"count_rule": "exact", "density": "0.9", "outliers": "0", "min_keep": "2", "scale": "-0.37"},
    ]
    vectors: ClassVar = [
        {},
        {"scope": "tensor", "count_rule": "exact", "density": "0.5", "outliers": "0.125", "scale": "1"},
        {"scope": "tensor", "density": "0.3", "outliers": "0.05", "min_keep": "1", "scale": "0.7"},
    ]


def merged(model: Model, strategy: str = "model_breadcrumbs", **params: str):
    return run(find_strategy(strategy), model, params)


def flat(values: np.ndarray, shape: tuple[int, ...]) -> Model:
    """One contribution of these values on a base of zeros."""
    zeros = np.zeros(values.size, np.uint64)
    contributions = {digest_number(0): {"w": kernels.encode(values.ravel(), "F64")}}
    return Model("F64", {"w": zeros}, contributions, shapes={"w": shape})


def banded(rows: list[list[float]], top: int, kept: int) -> list[float]:
    """What of each row has a rank above `top` and up to `top + kept`, of equal magnitudes the first the larger."""
    out: list[float] = []
    for row in rows:
        order = sorted(range(len(row)), key=lambda at: (-abs(row[at]), at))
        chosen = set(order[top : top + kept])
        out += [value if at in chosen else 0.0 for at, value in enumerate(row)]
    return out


@pytest.mark.parametrize("shape", [(6, 40), (2, 3, 40), (240,), (240, 1)])
@pytest.mark.parametrize("scope", ["row", "tensor"])
def test_counts_of_a_row(shape, scope):
    """Against sorting, with many equal magnitudes."""
    values = (np.arange(240) * 37 % 101 // 3 - 16).astype(np.float64)
    columns = shape[-1] if scope == "row" else 240
    rows = values.reshape(-1, columns).tolist()
    expected = banded(rows, columns // 10, columns * 3 // 10)
    setting = {"density": "0.3", "outliers": "0.1", "scale": "1", "scope": scope, "count_rule": "exact"}
    assert kernels.decode(merged(flat(values, shape), **setting)["w"], "F64").tolist() == expected


def test_thresholds_keep_all_that_is_as_large():
    """Of eight with outliers ⅛ and ½ kept: 7 | 5 5 3 3 | 3 1 0, and the third 3 stays as well; so does a second 7."""
    setting = {"density": "0.5", "outliers": "0.125", "scale": "1"}
    for values, expected in (
        ([7.0, 5, -5, 3, -3, 3, 1, 0], [0.0, 5, -5, 3, -3, 3, 0, 0]),
        ([7.0, 5, -7, 3, -3, 2, 1, 0], [7.0, 5, -7, 3, -3, 0, 0, 0]),
        ([1.0] * 8, [1.0] * 8),
    ):
        for scope in ("row", "tensor"):
            result = merged(flat(np.array(values), (8,)), scope=scope, **setting)
            assert kernels.decode(result["w"], "F64").tolist() == expected


def test_without_outliers_it_is_a_trim_and_task_arithmetic():
    """TIES of one contribution is that trim; all of it kept is task arithmetic."""
    model = wild_model("F32", 1, {"w": (20, 25), "v": 7})
    for rule in ("threshold", "exact"):
        setting = {"density": "0.4", "scale": "0.3", "count_rule": rule}
        trimmed = merged(model, "ties", trim_scope="tensor", **setting)
        assert_same(merged(model, outliers="0", scope="tensor", min_keep="1", **setting), trimmed)
    three = wild_model("F32", 3, {"w": (20, 25), "v": 7})
    deltas = merged(three, "dare", density="1", scale="0.3")
    for scope in ("row", "tensor"):
        assert_same(merged(three, density="1", outliers="0", scale="0.3", scope=scope), deltas)


def test_short_rows_lose_all_unless_told_otherwise():
    model = flat(np.arange(1.0, 7.0), (2, 3))
    assert not kernels.decode(merged(model, scale="1")["w"], "F64").any()
    kept = kernels.decode(merged(model, scale="1", min_keep="1")["w"], "F64").tolist()
    assert kept == [0, 0, 3, 0, 0, 6]


def test_rows_across_blocks():
    """Rows of 3,000 do not meet blocks of 65,536; slices do."""
    model = wild_model("BF16", 2, {"w": (70, 3000)})
    for setting in ({}, {"scope": "tensor"}):
        whole = run(find_strategy("model_breadcrumbs"), model, setting, slice_elements=1 << 20)
        assert_same(run(find_strategy("model_breadcrumbs"), model, setting, slice_elements=BLOCK_ELEMENTS), whole)


@pytest.mark.parametrize(
    "given",
    [{"density": "0"}, {"density": "1.5"}, {"outliers": "1"}, {"density": "0.9", "outliers": "0.2"}, {"min_keep": "½"}],
)
def test_bands_that_are_none_are_refused(given):
    with pytest.raises(BadParameterError, match="model_breadcrumbs"):
        merged(flat(np.ones(4), (4,)), **given)


def test_the_executor_leaves_rows_whole():
    """It works on a slice in pieces, and 48 does not divide 65,536. Sums are whole numbers, so no order shows."""
    shape, words = (20_000, 48), np.arange(960_000, dtype=np.uint32) * np.uint32(2_654_435_761)
    values = [(words * np.uint32(2 * i + 1) >> np.uint32(20)).astype(np.float32).reshape(shape) for i in range(4)]
    thetas = [{"w": value} for value in values[1:]]
    found = conjoin.resolve(thetas, "model_breadcrumbs", base={"w": values[0]}, scale="0.25")
    raw = [{"w": value.ravel().view(np.uint32)} for value in values]
    model = Model("F32", raw[0], dict(zip(map(digest_number, range(3)), raw[1:], strict=True)), shapes={"w": shape})
    assert_same({"w": np.asarray(found["w"]).ravel().view(np.uint32)}, merged(model, scale="0.25"))
