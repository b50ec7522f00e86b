"""The paper's tables and epidemics at a small size: they hold, and say what they found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conjoin.apps.cli import run
from conjoin.apps.simulate import SCENARIOS, Hostile, hostile
from conjoin.apps.simulate.gossip import all_pairs, found, roots
from conjoin.apps.simulate.report import Result, picture, write
from conjoin.testing.simulator import Settings
from conjoin.wire.digest import sha256


@pytest.mark.parametrize(("name", "size"), [("table9", 5), ("epidemic", 20)])
def test_a_scenario_holds(name: str, size: int, tmp_path: Path) -> None:
    result = SCENARIOS[name](1, size)
    assert result.holds
    paths = write(result, tmp_path)
    assert [path.name for path in paths] == ["simulation.json", "simulation.md", "simulation.svg"]
    assert json.loads(paths[0].read_text())["scenario"] == name
    assert result.plot is not None
    assert picture(result.plot) == paths[2].read_text()


@pytest.mark.parametrize(("size", "networks"), [(2, ["2"]), (9, ["9"]), (10, ["10"]), (11, ["10", "11"])])
def test_an_epidemic_of_any_size_ends_with_the_network_asked_for(size: int, networks: list[str]) -> None:
    result = SCENARIOS["epidemic"](1, size)
    assert result.holds
    assert [row[0] for row in result.sheets[0].rows] == networks
    assert ("operations", f"{100 * size:,}") in result.sheets[1].rows


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
