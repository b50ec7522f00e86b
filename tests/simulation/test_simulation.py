"""Honest replicas among liars, over a network and disks that fail: they end equal, whatever the seed."""

from __future__ import annotations

import pytest

from conjoin.sync import reconcile
from conjoin.sync.messages import Range
from conjoin.testing.simulator import Run, Settings, shortcuts, simulate
from conjoin.testing.simulator.liar import GARBAGE

SEEDS = (0, 3, 5, 8)
"""Keyed hashes; some see many floods. `conjoin simulate --seeds` makes any others."""


def assert_holds(run: Run, settings: Settings) -> None:
    assert not run.violations, f"{run.violations}\nreplay: {settings.command(run.seed)}"


@pytest.mark.parametrize(("nodes", "byzantine"), [(5, 3), (2, 6), (6, 0)])
def test_real_signatures(nodes: int, byzantine: int) -> None:
    settings = Settings(nodes, byzantine, steps=100, replays=2)
    run = simulate(3, settings)
    assert_holds(run, settings)
    assert run.admitted > 50


def test_no_divergence_among_many_deliveries() -> None:
    """Every event happens in some run, and over a million operations arrive."""
    settings = Settings(hashed=True, replays=140)
    with shortcuts():
        runs = [simulate(seed, settings) for seed in SEEDS]
    for run in runs:
        assert_holds(run, settings)
    events = sum((run.events for run in runs), start=runs[0].events - runs[0].events)
    assert {"crashed", "restore", "partition", "full disk", "rekey", "attack", "visit"} <= events.keys()
    assert sum(run.forks for run in runs) > len(runs)
    assert sum(run.deliveries for run in runs) >= 1_000_000


def test_ranges_hold_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few authors are compared by ranges here, as thousands are elsewhere."""
    cut, cuts = reconcile.Comparison._cut, 0

    def counted(comparison: reconcile.Comparison, given: Range) -> tuple[Range, ...]:
        nonlocal cuts
        cuts += 1
        return cut(comparison, given)

    monkeypatch.setattr(reconcile.Comparison, "_cut", counted)
    monkeypatch.setattr(reconcile, "WHOLE_MAX", 2)
    monkeypatch.setattr(reconcile, "LISTED_MAX", 2)
    settings = Settings(4, 2, steps=150, hashed=True, replays=1)
    with shortcuts():
        for seed in range(100, 104):
            assert_holds(simulate(seed, settings), settings)
    assert cuts > 50


def test_a_seed_names_a_run() -> None:
    settings = Settings(4, 2, steps=120, hashed=True, replays=2)
    with shortcuts():
        runs = [simulate(7, settings) for _ in range(2)]
        other = simulate(9, settings)
    assert runs[0] == runs[1]
    assert runs[0] != other


def test_at_least_ten_kinds_of_garbage() -> None:
    assert len(GARBAGE) >= 10
