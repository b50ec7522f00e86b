"""Laws of Fisher merging, LED-Merging, EMR and scope alignment on random models: any rank, dtype and number."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin import kernels
from conjoin.kernels import FORMATS, decode, encode
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, assert_same, digest_number, run

FISHER, LED, EMR, ALIGNMENT = map(find_strategy, ("fisher_merge", "led_merge", "emr", "weight_scope_alignment"))
SHAPES = st.sampled_from([(), (1,), (9,), (4, 5), (2, 3, 4)])
WEIGHTS = st.sampled_from(["1", "1", "0.5", "2.25"])


@st.composite
def models(draw):
    """Two tensors, 1 to 6 contributions, weights, and scores of which some are 0; values of few bits."""
    form, k = draw(st.sampled_from(sorted(FORMATS))), draw(st.integers(1, 6))
    shapes = {"v": draw(SHAPES), "w": draw(SHAPES)}
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    digests = [digest_number(i) for i in range(k)]

    def tensors(make, kind):
        return {name: encode(make(int(np.prod(shape))), kind) for name, shape in shapes.items()}

    def values(n):
        return rng.integers(-64, 64, n) / 64.0

    def scores(n):
        return rng.integers(0, 16, n) / 4.0

    extras = {side: {d: tensors(scores, "F32") for d in digests} for side in ("fisher", "base", "tuned")}
    return Model(
        form,
        tensors(values, form),
        {d: tensors(values, form) for d in digests},
        {d: Fraction(draw(WEIGHTS)) for d in digests},
        shapes=shapes,
        extras=extras,
    )


def rows(model, name):
    return np.array([decode(model.contributions[d][name], model.form) for d in model.digests])


@pytest.mark.parametrize("strategy", [FISHER, LED, EMR, ALIGNMENT], ids=lambda strategy: strategy.name)
@given(models(), st.sampled_from(sorted(FORMATS)))
@settings(max_examples=25, deadline=None)
def test_a_result_is_rounded_once(strategy, model, form):
    exact, found = run(strategy, model, out_form="F64"), run(strategy, model, out_form=form)
    for name in model.names:
        assert (found[name] == encode(decode(exact[name], "F64"), form)).all()


@pytest.mark.parametrize("strategy", [FISHER, EMR, ALIGNMENT], ids=lambda strategy: strategy.name)
@given(models(), st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_weights_count_by_their_ratio(strategy, model, power):
    """As shares or votes; in LED-Merging they are factors."""
    scaled = replace(model, weights={digest: weight * 2**power for digest, weight in model.weights.items()})
    assert_same(run(strategy, scaled), run(strategy, model))


@pytest.mark.parametrize("strategy", [FISHER, EMR, ALIGNMENT], ids=lambda strategy: strategy.name)
@given(models(), st.randoms())
@settings(max_examples=25, deadline=None)
def test_other_digests_change_the_order_of_sums_alone(strategy, model, random):
    digests = list(model.digests)
    other = dict(zip(digests, random.sample(digests, len(digests)), strict=True))
    renamed = replace(
        model,
        contributions={other[d]: t for d, t in model.contributions.items()},
        weights={other[d]: w for d, w in model.weights.items()},
        extras={side: {other[d]: t for d, t in held.items()} for side, held in model.extras.items()},
    )
    expected, found = run(strategy, model, out_form="F64"), run(strategy, renamed, out_form="F64")
    for name in model.names:
        assert np.allclose(decode(found[name], "F64"), decode(expected[name], "F64"), rtol=1e-12, atol=1e-13)


@given(models())
@settings(max_examples=40, deadline=None)
def test_fisher_merging_stays_within_the_contributions(model):
    found = run(FISHER, model)
    for name in model.names:
        values, all_rows = decode(found[name], model.form), rows(model, name)
        assert ((all_rows.min(axis=0) <= values) & (values <= all_rows.max(axis=0))).all()


@given(models(), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_fisher_merging_of_merged_groups(model, split):
    """Two groups merged, their informations added, and merged again: what all together give. F64 throughout."""
    floor = {"normalize": "false", "floor": "0.25"}
    wide = replace(
        model,
        form="F64",
        contributions={
            d: {n: encode(decode(t, model.form), "F64") for n, t in tensors.items()}
            for d, tensors in model.contributions.items()
        },
        weights={},
    )
    groups = [g for g in (wide.digests[:split], wide.digests[split:]) if g]
    merged, fishers = {}, {}
    for group in groups:
        part = replace(wide, contributions={d: wide.contributions[d] for d in group})
        merged[group[0]] = run(FISHER, part, floor)
        fishers[group[0]] = {
            n: encode(sum(np.maximum(decode(wide.extras["fisher"][d][n], "F32"), 0.25) for d in group), "F32")
            for n in wide.names
        }
    again = run(FISHER, replace(wide, contributions=merged, extras={"fisher": fishers}), floor)
    together = run(FISHER, wide, floor)
    for name in wide.names:
        assert np.allclose(decode(again[name], "F64"), decode(together[name], "F64"), rtol=1e-12, atol=1e-13)


@given(models(), st.sampled_from(["0.2", "0.5", "1"]))
@settings(max_examples=40, deadline=None)
def test_led_merging_takes_each_element_from_one_contribution(model, density):
    unweighted = replace(model, weights={})
    found = run(LED, unweighted, {"density": density}, out_form="F64")
    for name in model.names:
        base, all_rows = decode(model.base[name], model.form), rows(model, name)
        merged = decode(found[name], "F64")
        assert ((merged == base) | (merged == all_rows).any(axis=0)).all()
        kept = max(1, int(Fraction(density) * len(base)))
        assert (merged != base).sum() <= len(all_rows) * kept


@given(models())
@settings(max_examples=40, deadline=None)
def test_emr_masks_keep_the_sign_and_no_smaller_value(model):
    """Where a mask is 1, τ_uni has the sign of τᵢ and at least its size."""
    found = run(EMR, replace(model, weights={}), out_form="F64")
    for name in model.names:
        base, all_rows = decode(model.base[name], model.form), rows(model, name)
        unified, taus = decode(found[name], "F64") - base, all_rows - base
        masks = kernels.unpack(found[f"{name}|mask"].reshape(len(taus), -1), len(base))
        assert (masks == (taus * unified > 0)).all()
        assert (~masks | (abs(unified) >= abs(taus))).all()
        assert ((unified == 0) | masks.any(axis=0)).all()


@given(models(), st.sampled_from(["mean_std", "rms"]))
@settings(max_examples=40, deadline=None)
def test_alignment_keeps_the_mean_and_no_larger_spread(model, fusion):
    found = run(ALIGNMENT, model, {"scope_fusion": fusion}, out_form="F64")
    shares = np.array([float(model.weights[d]) for d in model.digests])
    shares /= shares.sum()
    for name in model.names:
        all_rows, merged = rows(model, name), decode(found[name], "F64")
        assert np.allclose(merged.mean(), (shares * all_rows.mean(axis=1)).sum(), rtol=1e-12, atol=1e-12)
        spreads = all_rows.std(axis=1)
        fused = (shares * spreads).sum() if fusion == "mean_std" else np.sqrt((shares * spreads**2).sum())
        assert merged.std() <= fused * (1 + 1e-9) + 1e-12
