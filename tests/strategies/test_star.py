"""STAR under the suite, and against NumPy's decomposition."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.kernels import FORMATS
from conjoin.testing.dense import SMALL_SHAPES, decoded, model_of, values
from conjoin.testing.strategy_suite import StrategySuite, assert_same, wild_model


def truncated(tau, density):
    """The formula, by LAPACK."""
    u, s, vt = np.linalg.svd(tau, full_matrices=False)
    if not s.any():
        return tau
    r = int(np.argmax(np.cumsum(s) >= density * s.sum() * (1 - 1e-15))) + 1
    return (u[:, :r] * s[:r]) @ vt[:r] * s.sum() / s[:r].sum()


class TestStar(StrategySuite):
    strategy = "star"
    shapes: ClassVar = SMALL_SHAPES
    vectors: ClassVar = [{}, {"density": "0.8"}]

    @pytest.mark.parametrize("form", FORMATS)
    def test_one_contribution_runs_the_formula(self, form):
        """One contribution is cut as well; at density 1 nothing is."""
        model = wild_model(form, 1, {"w": (20, 25), "scalar": 1})
        only = model.contributions[model.digests[0]]
        assert_same({"scalar": self.run(model)["scalar"]}, {"scalar": only["scalar"]})
        assert (self.run(model)["w"] != only["w"]).any()

    @pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 7), (4, 3, 2, 2), (1, 5), (5, 1)])
    @pytest.mark.parametrize("density", ["0.4", "0.75", "1"])
    def test_is_the_formula(self, shape, density):
        base, thetas = values(shape, 3)
        model = model_of(base, thetas, weights=[Fraction(1), Fraction(2), Fraction(0)])
        got = decoded(self.run(model, {"density": density}), shape)
        taus = [(theta - base).reshape(shape[0], -1) for theta in thetas[:2]]
        want = sum(w * truncated(tau, float(density)) for w, tau in zip((1 / 3, 2 / 3), taus, strict=True))
        np.testing.assert_allclose(got - base, want.reshape(shape), atol=1e-13)

    def test_keeps_the_nuclear_norm(self):
        base, thetas = values((8, 12), 1)
        got = decoded(self.run(model_of(base, thetas)), (8, 12))
        norms = [np.linalg.svd(matrix - base, compute_uv=False).sum() for matrix in (got, thetas[0])]
        assert norms[0] == pytest.approx(norms[1], rel=1e-13)

    def test_rank_one_is_not_changed(self):
        base, _ = values((8, 12), 1)
        tau = np.outer(np.arange(8) - 3.0, np.arange(12) + 1.0)
        np.testing.assert_allclose(decoded(self.run(model_of(base, [base + tau])), (8, 12)), base + tau, rtol=1e-14)

    def test_density_one_is_the_mean(self):
        base, thetas = values((8, 12), 4)
        got = decoded(self.run(model_of(base, thetas), {"density": "1"}), (8, 12))
        np.testing.assert_allclose(got, sum(thetas) / 4, atol=1e-15)

    def test_twice_the_same_is_once(self):
        base, thetas = values((5, 6), 1)
        assert_same(self.run(model_of(base, thetas * 2)), self.run(model_of(base, thetas)))

    def test_vectors_are_averaged(self):
        model = replace(wild_model("BF16", 3, {"v": 77, "s": ()}), weights={})
        mean = kernels.coefficients([Fraction(1, 3)] * 3)
        for name in ("v", "s"):
            raws = [model.contributions[digest][name] for digest in model.digests]
            assert (self.run(model)[name] == kernels.linear(raws, mean, "BF16", "BF16")).all()

    def test_moves_with_the_base_and_scales(self):
        """f(θᵢ + c, θ₀ + c) = f + c, f(cτ) = c f(τ), f(−τ) = −f(τ), f(QτR) = Q f(τ) R."""
        base, thetas = values((6, 9), 3)
        taus = [theta - base for theta in thetas]
        zero = np.zeros_like(base)
        update = decoded(self.run(model_of(zero, taus)), (6, 9))
        moved = decoded(self.run(model_of(base, [base + tau for tau in taus])), (6, 9))
        np.testing.assert_allclose(moved - base, update, atol=1e-13)
        for factor in (-1.0, 8.0):
            got = decoded(self.run(model_of(zero, [factor * tau for tau in taus])), (6, 9))
            assert (got == factor * update).all()
        q, r = (np.linalg.qr(np.random.default_rng(n).standard_normal((n, n)))[0] for n in (6, 9))
        turned = decoded(self.run(model_of(zero, [q @ tau @ r for tau in taus])), (6, 9))
        np.testing.assert_allclose(turned, q @ update @ r, atol=1e-12)

    def test_says_when_the_cut_is_not_determined(self):
        said = []
        self.run(model_of(np.zeros((4, 4)), [np.eye(4)]), {"density": "0.5"}, warn=said.append)
        assert said == ["degenerate: singular values 2 and 3 of `w` are equal, and one of them is cut off"]
        self.run(model_of(np.zeros((4, 4)), [np.diag([4.0, 3, 2, 1])]), {"density": "0.5"}, warn=said.append)
        assert len(said) == 1
