"""kill -9 at every change that a running resolve makes, while sums of an earlier one are in the way."""

from pathlib import Path

import pytest

from conjoin.replica import Replica
from conjoin.verification import verify
from tests.kill.conftest import copies_of, fresh_copy
from tests.kill.everywhere import kill_everywhere


@pytest.fixture
def summed(space: Path, tmp_path: Path) -> Path:
    """The space with sums of a contribution that is retracted since, so that they are begun anew over the old ones."""
    top = fresh_copy(space, tmp_path / "summed")
    with Replica.open(top / "a") as replica:
        replica.resolve("weight_average", tmp_path / "earlier", running=True)
        replica.retract(replica.visible[0])
        replica.add(space / "models" / "two")
        replica.add(space / "models" / "three")
    return top


def test_running_resolve_killed_at_every_change_is_right_afterwards(summed: Path, tmp_path: Path) -> None:
    with Replica.open(summed / "a") as replica:
        expected = replica.resolve("weight_average", tmp_path / "expected").output

    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            assert verify(top / "out", replica).output == expected

    points = kill_everywhere(
        copies_of(summed, tmp_path / "copies"),
        lambda top: ["-C", str(top / "a"), "resolve", "weight_average", "--running", "-o", str(top / "out")],
        check,
    )
    assert points > 10
