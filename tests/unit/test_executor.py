"""The executor: same bytes for any threads and memory, every special tensor, foreign strategies, readable output."""

import json
import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tests.unit.models import Model, noisy, plan_of, read_output

from conjoin.errors import (
    BrokenStrategyError,
    DamagedObjectError,
    LockedError,
    MemoryBudgetError,
    MissingObjectError,
    OutputExistsError,
    ReadOnlyError,
    UsageError,
)
from conjoin.executor import Receipt, check_output, execute
from conjoin.executor.workfolder import locked, work_path
from conjoin.plan import Recipe
from conjoin.progress import SILENT
from conjoin.store.memory import MemoryStore
from conjoin.strategies import base as registry
from conjoin.strategies.base import Block, Extent, Number, Params, Pass, RawArray, Scope, strategy
from conjoin.wire.digest import Digest
from conjoin.wire.objects import leaf_name

LARGE = (2 << 20) + 70_017  # elements of bf16: a full leaf and a short one
SHAPES = {"large": (LARGE,), "matrix": (33, 65), "vector": (7,), "scalar": (), "empty": (0, 3)}


@pytest.fixture(scope="module")
def models() -> list[Model]:
    return [noisy(SHAPES, seed) for seed in range(4)]


@pytest.fixture
def registered() -> Iterator[None]:
    """Forget strategies that a test declares."""
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)


def run(out: Path, base: Model | None, models: list[Model], recipe: Recipe, **options: Any) -> Receipt:
    """Plan and execute over a fresh store, and check the output."""
    inner = {name: options.pop(name) for name in ("weights", "files", "shard_size_bytes") if name in options}
    store = MemoryStore()
    plan = plan_of(store, base, models, recipe, **inner)
    receipt = execute(plan, store, out, **options)
    check_output(out, receipt, plan)
    assert Receipt.read(out) == receipt
    assert not work_path(out).exists()
    return receipt


def bits(array: np.ndarray[Any, Any]) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("name", ["weight_average", "ties", "dare", "slerp"])
def test_bytes_do_not_depend_on_threads_memory_order_or_shards(name: str, models: list[Model], tmp_path: Path) -> None:
    base, *others = models
    variants = [
        {"threads": 1},
        {"threads": 2},
        {"threads": 3, "memory_bytes": 64 << 20},
        {"threads": 8, "trust_store": True},
        {"threads": 2, "shard_size_bytes": 4000},
    ]
    receipts = [
        run(tmp_path / str(number), base, others[number % 3 :] + others[: number % 3], Recipe.of(name), **options)
        for number, options in enumerate(variants)
    ]
    assert len({receipt.output for receipt in receipts}) == 1
    same_shards = [(tmp_path / str(number) / "conjoin.json").read_bytes() for number in range(len(variants))]
    assert len(set(same_shards)) == 1
    files = {(tmp_path / str(number) / "model.safetensors").read_bytes() for number in range(4)}
    assert len(files) == 1


