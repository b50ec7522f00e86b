"""Singular values and vectors: panels, threads and backends do not show; LAPACK within tolerances; limits raise."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin.errors import BadArrayError, NotConvergedError
from conjoin.kernels import encode, use
from conjoin.kernels.compiled import matrix as compiled
from conjoin.kernels.ops import matrix, svd
from conjoin.kernels.reference import matrix as reference

KEY = (1, 2, 3, 4)


@pytest.fixture(autouse=True)
def fresh():
    use("compiled")
    yield
    use(None)


def numbers(seed, rows, columns):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32).astype(np.float64)


def with_values(seed, rows, columns, values):
    """A matrix of given singular values."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((n, len(values))))[0] for n in (rows, columns))
    return (left * values) @ right.T


def bytes_of(found):
    return found.left.tobytes() + found.values.tobytes() + found.right.tobytes()


def on_threads(tasks):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda task: task(), reversed(tasks)))


def product(found):
    return (found.left * found.values) @ found.right.T


def off_orthonormal(basis):
    return np.abs(basis.T @ basis - np.eye(basis.shape[1])).max(initial=0)


def is_canonical(found):
    at = np.argmax(np.abs(found.left), axis=0)
    return (found.left[at, np.arange(len(at))] > 0).all() and (np.diff(found.values) <= 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (30, 47), (47, 30), (40, 40)])
@pytest.mark.parametrize("method", ["gram", "rotations"])
def test_values_and_vectors_agree_with_lapack(shape, method):
    a = numbers(1, *shape)
    found = svd.svd(a) if method == "gram" else svd.jacobi_svd(a)
    values = np.linalg.svd(a, compute_uv=False)
    assert np.abs(found.values - values).max() <= 1e-13 * values[0]
    assert np.abs(product(found) - a).max() <= 1e-13 * values[0]
    assert off_orthonormal(found.left) < 1e-13 * (values[0] / values[-1]) ** 2
    assert is_canonical(found) and found.left.shape == (shape[0], min(shape))


def test_graded_values():
    """Rotations find values of any size; through Gram, those above 2⁻²⁶ of the largest, and A from all vectors."""
    values = 10.0 ** -np.linspace(0, 12, 60)
    a = with_values(2, 60, 80, values)
    rotated, through = svd.jacobi_svd(a), svd.svd(a, wide=True)
    assert (np.abs(rotated.values - values) < 1e-14).all()
    assert off_orthonormal(rotated.left) < 1e-12 and off_orthonormal(rotated.right) < 1e-12
    assert (np.abs(through.values - values)[values > 1e-6] < 1e-7 * values[values > 1e-6]).all()
    assert (through.values[values < 1e-9] < 2.0**-26).all()
    assert np.abs(product(through) - a).max() < 1e-14 and off_orthonormal(through.left) < 1e-13


def test_columns_of_very_different_scale_keep_their_accuracy():
    a = numbers(3, 40, 12) * 10.0 ** -np.arange(0, 60, 5)
    assert off_orthonormal(svd.jacobi_svd(a).left) < 1e-12
    assert off_orthonormal(svd.jacobi_svd(a[:, ::-1]).left) < 1e-12


def test_equal_and_zero_values():
    a = with_values(4, 30, 30, np.repeat([2.0, 1.0, 0.5], 10))
    for found in (svd.svd(a, wide=True), svd.jacobi_svd(a)):
        assert np.abs(found.values - np.repeat([2.0, 1.0, 0.5], 10)).max() < 1e-14
        assert off_orthonormal(found.left) < 1e-13 and off_orthonormal(found.right) < 1e-13
    for found in (svd.svd(np.zeros((3, 5))), svd.jacobi_svd(np.zeros((3, 5)))):
        assert not found.values.any() and not found.right.any() and off_orthonormal(found.left) == 0
    for shape in ((0, 5), (5, 0), (0, 0)):
        assert svd.svd(np.zeros(shape)).values.shape == svd.jacobi_svd(np.zeros(shape)).values.shape == (0,)
    assert svd.jacobi_svd(np.eye(7)).values.tobytes() == np.ones(7).tobytes()


