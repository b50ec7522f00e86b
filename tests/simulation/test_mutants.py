"""The simulator is itself tested: every plausible bug is caught within a few seeds, and without it they pass."""

from __future__ import annotations

import pytest

from conjoin.testing.simulator import Settings, shortcuts, simulate
from tests.simulation.mutants import MUTANTS, Mutant, own_key_not_watched, unsorted_heads, waited_not_persisted

SETTINGS = Settings(nodes=4, byzantine=2, steps=150, hashed=True, replays=1)
SEEDS = range(100, 124)
"""A mutant that is not caught among these is not caught."""
LONG = Settings(nodes=4, byzantine=0, steps=400, hashed=True)
"""So many steps that a backup often comes back and signs again; liars would only take time."""
CROWD = Settings(nodes=4, byzantine=4, steps=220, hashed=True, replays=1)
"""So many liars that now and then two of their conversations with one replica interleave as badly as they can."""


THEIR_SETTINGS = {own_key_not_watched: LONG, waited_not_persisted: CROWD}
"""Those of mutants that few seeds would catch otherwise."""


def caught_at(settings: Settings, seeds: range = SEEDS) -> tuple[int, str] | None:
    """The first seed that shows a violation, and which."""
    with shortcuts():
        for seed in seeds:
            violations = simulate(seed, settings).violations
            if violations:
                return seed, violations[0]
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert caught_at(THEIR_SETTINGS.get(mutant, SETTINGS)) is not None, f"no seed of {SEEDS} shows: {mutant.__doc__}"


def test_what_needs_two_conversations_at_once_is_caught_by_most_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    waited_not_persisted(monkeypatch)
    with shortcuts():
        caught = sum(bool(simulate(seed, CROWD).violations) for seed in range(4))
    assert caught >= 3


def test_heads_without_an_order_are_caught_by_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    unsorted_heads(monkeypatch)
    with shortcuts():
        assert all(simulate(seed, SETTINGS).violations for seed in SEEDS[:4])


@pytest.mark.parametrize("settings", [SETTINGS, LONG], ids=["short", "long"])
def test_the_control_is_not(settings: Settings) -> None:
    assert caught_at(settings, SEEDS[:12]) is None


def test_the_control_of_the_crowd_is_not() -> None:
    with shortcuts():
        assert not any(simulate(seed, CROWD).violations for seed in range(4))
