"""Evolutionary merge under the suite; what its genome means, by the strategies that it is a genome of."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar

import pytest

from conjoin.errors import MissingAssetError, WrongAssetError
from conjoin.plan import Recipe
from conjoin.strategies import genome as genomes
from conjoin.strategies.base import Block, find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, run, wild_model

SUBJECT = find_strategy("evolutionary_merge")
SEED = "5e" * 32
GENES = ["0.7", "0.25", "1", "0.4004", "0.0001", "0.55", "0.9"]
"""Weights; densities are those of the next in turn."""


def genome(
    digests: tuple[str, ...],
    *,
    inner: str = "dare_ties",
    normalize: str = "true",
    groups: list[list[str]] | None = None,
    genes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Values of an asset: unequal weights and densities in two groups, unless given."""
    chosen = groups or [["*.bias", "v"], ["*"]]
    rows = {
        digest: [[GENES[(i + g) % 7], GENES[(i + 3 * g + 1) % 7]] for g in range(len(chosen))]
        for i, digest in enumerate(digests)
    }
    return {"seed": SEED, "inner": inner, "normalize": normalize, "groups": chosen, "genes": genes or rows}


def fitting(model: Model, setting: Mapping[str, str]) -> dict[str, Any]:
    """The genome of a model for a setting of the parameters."""
    return genome(model.digests, inner=setting.get("inner", "dare_ties"), normalize=setting.get("normalize", "true"))


class TestEvolutionaryMerge(StrategySuite):
    strategy = "evolutionary_merge"
    variants: ClassVar = [{"inner": "ties", "normalize": "false"}]
    vectors: ClassVar = [{}, {"inner": "ties"}, {"inner": "task_arithmetic", "normalize": "false"}]

    def fit(self, model: Model, setting: Any) -> Any:
        return fitting(model, setting)


def applied(model: Model, values: Any, **params: str) -> Any:
    return run(SUBJECT, replace(model, fitted=values), params)


def same_for_all(model: Model, weight: str, density: str, **settings: Any) -> dict[str, Any]:
    genes = {digest: [[weight, density]] for digest in model.digests}
    return genome(model.digests, groups=[["*"]], genes=genes, **settings)


def model_of(form: str = "BF16", count: int = 4) -> Model:
    return wild_model(form, count, {"a.weight": (20, 31), "b.bias": 57})


def test_equal_genes_are_ties_of_each_tensor():
    model = replace(model_of(), weights={model_of().digests[1]: Fraction("2.5")})
    for normalize, agg in (("true", "mean"), ("false", "sum")):
        values = same_for_all(model, "1", "0.3", inner="ties", normalize=normalize)
        expected = run(find_strategy("ties"), model, {"density": "0.3", "trim_scope": "tensor", "agg": agg})
        assert_same(applied(model, values, inner="ties", normalize=normalize), expected)


def test_equal_genes_are_dare_ties():
    model = replace(model_of("F32"), seeds={"root": bytes.fromhex(SEED), "contribution": bytes(32)})
    named = replace(find_strategy("dare_ties"), name="evolutionary_merge")  # the name is part of a draw's
    for normalize, agg in (("true", "mean"), ("false", "sum")):
        values = same_for_all(model, "1", "0.3", normalize=normalize)
        expected = run(named, model, {"density": "0.3", "trim_scope": "tensor", "agg": agg})
        assert_same(applied(model, values, normalize=normalize), expected)


def test_weights_are_those_of_linear_and_task_arithmetic():
    model = model_of("F32", 3)
    genes = {d: [[w, "0.5"]] for d, w in zip(model.digests, ("0.1", "0.7", "0.4"), strict=True)}
    heavy = replace(model, weights={d: Fraction(genes[d][0][0]) for d in model.digests})
    for normalize, inner, params in (
        ("true", "linear", {}),
        ("false", "linear", {"normalize": "false"}),
        ("false", "task_arithmetic", {"scale": "1"}),
    ):
        values = genome(model.digests, inner=inner, normalize=normalize, groups=[["*"]], genes=genes)
        assert_same(applied(model, values, inner=inner, normalize=normalize), run(find_strategy(inner), heavy, params))


