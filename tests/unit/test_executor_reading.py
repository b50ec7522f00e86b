"""Reading: leaves in files are verified once in a run, side by side or one by one, and what has changed is an error."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.unit.models import Model, noisy, plan_of

from conjoin import hashing
from conjoin.errors import ChangedFileError, DamagedObjectError
from conjoin.executor import Receipt, check_output, execute
from conjoin.executor import reader as reading
from conjoin.executor.reader import Reader, parts_of
from conjoin.executor.slices import Slice
from conjoin.hashing import leaves as room
from conjoin.hashing.machine import compression
from conjoin.plan import Plan, Recipe
from conjoin.plan.tasks import Task
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.folder import FolderStore
from conjoin.store.ingest import ingest
from conjoin.store.inplace import References, ReplicaStore
from conjoin.store.memory import MemoryStore
from conjoin.strategies import base as registry
from conjoin.strategies.base import Block, RawArray, Scope, strategy
from conjoin.wire.digest import Digest
from conjoin.wire.objects import leaf_name

SHAPES = {"a": (2 << 20,), "b": ((2 << 20) + 70_017,), "c": (1200, 900), "d": (33, 65), "e": (7,), "f": (0, 3)}


@pytest.fixture(params=["one by one", "side by side"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to hash that this machine has."""
    wide = None if request.param == "one by one" else compression()
    if wide is None and request.param == "side by side":
        pytest.skip("this processor lacks the instructions")
    monkeypatch.setattr(room, "_wide", [wide])
    return request.param


