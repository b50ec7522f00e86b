"""Canonical JSON: one spelling per value, the vectors of docs/spec, nothing that replicas could read in two ways."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conjoin.errors import MalformedOperationError
from conjoin.wire import canonical

VECTORS = json.loads((Path(__file__).parents[2] / "docs/spec/vectors/canonical.json").read_text("ascii"))


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda v: v["hex"][:24])
def test_good(vector: dict) -> None:
    data = bytes.fromhex(vector["hex"])
    assert canonical.encode(canonical.decode(data)) == data


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda v: v["why"])
def test_bad(vector: dict) -> None:
    with pytest.raises(MalformedOperationError):
        canonical.decode(bytes.fromhex(vector["hex"]))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_encoded_decodes_to_itself(value: canonical.Json) -> None:
    data = canonical.encode(value)
    assert canonical.decode(data) == value
    assert json.loads(data) == value


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), [0.5], {"a": {"b": 1.5}}, 2**53, -(2**53), "\ud800", {1: 2}, {1, 2}]
)
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(MalformedOperationError):
        canonical.encode(value)


def test_the_document_is_named_in_the_error() -> None:
    with pytest.raises(MalformedOperationError, match="manifest is not canonical JSON"):
        canonical.decode(b'{"a": 1}', "manifest")


def test_nesting_has_a_limit_of_its_own() -> None:
    deep: canonical.Json = 1
    for _ in range(canonical.NESTING_MAX):
        deep = {"a": deep}
    assert canonical.decode(canonical.encode(deep)) == deep
    with pytest.raises(MalformedOperationError, match="nest deeper than 64"):
        canonical.encode([deep])
