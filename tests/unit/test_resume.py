"""Resume: a run that is killed or interrupted anywhere goes on to the same bytes; one that fails leaves nothing."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.models import noisy, plan_of

from conjoin.errors import DiskFullError, OutputExistsError
from conjoin.executor import Receipt, check_output, execute
from conjoin.executor.workfolder import work_path
from conjoin.plan import Plan, Recipe
from conjoin.store.memory import MemoryStore
from conjoin.wire.digest import Digest

SHAPES = {f"layer.{i}": (40, 9 + i) for i in range(6)} | {"large": ((2 << 20) + 5,), "scalar": ()}
FILES = {"config.json": b"{}"}


class Counting(MemoryStore):
    """A store that remembers which leaves were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Digest] = []

    def read_leaf(self, digest: Digest, into: memoryview, *, trusted: bool = False) -> int:
        self.read.append(digest)
        return super().read_leaf(digest, into, trusted=trusted)


class Interrupting:
    """Progress that raises KeyboardInterrupt, or ends the process, at the N-th report."""

    def __init__(self, at: int, *, kill: bool = False) -> None:
        self.left = at
        self.kill = kill

    def start(self, what: str, total_bytes: int) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        self.left -= 1
        if self.left == 0:
            if self.kill:
                os._exit(9)
            raise KeyboardInterrupt


def planned(strategy: str, store: MemoryStore, seeds: tuple[int, ...] = (1, 2)) -> Plan:
    models = [noisy(SHAPES, seed) for seed in (0, *seeds)]
    return plan_of(store, models[0], models[1:], Recipe.of(strategy), files=FILES, shard_size_bytes=3000)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module", params=["weight_average", "ties", "slerp"])
def expected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    out = tmp_path_factory.mktemp("expected") / "out"
    store = MemoryStore()
    execute(planned(request.param, store), store, out)
    return request.param, content(out)


def test_interrupted_at_every_report(expected: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    name, files = expected
    store = MemoryStore()
    plan = planned(name, store)
    for at in range(1, 60, 1 if name == "weight_average" else 4):
        out = tmp_path / str(at)
        try:
            execute(plan, store, out, threads=1 + at % 2, progress=Interrupting(at))
        except KeyboardInterrupt:
            assert not out.exists()
            assert work_path(out).is_dir()
            execute(plan, store, out, threads=1 + at % 3)
        else:
            assert at > len(plan.tasks)
            break
        assert content(out) == files
        assert not work_path(out).exists()
    else:
        pytest.fail("the run never ended")


def test_killed_processes(expected: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    name, files = expected
    if name == "slerp":
        pytest.skip("the two other strategies have the same stages")
    script = (
        "import sys; from pathlib import Path; from tests.unit import test_resume as t; "
        "store = t.MemoryStore(); "
        "t.execute(t.planned(sys.argv[1], store), store, Path(sys.argv[2]), threads=2, "
        "progress=t.Interrupting(int(sys.argv[3]), kill=True))"
    )
    root = Path(__file__).parents[2]
    out = tmp_path / "out"
    for at in (5, 9):  # the second process goes on where the first was killed
        command = [sys.executable, "-c", script, name, str(out), str(at)]
        done = subprocess.run(command, cwd=root, check=False, env={**os.environ, "PYTHONPATH": str(root)})
        if out.exists():
            break
        assert done.returncode == 9
    store = MemoryStore()
    if not out.exists():
        execute(planned(name, store), store, out)
    assert content(out) == files


def interrupted(out: Path, strategy: str = "weight_average", at: int = 6) -> tuple[Plan, Counting]:
    store = Counting()
    plan = planned(strategy, store)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, store, out, threads=1, progress=Interrupting(at))
    store.read.clear()
    return plan, store


def finished_names(out: Path) -> list[str]:
    lines = (work_path(out) / "journal").read_text().splitlines()[1:]
    return [line.split('"tensor":"')[1].rstrip('"}') for line in lines]


def test_what_is_finished_is_not_computed_again(tmp_path: Path) -> None:
    plan, store = interrupted(tmp_path / "out")
    done = finished_names(tmp_path / "out")
    assert len(done) >= 4
    execute(plan, store, tmp_path / "out", threads=1)
    skipped = {leaf for task in plan.tasks if task.name in done for leaves in task.reads for leaf in leaves}
    assert skipped
    assert skipped.isdisjoint(store.read)


def test_what_the_journal_claims_is_hashed_before_it_counts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan, store = interrupted(out)
    done = finished_names(out)
    shard = next(shard for shard in plan.shards if done[0] in shard.offsets)
    path = work_path(out) / "checkpoint" / shard.name
    data = bytearray(path.read_bytes())
    data[shard.offsets[done[0]]] ^= 1
    path.write_bytes(data)
    receipt = execute(plan, store, out, threads=1)
    check_output(out, receipt, plan)
    again = next(task for task in plan.tasks if task.name == done[0])
    assert set(again.sources[0]) <= set(store.read)


@pytest.mark.parametrize("damage", ["torn", "garbage", "empty", "gone", "short shard", "no shard"])
def test_leftovers_of_any_kind_are_taken_up_or_removed(damage: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan, store = interrupted(out)
    journal = work_path(out) / "journal"
    shard = work_path(out) / "checkpoint" / plan.shards[0].name
    if damage == "torn":
        journal.write_bytes(journal.read_bytes()[:-9])
    elif damage == "garbage":
        journal.write_bytes(b"{}\n\xff")
    elif damage == "empty":
        journal.write_bytes(b"")
    elif damage == "gone":
        journal.unlink()
    elif damage == "short shard":
        os.truncate(shard, 10)
    else:
        shard.unlink()
    receipt = execute(plan, store, out)
    check_output(out, receipt, plan)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_leftovers_of_another_plan_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    interrupted(out)
    store = MemoryStore()
    plan = planned("weight_average", store, seeds=(3, 4, 5))
    receipt = execute(plan, store, out)
    check_output(out, receipt, plan)
    assert receipt.differences(plan) == []


def test_killed_after_the_output_appeared(tmp_path: Path) -> None:
    out = tmp_path / "out"
    store = MemoryStore()
    plan = planned("weight_average", store)
    receipt = execute(plan, store, out)
    work_path(out).mkdir()
    (work_path(out) / "lock").touch()
    assert execute(plan, store, out) == receipt
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(OutputExistsError):
        execute(plan, store, out)
    work_path(out).mkdir()
    with pytest.raises(OutputExistsError):
        execute(planned("linear", store), store, out)
    assert Receipt.read(out) == receipt


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    plan = planned("weight_average", store)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(DiskFullError):
            execute(plan, store, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    execute(plan, store, tmp_path / "out")


def test_warnings_survive_a_resume(tmp_path: Path) -> None:
    def opposite(seed: int) -> dict[str, Any]:
        model = noisy(SHAPES, 1)
        return model if seed == 1 else {name: -array for name, array in model.items()}

    store = MemoryStore()
    models = [opposite(1), opposite(2)]
    plan = plan_of(store, models[0], models, Recipe.of("slerp"))
    whole = execute(plan, store, tmp_path / "whole")
    assert whole.warnings
    with pytest.raises(KeyboardInterrupt):
        execute(plan, store, tmp_path / "out", threads=1, progress=Interrupting(8))
    assert execute(plan, store, tmp_path / "out").encode() == whole.encode()
