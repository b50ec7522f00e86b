"""Every vector file gives its bytes on every backend, in any slicing; and no strategy is without vectors."""

import json
from pathlib import Path

import pytest

from conjoin.strategies.base import find_strategy, strategies
from conjoin.testing.strategy_suite import assert_same, backend, run
from conjoin.testing.vectors import Vector

FILES = sorted(Path(__file__).parent.glob("*/*.json"))
NEEDED = ("-k1-", "-k2-", "-k5-", "zero-tensor", "zero-delta", "all-equal", "ties-in-magnitude", "signed-zeros", "wild")


def read(path: Path) -> Vector:
    return Vector.from_json(json.loads(path.read_text()))


def test_every_strategy_has_vectors_of_every_kind():
    assert FILES
    for name in strategies():
        files = [path.name for path in FILES if path.parent.name == name]
        for kind in NEEDED:
            assert any(kind in file for file in files), f"{name} has no vector `{kind}`"
        for form in ("bf16", "f16", "f32", "f64"):
            assert any(file.startswith(form) for file in files), f"{name} has no vector in {form}"
        assert any(file.startswith("worked-") for file in files), f"{name} has no worked example"


def test_every_vector_belongs_to_a_strategy():
    assert {path.parent.name for path in FILES} <= set(strategies())


@pytest.mark.parametrize("name", sorted({path.parent.name for path in FILES}))
@pytest.mark.parametrize("arithmetic", ["reference", "compiled"])
def test_vectors(name, arithmetic):
    with backend(arithmetic):
        for path in FILES:
            if path.parent.name != name:
                continue
            vector = read(path)
            assert vector.strategy == name
            assert vector.version == find_strategy(name).version, f"{path.name} is of another version"
            assert vector.provenance
            try:
                assert_same(run(find_strategy(name), vector.model, vector.params, out_form=vector.out_form), vector.out)
            except AssertionError as error:
                raise AssertionError(f"{path.name}: {error}") from error


def test_a_vector_reads_back_as_it_was_written():
    for path in FILES:
        assert json.dumps(read(path).to_json(), indent=1, sort_keys=True) + "\n" == path.read_text()
