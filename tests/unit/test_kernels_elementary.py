"""Exp and log of elements: the two arithmetics agree, within one unit in the last place of mpmath's value."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kernel_worlds import both

from conjoin import kernels
from conjoin.errors import BadArrayError

FLOATS = st.lists(st.floats(width=64), max_size=80).map(np.array).map(lambda a: a.astype(np.float64))
LN2, RNG = math.log(2), np.random.default_rng(11)
EXPONENTS = {
    "wide": RNG.uniform(-708, 709, 4000),
    "middle": RNG.uniform(-1, 1, 4000),
    "halfway": LN2 * (RNG.integers(-99, 99, 4000) + 0.5) + RNG.normal(0, 1e-6, 4000),
    "subnormal": RNG.uniform(-745, -708, 1000),
    "tiny": RNG.normal(0, 1e-9, 1000),
}
NUMBERS = {
    "wide": np.ldexp(RNG.uniform(0.5, 1, 4000), RNG.integers(-1000, 1000, 4000)),
    "one": 1 + RNG.normal(0, 0.01, 4000),
    "middle": RNG.uniform(0.4, 2.5, 4000),
    "halfway": np.ldexp(0.7071067811865476 + RNG.normal(0, 1e-6, 4000), RNG.integers(-3, 3, 4000)),
    "subnormal": RNG.uniform(0, 2e-308, 1000),
}


def units(exact, arguments, found):
    """The largest distance to the exact value, in units of the last place."""
    worst = 0.0
    with mpmath.workprec(140):
        for argument, value in zip(arguments.tolist(), found.tolist(), strict=True):
            true = exact(mpmath.mpf(argument))
            worst = max(worst, float(abs(true - mpmath.mpf(value)) / mpmath.mpf(math.ulp(float(true)))))
    return worst


@given(FLOATS)
@settings(deadline=None)
def test_backends_agree(values):
    both(lambda: kernels.exp(values))
    both(lambda: kernels.log(values))


@pytest.mark.parametrize("kind", EXPONENTS)
def test_exp_is_close(kind):
    values = EXPONENTS[kind]
    assert units(mpmath.exp, values, both(lambda: kernels.exp(values))) < 0.75


@pytest.mark.parametrize("kind", NUMBERS)
def test_log_is_close(kind):
    values = NUMBERS[kind]
    assert units(mpmath.log, values, both(lambda: kernels.log(values))) < 0.85


def test_special_values():
    inf, nan = math.inf, math.nan
    exps = {0.0: 1.0, inf: inf, -inf: 0.0, 709.79: inf, 1e308: inf, -745.2: 0.0, -1e308: 0.0, 5e-324: 1.0}
    logs = {1.0: 0.0, 0.0: -inf, inf: inf, -1.0: nan, -5e-324: nan, -inf: nan, 5e-324: -744.4400719213812}
    for function, cases in ((kernels.exp, exps), (kernels.log, logs)):
        found = both(lambda function=function, cases=cases: function(np.array([*cases, nan])))
        assert np.array_equal(found, [*cases.values(), nan], equal_nan=True)
    assert kernels.exp(np.array([-0.0])) == 1
    assert kernels.log(np.array([-0.0])) == -inf
    assert not np.signbit(kernels.log(np.array([1.0]))[0])


@given(st.integers(1, 5), st.integers(0, 2**32), st.sampled_from([1e-3, 1.0, 30.0, 800.0]))
@settings(deadline=None, max_examples=50)
def test_softmax(k, seed, scale):
    rows = np.random.default_rng(seed).normal(0, scale, (k, 77))
    shares = both(lambda: kernels.softmax(rows))
    surprise = both(lambda: kernels.entropy(rows))
    for j in range(0, 77, 19):
        with mpmath.workprec(140):
            parts = [mpmath.exp(mpmath.mpf(float(x))) for x in rows[:, j]]
            true = [part / mpmath.fsum(parts) for part in parts]
            exact = -mpmath.fsum(p * mpmath.log(p) for p in true)
        assert np.allclose(shares[:, j], [float(p) for p in true], rtol=1e-13, atol=1e-300)
        assert math.isclose(surprise[j], float(exact), rel_tol=1e-12, abs_tol=1e-15)


def test_what_is_not_float64_is_refused():
    for values in (np.zeros(3, np.float32), np.zeros((2, 2))):
        with pytest.raises(BadArrayError):
            kernels.exp(values)
    with pytest.raises(BadArrayError):
        kernels.softmax(np.zeros((0, 3)))
