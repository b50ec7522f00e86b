"""Representation surgery under the suite: the backbone is that of the inner merge; adapters never touch it."""

import struct
from dataclasses import replace
from typing import ClassVar

import pytest

from conjoin.errors import MissingAssetError, WrongAssetError
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import StrategySuite, assert_same, run, wild_model

SUBJECT = find_strategy("representation_surgery")


def adapter(rank: int, features: int, salt: int) -> dict:
    values = [(i * 7 + salt) % 11 - 5 for i in range(rank * features)]
    text = b"".join(struct.pack("<f", value / 8) for value in values).hex()
    return {"rank": rank, "down": text, "up": text}


def inner_of(setting) -> dict:
    name = setting.get("inner", "weight_average")
    own = {"task_arithmetic": {"scale": "0.3"}, "ties": {"density": "0.2"}}.get(name, {})
    return {"strategy": name, **{key: setting.get(key, default) for key, default in own.items()}}


class TestRepresentationSurgery(StrategySuite):
    strategy = "representation_surgery"
    variants: ClassVar = [{"inner": "ties", "density": "0.5"}, {"inner": "task_arithmetic", "scale": "-0.7"}]
    vectors: ClassVar = [{}, {"inner": "task_arithmetic"}, {"inner": "ties", "density": "0.5"}]

    def fit(self, model, setting):
        return {
            "inner": inner_of(setting),
            "adapters": {digest: adapter(2, 3, salt) for salt, digest in enumerate(model.digests)},
        }


@pytest.mark.parametrize(
    ("inner", "setting"),
    [("weight_average", {}), ("task_arithmetic", {"scale": "0.3"}), ("ties", {"density": "0.37"})],
)
def test_the_backbone_is_that_of_the_inner_merge(inner, setting):
    model = wild_model("BF16", 3, {"w": (20, 25), "b": 7})
    fitted = TestRepresentationSurgery().fit(model, {"inner": inner, **setting})
    expected = run(find_strategy(inner), model, setting)
    assert_same(run(SUBJECT, replace(model, fitted=fitted), {"inner": inner, **setting}), expected)


def test_without_asset():
    with pytest.raises(MissingAssetError, match="conjoin fit representation_surgery"):
        run(SUBJECT, wild_model("F32", 2, {"w": 3}))


@pytest.mark.parametrize(
    "broken",
    [None, {}, {"rank": 0, "down": "", "up": ""}, {**adapter(2, 3, 0), "rank": 4}, {**adapter(2, 3, 0), "up": "00"}],
)
def test_a_broken_adapter_is_named(broken):
    model = wild_model("F32", 2, {"w": 3})
    adapters = {model.digests[0]: adapter(2, 3, 0)} | ({} if broken is None else {model.digests[1]: broken})
    with pytest.raises(WrongAssetError, match="adapter") as error:
        run(SUBJECT, replace(model, fitted={"inner": inner_of({}), "adapters": adapters}))
    assert model.digests[1] in str(error.value)


@pytest.mark.parametrize("setting", [{"inner": "ties"}, {"inner": "task_arithmetic", "scale": "0.31"}, {}])
def test_adapters_of_another_backbone_are_refused(setting):
    model = wild_model("F32", 2, {"w": 3})
    fitted = TestRepresentationSurgery().fit(model, {"inner": "task_arithmetic"})
    with pytest.raises(WrongAssetError, match="another `inner`"):
        run(SUBJECT, replace(model, fitted=fitted), setting)