def test_more_vectors_than_the_rows_that_are_not_zero():
    a = np.zeros((30, 20))
    a[4:7] = numbers(13, 3, 20)
    for found in (svd.jacobi_svd(a), svd.jacobi_svd(a.T)):
        assert np.count_nonzero(found.values) == 3
    assert np.abs(product(svd.jacobi_svd(a)) - a).max() < 1e-14


def test_low_rank():
    a = np.random.default_rng(5).integers(-8, 9, (60, 5)) @ np.random.default_rng(6).integers(-8, 9, (5, 90)) * 1.0
    scale = np.linalg.norm(a, 2)
    for found in (svd.svd(a), svd.jacobi_svd(a), svd.subspace_svd(a, 20, KEY)):
        assert np.abs(product(found) - a).max() < 1e-13 * scale
        assert (found.values[5:] < 1e-12 * scale).all()
    assert svd.svd(a, rank=5).left.shape == (60, 5)
    assert svd.subspace_svd(np.zeros((20, 30)), 4, KEY).left.shape == (20, 0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 9), st.integers(0, 70), st.integers(0, 10))
def test_rotations_of_both_backends(r, length, seed):
    w, v = numbers(seed, r, length), np.eye(r)
    if r > 2:
        w[1] = w[0]
        w[2] *= 1e-30
    x, y = w.copy(), v.copy()
    got, want = compiled.jacobi(w, v, svd.JACOBI_TOLERANCE, 30), reference.jacobi(x, y, svd.JACOBI_TOLERANCE, 30)
    assert got[1] == want[1] <= 30 and got[0].tobytes() == want[0].tobytes()
    assert (w.tobytes(), v.tobytes()) == (x.tobytes(), y.tobytes())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 20), st.integers(0, 20))
def test_projections_of_both_backends(rows, columns):
    x, sums = numbers(1, rows, columns), numbers(2, 1, columns)[0].copy() ** 2
    other, sizes = x.copy(), sums.copy()
    assert compiled.add_squares(x, sums).tobytes() == reference.add_squares(other, sizes).tobytes()
    sums[::3] = sizes[::3] = 0.0
    assert compiled.normalise(x, sums).tobytes() == reference.normalise(other, sizes).tobytes()
    assert sums.tobytes() == sizes.tobytes()


def test_the_backend_does_not_show():
    a = numbers(7, 14, 23)
    found = [svd.svd(a), svd.jacobi_svd(a), svd.subspace_svd(a, 4, KEY, oversampling=3)]
    use("reference")
    again = [svd.svd(a), svd.jacobi_svd(a), svd.subspace_svd(a, 4, KEY, oversampling=3)]
    assert [bytes_of(one) for one in found] == [bytes_of(one) for one in again]


@pytest.mark.parametrize("form", ["BF16", "F16", "F32", "F64"])
def test_panels_and_threads_do_not_show(form, monkeypatch):
    monkeypatch.setattr(matrix, "BAND_ROWS", 16)
    raw = encode(numbers(8, 40, 130).reshape(-1), form).reshape(40, 130)
    panels = svd.of_patterns(raw, form)
    whole = panels.read(0, 130)
    want_gram, want = matrix.gram(whole, wide=True), svd.svd(whole, wide=True)
    want_near = svd.subspace_svd(whole, 6, KEY, wide=True)
    for elements, run in ((1, matrix.in_turn), (40 * 7, on_threads), (40 * 50, matrix.in_turn), (10**9, on_threads)):
        assert svd.gram_of(panels, panel=elements, run=run).tobytes() == want_gram.tobytes()
        assert bytes_of(svd.svd(panels, panel=elements, run=run)) == bytes_of(want)
        assert bytes_of(svd.subspace_svd(panels, 6, KEY, panel=elements, run=run)) == bytes_of(want_near)


