"""Dual projections under the suite, against the Sylvester equation written out as one linear system."""

from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin.testing.dense import SMALL_SHAPES, decoded, model_of, values
from conjoin.testing.strategy_suite import StrategySuite, assert_same, backend, wild_model


def loss(tau, taus, weights):
    return sum(
        w * (np.sum((one.T @ (tau - one)) ** 2) + np.sum(((tau - one) @ one.T) ** 2))
        for one, w in zip(taus, weights, strict=True)
    )


def gradient(tau, taus, weights):
    return sum(
        w * (one @ one.T @ (tau - one) + (tau - one) @ one.T @ one) for one, w in zip(taus, weights, strict=True)
    )


def minimiser(taus, weights):
    m, n = taus[0].shape
    a = sum(w * one @ one.T for one, w in zip(taus, weights, strict=True))
    b = sum(w * one.T @ one for one, w in zip(taus, weights, strict=True))
    c = 2 * sum(w * one @ one.T @ one for one, w in zip(taus, weights, strict=True))
    system = np.kron(a, np.eye(n)) + np.kron(np.eye(m), b)
    return np.linalg.solve(system, c.ravel()).reshape(m, n)


class TestDualProjection(StrategySuite):
    strategy = "dual_projection"
    shapes: ClassVar = SMALL_SHAPES
    vectors: ClassVar = [{}, {"variant": "sequential"}]

    def settings(self):
        """Without Adam, whose many steps are compared on one small matrix below."""
        return [setting for setting in super().settings() if setting != {"variant": "adam"}]

    def test_backends_agree_on_adam(self):
        model = wild_model("F32", 2, {"w": (4, 3), "v": 3})
        with backend("reference"):
            expected = self.run(model, {"variant": "adam"})
        with backend("compiled"):
            assert_same(self.run(model, {"variant": "adam"}), expected)

    def update(self, taus, setting=None, weights=()):
        """The merged task vector, on the base 0."""
        shape = taus[0].shape
        return decoded(self.run(model_of(np.zeros(shape), taus, weights=weights), setting), shape)

    @pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 7), (2, 9), (12, 3)])
    def test_is_the_minimiser(self, shape):
        _, taus = values(shape, 3)
        weights = [Fraction(1), Fraction(3), Fraction(2)]
        got, exact = self.update(taus, weights=weights), [float(w) / 6 for w in weights]
        np.testing.assert_allclose(got, minimiser(taus, exact), atol=1e-12)
        assert np.abs(gradient(got, taus, exact)).max() < 1e-12
        assert loss(got, taus, exact) < loss(sum(w * tau for tau, w in zip(taus, exact, strict=True)), taus, exact)

    def test_twice_a_contribution_is_twice_its_weight(self):
        _, taus = values((5, 6), 2)
        twice = self.update([taus[0], taus[0], taus[1]])
        np.testing.assert_allclose(twice, self.update(taus, weights=[Fraction(2), Fraction(1)]), atol=1e-13)

    def test_apart_in_rows_and_columns_is_the_sum(self):
        _, (tau,) = values((6, 8), 1)
        first, second = tau.copy(), tau.copy()
        first[3:], first[:, 4:], second[:3], second[:, :4] = 0, 0, 0, 0
        np.testing.assert_allclose(self.update([first, second]), first + second, atol=1e-13)

    @pytest.mark.parametrize("variant", ["closed", "sequential", "adam"])
    def test_equal_contributions_give_just_that(self, variant):
        base, thetas = values((5, 7), 1)
        for count in (1, 2, 3, 6):
            model = model_of(base, thetas * count)
            assert_same(self.run(model, {"variant": variant}), model.contributions[model.digests[0]])

    def test_where_no_task_vector_says_anything_is_the_mean(self):
        """The elements of the last row and column belong to pairs of directions that nobody uses."""
        _, taus = values((4, 4), 2)
        for tau in taus:
            tau[3], tau[:, 3] = 0, 0
        got = self.update(taus)
        assert not got[3].any()
        assert not got[:, 3].any()
        np.testing.assert_allclose(gradient(got, taus, (0.5, 0.5)), 0, atol=1e-13)

    def test_turns_and_moves_with_its_input(self):
        base, thetas = values((6, 9), 3)
        taus = [theta - base for theta in thetas]
        update = self.update(taus)
        q, r = (np.linalg.qr(np.random.default_rng(n).standard_normal((n, n)))[0] for n in (6, 9))
        np.testing.assert_allclose(self.update([q @ tau @ r for tau in taus]), q @ update @ r, atol=1e-12)
        np.testing.assert_allclose(decoded(self.run(model_of(base, thetas)), (6, 9)) - base, update, atol=1e-13)
        assert (self.update([4.0 * tau for tau in taus]) == 4.0 * update).all()

    def test_in_turn_is_a_fold_of_pairs(self):
        _, taus = values((5, 6), 3)
        merged = minimiser([minimiser(taus[:2], (0.8, 0.2)), taus[2]], (0.8, 0.2))
        np.testing.assert_allclose(self.update(taus, {"variant": "sequential"}), merged, atol=1e-12)
        pair = self.update(taus[:2], {"variant": "sequential", "share": "0.5"})
        np.testing.assert_allclose(pair, self.update(taus[:2]), atol=1e-13)
        weights = [Fraction(1), Fraction(2)]
        weighted = self.update(taus[:2], {"variant": "sequential"}, weights)
        np.testing.assert_allclose(weighted, minimiser(taus[:2], (2 / 3, 1 / 3)), atol=1e-12)

    def test_where_no_task_vector_of_a_pair_says_anything_is_its_mean(self):
        """Elements that differ in the 24th bit of what is otherwise a matrix of rank 1, outside of that."""
        base = np.zeros((2, 2))
        first, second = np.diag([1.0, 2.0**-24]), np.diag([1.0, 3 * 2.0**-24])
        got = decoded(self.run(model_of(base, [first, second]), {"variant": "sequential"}), (2, 2))
        assert (got == np.diag([1.0, 2.0**-23])).all()

    @pytest.mark.parametrize("unit", [1.0, 2.0**-20, 2.0**100, 2.0**-300])
    def test_adam_is_adam(self, unit):
        """200 steps of the published loop, written out; the share of the spectrum cuts the last value of the first."""
        _, taus = values((4, 5), 2)
        u, s, vt = np.linalg.svd(taus[0], full_matrices=False)
        s[-1] = 2e-6 * s.sum()
        taus = [unit * (u * s) @ vt, unit * taus[1]]
        cut = [(u[:, :3] * s[:3]) @ vt[:3] * unit, taus[1]]
        x, m, v = (taus[0] + taus[1]) / 2, np.zeros((4, 5)), np.zeros((4, 5))
        scale = unit**3 if unit in (1.0, 2.0**-20) else 0
        for step in range(1, 201):
            g = sum(
                2 * w * (one @ one.T / unit**2 @ (x - tau) + (x - tau) @ one.T @ one / unit**2) / unit
                for w, tau, one in zip((0.8, 0.2), taus, cut, strict=True)
            )
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            epsilon = 1e-8 / scale if scale else 0.0 if unit > 1 else np.inf
            x = x - 1e-4 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + epsilon)
        got = self.update(taus, {"variant": "adam"})
        np.testing.assert_allclose(got, x, rtol=1e-9, atol=1e-12 * unit)
