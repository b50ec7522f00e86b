"""kill -9 at every change that `sync` makes."""

from pathlib import Path

import pytest

from conjoin.replica import Replica
from tests.kill.conftest import copies_of, fresh_copy
from tests.kill.everywhere import Copies, kill_everywhere


@pytest.fixture(scope="module")
def long(space: Path, place: Path) -> Path:
    """The space with so many operations in `b` that they travel as a segment."""
    top = fresh_copy(space, place / "long")
    with Replica.open(top / "b") as replica:
        for weight in range(2, 18):
            replica.add(space / "models" / "two", weight=weight)
    return top


def test_sync_of_segments_killed_at_every_change_loses_nothing(long: Path, tmp_path: Path) -> None:
    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            assert len(replica.visible) == 18
            assert len(list(replica.store.names("seg/"))) == 1

    kill_everywhere(copies_of(long, tmp_path), lambda top: ["-C", str(top / "a"), "sync", str(top / "b")], check)


@pytest.mark.parametrize("source", ["b", "meeting"])
def test_sync_killed_at_every_change_loses_nothing(copies: Copies, source: str) -> None:
    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            expected = 2 if source == "b" else 1
            assert len(replica.visible) == expected
            assert all(c.complete for c in replica.contributions() if c.visible)

    points = kill_everywhere(copies, lambda top: ["-C", str(top / "a"), "sync", str(top / source)], check)
    assert points > 15