@pytest.fixture(scope="module")
def models() -> list[Model]:
    return [noisy(SHAPES, seed) for seed in range(5)]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many leaves each call of the reader hashes."""
    counts: list[int] = []

    def counting(leaves: Sequence[memoryview], fill: hashing.Fill | None = None) -> list[Digest]:
        counts.append(len(leaves))
        return hashing.leaf_digests(leaves, fill)

    monkeypatch.setattr(reading, "leaf_digests", counting)
    return counts


def stored(tmp_path: Path, models: list[Model], name: str) -> tuple[FolderStore, Plan]:
    store = FolderStore(tmp_path / "store")
    return store, plan_of(store, models[0], models[1:], Recipe.of(name))  # type: ignore[arg-type]


def distinct(plan: Plan) -> set[Digest]:
    return {leaf for task in plan.tasks for leaves in task.reads for leaf in leaves}


@pytest.mark.parametrize(("name", "memory_bytes"), [("linear", None), ("linear", 32 << 20), ("ties", None)])
def test_the_output_does_not_depend_on_the_store_or_the_hashing(
    arithmetic: str, name: str, memory_bytes: int | None, models: list[Model], hashed: list[int], tmp_path: Path
) -> None:
    memory = MemoryStore()
    expected = execute(plan_of(memory, models[0], models[1:], Recipe.of(name)), memory, tmp_path / "expected")
    hashed.clear()
    store, plan = stored(tmp_path, models, name)
    receipt = execute(plan, store, tmp_path / "out", threads=2, memory_bytes=memory_bytes)
    assert receipt.output == expected.output
    check_output(tmp_path / "out", receipt, plan)
    assert Receipt.read(tmp_path / "out") == receipt
    assert sum(hashed) == len(distinct(plan))
    hashed.clear()
    assert execute(plan, store, tmp_path / "trusted", trust_store=True).output == expected.output
    assert sum(hashed) == 0


@pytest.mark.parametrize("damage", ["flip", "shorten", "lengthen"])
def test_a_damaged_leaf_is_named_and_nothing_appears(
    arithmetic: str, damage: str, models: list[Model], tmp_path: Path
) -> None:
    store, plan = stored(tmp_path, models, "linear")
    leaf = next(task for task in plan.tasks if task.name == "b").sources[2][1]
    path = store.root / leaf_name(leaf)
    data = bytearray(path.read_bytes())
    data[4097] ^= 1 if damage == "flip" else 0
    path.write_bytes({"flip": data, "shorten": data[:-1], "lengthen": data + b"\0"}[damage])
    with pytest.raises(DamagedObjectError) as caught:
        execute(plan, store, tmp_path / "out")
    assert leaf in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["store"]


def in_place(tmp_path: Path) -> tuple[ReplicaStore, Task, Path]:
    path = tmp_path / "m.safetensors"
    save_file({"w": np.arange(3_000_000, dtype="<f4")}, path)
    store = ReplicaStore(tmp_path / "r", None, References(tmp_path / "r" / "inplace"))
    manifest = ingest(open_checkpoint(path), store, in_place=True, references=store.references)
    entry = manifest.by_name["w"]
    return store, Task(("w",), "F32", "F32", entry.shape, "copy", (entry.leaves,)), path


def test_a_file_outside_is_verified_once_while_it_stays_as_it_is(
    arithmetic: str, hashed: list[int], tmp_path: Path
) -> None:
    store, task, path = in_place(tmp_path)
    reader = Reader(store, trusted=True)
    whole = Slice(0, task.elements)
    for _ in range(3):
        assert reader.read([(task, whole)])[0][0].tobytes() == np.arange(3_000_000, dtype="<f4").tobytes()
    assert hashed == [3, 0, 0]
    os.utime(path, ns=(1, 1))
    assert reader.read([(task, whole)])[0][0].tobytes() == np.arange(3_000_000, dtype="<f4").tobytes()
    assert hashed == [3, 0, 0, 3]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 1)
        file.write(b"\x55")
    with pytest.raises(ChangedFileError, match="has changed since"):
        reader.read([(task, whole)])


def test_a_file_outside_that_is_gone(arithmetic: str, tmp_path: Path) -> None:
    store, task, path = in_place(tmp_path)
    path.unlink()
    with pytest.raises(ChangedFileError, match="gone"):
        Reader(store, trusted=False).read([(task, Slice(0, task.elements))])


@pytest.fixture
def registered() -> Iterator[None]:
    """Forget strategies that a test declares."""
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)


def test_a_strategy_that_returns_what_it_was_given(
    arithmetic: str, registered: None, models: list[Model], tmp_path: Path
) -> None:
    @strategy(scope=Scope.ELEMENTWISE, source="here")
    def first_of_all(x: Block) -> RawArray:
        return x.tensors[0]

    store, plan = stored(tmp_path, models, "first_of_all")
    check_output(tmp_path / "out", execute(plan, store, tmp_path / "out", threads=1), plan)


@pytest.mark.parametrize(
    "parts",
    [[(0, 65_536)], [(65_536, 2_097_152)], [(16_384, 32_768), (2_000_000, 2_097_152)]],
    ids=["the first block", "the rest", "two runs"],
)
def test_pieces_of_a_slice_are_the_bytes_of_the_whole(
    parts: list[tuple[int, int]], models: list[Model], tmp_path: Path
) -> None:
    store, plan = stored(tmp_path, models, "ties")
    task = next(task for task in plan.tasks if task.name == "b")
    part, ranges = Slice(0, 2_097_152), [Slice(*one) for one in parts]
    reader = Reader(store, trusted=True)
    whole = [array.tobytes() for array in reader.read([(task, part)])[0]]
    opened = reader.open(task, part)
    assert opened is not None
    with opened:
        found = [array.tobytes() for array in opened.read(ranges)]
    size = task.item_bytes
    assert found == [b"".join(data[one.start * size : one.stop * size] for one in ranges) for data in whole]
    assert found == [a.tobytes() for a in parts_of(reader.read([(task, part)])[0], size, 0, ranges)]


def test_nothing_is_opened_in_pieces_before_it_is_verified(models: list[Model], tmp_path: Path) -> None:
    store, plan = stored(tmp_path, models, "ties")
    task = next(task for task in plan.tasks if task.name == "b")
    part = Slice(2_097_152, task.elements)
    reader = Reader(store, trusted=False)
    assert reader.open(task, part) is None
    reader.read([(task, part)])
    opened = reader.open(task, part)
    assert opened is not None
    opened.close()


def test_a_sample_reads_what_is_not_verified_yet_and_the_pass_after_it_refuses_it(
    models: list[Model], tmp_path: Path
) -> None:
    store, plan = stored(tmp_path, models, "ties")
    task = next(task for task in plan.tasks if task.name == "b")
    leaf = task.sources[1][0]
    path = store.root / leaf_name(leaf)
    data = bytearray(path.read_bytes())
    data[3] ^= 0x40
    path.write_bytes(data)
    opened = Reader(store, trusted=False).open(task, Slice(0, 2_097_152), unproven=True)
    assert opened is not None
    with opened:
        assert opened.read([Slice(0, 65_536)])[2].tobytes() == bytes(data[:131_072])
    with pytest.raises(DamagedObjectError, match=leaf):
        execute(plan, store, tmp_path / "out")


def test_a_leaf_that_ends_early_is_named_when_a_piece_is_read(models: list[Model], tmp_path: Path) -> None:
    store, plan = stored(tmp_path, models, "linear")
    task = next(task for task in plan.tasks if task.name == "b")
    leaf = task.sources[2][0]
    path = store.root / leaf_name(leaf)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedObjectError, match=leaf):
        execute(plan, store, tmp_path / "out", trust_store=True)


def test_files_of_a_slice_are_closed(models: list[Model], tmp_path: Path) -> None:
    store, plan = stored(tmp_path, models, "ties")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    execute(plan, store, tmp_path / "out", trust_store=True, threads=1)
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    assert after == before
