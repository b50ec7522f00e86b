"""RegMean under the suite, against its normal equations, and what a side-car may not be."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from conjoin.errors import BadSidecarError, NotPositiveDefiniteError, NotSymmetricError
from conjoin.testing.dense import SMALL_SHAPES, decoded, model_of, values
from conjoin.testing.strategy_suite import StrategySuite, assert_same, run


def grams_of(side, count):
    """XᵀX / tokens of inputs with 10 bits, float32 numbers."""
    _, inputs = values((side + 3, side), count)
    return [np.float64(np.float32(x.T @ x / 4)) for x in inputs]


def shrunk(gram, share=0.9):
    return np.where(np.eye(len(gram), dtype=bool), gram, share * gram)


class TestRegressionMean(StrategySuite):
    strategy = "regression_mean"
    shapes: ClassVar = SMALL_SHAPES
    variants: ClassVar = [{"ridge": "0.1", "off_diagonal": "0"}]
    vectors: ClassVar = [{}, {"variant": "delta_gram"}]

    def side_car(self, side, salt, shape):
        """Small whole numbers, symmetric, and a diagonal that outweighs them."""
        rows, columns = np.indices(shape)
        return (rows * columns + salt) % 3 - 1.0 + 2 * shape[0] * np.eye(shape[0])

    def equipped(self, model, setting):
        """Grams of the columns, or of the rows of every other tensor."""
        full = super().equipped(model, setting)
        extras = {}
        for at, (side, held) in enumerate(sorted(full.extras.items())):
            extras[side] = {
                digest: {name: raw for number, (name, raw) in enumerate(sorted(tensors.items())) if number % 2 == at}
                for digest, tensors in held.items()
            }
        return replace(full, extras=extras)

    def merged(self, thetas, grams, setting=None, *, weights=(), side="gram", warn=lambda _: None):
        extras = {side: grams} if grams else {}
        model = model_of(None, thetas, extras=extras, weights=weights)
        return decoded(run(self.subject, model, setting, warn=warn), thetas[0].shape)

    @pytest.mark.parametrize("shape", [(6, 9), (9, 6), (4, 3, 2)])
    def test_solves_the_normal_equations(self, shape):
        _, thetas = values(shape, 3)
        grams, weights = grams_of(np.prod(shape[1:]), 3), [Fraction(1), Fraction(3), Fraction(2)]
        got = self.merged(thetas, grams, {"ridge": "0"}, weights=weights).reshape(shape[0], -1)
        rest = sum(
            float(w) * (got - theta.reshape(got.shape)) @ shrunk(gram)
            for w, theta, gram in zip(weights, thetas, grams, strict=True)
        )
        assert np.abs(rest).max() < 1e-12

    def test_of_rows_is_the_transpose(self):
        _, thetas = values((6, 4), 3)
        grams = grams_of(6, 3)
        turned = self.merged([np.ascontiguousarray(theta.T) for theta in thetas], grams)
        assert (self.merged(thetas, grams, side="gram_rows") == turned.T).all()

    @pytest.mark.parametrize("unit", [1.0, 3.0, 2.0**-100, 1e30])
    def test_equal_grams_that_are_a_multiple_of_the_identity_give_the_mean(self, unit):
        _, thetas = values((5, 6), 3)
        got = self.merged(thetas, [unit * np.eye(6)] * 3)
        np.testing.assert_allclose(got, sum(thetas) / 3, atol=1e-15)

    def test_diagonal_grams_are_a_weighted_mean_per_input(self):
        _, thetas = values((5, 6), 2)
        grams = grams_of(6, 2)
        a, b = (gram.diagonal() for gram in grams)
        got = self.merged(thetas, grams, {"off_diagonal": "0", "ridge": "0"})
        np.testing.assert_allclose(got, (thetas[0] * a + thetas[1] * b) / (a + b), atol=1e-14)

    @pytest.mark.parametrize("variant", ["gram", "delta_gram"])
    def test_equal_contributions_give_just_that(self, variant):
        base, thetas = values((5, 6), 1)
        for count in (1, 2, 3, 6):
            model = model_of(base, thetas * count, extras={"gram": grams_of(6, count)})
            result = run(self.subject, model, {"variant": variant})
            assert_same(result, model.contributions[model.digests[0]])

    def test_inputs_that_nobody_saw_take_the_mean_and_the_receipt_says_so(self):
        _, thetas = values((5, 6), 2)
        grams, said = grams_of(6, 2), []
        for gram in grams:
            gram[2], gram[:, 2] = 0, 0
        got = self.merged(thetas, grams, warn=said.append)
        assert (got[:, 2] == (thetas[0] + thetas[1])[:, 2] / 2).all()
        assert len(said) == 1
        assert "is singular in 1 of 6 pivots; a ridge of" in said[0]
        self.merged(thetas, grams_of(6, 2), warn=said.append)
        assert len(said) == 1
        with pytest.raises(NotPositiveDefiniteError, match="with a ridge of 0"):
            self.merged(thetas, grams, {"ridge": "0"})

    def test_all_grams_zero_give_the_mean(self):
        _, thetas = values((5, 6), 2)
        assert (self.merged(thetas, [np.zeros((6, 6))] * 2) == (thetas[0] + thetas[1]) / 2).all()

    def test_without_a_gram_is_the_mean(self):
        _, thetas = values((5, 6), 2)
        assert (self.merged(thetas, []) == (thetas[0] + thetas[1]) / 2).all()

    def test_without_data_each_keeps_its_own_inputs(self):
        """Task vectors whose inputs do not overlap are added, but for the ridge."""
        base, taus = values((4, 8), 2)
        taus[0][:, 4:], taus[1][:, :4] = 0, 0
        setting = {"variant": "delta_gram", "ridge": "0.000000000001", "off_diagonal": "1"}
        got = decoded(run(self.subject, model_of(base, [base + tau for tau in taus]), setting), (4, 8))
        np.testing.assert_allclose(got - base, taus[0] + taus[1], atol=1e-9)

    def test_refuses_what_is_no_gram(self):
        _, thetas = values((5, 3), 2)
        good = np.eye(3)
        lopsided, infinite, negative, indefinite = (np.eye(3) for _ in range(4))
        lopsided[0, 1], infinite[1, 1], negative[2, 2] = 0.5, np.inf, -1
        indefinite[0, 1] = indefinite[1, 0] = 9
        for bad, error in (
            (lopsided, NotSymmetricError),
            (infinite, BadSidecarError),
            (negative, BadSidecarError),
            (indefinite, NotPositiveDefiniteError),
        ):
            with pytest.raises(error) as caught:
                self.merged(thetas, [good, bad])
            assert "`w`" in str(caught.value)
            if error is not NotPositiveDefiniteError:
                digest = model_of(None, thetas).digests[1]
                assert digest in str(caught.value)
        with pytest.raises(BadSidecarError, match="one of the rows"):
            model = model_of(None, thetas, extras={"gram": [good] * 2, "gram_rows": [np.eye(5)] * 2})
            run(self.subject, model)
