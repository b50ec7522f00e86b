"""kill -9 at every change that `rekey` makes."""

from pathlib import Path

from conjoin.log import views
from conjoin.replica import Replica
from tests.kill.everywhere import Copies, kill_everywhere


def test_rekey_killed_at_every_change_leaves_a_key_that_may_sign(copies: Copies, space: Path) -> None:
    with Replica.open(space / "a") as replica:
        old = replica.key

    def check(top: Path) -> None:
        with Replica.open(top / "a") as replica:
            assert replica.key != old
            assert replica.role == "admin"
            replica.add(space / "models" / "three")
            assert views.forks(replica.log) == ()

    points = kill_everywhere(copies, lambda top: ["-C", str(top / "a"), "rekey"], check)
    assert points > 10
