"""A byte of a vector cannot change unless the strategy's version does, and a version unless the changelog says so."""

import copy
import json
import runpy
from pathlib import Path

import pytest

from conjoin.strategies.base import strategies

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools/vectors/make_index.py"))
ADVICE = "run `python tools/vectors/make_index.py`"


def test_every_vector_is_the_committed_one():
    known, found = TOOL["read"](), TOOL["found"]()
    assert TOOL["changed"](known, found) == [], "raise the strategy's version and add a fragment of type `bits`"
    for name, versions in found.items():
        for version, digests in versions.items():
            assert known[name][version] == digests, f"vectors came or went: {ADVICE}; none may go"


@pytest.mark.parametrize("field", ["out", "params", "base", "contributions", "weights", "seeds", "out_format"])
def test_a_change_is_seen(field):
    path = sorted((ROOT / "tests/vectors").glob("ties/*.json"))[0]
    vector = json.loads(path.read_text())
    altered = copy.deepcopy(vector)
    altered[field] = {"w": "00"} if isinstance(vector[field], dict) else "F16"
    digest = TOOL["digest_of"]
    assert digest(altered) != digest(vector)
    known = {"ties": {"1": {path.stem: digest(vector)}}}
    assert TOOL["changed"](known, {"ties": {"1": {path.stem: digest(altered)}}}) == [f"ties/{path.stem} (version 1)"]
    assert TOOL["changed"](known, {"ties": {"2": {path.stem: digest(altered)}}}) == []


def test_a_version_is_in_the_changelog():
    """From the second on: `<strategy> version <N>` in a fragment of type `bits`, or in the changelog of a release."""
    fragments = [path.read_text() for path in (ROOT / "changes").glob("*.bits.md")]
    told = " ".join([*fragments, (ROOT / "CHANGELOG.md").read_text()]).replace("`", "").lower()
    assert fragments or "output bytes changed" in told
    known = TOOL["read"]()
    for name, strategy in strategies().items():
        assert str(strategy.version) in known[name]
        for version in range(2, strategy.version + 1):
            assert f"{name} version {version}" in told, f"no changelog entry says that {name} has version {version}"
            assert str(version - 1) in known[name], "the digests of an earlier version stay in the index"
