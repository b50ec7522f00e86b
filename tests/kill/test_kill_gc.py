"""kill -9 at every change that `gc` makes."""

from pathlib import Path

import pytest

from conjoin.replica import Replica
from tests.kill.conftest import copies_of, fresh_copy
from tests.kill.everywhere import kill_everywhere


@pytest.fixture
def retracted(space: Path, tmp_path: Path) -> Path:
    """The space with one contribution more in `a`, and two retracted."""
    top = fresh_copy(space, tmp_path / "retracted")
    with Replica.open(top / "a") as replica:
        replica.add(space / "models" / "three", in_place=True)
        for digest in replica.visible:
            replica.retract(digest)
        replica.add(space / "models" / "two")
    return top


def test_gc_killed_at_every_change_keeps_what_is_needed(
    retracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conjoin.upkeep.PACKED_MIN", 2)
    monkeypatch.setattr("conjoin.upkeep.LATEST_KEPT_SINGLE", 1)

    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            assert len(replica.visible) == 1
            assert replica.status().missing_objects == 0
            report = replica.gc(grace_seconds=0, dry_run=True)
            assert (report.freed, report.later_bytes, report.packed) == ((), 0, 0)
            assert len(list(replica.store.names("seg/"))) == 1
            assert len(replica.store.references.manifests()) == 0

    points = kill_everywhere(
        copies_of(retracted, tmp_path / "copies"), lambda top: ["-C", str(top / "a"), "gc", "--grace", "0s"], check
    )
    assert points > 8
