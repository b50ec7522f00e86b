"""SafeMERGE under the suite; roles, the threshold and its margin."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadRoleError, BadWeightError
from conjoin.kernels import FORMATS
from conjoin.testing.dense import SMALL_SHAPES, decoded, model_of, values
from conjoin.testing.strategy_suite import StrategySuite, assert_same, digest_number, run, wild_model

SAFE, UNALIGNED = digest_number(1001), digest_number(1002)


def cosine(v, delta):
    seen = v @ v.T @ delta
    return float(np.sum(seen * delta) / np.sqrt(np.sum(seen * seen) * np.sum(delta * delta)))


class TestSafeMerge(StrategySuite):
    strategy = "safe_merge"
    shapes: ClassVar = SMALL_SHAPES
    variants: ClassVar = [{"threshold": "0.9"}, {"threshold": "0"}]
    vectors: ClassVar = [{}, {"threshold": "0.99", "share": "0.5"}]

    def equipped(self, model, setting):
        """Besides those that are fine-tuned, a safe one like the last of them and an unaligned one."""
        finetuned = [model.contributions[digest] for digest in model.digests if digest not in (SAFE, UNALIGNED)]
        rolled = {name: np.roll(raw, 1) for name, raw in finetuned[0].items()}
        return replace(model, contributions={**model.contributions, SAFE: finetuned[-1], UNALIGNED: rolled})

    def given(self, model, setting):
        return {**setting, "role": {SAFE: "safe", UNALIGNED: "unaligned"}}

    @pytest.mark.parametrize("form", FORMATS)
    def test_one_contribution_runs_the_formula(self, form):
        """One that is fine-tuned, and the safe model the same: that one; twice a full F64 number rounds."""
        model = wild_model(form, 1, {"w": (20, 25), "scalar": 1})
        setting = {"threshold": "0"} if form == "F64" else {}
        assert_same(self.run(model, setting), model.contributions[model.digests[0]])

    def merged(self, thetas, roles, base=None, setting=None, *, weights=(), warn=lambda _: None):
        """Contributions with a role each, None for none."""
        model = model_of(np.zeros_like(thetas[0]) if base is None else base, thetas, weights=weights)
        role = {digest: name for digest, name in zip(model.digests, roles, strict=True) if name}
        return decoded(run(self.subject, model, {**(setting or {}), "role": role}, warn=warn), thetas[0].shape)

    @pytest.mark.parametrize("shape", [(6, 9), (9, 6), (4, 3, 2), (1, 5)])
    def test_mixes_below_the_cosine_and_not_above(self, shape):
        base, (first, second, safe, unaligned, aligned) = values(shape, 5)
        mean = (first + 2 * second) / 3
        at = cosine((aligned - unaligned).reshape(shape[0], -1), (mean - base).reshape(shape[0], -1))
        thetas = [first, second, safe, unaligned, aligned]
        roles, weights = ["finetuned", None, "safe", "unaligned", "aligned"], [Fraction(w) for w in (1, 2, 0, 9, 0)]
        below, above = ({"threshold": f"{at + step:.9f}"} for step in (-0.00001, 0.00001))
        np.testing.assert_allclose(self.merged(thetas, roles, base, below, weights=weights), mean, atol=1e-15)
        mixed = self.merged(thetas, roles, base, above, weights=weights)
        np.testing.assert_allclose(mixed, 0.8 * mean + 0.2 * safe, atol=1e-15)

    def test_the_base_is_aligned_where_no_contribution_is(self):
        base, (finetuned, safe, unaligned) = values((4, 6), 3)
        without = self.merged([finetuned, safe, unaligned], [None, "safe", "unaligned"], base)
        given = self.merged([finetuned, safe, unaligned, base], [None, "safe", "unaligned", "aligned"], base)
        assert (without == given).all()

    def test_no_alignment_means_mixed(self):
        base, (finetuned, safe) = values((4, 6), 2)
        near = base + 2.0**-40
        got = self.merged([finetuned, safe, near], [None, "safe", "unaligned"], base, {"share": "0.5"})
        assert (got == (finetuned + safe) / 2).all()
        assert (self.merged([base, base, near], [None, "safe", "unaligned"], base, {"share": "0.5"}) == base).all()

    def test_vectors_stay_as_they_were_fine_tuned(self):
        base, (finetuned, safe, unaligned) = values((7,), 3)
        got = self.merged([finetuned, safe, unaligned], [None, "safe", "unaligned"], base, {"threshold": "2"})
        assert (got == finetuned).all()

    def test_says_when_the_cosine_is_at_the_threshold(self):
        said = []
        update, safe, unaligned = np.array([[3.0], [4.0]]), np.ones((2, 1)), np.array([[-1.0], [0.0]])
        for threshold in ("0.6", "0.6000009", "0.5999991"):
            self.merged(
                [update, safe, unaligned], [None, "safe", "unaligned"], None, {"threshold": threshold}, warn=said.append
            )
        assert [text[:36] for text in said] == ["the cosine of `w` is 0.600000000, at"] * 3
        self.merged(
            [update, safe, unaligned], [None, "safe", "unaligned"], None, {"threshold": "0.61"}, warn=said.append
        )
        assert len(said) == 3

    @pytest.mark.parametrize(
        ("roles", "role"),
        [
            ([None, None, "safe"], "unaligned"),
            ([None, None, "unaligned"], "safe"),
            (["safe", "safe", "unaligned"], "safe"),
            ([None, "safe", "unaligned", "unaligned"], "unaligned"),
            ([None, "safe", "unaligned", "aligned", "aligned"], "aligned"),
            (["aligned", "safe", "unaligned"], "finetuned"),
        ],
    )
    def test_roles_missing_or_taken_twice(self, roles, role):
        _, thetas = values((2, 2), len(roles))
        with pytest.raises(BadRoleError, match=f"in the role `{role}`"):
            self.merged(thetas, roles)

    def test_weights_of_what_is_merged(self):
        _, thetas = values((2, 2), 3)
        with pytest.raises(BadWeightError):
            self.merged(thetas, [None, "safe", "unaligned"], weights=[Fraction(0), Fraction(1), Fraction(1)])

    def test_wild_numbers_stay_finite(self):
        model = wild_model("F64", 2, {"w": (9, 6)})
        assert kernels.count_nonfinite(self.run(model, {"threshold": "0.5"})["w"], "F64") == 0
