"""The simulator is itself tested: every plausible bug is caught within a few seeds, and without it they pass."""

from __future__ import annotations

import pytest

from conjoin.testing.simulator import Settings, shortcuts, simulate
from tests.simulation.mutants import MUTANTS, Mutant

SETTINGS = Settings(nodes=4, byzantine=2, steps=150, hashed=True, replays=1)
SEEDS = range(100, 112)
"""A mutant that is not caught among these is not caught."""


def caught_at(settings: Settings) -> tuple[int, str] | None:
    """The first seed that shows a violation, and which."""
    with shortcuts():
        for seed in SEEDS:
            violations = simulate(seed, settings).violations
            if violations:
                return seed, violations[0]
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert caught_at(SETTINGS) is not None, f"no seed of {SEEDS} shows: {mutant.__doc__}"


def test_the_control_is_not() -> None:
    assert caught_at(SETTINGS) is None
