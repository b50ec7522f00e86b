"""docs/spec/vectors/comparisons.json: what is answered to `hello`, from the page's text alone and by the library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.spec_reader import Held, read_frame
from tests.unit.spec_reader import Refused as RefusedByThePage

from conjoin.log import Log
from conjoin.store.memory import MemoryStore
from conjoin.sync.host import Host
from conjoin.sync.messages import Found, Refused, decode

TOP = Path(__file__).parents[2]
VECTORS = json.loads((TOP / "docs/spec/vectors/comparisons.json").read_text("ascii"))
ENVELOPES = [text.encode("ascii") for text in VECTORS["envelopes"]]
CASES = pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["why"])


@pytest.fixture(scope="module")
def log() -> Log:
    log = Log(VECTORS["space"])
    for envelope in ENVELOPES:
        assert log.offer(envelope).status == "admitted"
    return log


@CASES
def test_the_library_answers_so(case: dict, log: Log) -> None:
    host = Host(log, MemoryStore(), lambda _: None, lambda: 0)
    answer = host.exchange(bytes.fromhex(case["hello_hex"]))
    if "code" in case:
        refused = decode(answer)
        assert isinstance(refused, Refused)
        assert refused.code == case["code"]
        return
    header, _, operations = read_frame(answer)
    assert header == case["found"]
    assert operations == [ENVELOPES[place] for place in case["operations"]]
    assert isinstance(decode(answer), Found)


@CASES
def test_a_reader_of_the_page_answers_so(case: dict) -> None:
    hello, _, _ = read_frame(bytes.fromhex(case["hello_hex"]))
    held = Held(VECTORS["space"], ENVELOPES, hello["nonce"])
    if "code" in case:
        with pytest.raises(RefusedByThePage) as refused:
            held.answer(hello, VECTORS["root"], VECTORS["wanted"])
        assert refused.value.code == case["code"]
        return
    header, operations = held.answer(hello, VECTORS["root"], VECTORS["wanted"])
    assert header == case["found"]
    assert operations == [ENVELOPES[place] for place in case["operations"]]


def test_the_corpus_asks_everything_a_hello_can_ask() -> None:
    found = [case["found"] for case in VECTORS["cases"] if "found" in case]
    assert {len(answer["ranges"]) for answer in found} == {0, 1, 16}
    assert any(case.get("operations") == [] for case in VECTORS["cases"])
    assert any(case.get("operations") == list(range(len(ENVELOPES))) for case in VECTORS["cases"])
    assert len({case["why"] for case in VECTORS["cases"]}) == len(VECTORS["cases"]) > 15
