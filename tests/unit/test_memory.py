"""Merging in memory: every spelling of the input, kind and dtype kept, the same bytes as files, the paper's names."""

import itertools
import random
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.models import DTYPES, SPACE, plan_of, read_output

import conjoin
from conjoin.errors import (
    BadParameterError,
    BadRecipeError,
    BadWeightError,
    MalformedCheckpointError,
    MismatchedTensorsError,
    MissingBaseError,
    NonFiniteError,
    NothingVisibleError,
    UnknownDigestError,
    UnsupportedDtypeError,
    WrongBaseError,
)
from conjoin.executor import execute
from conjoin.memory import CRDTMergeState, resolve
from conjoin.plan import Recipe
from conjoin.store.memory import MemoryStore
from conjoin.strategies.base import strategies
from conjoin.testing.fingerprint import bare_settings

FLOATS = ["BF16", "F16", "F32", "F64"]
STRATEGIES = [name for name in strategies() if bare_settings(name)[:1] == [{}]]
"""Those that tensors are enough for."""


def array(seed: int, dtype: str = "F32", shape: tuple[int, ...] = (5, 3)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(DTYPES[dtype])


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_three_spellings_and_any_order_give_one_result(strategy: str) -> None:
    arrays, base = [array(i) for i in (1, 2, 3)], array(0)
    plain = resolve(arrays, strategy, base=base)
    for order in itertools.permutations(arrays):
        assert same(resolve(list(order), strategy, base=base), plain)
    assert same(resolve({"tensor": arrays}, strategy, base={"tensor": base})["tensor"], plain)
    assert same(resolve([{"tensor": one} for one in arrays], strategy, base={"tensor": base})["tensor"], plain)
    assert same(conjoin.resolve(arrays, strategy, base=base), plain)


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtype_shape_and_layout(dtype: str) -> None:
    a, b = array(1, dtype, (4, 6)), array(2, dtype, (4, 6))
    result = resolve([a.T, b.T], "weight_average")
    assert result.dtype == a.dtype
    assert same(np.ascontiguousarray(result.T), resolve([a, b], "weight_average"))
    assert resolve([a[0, 0], b[0, 0]], "linear").shape == ()
    assert resolve([a[:0], b[:0]], "linear").shape == (0, 6)


def test_integers_bools_big_endian_and_plain_lists() -> None:
    models = [{"w": array(i), "n": np.int64(3), "flag": np.array([True])} for i in (1, 2)]
    result = resolve(models, "weight_average")
    assert result["n"].dtype == np.int64
    assert result["n"] == 3
    assert result["flag"].dtype == np.bool_
    assert same(resolve([array(1).astype(">f4"), array(2)], "linear"), resolve([array(1), array(2)], "linear"))
    assert list(resolve([[1.0, 2.0], [3.0, 4.0]], "linear")) == [2.0, 3.0]


@pytest.mark.parametrize("strategy", ["weight_average", "ties", "slerp"])
def test_what_comes_out_shares_no_memory_with_what_went_in(strategy: str) -> None:
    models = [{"w": array(i), "n": np.array([i]), "empty": array(i, shape=(0, 2))} for i in (1, 2)]
    before = [{name: one.copy() for name, one in model.items()} for model in models]
    for count in (1, 2):
        result = resolve(models[:count], strategy, base=models[0])
        for name, made in result.items():
            assert made.flags.writeable
            made[...] = 7
            assert all(same(model[name], kept[name]) for model, kept in zip(models, before, strict=True))
            assert all(model[name].flags.writeable for model in models)


def test_what_was_added_may_change_afterwards() -> None:
    arrays, base = [array(i) for i in (1, 2)], array(0)
    plain = resolve(arrays, "ties", base=base)
    state = CRDTMergeState("ties", base=base)
    for one in arrays:
        state.add(one)
    for one in (*arrays, base):
        one[...] = 0
    assert same(state.resolve(), plain)


def test_what_is_little_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a thread was to be started")

    few, many = [[array(i, shape=(rows, 1024)) for i in (1, 2)] for rows in (600, 5000)]
    plain = resolve(few, "weight_average")
    monkeypatch.setattr("conjoin.executor.workers.ThreadPoolExecutor", refused)
    monkeypatch.setattr("conjoin.executor.workers.cores", lambda: 2)
    assert same(resolve(few, "weight_average"), plain)
    with pytest.raises(AssertionError, match="a thread"):
        resolve(many, "weight_average")


def test_weights_follow_their_models() -> None:
    a, b = array(1), array(2)
    one = resolve([a, b], "linear", weights=["3", 1])
    assert same(one, resolve([b, a], "linear", weights=[1, 3.0]))
    assert not same(one, resolve([a, b], "linear"))
    assert same(resolve([np.float64([1]), np.float64([5])], "linear", weights=[3, 1]), np.float64([2]))
    for bad in ([1], [1, 0], [1, -1], [1, "x"], [1, float("nan")], [1, 2, 3]):
        with pytest.raises(BadWeightError):
            resolve([a, b], "linear", weights=bad)


def test_parameters_per_contribution_follow_their_models() -> None:
    a, b = array(1), array(2)
    one = resolve([a, b], "slerp", t=["0.25", None])
    assert same(one, resolve([b, a], "slerp", t=[None, 0.25]))
    assert same(one, resolve([a, b], "slerp", t=[None, "0.75"]))
    with pytest.raises(BadParameterError):
        resolve([a, b], "slerp", t=["0.5"])
    with pytest.raises(BadParameterError):
        resolve([a, a, b], "slerp", t=["0.5", "0.4", None])
    with pytest.raises(BadParameterError):
        resolve([a, b], Recipe.of("slerp"), t=["0.5", None])
    assert same(resolve([a, b], Recipe.of("slerp")), resolve([a, b], "slerp"))


def test_models_are_a_set() -> None:
    a, b = array(1), array(2)
    assert same(resolve([a, b, a], "task_arithmetic", base=b * 0), resolve([a, b], "task_arithmetic", base=b * 0))
    assert same(resolve([a, a], "weight_average"), a)


def test_seeds() -> None:
    arrays, base = [array(i, shape=(50,)) for i in (1, 2)], array(0, shape=(50,))
    results = [resolve(arrays, "dare", base=base, seed=seed) for seed in (None, 0, 1, SPACE)]
    assert len({result.tobytes() for result in results}) == 4
    assert same(resolve(arrays, "dare", base=base, seed=bytes.fromhex(SPACE)), results[3])
    assert same(resolve(arrays, "dare", base=base, seed="00" * 32), results[0])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: resolve([], "linear"), NothingVisibleError),
        (lambda: resolve({}, "linear"), NothingVisibleError),
        (lambda: resolve({"a": [array(1)], "b": []}, "linear"), MismatchedTensorsError),
        (lambda: resolve([array(1), array(1, shape=(2,))], "linear"), MismatchedTensorsError),
        (lambda: resolve([array(1), array(1, "F64")], "linear"), MismatchedTensorsError),
        (lambda: resolve([{"a": array(1)}, {"b": array(1)}], "linear"), MismatchedTensorsError),
        (lambda: resolve([array(1), array(1) / 0], "linear"), NonFiniteError),
        (lambda: resolve([array(1)], "linear", base=array(1) * np.nan), NonFiniteError),
        (lambda: resolve([array(1)], "ties"), MissingBaseError),
        (lambda: resolve([array(1).astype(complex)], "linear"), UnsupportedDtypeError),
        (lambda: resolve([{"../a": array(1)}], "linear"), MalformedCheckpointError),
        (lambda: resolve([{"a b": array(1)}], "linear"), MalformedCheckpointError),
        (lambda: resolve([array(1)], "linear", normalise=True), conjoin.ConjoinError),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_refusals(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call()


def test_out_dtype_without_a_name_in_numpy() -> None:
    result = resolve([array(1)], Recipe.of("linear", out_dtype="BF16"))
    assert result.dtype == ml_dtypes.bfloat16


SHAPES = st.dictionaries(
    st.from_regex(r"[a-z]{1,3}(\.[a-z0-9]{1,2})?", fullmatch=True),
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=SHAPES,
    dtype=st.sampled_from(FLOATS),
    count=st.integers(1, 4),
    strategy=st.sampled_from(STRATEGIES),
    weights=st.lists(st.sampled_from(["1", "0.5", "3", "0.333"]), min_size=4, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_and_memory_agree(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: dict[str, tuple[int, ...]],
    dtype: str,
    count: int,
    strategy: str,
    weights: list[str],
    seed: int,
) -> None:
    base, *models = ({name: array(seed + i, dtype, shape) for name, shape in shapes.items()} for i in range(count + 1))
    store = MemoryStore()
    plan = plan_of(store, base, models, Recipe.of(strategy), weights=weights[:count], shard_size_bytes=64)
    out: Path = tmp_path_factory.mktemp("run") / "out"
    execute(plan, store, out, threads=1 + seed % 3)
    files = read_output(out)
    result = resolve(models, strategy, base=base, weights=weights[:count], seed=SPACE)
    assert files.keys() == result.keys()
    assert all(same(files[name], result[name]) for name in files)


def test_the_paper_s_state_converges_in_any_order() -> None:
    base = {"w": array(0, "BF16"), "b": array(0, "BF16", ())}
    chance = random.Random(7)
    outputs = set()
    for _ in range(4):
        states = [CRDTMergeState("dare", base=base, node=f"n{i}") for i in range(4)]
        digests = [
            s.add({"w": array(i, "BF16"), "b": array(i, "BF16", ())}, node=f"n{i}") for i, s in enumerate(states, 1)
        ]
        states[0].merge(states[1])
        states[0].remove(digests[1])
        pairs = [(i, j) for i in range(4) for j in range(4) if i != j] * 3
        chance.shuffle(pairs)
        for i, j in [*pairs, *[(i, j) for i in range(4) for j in range(4)]]:
            assert states[i].merge(states[j]) is states[i]
        assert len({state.root for state in states}) == 1
        assert all(state.visible == tuple(sorted({*digests} - {digests[1]})) for state in states)
        results = [state.resolve() for state in states]
        outputs |= {(result["w"].tobytes(), result["b"].tobytes()) for result in results}
        assert results[0]["w"].dtype == ml_dtypes.bfloat16
    assert len(outputs) == 1


def test_the_paper_s_state_adds_removes_and_adds_again() -> None:
    a, b = CRDTMergeState("weight_average"), CRDTMergeState("weight_average")
    one, two = array(1), array(2)
    digest = a.add(one)
    b.merge(a)
    assert b.add(two, weight="2") != digest
    a.remove(digest)
    with pytest.raises(UnknownDigestError):
        a.remove(digest)
    with pytest.raises(NothingVisibleError):
        a.resolve()
    b.add(one)  # concurrent with the removal: it survives
    a.merge(b)
    assert digest in a.visible
    assert len(a.visible) == 2
    assert same(a.resolve(), resolve([one, two], "weight_average", weights=[1, 2]))
    assert sum(a.V.values()) == 4
    assert a.state.root() == a.root
    assert a.root[:16] in a._repr_html_()


def test_the_paper_s_state_refuses_what_does_not_fit() -> None:
    state = CRDTMergeState("ties", base=array(0), density="0.5")
    with pytest.raises(MismatchedTensorsError):
        state.add(array(1, "F64"))
    with pytest.raises(NonFiniteError):
        state.add(array(1) * np.inf)
    assert state.visible == ()
    with pytest.raises(WrongBaseError):
        state.merge(CRDTMergeState("ties", base=array(1)))
    with pytest.raises(BadRecipeError):
        CRDTMergeState("slerp", t={"abc": "0.5"})