def test_transposing_turns_the_vectors():
    a = numbers(9, 20, 31)
    wide, tall = svd.svd(a), svd.svd(a.T)
    assert wide.values.tobytes() == tall.values.tobytes() and is_canonical(tall)
    assert (np.abs(wide.left) == np.abs(tall.right)).all() and (np.abs(wide.right) == np.abs(tall.left)).all()


@pytest.mark.parametrize("top", [2, 6, 12])
def test_subspace_is_nearly_the_best(top):
    values = 10.0 ** -np.linspace(0, top, 80)
    a = with_values(10, 80, 120, values)
    found = svd.subspace_svd(a, 20, KEY, wide=True)
    assert np.linalg.norm(product(found) - a, 2) < 1.2 * values[20]
    assert off_orthonormal(found.left) < 1e-12 and is_canonical(found) and len(found.values) == 20
    other = svd.subspace_svd(a, 20, (9, 9, 9, 9), wide=True)
    assert other.left.tobytes() != found.left.tobytes()


def test_a_basis_is_orthonormal_whatever_the_columns():
    y = numbers(11, 90, 12)
    y[:, 5] = y[:, 2] - y[:, 3]
    y[:, 7] = 0.0
    y[:, 9] = y[:, 8] * (1 + 1e-5) + 1e-5 * y[:, 10]
    basis = svd.orthonormal(y)
    assert basis.shape == (90, 10) and off_orthonormal(basis) < 1e-14 * 90
    assert np.abs(basis @ (basis.T @ y) - y).max() < 1e-9


def test_start_vectors_are_the_draws():
    start = svd.start_vectors((0, 0, 0, 0), 3, 2)
    assert start[0, 0] == (2 * (0x6627E8D5 >> 9) + 1) / 2**23 - 1  # Random123's known answer
    assert (start.astype(np.float32) == start).all()


def test_what_is_refused(monkeypatch):
    a = numbers(1, 8, 9)
    with pytest.raises(BadArrayError, match="use svd"):
        svd.jacobi_svd(np.zeros((321, 321)))
    for bad in (np.nan, np.inf, 1e200):
        with pytest.raises(BadArrayError, match="largest magnitude"):
            svd.svd(np.where(np.eye(8, 9), bad, a), wide=True)
        with pytest.raises(BadArrayError, match="largest magnitude"):
            svd.jacobi_svd(np.where(np.eye(8, 9), bad, a))
    with pytest.raises(BadArrayError, match="largest magnitude"):
        svd.subspace_svd(a * 1e-200, 2, KEY, wide=True)
    for method in (svd.svd, lambda panels: svd.subspace_svd(panels, 2, KEY)):
        with pytest.raises(BadArrayError, match="largest magnitude of the matrix is nan"):
            method(svd.Panels(8, 9, lambda start, stop: np.full((8, stop - start), np.nan)))
        with pytest.raises(BadArrayError, match="largest magnitude of the matrix is 1e-150"):
            method(svd.Panels(8, 9, lambda start, stop: np.full((8, stop - start), 1e-150), wide=True))
    with pytest.raises(BadArrayError, match="panel has shape"):
        svd.gram_of(svd.Panels(8, 9, lambda start, stop: a), panel=16)
    with pytest.raises(BadArrayError, match="does not fit"):
        svd.products(svd.in_memory(a), a)
    with pytest.raises(BadArrayError, match="not a matrix"):
        svd.of_patterns(np.zeros(3, np.uint16), "BF16")
    monkeypatch.setattr(svd, "JACOBI_SWEEPS", 2)
    with pytest.raises(NotConvergedError, match="2 sweeps"):
        svd.jacobi_svd(a)
    monkeypatch.setattr(svd, "ORTHONORMAL_PASSES", 1)
    with pytest.raises(NotConvergedError, match="1 passes"):
        svd.orthonormal(a.T)
