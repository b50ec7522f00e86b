"""`conjoin audit`: the paper's tables as data, the phases on known strategies, what it prints, writes and returns."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from conjoin.apps.audit import Request, paper, run
from conjoin.apps.audit.literature import EXPECTED, SETTINGS
from conjoin.apps.audit.outfit import Outfit, Replica
from conjoin.apps.audit.paper import ROWS
from conjoin.apps.audit.phases import layered, models_of, raw
from conjoin.apps.audit.raw import Operand
from conjoin.apps.audit.running import layers_for
from conjoin.apps.audit.shapes import CONTROLLED, SHAPES, Kind, Layer
from conjoin.apps.audit.sweep import gossip_order, sweep, swept_models
from conjoin.apps.audit.tensors import Family, family
from conjoin.errors import ConjoinError
from conjoin.strategies.base import find_strategy, strategies
from tests.e2e.shell import InProcess

LAYER = CONTROLLED.layers[0]


@pytest.fixture(scope="module")
def models() -> Family:
    return models_of(CONTROLLED, LAYER, "float64", 7)


def test_tables_add_up_to_the_totals_that_the_paper_prints() -> None:
    assert len(ROWS) == 26
    assert list(ROWS) == sorted(ROWS)
    for shapes, printed in paper.TOTALS.items():
        assert paper.totals({name: row.raw[shapes] for name, row in ROWS.items()}) == printed
    assert paper.TOTALS["4x4"] == paper.Totals((21, 1, 14), 0)
    layers = sum(paper.LAYERS.values())
    assert len(ROWS) * len(paper.LAYERED) * layers == paper.LAYER_CHECKS
    assert [name for name, row in ROWS.items() if row.resolve_ms > 200] == ["evolutionary_merge", "genetic_merge"]


def test_every_difference_from_the_paper_has_a_reason() -> None:
    assert list(EXPECTED) == list(ROWS)
    for name, expected in EXPECTED.items():
        controlled = ROWS[name].raw["4x4"]
        different = {at for at in range(3) if expected.letters[at] != controlled[at]}
        assert different == set(expected.why), name
        moved = {at for word in ROWS[name].raw.values() for at in range(3) if word[at] != controlled[at]}
        assert moved == set(expected.at_scale), name
    assert {setting.strategy for setting in SETTINGS} <= set(ROWS)


def test_shapes_are_those_of_the_models() -> None:
    assert SHAPES["gpt2-xl"].parameters == 1_557_611_200
    assert SHAPES["mistral-7b"].parameters == 7_241_732_096
    assert sum(layer.count for layer in SHAPES["gpt2-xl"].layers if layer.kind != "embedding") + 1 == 193
    assert sum(layer.count for layer in SHAPES["mistral-7b"].layers if layer.kind != "embedding") == 224


def test_generated_models_are_the_same_everywhere_and_have_a_decaying_spectrum() -> None:
    first = family(Layer("big", (384, 256), 1), "float32", values="float16", seed=3)
    again = family(Layer("big", (384, 256), 1), "float32", values="float16", seed=3)
    assert [one.tobytes() for one in first.models] == [one.tobytes() for one in again.models]
    assert (first.base.astype(np.float16) == first.base).all()
    delta = first.models[0].astype(np.float64) - first.base
    values = np.linalg.svd(delta, compute_uv=False)
    assert 0.0005 < delta.std() < 0.002
    assert (values[1] > values[0] / 4, values[128] < values[0] / 4) == (True, True)


@pytest.mark.parametrize("name", list(ROWS))
def test_letters_are_those_of_the_definition_and_both_layers_pass(name: str, models: Family) -> None:
    found = raw(find_strategy(name), [models])
    wanted = ["P" if at in EXPECTED[name].degenerate else letter for at, letter in enumerate(EXPECTED[name].letters)]
    assert (found.letters, found.problem) == ("".join(wanted), None)
    assert layered(find_strategy(name), [models]).letters == "PPPP"


def test_a_parameter_decides_whether_task_arithmetic_is_associative(models: Family) -> None:
    subject = find_strategy("task_arithmetic")
    assert raw(subject, [models]).letters == "PFF"
    assert raw(subject, [models], {"scale": "1"}).letters == "PPF" == ROWS["task_arithmetic"].raw["4x4"]


def test_raw_takes_the_arguments_in_their_order(models: Family) -> None:
    assert raw(find_strategy("slerp"), [models], {"t": [None, "0.3"]}).letters[0] == "F"


def test_an_error_is_a_result_with_its_reason(models: Family) -> None:
    found = raw(find_strategy("ada_merging"), [models], {"no_such_parameter": "1"})
    assert found.letters == ""
    assert found.problem
    assert "no_such_parameter" in found.problem


def test_sweep_ends_in_one_digest_and_gossip_reaches_everyone() -> None:
    order = gossip_order(10, 1)
    assert sorted(order) == sorted((i, j) for i in range(10) for j in range(10) if i != j)
    assert order != gossip_order(10, 2)
    found = sweep(find_strategy("weight_average"), swept_models(1), 1)
    assert (found.converges, found.merges, len(found.digests)) == (True, 90, 1)


def test_matrix_strategies_leave_out_large_layers_unless_all_is_asked_for() -> None:
    matrix = find_strategy("star")
    some = layers_for(SHAPES["mistral-7b"], matrix, Request())
    every = layers_for(SHAPES["mistral-7b"], matrix, Request(full=True))
    assert [layer.shape for layer in some] == [(1024, 4096)]
    assert set(every) == set(SHAPES["mistral-7b"].layers)


def test_what_is_not_the_papers_is_refused(here: InProcess) -> None:
    for arguments in (("audit", "tsv_m"), ("audit", "--shapes", "llama")):
        result = here.run(*arguments)
        assert result.status == 2
        assert "hint: one of" in result.stderr


def test_a_missing_strategy_is_named_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: one for name, one in strategies().items() if name != "linear"}
    monkeypatch.setattr("conjoin.apps.audit.running.strategies", lambda: known)
    found = run(Request(("linear", "weight_average"), sweep=False, quick=True))
    assert found.missing == ("linear",)
    assert not found.holds
    assert found.layered_passed == (4, 8)


def test_an_error_in_a_phase_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ConjoinError("it broke")

    monkeypatch.setattr("conjoin.memory.CRDTMergeState.resolve", broken)
    found = run(Request(("linear",), quick=True))
    assert not found.holds
    assert found.layered_passed == (0, 4)
    assert found.parts[0].layered["linear"].problem == found.sweep["linear"].problem == "error[E000]: it broke"


def test_command_prints_and_writes(here: InProcess, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    said = here.ok("audit", "weight_average", "task_arithmetic", "--quick", "-o", out)
    assert "8 of 8 tests through both layers pass, to the bit; 2 of 2 sweeps end in one digest" in said
    assert "needs λ = 1" in said
    assert sorted(path.name for path in out.iterdir()) == ["audit.json", "audit.md", "audit.svg"]
    found = json.loads((out / "audit.json").read_text())
    assert found["holds"] is True
    assert found["shapes"]["4x4"]["strategies"]["task_arithmetic"]["raw"] == "PFF"
    assert [(one["strategy"], one["property"]) for one in found["differences"]] == [("task_arithmetic", "associative")]
    document = (out / "audit.md").read_text()
    assert "| weight_average | PFP | PFP | PFP |" in document
    letters = [one.text for one in ET.parse(out / "audit.svg").iter() if one.get("class") == "letter"]
    assert len(letters) == 10 + 2 * 10
    assert "".join(map(str, letters[10:])) == "PFFPPFPPPP" + "PFPPFPPPPP"


def test_json_is_one_document(here: InProcess) -> None:
    found = json.loads(here.ok("audit", "linear", "--quick", "--no-sweep", "--json"))
    assert (found["layered_passed"], found["layered_tests"], found["sweep"]) == (4, 4, {})


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_strategy_is_given_what_it_needs_for_every_kind_of_layer(kind: Kind) -> None:
    base = Operand.of(np.arange(64, dtype=np.float32).reshape(8, 8) / 64)
    for strategy in map(find_strategy, strategies()):
        outfit = Outfit.of(strategy, base, Layer("layer", (8, 8), 1, kind), {})
        one, two = (Replica.with_model(outfit, f"{at}", Operand.of(base.array * at)) for at in (2, 3))
        assert (one | two).resolve().tobytes() == (two | one).resolve().tobytes()
