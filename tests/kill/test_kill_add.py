"""kill -9 at every change that `add` makes."""

from pathlib import Path

from conjoin.replica import Replica
from tests.kill.everywhere import Copies, kill_everywhere


def test_add_killed_at_every_change_leaves_nothing_half_visible(copies: Copies, space: Path) -> None:
    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            assert len(replica.visible) == 2
            assert all(c.complete for c in replica.contributions() if c.visible)
            assert not list((top / "a" / ".conjoin" / "local" / "tmp").iterdir())

    points = kill_everywhere(copies, lambda top: ["-C", str(top / "a"), "add", str(space / "models" / "three")], check)
    assert points > 15
