"""The paper's tables and epidemics at a small size: they hold, and say what they found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from conjoin.apps.cli import run
from conjoin.apps.simulate import SCENARIOS, Hostile, hostile, paper, tier3
from conjoin.apps.simulate.gossip import all_pairs, found, roots
from conjoin.apps.simulate.report import Result, picture, write
from conjoin.testing.simulator import Settings
from conjoin.wire.digest import sha256


def written(result: Result, folder: Path) -> tuple[dict[str, Any], str]:
    """The JSON and the Markdown of a result, which has a picture too."""
    paths = write(result, folder)
    assert [path.name for path in paths] == ["simulation.json", "simulation.md", "simulation.svg"]
    assert result.plot is not None
    assert picture(result.plot) == paths[2].read_text()
    document, text = json.loads(paths[0].read_text()), paths[1].read_text()
    assert document["scenario"] == result.name
    assert "![" in text
    for sheet in document["tables"]:
        assert all(f"| {' | '.join(row)} |" in text for row in (sheet["columns"], *sheet["rows"]))
    return document, text


@pytest.mark.parametrize(("name", "size"), [("table9", 5), ("epidemic", 20)])
def test_a_scenario_holds(name: str, size: int, tmp_path: Path) -> None:
    result = SCENARIOS[name](1, size)
    assert result.holds
    assert written(result, tmp_path)[1].startswith(f"# Simulation: {name}\n\nHolds.")


def test_table_6_is_one_output_and_one_root_in_every_ordering(tmp_path: Path) -> None:
    document, _ = written(SCENARIOS["table6"](1, 4), tmp_path)
    facts, [table] = document["facts"], document["tables"]
    assert document["holds"]
    assert (facts["replicas"], facts["merges"], len(facts["outputs"]), facts["different_roots"]) == (4, 12, 1, 0)
    first = [row[0] for row in table["rows"]]
    assert first == [*map(str, range(1, 21)), "mean", "paper, mean", "1, verified by every replica"]
    assert len(document["plot"]["points"]) == 20
    assert SCENARIOS["table6"](2, 4).facts["outputs"] != facts["outputs"]


def test_table_7_is_one_root_inside_each_partition_and_one_after_healing(tmp_path: Path) -> None:
    document, _ = written(SCENARIOS["table7"](1, 20), tmp_path)
    ours = {row[0]: row[1] for row in document["tables"][0]["rows"]}
    assert document["holds"]
    assert (document["facts"]["partitions"], len(document["facts"]["output"])) == (2, 1)
    assert (ours["distinct roots"], ours["converged"], ours["same bytes as without partition"]) == (
        "2/2",
        "20/20",
        "yes",
    )
    (_, early), *_, (pushes, after) = document["plot"]["points"]
    assert early >= 2
    assert (pushes, after) == (math.log2(20 * 19), 1)


def test_table_8_is_one_output_of_every_strategy_of_the_paper(tmp_path: Path) -> None:
    document, _ = written(SCENARIOS["table8"](1, 3), tmp_path)
    assert document["holds"]
    assert [(row[0], row[3]) for row in document["tables"][0]["rows"]] == [(name, "1") for name in paper.TABLE8]


@pytest.mark.parametrize("name", ["table6", "table7", "table9"])
def test_a_table_does_not_hold_where_pushes_are_lost(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier3, "all_pairs", lambda replicas, order: all_pairs(replicas, order[: len(order) // 3]))
    result = SCENARIOS[name](1, 4)
    assert not result.holds
    assert "**Does not hold.**" in result.markdown()


@pytest.mark.parametrize(("size", "networks"), [(2, ["2"]), (9, ["9"]), (10, ["10"]), (11, ["10", "11"])])
def test_an_epidemic_of_any_size_ends_with_the_network_asked_for(size: int, networks: list[str]) -> None:
    result = SCENARIOS["epidemic"](1, size)
    assert result.holds
    assert [row[0] for row in result.sheets[0].rows] == networks
    assert {row[6] for row in result.sheets[0].rows} == {"1"}


def test_an_epidemic_does_not_hold_where_roots_follow_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.simulation.mutants import root_in_order_of_arrival

    root_in_order_of_arrival(monkeypatch)
    assert not SCENARIOS["epidemic"](1, 20).holds


@pytest.mark.parametrize(("size", "visible"), [(2, 1), (300, 293)])
def test_many_operations_are_taken_in_and_seen(size: int, visible: int, tmp_path: Path) -> None:
    result = SCENARIOS["operations"](1, size)
    assert result.holds
    assert result.facts == {"operations": size, "retractions": size // 100, "visible": visible}
    assert [path.name for path in write(result, tmp_path)] == ["simulation.json", "simulation.md"]


def test_all_pairs_end_with_one_root_whatever_the_order() -> None:
    replicas = found(6)
    for number, replica in enumerate(replicas):
        replica.add(sha256(bytes([number])))
    assert len(roots(replicas)) == 6
    pairs = [(source, target) for source in range(6) for target in range(6) if source != target]
    assert all_pairs(replicas, pairs[::-1]) > 5 * 700
    assert len(roots(replicas)) == 1
    assert {len(replica.log) for replica in replicas} == {7}


def test_the_command_stops_once_enough_was_delivered(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(
        ["simulate", "--nodes", "3", "--byzantine", "1", "--steps", "60", "--fast", "--deliveries", "1", "--json"]
    )
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert (status, facts["seeds"], facts["divergences"]) == (0, 1, 0)
    assert facts["deliveries"] > 0


def test_a_failing_seed_says_how_to_run_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.simulation.mutants import first_seen_wins

    first_seen_wins(monkeypatch)
    settings = Settings(4, 2, 150, hashed=True, replays=1)
    result: Result = hostile(Hostile(settings, first=100, count=2))
    assert not result.holds
    assert "conjoin simulate --seed 10" in result.problems[0]
    assert "--fast" in result.problems[0]
