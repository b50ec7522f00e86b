"""KnOTS under the suite, and against NumPy's decomposition."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.kernels import FORMATS
from conjoin.testing.dense import SMALL_SHAPES, decoded, model_of, values
from conjoin.testing.strategy_suite import Model, StrategySuite, assert_same, digest_number, run, wild_model

LINEAR = ("mean", "task_arithmetic")


def aligned(taus):
    """U, and the Pᵢ side by side as (k, r, n), by LAPACK."""
    u, s, vt = np.linalg.svd(np.concatenate(taus, axis=1), full_matrices=False)
    kept = s > max(1e-5, 1e-7 * s[0])
    return u[:, kept], np.stack(np.split(s[kept, np.newaxis] * vt[kept], len(taus), axis=1))


def elected(parts, thresholds, weights):
    """TIES with a weighted mean."""
    w = np.array(weights, float)[:, np.newaxis, np.newaxis]
    trimmed = np.where(np.abs(parts) >= np.array(thresholds)[:, np.newaxis, np.newaxis], parts, 0)
    agree = trimmed * np.sign((w * trimmed).sum(axis=0)) > 0
    return (w * trimmed * agree).sum(axis=0) / np.maximum((w * agree).sum(axis=0), 1e-300)


class TestSvdKnotTying(StrategySuite):
    strategy = "svd_knot_tying"
    shapes: ClassVar = SMALL_SHAPES
    variants: ClassVar = [{"density": "1"}]
    vectors: ClassVar = [{}, {"inner": "dare_ties", "scale": "0.4"}, {"density": "0.5", "trim_scope": "tensor"}]

    @pytest.mark.parametrize("form", FORMATS)
    def test_one_contribution_runs_the_formula(self, form):
        """One contribution is trimmed and scaled as well; a scalar is averaged."""
        model = wild_model(form, 1, {"w": (20, 25), "scalar": 1})
        only = model.contributions[model.digests[0]]
        assert_same({"scalar": self.run(model)["scalar"]}, {"scalar": only["scalar"]})
        assert (self.run(model)["w"] != only["w"]).any()

    def update(self, taus, setting=None, weights=(), **options):
        """The merged task vector, on the base 0."""
        shape = taus[0].shape
        model = model_of(np.zeros(shape), taus, weights=weights)
        return decoded(run(self.subject, model, setting, **options), shape)

    @pytest.mark.parametrize("shape", [(6, 9), (9, 6), (40, 9), (4, 3, 2, 2)])
    @pytest.mark.parametrize("density", ["0.2", "0.55", "1"])
    def test_is_the_formula(self, shape, density):
        _, taus = values(shape, 3)
        u, parts = aligned([tau.reshape(shape[0], -1) for tau in taus])
        rank = max(1, int(Fraction(density) * parts[0].size))
        thresholds = [np.sort(np.abs(part), axis=None)[-rank] * (1 - 1e-7) for part in parts]
        want = (0.6 * u @ elected(parts, thresholds, (1, 3, 2))).reshape(shape)
        weights = [Fraction(1), Fraction(3), Fraction(2)]
        for scope in ("model", "tensor"):
            got = self.update(taus, {"density": density, "trim_scope": scope}, weights)
            np.testing.assert_allclose(got, want, atol=1e-12)

    def test_drops_are_those_of_dare(self):
        """Drawn for the Pᵢ in C order; only this inner merge looks at the seed."""
        _, taus = values((6, 9), 3)
        model = model_of(np.zeros((6, 9)), taus)
        setting = {"inner": "dare_ties", "density": "0.5"}
        u, parts = aligned(taus)
        keys = [kernels.draw_key(model.seeds["root"], self.strategy, "w", digest) for digest in model.digests]
        kept = np.stack([kernels.draws(key, 0, 54).reshape(6, 9) >= 2**31 for key in keys])
        got = decoded(run(self.subject, model, setting), (6, 9))
        np.testing.assert_allclose(got, 0.6 * u @ elected(2 * kept * parts, (0, 0, 0), (1, 1, 1)), atol=1e-12)

    def test_draws_depend_on_the_seed_alone(self):
        """Those of the one inner merge that draws; the others ignore the seed."""
        model = wild_model("F32", 3, {"w": (8, 9)})
        other = replace(model, seeds={**model.seeds, "root": b"\xff" * 32})
        for setting in self.choices():
            same = (self.run(other, setting)["w"] == self.run(model, setting)["w"]).all()
            assert same != (setting.get("inner") == "dare_ties")

    def test_a_density_that_keeps_nothing(self):
        _, taus = values((2, 2), 2)
        with pytest.raises(BadParameterError, match="never keeps an element"):
            self.update(taus, {"inner": "dare_ties", "density": "0.00000000001"})

    def test_one_threshold_for_the_whole_model(self):
        """Nearly all of the largest fifth are in the tensor whose task vectors are larger; vectors take no part."""
        _, taus = values((6, 9), 4)
        large, small, vector = taus[:2], [tau / 64 for tau in taus[2:]], [np.full(50, 9.0)] * 2
        digests = sorted(map(digest_number, range(2)))
        names = {"a": large, "b": small, "c": vector}
        shapes = {name: arrays[0].shape for name, arrays in names.items()}
        rows = [{n: kernels.encode(arrays[i].ravel(), "F64") for n, arrays in names.items()} for i in range(2)]
        base = {name: np.zeros_like(raw) for name, raw in rows[0].items()}
        model = Model("F64", base, dict(zip(digests, rows, strict=True)), shapes=shapes)
        result = run(self.subject, model, {"scale": "1", "density": "0.4"})
        both = [aligned(large), aligned(small)]
        joined = np.concatenate([parts.reshape(2, -1) for _, parts in both], axis=1)
        rank = int(Fraction("0.4") * joined.shape[1])
        thresholds = [np.sort(np.abs(row))[-rank] * (1 - 1e-7) for row in joined]
        for name, (u, parts) in zip("ab", both, strict=True):
            got = kernels.decode(result[name], "F64").reshape(6, 9)
            np.testing.assert_allclose(got, u @ elected(parts, thresholds, (1, 1)), atol=1e-13)
        assert (kernels.decode(result["c"], "F64") == 9).all()

    @pytest.mark.parametrize("shape", [(6, 9), (40, 9)])
    @pytest.mark.parametrize("inner", LINEAR)
    def test_a_linear_merge_does_not_see_the_basis(self, shape, inner):
        base, thetas = values(shape, 3)
        weights = [Fraction(1), Fraction(3), Fraction(2)]
        taus = [float(w) * (theta - base) for w, theta in zip(weights, thetas, strict=True)]
        want = 0.5 * sum(taus) / (6 if inner == "mean" else 1)
        got = decoded(self.run(model_of(base, thetas, weights=weights), {"inner": inner, "scale": "0.5"}), shape)
        np.testing.assert_allclose(got - base, want, atol=1e-12)

    def test_of_one_is_its_scaled_task_vector(self):
        base, thetas = values((6, 9), 1)
        got = decoded(self.run(model_of(base, thetas), {"density": "1", "scale": "1"}), (6, 9))
        np.testing.assert_allclose(got, thetas[0], atol=1e-14)

    def test_twice_the_same_is_once(self):
        _, taus = values((6, 9), 1)
        np.testing.assert_allclose(self.update(taus * 2), self.update(taus), atol=1e-13)

    def test_turns_moves_and_scales_with_its_input(self):
        base, thetas = values((6, 9), 3)
        taus = [theta - base for theta in thetas]
        update = self.update(taus)
        q = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
        np.testing.assert_allclose(self.update([q @ tau for tau in taus]), q @ update, atol=1e-12)
        np.testing.assert_allclose(decoded(self.run(model_of(base, thetas)), (6, 9)) - base, update, atol=1e-13)
        for factor in (-1.0, 4.0):
            assert (self.update([factor * tau for tau in taus]) == factor * update).all()

    def test_small_directions_are_left_out(self):
        tau = np.diag([1.0, 2e-5, 0.5e-5])
        got = self.update([tau], {"density": "1", "scale": "1"})
        np.testing.assert_allclose(got, np.diag([1.0, 2e-5, 0]), atol=1e-18)
        assert (self.update([tau * 2.0**-20], {"density": "1"}) == 0).all()
        large = np.diag([2000.0, 3e-4, 1e-4])
        got = self.update([large], {"density": "1", "scale": "1"})
        np.testing.assert_allclose(got, np.diag([2000.0, 3e-4, 0]), atol=1e-12)

    def test_says_where_the_basis_is_not_determined(self):
        said = []
        self.update([np.eye(3)], warn=said.append)
        assert said == ["degenerate: 2 pairs of neighbouring singular values of `w` are equal; any basis will do"]
        self.update([np.eye(3)], {"inner": "mean"}, warn=said.append)
        self.update([np.diag([3.0, 2, 1])], warn=said.append)
        assert len(said) == 1
