"""kill -9 at every change that `sync` makes."""

from pathlib import Path

import pytest

from conjoin.replica import Replica
from tests.kill.everywhere import Copies, kill_everywhere


@pytest.mark.parametrize("source", ["b", "meeting"])
def test_sync_killed_at_every_change_loses_nothing(copies: Copies, source: str) -> None:
    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            expected = 2 if source == "b" else 1
            assert len(replica.visible) == expected
            assert all(c.complete for c in replica.contributions() if c.visible)

    points = kill_everywhere(copies, lambda top: ["-C", str(top / "a"), "sync", str(top / source)], check)
    assert points > 15