def test_a_gene_of_zero_leaves_a_contribution_out():
    model = model_of("F32", 3)
    first, *others = model.digests
    genes = {first: [["0", "1"]], **{d: [["0.5", "0.5"]] for d in others}}
    fewer = replace(model, contributions={d: model.contributions[d] for d in others})
    for inner in ("dare_ties", "ties"):
        values = genome(model.digests, inner=inner, groups=[["*"]], genes=genes)
        assert_same(applied(model, values, inner=inner), applied(fewer, values, inner=inner))


def test_what_alone_has_a_weight_is_taken_as_it_is():
    model = model_of("F16", 3)
    genes = {d: [[w, "0.1"]] for d, w in zip(model.digests, ("0", "0.3", "0"), strict=True)}
    values = genome(model.digests, groups=[["*"]], genes=genes)
    assert_same(applied(model, values), model.contributions[model.digests[1]])


def test_groups_have_genes_of_their_own():
    model = model_of("F32", 2)
    first, second = model.digests
    genes = {first: [["1", "1"], ["0", "1"]], second: [["0", "1"], ["1", "1"]]}
    found = applied(model, genome(model.digests, groups=[["*.bias"], ["*"]], genes=genes))
    assert_same(
        found, {"b.bias": model.contributions[first]["b.bias"], "a.weight": model.contributions[second]["a.weight"]}
    )


@pytest.mark.parametrize("form", ["BF16", "F64"])
def test_thresholds_of_a_whole_tensor_are_those_of_the_passes(form: str):
    model = model_of(form)
    for inner in ("ties", "dare_ties", "linear"):
        params = {"inner": inner, "normalize": True}
        values = fitting(model, {"inner": inner})
        expected = applied(model, values, inner=inner)
        for name in model.names:
            block = Block(
                tensors=tuple(model.contributions[d][name] for d in model.digests),
                base=model.base[name] if model.base else None,
                weights=(Fraction(1),) * 4,
                contributions=model.digests,
                format=form,
                out_format=form,
                name=name,
                shape=model.shape(name),
                offset=0,
                flat_offset=0,
                seeds={},
                strategy=SUBJECT.name,
                fitted=values,
            )
            measured = genomes.measured_whole(block, params)
            found = genomes.apply_genome(replace(block, measured=measured), params)
            assert (found == expected[name]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": "ties"}, "inner"),
        ({"normalize": "false"}, "normalize"),
        ({"seed": "12"}, "seed"),
        ({"seed": "zz" * 32}, "seed"),
        ({"groups": "*"}, "group"),
        ({"groups": [["x*"]]}, "no group for tensor `a.weight`"),
        ({"genes": {}}, "no weight and density"),
        ({"genes": []}, "no weight and density"),
        ({"gene": ["0.5"]}, "no weight and density"),
        ({"gene": ["0.5", "0"]}, "density"),
        ({"gene": ["0.5", "1.5"]}, "genes"),
        ({"gene": ["-0.5", "1"]}, "genes"),
        ({"gene": [1, "1"]}, "genes"),
        ({"gene": ["1", ["1"]]}, "genes"),
        ({"gene": ["0.1234567891", "1"]}, "genes"),
    ],
)
def test_an_asset_that_is_none(change: dict[str, Any], message: str):
    model = model_of("F32", 2)
    values = genome(model.digests, groups=[["*"]])
    if "gene" in change:
        values["genes"][model.digests[1]] = [change["gene"]]
    else:
        values |= change
    with pytest.raises(WrongAssetError) as caught:
        applied(model, values)
    assert message in str(caught.value)


def test_without_an_asset_it_says_how_one_is_made():
    with pytest.raises(MissingAssetError, match="searched") as caught:
        Recipe.of("evolutionary_merge")
    assert "conjoin fit evolutionary_merge" in str(caught.value)
