"""kill -9 at every change that `resolve` makes."""

from pathlib import Path

import pytest

from conjoin.replica import Replica
from conjoin.verification import verify
from tests.kill.everywhere import Copies, kill_everywhere


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
