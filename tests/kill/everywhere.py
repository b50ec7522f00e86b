"""kill -9 at every write, fsync and rename of a command: nothing half-visible, nothing acknowledged lost."""

from collections.abc import Callable
from pathlib import Path

from conjoin.replica import Replica
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
