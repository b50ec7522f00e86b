"""Contribution and weights: one spelling each; what does not change a merge is not part of the identity."""

import json
from pathlib import Path

import pytest

from conjoin.errors import BadWeightError, MalformedOperationError
from conjoin.wire.contribution import EXTRAS_MAX, Contribution, canonical_weight, check_weight
from conjoin.wire.digest import sha256

VECTORS = json.loads((Path(__file__).parents[2] / "docs/spec/vectors/digests.json").read_text("ascii"))["contribution"]
W, B, X = sha256(b"w"), sha256(b"b"), sha256(b"x")


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors(vector: dict) -> None:
    contribution = Contribution.from_json(json.loads(vector["canonical"]))
    assert contribution.digest == vector["digest"]
    assert contribution.digest == sha256(b"conjoin/contribution/1", vector["canonical"].encode("ascii"))


@pytest.mark.parametrize("text", ["1", "2.5", "0.05", "10", "100", "0.1", "1" * 32, "0." + "0" * 29 + "1"])
def test_canonical_weights_are_taken(text: str) -> None:
    assert check_weight(text) == text
    assert canonical_weight(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "1.0",
        "0",
        "0.0",
        "-1",
        "+1",
        "nan",
        "NaN",
        "inf",
        "1e3",
        "1E3",
        "01",
        "00",
        "",
        " ",
        "1 ",
        ".5",
        "1.",
        "1,5",
        "0x1",
        "1_0",
        "١",
        "½",
        "1" * 33,
        "0." + "0" * 30 + "1",
        None,
        1,
        1.0,
        True,
        b"1",
        "1\n",
    ],
)
def test_other_weights_are_refused(text: object) -> None:
    with pytest.raises(BadWeightError):
        check_weight(text)


@pytest.mark.parametrize(
    ("given", "weight"),
    [("1.50", "1.5"), ("1.0", "1"), (".5", "0.5"), ("1.", "1"), ("01", "1"), ("007.700", "7.7"), (" 2 ", "2")],
)
def test_weights_as_people_write_them(given: str, weight: str) -> None:
    assert canonical_weight(given) == weight


@pytest.mark.parametrize(
    "text", ["0", "0.0", ".0", "-1", "nan", "1e3", "", ".", "one", "1/2", "1,5", "1" * 40, "١", "--1"]
)
def test_what_people_may_not_write(text: str) -> None:
    with pytest.raises(BadWeightError) as caught:
        canonical_weight(text)
    assert caught.value.hint


def test_json_and_back() -> None:
    one = Contribution(W, B, "2.5", {"gram": X, "fisher": W})
    assert Contribution.from_json(one.to_json()) == one
    assert hash(Contribution.from_json(one.to_json())) == hash(one)
    assert list(one.extras) == ["fisher", "gram"]
    assert one.digest == Contribution(W, B, "2.5", {"fisher": W, "gram": X}).digest


def test_every_field_is_part_of_the_identity() -> None:
    several = [
        Contribution(W, B),
        Contribution(X, B),
        Contribution(W, X),
        Contribution(W, B, "2"),
        Contribution(W, B, "1", {"fisher": X}),
        Contribution(W, B, "1", {"gram": X}),
    ]
    assert len({c.digest for c in several}) == len(several)


def test_extras_cannot_be_changed_afterwards() -> None:
    extras = {"fisher": X}
    one = Contribution(W, B, "1", extras)
    extras["gram"] = X
    assert dict(one.extras) == {"fisher": X}
    with pytest.raises(TypeError):
        one.extras["gram"] = X  # type: ignore[index]


GOOD = Contribution(W, B).to_json()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {**GOOD, "title": "x"},
        {name: GOOD[name] for name in ("base", "weight", "weights")},
        {**GOOD, "weights": "abc"},
        {**GOOD, "base": None},
        {**GOOD, "extras": []},
        {**GOOD, "extras": {"Fisher": X}},
        {**GOOD, "extras": {"": X}},
        {**GOOD, "extras": {"fisher": "x"}},
        {**GOOD, "extras": {f"e{i}": X for i in range(EXTRAS_MAX + 1)}},
    ],
)
def test_malformed_values_are_refused(value: object) -> None:
    with pytest.raises(MalformedOperationError):
        Contribution.from_json(value)