def test_mean_of_exact_values_and_the_safetensors_library_agrees(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    whole = [random.integers(-64, 64, (300, 500)).astype(np.float32) for _ in range(4)]
    run(tmp_path / "out", None, [{"w": array} for array in whole], Recipe.of("weight_average"))
    assert bits(read_output(tmp_path / "out")["w"]) == bits((whole[0] + whole[1] + whole[2] + whole[3]) / np.float32(4))


def test_our_files_are_the_ones_safetensors_writes(models: list[Model], tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    run(tmp_path / "out", models[0], [models[1]], Recipe.of("weight_average"))
    save_file(dict(models[1]), tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize("out_dtype", ["BF16", "F16", "F32", "F64"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_every_pair_of_dtypes(dtype: str, out_dtype: str, tmp_path: Path) -> None:
    shapes = {"w": (70_000,), "s": ()}
    models = [noisy(shapes, seed, dtype) for seed in range(2)]
    copied = Recipe.of("weight_average", out_dtype=out_dtype, singleton="identity")
    made = Recipe.of("weight_average", out_dtype=out_dtype)
    run(tmp_path / "copied", models[0], models[1:], copied)
    run(tmp_path / "made", models[0], models[1:], made)
    one, other = read_output(tmp_path / "copied"), read_output(tmp_path / "made")
    for name in shapes:
        assert bits(one[name]) == bits(other[name])
        target = {"BF16": np.dtype(ml_dtypes.bfloat16), "F16": "f2", "F32": "f4", "F64": "f8"}[out_dtype]
        if np.dtype(target).itemsize >= models[1][name].dtype.itemsize and {dtype, out_dtype} != {"BF16", "F16"}:
            assert bits(one[name]) == bits(models[1][name].astype(target))


def test_integers_bools_and_ties_by_bytes(tmp_path: Path) -> None:
    def model(seed: int, n: int, flag: bool) -> Model:
        many = np.full(1_100_000, 5, np.int32)
        many[-1] = n
        return {"w": noisy({"w": (3,)}, seed)["w"], "n": many, "flag": np.array([flag, True]), "same": np.uint8(9)}

    base, models = model(0, 0, True), [model(1, 258, False), model(2, 3, False), model(3, 258, True), model(4, 3, True)]
    run(tmp_path / "base", base, models, Recipe.of("ties"))
    kept = read_output(tmp_path / "base")
    assert kept["n"][-1] == 0
    assert list(kept["flag"]) == [True, True]
    assert kept["same"] == 9
    run(tmp_path / "majority", base, models, Recipe.of("ties", integers="majority"), threads=2)
    kept = read_output(tmp_path / "majority")
    assert kept["n"][-1] == 258  # bytes 02 01 00 00 come before 03 00 00 00
    assert list(kept["flag"]) == [False, True]


def test_tied_tensors_are_written_under_every_name(tmp_path: Path) -> None:
    def tied(seed: int) -> Model:
        one = noisy({"w": (100, 30)}, seed)["w"]
        return {"embed": one, "head": one, "z": noisy({"z": (4,)}, -seed % 89)["z"]}

    run(tmp_path / "out", tied(0), [tied(1), tied(2)], Recipe.of("dare"), shard_size_bytes=6000)
    made = read_output(tmp_path / "out")
    assert bits(made["embed"]) == bits(made["head"])
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 3


def test_rules_missing_and_extra_tensors(tmp_path: Path) -> None:
    base = noisy({"a": (50,), "b": (50,), "c": (50,)}, 0)
    one = noisy({"a": (50,), "b": (50,), "new": (2,)}, 1)
    two = noisy({"a": (50,), "c": (50,)}, 2)
    rules = [{"tensors": "b", "strategy": "weight_average"}, {"tensors": "c", "strategy": "linear"}]
    recipe = Recipe.of("task_arithmetic", {"scale": "1"}, rules=rules, missing="exclude", extra="keep")
    run(tmp_path / "out", base, [one, two], recipe)
    made = read_output(tmp_path / "out")
    assert bits(made["b"]) == bits(one["b"])
    assert bits(made["c"]) == bits(two["c"])
    assert bits(made["new"]) == bits(one["new"])
    run(tmp_path / "base", base, [one, two], Recipe.of("task_arithmetic", {"scale": "1"}, missing="base", extra="drop"))
    made = read_output(tmp_path / "base")
    assert bits(made["b"]) == bits(one["b"])  # the second task vector is zero there
    assert "new" not in made


def test_side_files_config_and_index(tmp_path: Path) -> None:
    files = {"config.json": b'{"torch_dtype": "bfloat16", "x": 1}', "tokenizer.json": b"{ }", "README.md": b""}
    models = [noisy({"a": (10,), "b": (10,)}, seed) for seed in range(2)]
    receipt = run(tmp_path / "same", models[0], models[1:], Recipe.of("linear"), files=files)
    for name, data in files.items():
        assert (tmp_path / "same" / name).read_bytes() == data
    assert set(receipt.side_files) == set(files)
    run(tmp_path / "f32", models[0], models[1:], Recipe.of("linear", out_dtype="F32"), files=files, shard_size_bytes=40)
    assert json.loads((tmp_path / "f32" / "config.json").read_bytes()) == {"torch_dtype": "float32", "x": 1}
    index = json.loads((tmp_path / "f32" / "model.safetensors.index.json").read_bytes())
    assert index["weight_map"] == {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}


def test_a_matrix_strategy_of_another_package_sees_whole_tensors(registered: None, tmp_path: Path) -> None:
    @strategy(scope=Scope.MATRIX, source="this test")
    def upside_down(x: Block) -> RawArray:
        """Turn every matrix upside down."""
        assert x.offset == 0
        return np.ascontiguousarray(x.tensors[0].reshape(x.shape)[::-1] if x.shape else x.tensors[0]).reshape(-1)

    model = noisy({"w": (1600, 1400), "s": (), "v": (9,)}, 1)
    outputs = {
        run(tmp_path / str(threads), None, [model], Recipe.of("upside_down"), threads=threads).output
        for threads in (1, 3)
    }
    assert len(outputs) == 1
    made = read_output(tmp_path / "1")
    assert bits(made["w"]) == bits(model["w"][::-1])
    with pytest.raises(MemoryBudgetError) as caught:
        run(tmp_path / "small", None, [model], Recipe.of("upside_down"), memory_bytes=1 << 20)
    elements = 1600 * 1400  # read and made as BF16; worked on in float64: the task vector, a sum and a factor
    assert str(elements * (2 + 2 + 8 * 3)) in str(caught.value)


def test_passes_of_a_foreign_strategy_cover_exactly_what_they_promise(registered: None, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    lock = threading.Lock()

    def census(x: Block, params: Params) -> np.ndarray[Any, Any]:
        first = x.flat_offset + x.offset
        indices = np.arange(first, first + len(x.tensors[0]), dtype=np.int64)
        return np.array([len(indices), int(indices.sum(dtype=np.int64))], np.int64)

    def finish_census(total: np.ndarray[Any, Any], params: Params, extent: Extent) -> tuple[int, ...]:
        extent.warn("counted")
        return (*map(int, total), extent.elements, extent.count, *sorted(extent.measured))

    def rows(x: Block, params: Params) -> np.ndarray[Any, Any]:
        starts = range(x.offset, x.offset + len(x.tensors[0]), registry.BLOCK_ELEMENTS)
        return np.array([[float(start // registry.BLOCK_ELEMENTS), 1.0] for start in starts])

    def finish_rows(total: np.ndarray[Any, Any], params: Params, extent: Extent) -> tuple[float, ...]:
        return tuple(map(float, total))

    @strategy(
        scope=Scope.MODEL,
        source="this test",
        passes=(
            Pass("before", rows, finish_rows, combine="tree"),
            Pass("whole", census, finish_census, scope=lambda params: "model"),
            Pass("never", census, finish_census, needed=lambda params: params["scale"] != 1),
            Pass("tensor", census, finish_census),
        ),
    )
    def counting(x: Block, *, scale: Number = Fraction(1)) -> RawArray:
        """Copy, and remember what was measured."""
        with lock:
            seen.setdefault(x.name, []).append((x.offset, dict(x.measured)))
        return x.tensors[0]

    model = noisy({"a": (LARGE,), "b": (5,), "c": ()}, 1)
    receipt = run(tmp_path / "out", None, [model], Recipe.of("counting"), threads=2)
    total = LARGE + 6
    assert receipt.warnings == ("counted",)
    for name, flat, size in (("a", 0, LARGE), ("b", LARGE, 5), ("c", LARGE + 5, 1)):
        blocks = -(-size // registry.BLOCK_ELEMENTS)
        for offset, measured in seen[name]:
            assert offset % registry.BLOCK_ELEMENTS == 0
            assert measured == {
                "before": (blocks * (blocks - 1) / 2, float(blocks)),
                "whole": (total, total * (total - 1) // 2, total, 1),
                "tensor": (size, sum(range(flat, flat + size)), size, 1, "before", "whole"),
            }
    assert [offset for offset, _ in sorted(seen["a"], key=lambda item: item[0])] == [0, 2 << 20]


def test_what_a_broken_strategy_returns_is_refused(registered: None, tmp_path: Path) -> None:
    @strategy(scope=Scope.ELEMENTWISE, source="this test")
    def too_short(x: Block) -> RawArray:
        """Return too little."""
        return x.tensors[0][1:]

    @strategy(scope=Scope.ELEMENTWISE, source="this test")
    def writes_inputs(x: Block) -> RawArray:
        """Write where it may not."""
        x.tensors[0][0] = 0
        return x.tensors[0]

    model = noisy({"w": (10,)}, 1)
    with pytest.raises(BrokenStrategyError) as caught:
        run(tmp_path / "out", None, [model], Recipe.of("too_short"))
    assert "too_short" in str(caught.value)
    with pytest.raises(ValueError, match="read-only"):
        run(tmp_path / "out", None, [model], Recipe.of("writes_inputs"))
    assert list(tmp_path.iterdir()) == []


def test_memory_budget_names_the_least_that_works(models: list[Model], tmp_path: Path) -> None:
    least = 5 * 4 * 1024 * 1024
    with pytest.raises(MemoryBudgetError) as caught:
        run(tmp_path / "out", models[0], models[1:], Recipe.of("ties"), memory_bytes=least - 1)
    assert str(least) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    run(tmp_path / "out", models[0], models[1:], Recipe.of("ties"), memory_bytes=least, threads=4)
    with pytest.raises(UsageError):
        run(tmp_path / "none", models[0], models[1:], Recipe.of("ties"), threads=0)


@pytest.mark.parametrize("kind", ["folder", "file", "dangling"])
def test_an_output_that_exists_is_refused_before_any_work(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    {"folder": out.mkdir, "file": out.touch, "dangling": lambda: out.symlink_to("nowhere")}[kind]()
    store = MemoryStore()
    plan = plan_of(store, None, [noisy({"w": (3,)}, 1)], Recipe.of("linear"))
    with pytest.raises(OutputExistsError):
        execute(plan, MemoryStore(), out)  # even though nothing is in that store
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_missing_leaves_are_listed_before_any_work(models: list[Model], tmp_path: Path) -> None:
    store = MemoryStore()
    plan = plan_of(store, models[0], models[1:3], Recipe.of("linear"))
    gone = plan.tasks[-1].sources[0][0]
    store.remove(leaf_name(gone))
    with pytest.raises(MissingObjectError) as caught:
        execute(plan, store, tmp_path / "out")
    assert gone in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Lying(MemoryStore):
    """A store whose disk has changed one leaf."""

    def __init__(self, leaf: Digest | None = None) -> None:
        super().__init__()
        self.leaf = leaf
        self.reads: dict[bool, int] = {True: 0, False: 0}

    def read_leaf(self, digest: Digest, into: memoryview, *, trusted: bool = False) -> int:
        self.reads[trusted] += 1
        if digest == self.leaf and not trusted:
            raise DamagedObjectError("the leaf is damaged", where=leaf_name(digest))
        return super().read_leaf(digest, into, trusted=trusted)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_damaged_leaf_stops_the_run_and_is_raised_once(threads: int, models: list[Model], tmp_path: Path) -> None:
    store = Lying()
    plan = plan_of(store, models[0], models[1:], Recipe.of("ties"))
    store.leaf = next(task for task in plan.tasks if task.name == "large").sources[1][1]
    with pytest.raises(DamagedObjectError):
        execute(plan, store, tmp_path / "out", threads=threads)
    assert list(tmp_path.iterdir()) == []


def test_a_leaf_is_verified_once_in_a_run(models: list[Model], tmp_path: Path) -> None:
    store = Lying()
    plan = plan_of(store, models[0], models[1:], Recipe.of("ties"))
    execute(plan, store, tmp_path / "out", threads=1)
    distinct = {leaf for task in plan.tasks for leaves in task.reads for leaf in leaves}
    assert store.reads[False] == len(distinct)
    assert store.reads[True] >= len(distinct)  # later passes


def test_two_processes_cannot_make_one_output(models: list[Model], tmp_path: Path) -> None:
    store = MemoryStore()
    plan = plan_of(store, models[0], models[1:], Recipe.of("linear"))
    with locked(tmp_path / "out"), pytest.raises(LockedError):
        execute(plan, store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(models: list[Model], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(ReadOnlyError):
        run(tmp_path / "closed" / "out", models[0], models[1:], Recipe.of("linear"))


def test_progress_ends_at_its_total(models: list[Model], tmp_path: Path) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.stages: list[list[Any]] = []

        def start(self, what: str, total_bytes: int) -> None:
            self.stages.append([what, total_bytes, 0])

        def advance(self, done_bytes: int) -> None:
            self.stages[-1][2] += done_bytes

    recorder = Recorder()
    run(tmp_path / "out", models[0], models[1:], Recipe.of("ties"), progress=recorder)
    assert len(recorder.stages) >= 2
    assert all(total == done for _, total, done in recorder.stages)
    assert recorder.stages[-1][0] == "merge"
    assert SILENT is not recorder
