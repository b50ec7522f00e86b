"""The histories of docs/spec: the same meaning in any order of arrival, read from envelopes alone."""

import importlib.util
import json
import random
from pathlib import Path

import pytest

from conjoin.errors import ConjoinError
from conjoin.log import Log, forks, members, root, visible
from conjoin.wire.keys import fingerprint, openssh_line, parse_public_key

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors"
HISTORIES = json.loads((FOLDER / "histories.json").read_text("ascii"))["histories"]
KEYS = json.loads((FOLDER / "keys.json").read_text("ascii"))


@pytest.mark.parametrize("history", HISTORIES, ids=lambda h: h["name"])
@pytest.mark.parametrize("seed", range(4))
def test_history(history: dict, seed: int) -> None:
    order = [text.encode("ascii") for text in history["envelopes"]]
    if seed:
        order += order[::2]
        random.Random(seed).shuffle(order)
    log, refused = Log(history["space"]), {}
    for envelope in order:
        verdict = log.offer(envelope)
        if verdict.status == "refused":
            assert verdict.operation is not None
            assert verdict.error is not None
            refused[verdict.operation.id] = verdict.error.code
        refused |= {refusal.operation.id: refusal.error.code for refusal in verdict.refused}
    assert [operation.id for operation in log.operations()] == history["operations"]
    assert list(log.heads()) == history["heads"]
    assert list(visible(log)) == history["visible"]
    assert root(log) == history["root"]
    assert members(log) == history["members"]
    found = [{"author": fork.author, "seq": fork.seq, "operations": list(fork.operations)} for fork in forks(log)]
    assert found == history["forks"]
    assert refused == history["refused"]
    assert sorted(operation.id for operation in log.waiting()) == history["waiting"]


def test_the_corpus_holds_every_kind_of_refusal() -> None:
    codes = {code for history in HISTORIES for code in history["refused"].values()}
    assert codes == {"E401", "E402", "E405", "E406", "E407", "E409"}
    assert len({history["name"] for history in HISTORIES}) == len(HISTORIES) > 20


@pytest.mark.parametrize("vector", KEYS["good"], ids=lambda v: v["key"][:8])
def test_keys(vector: dict) -> None:
    assert parse_public_key(vector["openssh"]) == vector["key"]
    assert openssh_line(vector["key"]) == vector["openssh"]
    assert fingerprint(vector["key"]) == vector["fingerprint"]


@pytest.mark.parametrize("vector", KEYS["bad"], ids=lambda v: v["key"][:8] + v["key"][-2:])
def test_bad_keys(vector: dict) -> None:
    from conjoin.wire.keys import check_key_hex

    with pytest.raises(ConjoinError) as caught:
        check_key_hex(vector["key"])
    assert caught.value.code == "E403"


def test_the_files_are_what_the_tool_writes() -> None:
    path = ROOT / "tools/make_spec_vectors.py"
    spec = importlib.util.spec_from_file_location("make_spec_vectors", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    made = tool.texts()
    assert set(made) == {file.name for file in FOLDER.iterdir()}
    stale = [name for name, text in made.items() if (FOLDER / name).read_text("ascii") != text]
    assert stale == [], "run `python tools/make_spec_vectors.py` and say why the meaning changed"
