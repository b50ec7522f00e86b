"""Plans: what is checked before any tensor is read, how tensors are told apart, laid out and seeded."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from tests.unit.models import SPACE, Model, contributions, keep, noisy, plan_of

from conjoin.errors import (
    BadRecipeError,
    BadWeightError,
    MismatchedTensorsError,
    MissingBaseError,
    NothingVisibleError,
    UnknownDigestError,
    UsageError,
)
from conjoin.plan import NOTHING, Plan, Recipe, compare_manifests, make_plan
from conjoin.plan.layout import rewrite_config
from conjoin.store.memory import MemoryStore
from conjoin.wire.digest import Digest, leaf_digest, merkle_root, raw, sha256

SHAPES = {"a": (3, 4), "b": (5,), "c": ()}


def model(seed: int, **more: np.ndarray[Any, Any]) -> Model:
    return {**noisy(SHAPES, seed), **more}


def plan(base: Model | None, models: list[Model], strategy: str = "weight_average", **options: Any) -> Plan:
    outer = {name: options.pop(name) for name in ("weights", "files", "shard_size_bytes") if name in options}
    recipe = options.pop("recipe", None) or Recipe.of(strategy, **options)
    return plan_of(MemoryStore(), base, models, recipe, **outer)


def actions(made: Plan) -> Mapping[str, str]:
    return {name: task.action for task in made.tasks for name in task.names}


def test_canonical_order_root_and_seeds() -> None:
    store = MemoryStore()
    base = keep(store, model(0))
    chosen = contributions(base, [keep(store, model(i)) for i in (1, 2, 3)])
    recipe = Recipe.of("dare")
    plans = [
        make_plan(space=SPACE, base=base, files=None, contributions=order, recipe=recipe)
        for order in (chosen, chosen[::-1], [*chosen, chosen[1]])
    ]
    digests = sorted(digest for digest, _, _ in chosen)
    root = merkle_root([leaf_digest(raw(digest)) for digest in digests])
    for made in plans:
        assert [c.digest for c in made.contributions] == digests
        assert made.groups[0].contributions == tuple(digests)
        assert made.root == root
        assert made.digest == plans[0].digest
        assert made.tasks == plans[0].tasks
        assert made.seeds["root"].hex() == sha256(b"conjoin/seed/1", raw(SPACE), raw(root), raw(recipe.digest))
        expected = sha256(b"conjoin/seed/contribution/1", raw(SPACE), raw(base.digest), raw(recipe.digest))
        assert made.seeds["contribution"].hex() == expected


def test_everything_the_output_depends_on_changes_the_plan_digest() -> None:
    base, models = model(0), [model(1), model(2)]
    plans = [
        plan(base, models),
        plan(base, models[:1]),
        plan(model(9), models),
        plan(base, models, "linear"),
        plan(base, models, weights=["1", "2"]),
        plan(base, models, files={"config.json": b"{}"}),
        plan(base, models, shard_size_bytes=10),
    ]
    assert len({made.digest for made in plans}) == len(plans)


def test_nothing_visible() -> None:
    with pytest.raises(NothingVisibleError):
        plan(model(0), [])


def test_missing_base() -> None:
    with pytest.raises(MissingBaseError) as caught:
        plan(None, [model(1)], "ties")
    assert "ties" in str(caught.value)
    with pytest.raises(MissingBaseError):
        plan(None, [model(1), model(2)], "slerp", params={"target": "delta"})
    assert plan(None, [model(1)], "slerp").base == NOTHING


def test_the_base_is_read_only_where_the_strategy_needs_it() -> None:
    assert all(task.base is None for task in plan(model(0), [model(1)], "weight_average").tasks)
    assert all(task.base is not None for task in plan(model(0), [model(1)], "ties").tasks)


def test_all_differences_of_all_contributions_are_listed_at_once() -> None:
    wrong_shape = {**model(1), "a": noisy({"a": (4, 3)}, 1)["a"]}
    wrong_dtype = {**model(2), "b": noisy({"b": (5,)}, 2, "F16")["b"]}
    less_and_more = {"a": model(3)["a"], "b": model(3)["b"], "d": model(3)["c"]}
    with pytest.raises(MismatchedTensorsError) as caught:
        plan(model(0), [wrong_shape, wrong_dtype, less_and_more])
    text = str(caught.value)
    assert "4 tensors" in text
    for part in ("BF16 (4, 3)", "BF16 (3, 4)", "F16 (5,)", "`c`", "missing", "`d`", "not in the base"):
        assert part in text


def test_compare_manifests_is_empty_for_a_fit() -> None:
    store = MemoryStore()
    assert compare_manifests(keep(store, model(0)), keep(store, model(1))) == []
    assert len(compare_manifests(keep(store, model(0)), keep(store, {"a": model(1)["a"]}))) == 2


def test_missing_tensors_by_rule() -> None:
    partial = {"a": model(2)["a"], "b": model(2)["b"]}
    excluded = plan(model(0), [model(1), partial], missing="exclude")
    assert sorted(len(excluded.groups[task.group or 0].contributions) for task in excluded.tasks) == [1, 2, 2]
    replaced = plan(model(0), [model(1), partial], "ties", missing="base")
    assert len(replaced.groups) == 1
    task = next(task for task in replaced.tasks if task.name == "c")
    assert task.base in task.sources
    nobody = plan(model(0), [partial], missing="exclude")
    assert actions(nobody) == {"a": "strategy", "b": "strategy", "c": "copy"}


def test_extra_tensors_by_rule() -> None:
    more = noisy({"d": (2,)}, 7)
    dropped = plan(model(0), [model(1, **more), model(2)], extra="drop")
    assert [tensor.name for tensor in dropped.tensors] == ["a", "b", "c"]
    kept = plan(model(0), [model(1, **more), model(2)], extra="keep")
    assert [tensor.name for tensor in kept.tensors] == ["a", "b", "c", "d"]
    assert actions(plan(model(0), [model(1, **more), model(2)], "ties", extra="keep"))["d"] == "copy"
    other = noisy({"d": (2,)}, 8)
    with pytest.raises(MissingBaseError) as caught:
        plan(model(0), [model(1, **more), model(2, **other)], "ties", extra="keep")
    assert "`d`" in str(caught.value)
    rule = [{"tensors": "d", "strategy": "weight_average"}]
    assert (
        actions(plan(model(0), [model(1, **more), model(2, **other)], "ties", extra="keep", rules=rule))["d"]
        == "strategy"
    )


def test_integers_and_bools() -> None:
    def counters(*values: int) -> list[Model]:
        return [{**model(i + 1), "n": np.array([value])} for i, value in enumerate(values)]

    base = {**model(0), "n": np.array([0])}
    store = MemoryStore()

    def leaf(value: int) -> Any:
        return keep(store, {"n": np.array([value])}).tensors[0].leaves

    def chosen(made: Plan) -> Any:
        task = next(task for task in made.tasks if task.name == "n")
        return task.action, task.sources

    assert chosen(plan(base, counters(7, 7))) == ("copy", (leaf(7),))
    assert chosen(plan(base, counters(7, 8))) == ("copy", (leaf(0),))
    assert chosen(plan(base, counters(7, 8, 8), integers="majority")) == ("copy", (leaf(8),))
    action, sources = chosen(plan(base, counters(7, 8), integers="majority"))
    assert action == "choose"
    assert set(sources) == {leaf(7), leaf(8)}
    assert chosen(plan(None, counters(7, 8)))[0] == "choose"


def test_tied_tensors_are_one_task() -> None:
    def tied(seed: int, same: bool = True) -> Model:
        one = noisy({"w": (4, 4)}, seed)["w"]
        return {
            "embed": one,
            "head": one if same else one + one.dtype.type(1),
            "other": noisy({"w": (4, 4)}, -seed % 97)["w"],
        }

    made = plan(tied(0), [tied(1), tied(2)])
    assert [task.names for task in made.tasks] == [("embed", "head"), ("other",)]
    assert made.groups[0].elements == 32
    assert [tensor.name for tensor in made.tensors] == ["embed", "head", "other"]
    for models in ([tied(1), tied(2, same=False)], [tied(1, same=False), tied(2, same=False)]):
        assert len(plan(tied(0), models).tasks) == 3
    assert len(plan(tied(0, same=False), [tied(1), tied(2)], "ties").tasks) == 3
    rules = [{"tensors": "head", "strategy": "linear"}]
    assert len(plan(tied(0), [tied(1), tied(2)], rules=rules).tasks) == 3


def test_groups_and_flat_offsets() -> None:
    rules = [{"tensors": "b", "strategy": "ties", "params": {"density": "0.5"}}]
    made = plan(model(0), [model(1)], "ties", rules=rules)
    assert [(task.name, task.group, task.flat_offset) for task in made.tasks] == [
        ("a", 0, 0),
        ("b", 1, 0),
        ("c", 0, 12),
    ]
    assert [group.elements for group in made.groups] == [13, 5]
    same = plan(model(0), [model(1)], "ties", rules=[{"tensors": "b", "strategy": "ties"}])
    assert len(same.groups) == 1


def test_singleton_identity_copies() -> None:
    assert set(actions(plan(model(0), [model(1)], "ties", singleton="identity")).values()) == {"copy"}
    assert set(actions(plan(model(0), [model(1)], "ties")).values()) == {"strategy"}
    assert set(actions(plan(model(0), [model(1), model(2)], "ties", singleton="identity")).values()) == {"strategy"}


def test_empty_tensors_are_copied() -> None:
    empty = {"e": np.empty((0, 3), np.float32)}
    assert actions(plan(model(0, **empty), [model(1, **empty), model(2, **empty)], "ties"))["e"] == "copy"


def test_weights_of_the_recipe() -> None:
    store = MemoryStore()
    base = keep(store, model(0))
    chosen = contributions(base, [keep(store, model(1)), keep(store, model(2))], ["1", "0.5"])
    first, second = (digest for digest, _, _ in chosen)

    def make(weights: Mapping[Digest, str], strategy: str = "weight_average") -> Plan:
        recipe = Recipe.of(strategy, weights=weights)
        return make_plan(space=SPACE, base=base, files=None, contributions=chosen, recipe=recipe)

    own = dict(zip(make({}).groups[0].contributions, make({}).groups[0].weights, strict=True))
    assert own == {first: 1, second: 1 / 2}
    changed = make({first: "0"})
    assert dict(zip(changed.groups[0].contributions, changed.groups[0].weights, strict=True)) == {
        first: 0,
        second: 1 / 2,
    }
    with pytest.raises(BadWeightError) as caught:
        make({first: "0", second: "0"})
    assert "zero" in str(caught.value)
    make({first: "0", second: "0"}, "task_arithmetic")
    with pytest.raises(UnknownDigestError) as unknown:
        make({Digest("00" * 32): "1"})
    assert "00" * 32 in str(unknown.value)


def test_rules_that_match_nothing_are_refused() -> None:
    with pytest.raises(BadRecipeError) as caught:
        plan(model(0), [model(1)], rules=[{"tensors": "layer.*", "strategy": "ties"}])
    assert "layer.*" in str(caught.value)


def test_shards_in_name_order_up_to_the_limit() -> None:
    base = noisy({"a": (50,), "b": (25,), "c": (25,), "d": (80,)}, 0)  # 100, 50, 50, 160 bytes
    made = plan(base, [noisy({"a": (50,), "b": (25,), "c": (25,), "d": (80,)}, 1)], shard_size_bytes=100)
    assert [sorted(shard.offsets) for shard in made.shards] == [["a"], ["b", "c"], ["d"]]
    assert [shard.name for shard in made.shards] == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert made.index is not None
    index = json.loads(made.index)
    assert index["metadata"] == {"total_size": 360}
    assert index["weight_map"]["d"] == "model-00003-of-00003.safetensors"
    single = plan(base, [base])
    assert [shard.name for shard in single.shards] == ["model.safetensors"]
    assert single.index is None
    with pytest.raises(UsageError):
        plan(base, [base], shard_size_bytes=0)


def test_side_files_that_would_collide_stay_behind() -> None:
    files = {name: b"{}" for name in ("config.json", "tokenizer.json", "conjoin.json", "model.safetensors.index.json")}
    made = plan(model(0), [model(1)], files=files)
    assert [side.name for side in made.side_files] == ["config.json", "tokenizer.json"]
    assert all(side.config_dtype is None for side in made.side_files)
    same = plan(model(0), [model(1)], files=files, out_dtype="BF16")
    assert all(side.config_dtype is None for side in same.side_files)
    changed = plan(model(0), [model(1)], files=files, out_dtype="F32")
    assert [side.config_dtype for side in changed.side_files] == ["F32", None]


def test_config_names_the_new_dtype_at_any_depth_and_nothing_else_changes() -> None:
    data = b'{"torch_dtype": "bfloat16", "eps": 1e-12, "text_config": {"dtype": "bfloat16"}, "dtype": "auto", "a": [1]}'
    value = json.loads(rewrite_config(data, "F32"))
    assert value == {
        "torch_dtype": "float32",
        "eps": 1e-12,
        "text_config": {"dtype": "float32"},
        "dtype": "auto",
        "a": [1],
    }
    assert rewrite_config(rewrite_config(data, "F32"), "F32") == rewrite_config(data, "F32")
    for untouched in (b'{"eps":   1e-12}', b"not json", b"[]", b"\xff"):
        assert rewrite_config(untouched, "F32") == untouched
