"""Running resolves through a real replica: any history of adds and retractions gives the bytes of a full resolve."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.models import DTYPES, noisy, plan_of, write_model

from conjoin import Replica
from conjoin.executor import RunningSums, execute
from conjoin.plan import Recipe
from conjoin.store.memory import MemoryStore

SHAPES = {"a": (40, 30), "b": (7,), "c": ()}
RECIPES = [
    ("weight_average", {}),
    ("linear", {"normalize": False}),
    ("task_arithmetic", {"scale": "0.3"}),
    ("task_arithmetic", {"scale": "-1"}),
    ("dare", {"mask_scope": "contribution", "density": "0.4"}),
    ("dare", {"density": "1"}),
]


def model(kind: str, dtype: str, seed: int) -> dict[str, np.ndarray]:
    """Tensors like a fine-tune's, or of any finite bits."""
    if kind == "noisy":
        return noisy(SHAPES, seed, dtype)
    rng, form = np.random.default_rng(seed), DTYPES[dtype]
    raw = {name: rng.bytes(int(np.prod(shape)) * form.itemsize) for name, shape in SHAPES.items()}
    found = {name: np.frombuffer(data, form).reshape(SHAPES[name]) for name, data in raw.items()}
    with np.errstate(all="ignore"):
        return {name: np.where(np.isfinite(array), array, form.type(0)).astype(form) for name, array in found.items()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("running")


@given(
    st.sampled_from(["BF16", "F16", "F32", "F64"]),
    st.lists(
        st.tuples(
            st.sampled_from(["add", "add", "add", "retract"]), st.integers(0, 9), st.sampled_from(["noisy", "any"])
        ),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from(RECIPES),
    st.sampled_from(["1", "2", "0.7"]),
)
@settings(max_examples=25, deadline=None)
def test_any_history(folder: Path, dtype: str, history: list, recipe: tuple, weight: str) -> None:
    shutil.rmtree(folder)
    write_model(folder / "base", noisy(SHAPES, 99, dtype))
    name, params = recipe
    with Replica.init(folder / "site", folder / "base") as replica:
        for number, (step, seed, kind) in enumerate(history):
            if step == "add" or len(replica.visible) < 2:
                source = write_model(folder / f"model-{number}", model(kind, dtype, seed))
                replica.add(source, weight=weight if seed % 3 == 0 else "1")
            else:
                replica.retract(replica.visible[seed % len(replica.visible)])
            full, running = folder / f"full-{number}", folder / f"running-{number}"
            replica.resolve(name, full, **params)
            sums = replica.running_sums()
            replica.resolve(name, running, running=sums, **params)
            assert content(full) == content(running)
            assert sums.report.slices == len(SHAPES)


def test_a_retracted_contribution_whose_content_is_gone(tmp_path: Path) -> None:
    """It cannot be taken out of the sum, so the sum is begun anew."""
    store = MemoryStore()
    models = [noisy(SHAPES, seed) for seed in range(6)]
    recipe = Recipe.of("weight_average")
    sums = RunningSums(tmp_path / "sums")
    execute(plan_of(store, models[0], models[1:], recipe), store, tmp_path / "before", running=sums)
    fewer = MemoryStore()
    plan = plan_of(fewer, models[0], models[2:], recipe)
    execute(plan, fewer, tmp_path / "full")
    sums = RunningSums(tmp_path / "sums")
    execute(plan, fewer, tmp_path / "after", running=sums)
    assert content(tmp_path / "full") == content(tmp_path / "after")
    assert sums.report.begun == sums.report.slices == len(SHAPES)


def test_only_what_changed_is_read(tmp_path: Path) -> None:
    class Counting(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.read: list = []

        def read_leaf(self, digest, into, *, trusted=False):
            self.read.append(digest)
            return super().read_leaf(digest, into, trusted=trusted)

    store = Counting()
    models = [noisy(SHAPES, seed) for seed in range(9)]
    recipe = Recipe.of("weight_average")
    execute(
        plan_of(store, models[0], models[1:8], recipe), store, tmp_path / "a", running=RunningSums(tmp_path / "sums")
    )
    plan = plan_of(store, models[0], models[1:9], recipe)
    store.read.clear()
    execute(plan, store, tmp_path / "b", running=RunningSums(tmp_path / "sums"))
    new = {leaf for entry in plan.tasks for leaves in entry.sources for leaf in leaves}
    old = {
        leaf for entry in plan_of(store, models[0], models[1:8], recipe).tasks for ls in entry.sources for leaf in ls
    }
    assert sorted(store.read) == sorted(new - old)


@pytest.mark.parametrize("threads", [1, 3])
def test_sums_that_are_not_proven_are_made_from_everything(tmp_path: Path, threads: int) -> None:
    """Numbers 2^80 apart: no sum of them is exact, in some slices of many."""
    store, form = MemoryStore(), DTYPES["F32"]
    models = [noisy({**SHAPES, "wide": (3000,)}, seed, "F32") for seed in range(4)]
    models[2]["wide"] = (models[2]["wide"].astype(np.float64) * 2.0**80).astype(form)
    recipe = Recipe.of("weight_average")
    for number, count in enumerate((3, 4)):
        plan = plan_of(store, models[0], models[1:count], recipe)
        sums = RunningSums(tmp_path / "sums")
        execute(plan, store, tmp_path / f"running-{number}", running=sums, threads=threads)
        execute(plan, store, tmp_path / f"full-{number}")
        assert content(tmp_path / f"full-{number}") == content(tmp_path / f"running-{number}")
        assert sums.report.not_kept == 1
    assert sums.report.from_sums == len(SHAPES)
    assert sums.report.begun == 1
