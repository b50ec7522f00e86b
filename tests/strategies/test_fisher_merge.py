"""Fisher merging under the suite, its identities, and what is refused of side-cars."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin.errors import BadParameterError, BadSidecarError, MissingBaseError
from conjoin.kernels import decode, encode
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run, wild_model

FISHER, MEAN = find_strategy("fisher_merge"), find_strategy("linear")


class TestFisherMerge(StrategySuite):
    strategy = "fisher_merge"
    variants: ClassVar = [{"normalize": "false", "floor": "0.75"}]
    vectors: ClassVar = [{}, {"normalize": "false", "floor": "0.75"}, {"variant": "delta_sq"}]

    def test_the_proxy_by_task_vectors_needs_a_base(self) -> None:
        model = replace(wild_model("F32", 2, {"w": 5}), base=None)
        with pytest.raises(MissingBaseError):
            self.run(model, {"variant": "delta_sq"})


def made(rows, fishers=None, form="F32", name="w"):
    """A model of rows and Fisher informations, contributions in canonical order."""
    digests = sorted(map(digest_number, range(len(rows))))
    thetas = {d: {name: encode(np.array(row, float), form)} for d, row in zip(digests, rows, strict=True)}
    extras = {}
    if fishers is not None:
        held = {d: {name: encode(np.array(row, float), "F32")} for d, row in zip(digests, fishers, strict=True)}
        extras = {"fisher": held}
    return Model(form, None, thetas, extras=extras)


def values(model, given=None, form="F64"):
    return decode(run(FISHER, model, given, out_form=form)["w"], form)


def random_rows(count, n=200, seed=0):
    return np.random.default_rng(seed).normal(size=(count, n)).astype(np.float32)


@pytest.mark.parametrize("given", [{}, {"normalize": "false"}])
def test_equal_informations_give_the_mean(given):
    rows = random_rows(3)
    fisher = np.abs(random_rows(1, seed=1)[0])
    model = made(rows, [fisher] * 3)
    assert_same(run(FISHER, model, given), run(MEAN, model))


def test_constant_informations_give_the_weighted_mean():
    rows = random_rows(3)
    model = made(rows, [np.full(200, n) for n in (1, 2.5, 0.5)])
    weights = dict(zip(model.digests, map(Fraction, ("1", "2.5", "0.5")), strict=True))
    assert_same(run(FISHER, model, {"normalize": "false"}), run(MEAN, replace(model, weights=weights)))


def test_where_the_others_know_nothing_one_wins():
    rows, known = random_rows(2), np.array([0.0, 1.0] * 100)
    model = made(rows, [known, 1 - known])
    tiny = {"floor": "0." + "0" * 29 + "1"}
    assert values(model, tiny).tolist() == np.where(known > 0, rows[0], rows[1]).tolist()


def test_the_favoured_one_wins_where_nobody_knows_anything():
    rows = random_rows(3)
    model = made(rows, np.zeros((3, 200)))
    assert_same(run(FISHER, model), run(MEAN, model))
    for index, digest in enumerate(model.digests):
        assert values(model, {"favor": {digest: "true"}}).tolist() == rows[index].tolist()


def test_the_favoured_one_must_count():
    model = made(random_rows(2), np.ones((2, 200)))
    weightless = replace(model, weights={model.digests[0]: Fraction(0)})
    run(FISHER, weightless, {"favor": {model.digests[1]: "true"}})
    with pytest.raises(BadParameterError, match="weight 0 alone"):
        run(FISHER, weightless, {"favor": {model.digests[0]: "true"}})


@pytest.mark.parametrize("factor", [2.0, 0.125])
def test_the_scale_of_one_information_does_not_count(factor):
    """Above the floor; powers of two change no bit."""
    rows, fishers = random_rows(3), np.abs(random_rows(3, seed=2)) + 0.1
    scaled = fishers * np.array([[1.0], [factor], [1.0]])
    assert_same(run(FISHER, made(rows, fishers)), run(FISHER, made(rows, scaled)))


def test_against_exact_arithmetic():
    """θ = Σ c F̂ θ / Σ c F̂ in fractions, the norm over two tensors."""
    rows, fishers = random_rows(4, 60), np.abs(random_rows(4, 60, seed=3))
    fishers[0, :30] = 0
    weights = [Fraction(w) for w in ("1", "0", "2.5", "0.1")]
    model = made(rows, fishers)
    split = replace(
        model,
        contributions={d: {"v": t["w"][:20], "w": t["w"][20:]} for d, t in model.contributions.items()},
        extras={"fisher": {d: {"v": t["w"][:20], "w": t["w"][20:]} for d, t in model.extras["fisher"].items()}},
        weights=dict(zip(model.digests, weights, strict=True)),
    )
    floor = Fraction("0.001")
    found = run(FISHER, split, {"floor": "0.001"}, out_form="F64")
    result = np.concatenate([decode(found[name], "F64") for name in ("v", "w")])
    norms = [Fraction(float(np.linalg.norm(fisher.astype(float)))) for fisher in fishers]
    for j, value in enumerate(result):
        share = [
            w / norm * max(Fraction(float(fisher[j])), floor)
            for w, norm, fisher in zip(weights, norms, fishers, strict=True)
        ]
        expected = sum(s * Fraction(float(row[j])) for s, row in zip(share, rows, strict=True)) / sum(share)
        assert abs(value - float(expected)) < 1e-13


@pytest.mark.parametrize(("variant", "power"), [("magnitude_proxy", 0), ("delta_sq", 1)])
def test_proxies(variant, power):
    rows, base = random_rows(3), random_rows(1, seed=5)[0]
    origin = base.astype(float) * power
    model = replace(made(rows), base={"w": encode(base, "F32")})
    squares = (rows.astype(float) - origin) ** 2
    share = np.maximum(squares, 1e-6) / np.linalg.norm(squares, axis=1, keepdims=True)
    expected = (share * rows).sum(0) / share.sum(0)
    assert np.allclose(values(model, {"variant": variant}), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("normalize", ["true", "false"])
@pytest.mark.parametrize("bad", [-1.0, -1e-45, np.nan, np.inf])
def test_bad_informations_are_refused(normalize, bad):
    model = made(random_rows(2), [np.ones(200), np.where(np.arange(200) == 7, bad, 1.0)])
    with pytest.raises(BadSidecarError, match="element 7") as caught:
        run(FISHER, model, {"normalize": normalize})
    assert caught.value.where == f"tensor `w`, contribution {model.digests[1][:12]}"


def test_minus_zero_is_no_negative_information():
    rows = random_rows(2)
    model = made(rows, [np.full(200, -0.0), np.full(200, 0.0)])
    assert_same(run(FISHER, model), run(MEAN, model))
