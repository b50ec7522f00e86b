"""kill -9 at every write, fsync and rename of add, sync, resolve: nothing half-visible, nothing acknowledged lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conjoin.replica import Replica
from conjoin.verification import verify
from tests.kill.mortal import run_mortal, warm_up

Copies = Callable[[int], Path]


def acknowledged(top: Path) -> dict[str, set[str]]:
    """The operations each replica holds."""
    return {name: {operation.id for operation in Replica.open(top / name).operations()} for name in ("a", "b")}


def assert_sound(top: Path, before: dict[str, set[str]]) -> None:
    """Both replicas open, pass fsck, and hold at least the operations they had acknowledged."""
    for name in ("a", "b"):
        with Replica.open(top / name) as replica:
            assert replica.fsck().damage == ()
            assert before[name] <= {operation.id for operation in replica.operations()}


def kill_everywhere(copies: Copies, command: Callable[[Path], list[str]], check: Callable[[Path], None]) -> int:
    """Kill `command` at every change it makes; after each kill check the space, run again, `check` the result."""
    top = copies(0)
    before = acknowledged(top)
    warm_up(str(top / "a"))
    status, points = run_mortal(command(top), die_at=None)
    assert status == 0
    check(top)
    for point in range(1, points + 1):
        top = copies(point)
        status, _ = run_mortal(command(top), die_at=point)
        if status is None:  # threads may make one change fewer than in the first run
            assert_sound(top, before)
            if (top / "out").exists():
                check(top)  # what is visible is whole; there is nothing to run again
                continue
            again, _ = run_mortal(command(top), die_at=None)
            assert again == 0, f"after a kill at change {point} the command does not run again"
        assert_sound(top, before)
        check(top)
    return points


def test_add_killed_at_every_change_leaves_nothing_half_visible(copies: Copies, space: Path) -> None:
    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            assert len(replica.visible) == 2
            assert all(c.complete for c in replica.contributions() if c.visible)
            assert not list((top / "a" / ".conjoin" / "local" / "tmp").iterdir())

    points = kill_everywhere(copies, lambda top: ["-C", str(top / "a"), "add", str(space / "models" / "three")], check)
    assert points > 15


@pytest.mark.parametrize("source", ["b", "meeting"])
def test_sync_killed_at_every_change_loses_nothing(copies: Copies, source: str) -> None:
    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            expected = 2 if source == "b" else 1
            assert len(replica.visible) == expected
            assert all(c.complete for c in replica.contributions() if c.visible)

    points = kill_everywhere(copies, lambda top: ["-C", str(top / "a"), "sync", str(top / source)], check)
    assert points > 15


@pytest.mark.parametrize("strategy", ["weight_average", "ties"])
def test_resolve_killed_at_every_change_resumes_to_the_same_bytes(
    copies: Copies, space: Path, tmp_path: Path, strategy: str
) -> None:
    with Replica.open(space / "a") as replica:
        expected = replica.resolve(strategy, tmp_path / "expected").output

    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            assert verify(top / "out", replica).output == expected
        leftovers = [path for path in top.iterdir() if path.name not in ("a", "b", "meeting", "out")]
        assert sum(file.stat().st_size for folder in leftovers for file in folder.rglob("*")) < 10_000

    points = kill_everywhere(
        copies, lambda top: ["-C", str(top / "a"), "resolve", strategy, "-o", str(top / "out")], check
    )
    assert points > 10
