"""Eigenvalues: compiled against reference bit for bit, against LAPACK within tolerances, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin.errors import NotConvergedError, NotSymmetricError
from conjoin.kernels import spectrum
from conjoin.kernels.ops.eigen import eigh
from conjoin.testing.strategy_suite import backend

U = 2.0**-53


def normal(n, rng):
    a = rng.standard_normal((n, n))
    return a + a.T


def rotated(values, rng):
    """A full matrix with these eigenvalues, but for rounding."""
    q, _ = np.linalg.qr(rng.standard_normal((len(values), len(values))))
    a = (q * values) @ q.T
    return (a + a.T) / 2


def tridiagonal(d, e):
    return np.diag(d) + np.diag(e, 1) + np.diag(e, -1)


KINDS = {
    "normal": normal,
    "zero": lambda n, rng: np.zeros((n, n)),
    "identity": lambda n, rng: np.eye(n),
    "ones": lambda n, rng: np.ones((n, n)),
    "diagonal": lambda n, rng: np.diag(rng.standard_normal(n)),
    "clusters": lambda n, rng: rotated(np.arange(n) // max(n // 3, 1) + 1.0, rng),
    "graded": lambda n, rng: rotated(10.0 ** -np.arange(n), rng),
    "graded rows": lambda n, rng: normal(n, rng) * np.outer(0.5 ** np.arange(n), 0.5 ** np.arange(n)),
    "rank 3": lambda n, rng: (lambda x: x @ x.T)(rng.integers(-4, 5, (n, 3)).astype(float)),
    "tiny": lambda n, rng: normal(n, rng) * 2.0**-960,
    "huge": lambda n, rng: normal(n, rng) * 2.0**1010,
    "tiny beside one": lambda n, rng: np.diag([1.0] + [0.0] * (n - 1)) + normal(n, rng) * 2.0**-460,
    "second differences": lambda n, rng: tridiagonal(np.full(n, 2.0), np.full(n - 1, -1.0)),
    "pairs": lambda n, rng: tridiagonal(np.abs(np.arange(n) - n // 2) * 1.0, np.ones(n - 1)),
    "blocks": lambda n, rng: np.kron(np.eye(n // 4 + 1), normal(4, rng))[:n, :n],
}
SIZES = st.one_of(st.integers(1, 12), st.sampled_from([31, 32, 33, 34, 64, 65, 66]))


def both(matrix):
    with backend("reference"):
        expected = eigh(matrix)
    with backend("compiled"):
        found = eigh(matrix)
        values, none = eigh(matrix, vectors=False)
    for one, other in zip(expected, found, strict=True):
        assert one.tobytes() == other.tobytes()
    assert values.tobytes() == found[0].tobytes()
    assert none.shape == (len(matrix), 0)
    return found


def check(matrix, values, vectors):
    """What any good eigensolver promises, with figures near those that are reached."""
    n, scale = len(matrix), np.abs(matrix).max() or 1.0
    matrix, values = matrix / scale, values / scale
    norm = np.abs(values).max() or 1.0
    assert (np.diff(values) >= 0).all()
    assert np.abs(matrix @ vectors - vectors * values).max() <= (20 + n) * norm * U
    assert np.abs(vectors.T @ vectors - np.eye(n)).max() <= (20 + n) * U
    assert np.abs(values - np.linalg.eigvalsh(matrix)).max() <= (20 + 2 * n) * norm * U
    largest = np.abs(vectors).argmax(axis=0)
    assert (vectors[largest, np.arange(n)] > 0).all()


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(KINDS)), SIZES, st.integers(0, 2**32))
def test_both_backends_give_the_same_bytes_and_they_are_right(kind, n, seed):
    matrix = KINDS[kind](n, np.random.default_rng(seed))
    check(matrix, *both(matrix))


@pytest.mark.parametrize("kind", ["normal", "clusters", "graded", "pairs"])
def test_both_backends_over_three_levels(kind):
    matrix = KINDS[kind](130, np.random.default_rng(1))
    check(matrix, *both(matrix))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_at_length(kind):
    matrix = KINDS[kind](280, np.random.default_rng(2))
    with backend("compiled"):
        values, vectors = eigh(matrix)
        alone, _ = eigh(matrix, vectors=False)
    check(matrix, values, vectors)
    assert alone.tobytes() == values.tobytes()


def test_threads_order_and_band_do_not_show(monkeypatch):
    matrix = KINDS["normal"](300, np.random.default_rng(3))
    with backend("compiled"), ThreadPoolExecutor(3) as pool:
        expected = eigh(matrix)
        monkeypatch.setattr(spectrum, "BAND", 37)
        found = eigh(matrix, run=lambda tasks: list(pool.map(lambda task: task(), reversed(tasks))))
    for one, other in zip(expected, found, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("arithmetic", ["reference", "compiled"])
def test_small_matrices_exactly(arithmetic):
    with backend(arithmetic):
        assert [x.shape for x in eigh(np.empty((0, 0)))] == [(0,), (0, 0)]
        values, vectors = eigh(np.array([[-3.5]]))
        assert values.tolist() == [-3.5]
        assert vectors.tolist() == [[1.0]]
        values, vectors = eigh(np.diag([3.0, 1.0, 2.0]))
        assert values.tolist() == [1.0, 2.0, 3.0]
        assert vectors.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_layout_does_not_show_and_the_matrix_is_kept():
    matrix = KINDS["normal"](40, np.random.default_rng(4))
    before = matrix.copy()
    wide = np.zeros((80, 120))[::2, ::3]
    wide[:] = matrix
    with backend("compiled"):
        results = [eigh(x)[1].tobytes() for x in (matrix, np.asfortranarray(matrix), wide)]
    assert len(set(results)) == 1
    assert (matrix == before).all()


def test_scaling_by_a_power_of_two_scales_the_values():
    """Down to subnormal numbers, to which the values are rounded once."""
    below = np.tril(np.random.default_rng(5).integers(-9, 10, (50, 50)).astype(float))
    with backend("compiled"):
        values, vectors = eigh(below + below.T)
        for power in (-1070, -900, -1, 3, 1000):
            scaled, same = eigh((below + below.T) * 2.0**power)
            assert (scaled == values * 2.0**power).all()
            assert same.tobytes() == vectors.tobytes()


@pytest.mark.parametrize("arithmetic", ["reference", "compiled"])
@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.zeros((2, 3)), "not a square"),
        (np.zeros(4), "not a square"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "NaN or Inf"),
        (np.array([[np.inf]]), "NaN or Inf"),
        (np.array([[1.0, 2.0], [2.0 + 2.0**-50, 1.0]]), r"at \(0, 1\)"),
    ],
)
def test_what_is_not_symmetric_is_refused(arithmetic, matrix, words):
    with backend(arithmetic), pytest.raises(NotSymmetricError, match=words):
        eigh(matrix)


@pytest.mark.parametrize("limit", ["QL_LIMIT", "SECULAR_LIMIT"])
def test_a_limit_that_is_reached_is_an_error(monkeypatch, limit):
    matrix = KINDS["normal"](40, np.random.default_rng(6))
    with backend("reference"):
        eigh(matrix)
        monkeypatch.setattr(spectrum, limit, 1)
        with pytest.raises(NotConvergedError, match="did not converge"):
            eigh(matrix)
