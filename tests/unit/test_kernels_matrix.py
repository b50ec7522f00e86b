"""Dense matrices: compiled against reference bit for bit, against LAPACK within tolerances, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin.errors import BadArrayError, NotPositiveDefiniteError
from conjoin.kernels import use
from conjoin.kernels.compiled import matrix as compiled
from conjoin.kernels.native.matrix import TILES
from conjoin.kernels.ops import large, matrix, svd
from conjoin.kernels.reference import matrix as reference

LAYOUTS = ("C", "F", "cut", "reversed", "spread")


@pytest.fixture(autouse=True)
def fresh():
    use("compiled")
    yield
    use(None)


def numbers(seed, rows, columns, layout="C"):
    """A normal matrix of float32 numbers in one of several layouts; a few zeros of both signs."""
    rng = np.random.default_rng(seed)
    wide = rng.standard_normal((rows + 3, 2 * columns + 4)).astype(np.float32).astype(np.float64)
    wide[rng.random(wide.shape) < 0.02] = -0.0
    views = {
        "C": lambda: np.ascontiguousarray(wide[:rows, :columns]),
        "F": lambda: np.asfortranarray(wide[:rows, :columns]),
        "cut": lambda: wide[2 : rows + 2, 3 : columns + 3],
        "reversed": lambda: wide[:rows, :columns][::-1, ::-1],
        "spread": lambda: wide[:rows, : 2 * columns : 2],
    }
    return views[layout]()


sides = st.one_of(st.integers(0, 3), st.integers(0, 40))
layouts = st.sampled_from(LAYOUTS)


@settings(deadline=None, max_examples=80)
@given(sides, sides, sides, st.tuples(layouts, layouts, layouts), st.booleans(), st.booleans(), st.integers(-1, 1))
def test_product_is_the_chain_on_every_tile(m, n, k, kinds, negate, keep, region):
    a, b = numbers(1, m, k, kinds[0]), numbers(2, k, n, kinds[1])
    want = reference.gemm(numbers(3, m, n, kinds[2]), a, b, negate, keep, region)
    for tile in range(len(TILES)):
        got = compiled.gemm(numbers(3, m, n, kinds[2]), a, b, negate, keep, region, tile)
        assert got.tobytes() == want.tobytes(), TILES[tile]


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 700), (250, 17, 300), (13, 1950, 3), (500, 530, 5)])
@pytest.mark.parametrize("region", [-1, 0, 1])
def test_products_beyond_one_panel(m, n, k, region):
    a, b = numbers(1, m, k), numbers(2, k, n, "F")
    want = reference.gemm(numbers(3, m, n), a, b, False, True, region)
    for tile in range(len(TILES)):
        assert compiled.gemm(numbers(3, m, n), a, b, False, True, region, tile).tobytes() == want.tobytes()


def test_first_term_is_added_to_plus_zero():
    assert not np.signbit(matrix.gemm(np.array([[-0.0]]), np.array([[1.0]])))[0, 0]
    assert matrix.gemm(np.zeros((2, 0)), np.zeros((0, 3))).tobytes() == np.zeros((2, 3)).tobytes()


@pytest.mark.parametrize("region", [-1, 0, 1])
@pytest.mark.parametrize(("m", "n"), [(1100, 1100), (500, 1000), (1000, 500)])
def test_threads_do_not_show(m, n, region):
    a, b, c = numbers(1, m, 9), numbers(2, 9, n, "reversed"), numbers(3, m, n)
    want = matrix.multiply_into(c.copy(), a, b, region=region)
    with ThreadPoolExecutor(3) as pool:
        got = matrix.multiply_into(
            c.copy(), a, b, region=region, run=lambda tasks: list(pool.map(lambda task: task(), reversed(tasks)))
        )
    assert got.tobytes() == want.tobytes()


def test_product_agrees_with_lapack():
    a, b = numbers(1, 150, 400), numbers(2, 400, 130)
    assert np.abs(matrix.gemm(a, b) - a @ b).max() <= 400 * 2.0**-53 * (np.abs(a) @ np.abs(b)).max()


def test_what_is_no_matrix_of_float32_numbers_is_refused():
    fine, wide = np.ones((3, 3)), np.full((3, 3), 0.1)
    with pytest.raises(BadArrayError, match="wide"):
        matrix.gemm(fine, wide)
    assert matrix.gemm(fine, wide, wide=True)[0, 0] == 0.1 + 0.1 + 0.1
    with pytest.raises(BadArrayError, match="float32 with 2 dimensions"):
        matrix.gemm(fine.astype(np.float32), fine)
    with pytest.raises(BadArrayError, match="1 dimensions"):
        matrix.gemm(fine, np.ones(3))
    with pytest.raises(BadArrayError, match="is not"):
        matrix.gemm(fine, np.ones((2, 3)))
    frozen = fine.copy()
    frozen.flags.writeable = False
    with pytest.raises(BadArrayError, match="written"):
        matrix.multiply_into(frozen, fine, fine)


def test_nothing_finite_is_asked_of_the_operands():
    a = np.array([[np.inf, 1.0], [np.nan, 0.0]])
    got = matrix.gemm(a, np.ones((2, 1)))
    assert np.isposinf(got[0, 0]) and np.isnan(got[1, 0])


def on_threads(tasks):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda task: task(), reversed(tasks)))


def test_gram_is_the_product_and_symmetric():
    a = numbers(1, 530, 70, "F")
    got = matrix.gram(a)
    assert got.tobytes() == matrix.gemm(a, a.T).tobytes() == got.T.copy().tobytes()
    assert matrix.gram(a, run=on_threads).tobytes() == got.tobytes()
    assert matrix.gram(np.zeros((0, 5))).shape == (0, 0)


def positive(seed, n):
    """A symmetric matrix with eigenvalues between 1 and about n."""
    a = numbers(seed, n, n)
    return matrix.gram(a) / 4 + np.eye(n)


def same_factor(n, limits, layout):
    got, want = positive(5, n), positive(5, n)
    got = {"C": got, "F": np.asfortranarray(got), "reversed": got[::-1, ::-1].copy()[::-1, ::-1]}[layout]
    assert compiled.factor(got, limits) == reference.factor(want, limits)
    assert np.ascontiguousarray(got).tobytes() == want.tobytes()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 120), st.sampled_from(["C", "F", "reversed"]), st.data())
def test_factor_is_the_chain(n, layout, data):
    refused = data.draw(st.lists(st.integers(0, n - 1), max_size=3)) if n else []
    same_factor(n, np.array([1e9 if j in refused else 0.0 for j in range(n)]), layout)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 120), sides, layouts, layouts)
def test_solve_is_the_chain(n, width, kind, other):
    lower = numbers(1, n, n, kind)
    lower[np.arange(n), np.arange(n)] = 8 + np.arange(n)
    got = compiled.solve_lower(lower, numbers(2, n, width, other))
    assert got.tobytes() == reference.solve_lower(lower, numbers(2, n, width)).tobytes() or other != "C"
    assert got.tobytes() == reference.solve_lower(lower, numbers(2, n, width, other)).tobytes()


def test_blocks_and_threads_of_a_factor_do_not_show(monkeypatch):
    a = positive(3, 130)
    want, solved = matrix.cholesky(a), matrix.solve(a, a[:, :70])
    for rows, columns in ((17, 40), (64, 64), (129, 1000)):
        monkeypatch.setattr(matrix, "BAND_ROWS", rows)
        monkeypatch.setattr(matrix, "BAND_COLUMNS", columns)
        for run in (matrix.in_turn, on_threads):
            assert matrix.cholesky(a, run=run).tobytes() == want.tobytes()
            assert matrix.solve(a, a[:, :70], run=run).tobytes() == solved.tobytes()


@pytest.mark.parametrize("n", [1, 2, 47, 500])
def test_factors_and_solutions_agree_with_lapack(n):
    a, b = positive(3, n), numbers(4, n, 20)
    lower = matrix.cholesky(a)
    assert np.abs(lower - np.linalg.cholesky(a)).max() < 1e-12 * np.abs(lower).max()
    assert not np.triu(lower, 1).any()
    assert np.abs(a @ matrix.solve(a, b) - b).max() < 1e-11


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("right", [True, False])
def test_triangular_systems_of_every_kind(lower, transposed, right):
    n = 70
    t = numbers(1, n, n) + np.diag(20.0 + np.arange(n))
    b = numbers(2, 30, n) if right else numbers(2, n, 30)
    x = matrix.solve_triangular(t, b, lower=lower, transposed=transposed, right=right)
    half = np.tril(t) if lower else np.triu(t)
    half = half.T if transposed else half
    assert np.abs((x @ half if right else half @ x) - b).max() < 1e-13 * n
    mirrored = matrix.solve_triangular(t.T.copy(), b.T.copy(), lower=not lower, transposed=transposed, right=not right)
    assert mirrored.T.copy().tobytes() == x.tobytes()


def test_what_is_not_positive_definite_is_refused_with_its_place():
    a = positive(1, 60)
    a[50, 50] = -1.0
    with pytest.raises(NotPositiveDefiniteError, match="leading 51 rows"):
        matrix.cholesky(a)
    a[50, 50] = np.nan
    with pytest.raises(NotPositiveDefiniteError, match="leading 51 rows"):
        matrix.solve(a, np.ones((60, 1)))
    with pytest.raises(BadArrayError, match="not square"):
        matrix.cholesky(a[:5])
    with pytest.raises(BadArrayError, match="zero on its diagonal"):
        matrix.solve_triangular(np.zeros((2, 2)), np.ones((2, 1)))
    with pytest.raises(BadArrayError, match="does not fit"):
        matrix.solve_triangular(np.eye(2), np.ones((3, 1)))


def test_a_graded_matrix_is_factored_accurately():
    """Cholesky is accurate for every row of a matrix that is only badly scaled."""
    scale = 10.0 ** -np.arange(0, 30, 2)
    a = positive(2, 15)
    graded = matrix.cholesky(a * scale[:, None] * scale)
    assert np.abs(graded / scale[:, None] - matrix.cholesky(a)).max() < 1e-13


def kept(a, height):
    """A matrix by blocks of rows, with nothing usable above the diagonal."""
    shown = np.where(np.tri(len(a), dtype=bool), a, np.nan)
    blocks = {i: shown[s : s + height, : s + height].copy() for i, s in enumerate(range(0, len(a), height))}

    def read(i):
        return blocks[i].copy()

    return large.Rows(len(a), height, read, blocks.__setitem__), blocks


@pytest.mark.parametrize("height", [9, 64, 129, 130, 500])
def test_rows_that_come_and_go_give_the_same_bits(height):
    n = 130
    a, b = positive(3, n), numbers(4, n, 21, "F")
    rows, blocks = kept(a, height)
    large.cholesky_rows(rows, run=on_threads if height > 60 else matrix.in_turn)
    lower = np.tril(np.vstack([np.pad(blocks[i], ((0, 0), (0, n - blocks[i].shape[1]))) for i in range(len(blocks))]))
    assert lower.tobytes() == matrix.cholesky(a).tobytes()
    assert large.solve_rows(rows, b).tobytes() == matrix.solve(a, b).tobytes()


def test_a_gram_matrix_by_rows():
    a = numbers(5, 50, 70)
    rows, blocks = kept(np.zeros((50, 50)), 17)
    large.gram_rows(svd.in_memory(a), rows, panel=400)
    want = matrix.gram(a)
    assert all(blocks[i].tobytes() == want[i * 17 : (i + 1) * 17, : (i + 1) * 17].tobytes() for i in range(3))
    with pytest.raises(BadArrayError, match="does not fit"):
        large.gram_rows(svd.in_memory(a[:9]), rows)


def test_rows_that_are_not_right_are_refused():
    a = positive(3, 60)
    a[50, 50] = -1.0
    with pytest.raises(NotPositiveDefiniteError, match="leading 51 rows"):
        large.cholesky_rows(kept(a, 16)[0])
    rows, blocks = kept(a, 16)
    blocks[1] = blocks[1][:, :-1]
    with pytest.raises(BadArrayError, match="rows 16 to 32 came as"):
        large.cholesky_rows(rows)
    with pytest.raises(BadArrayError, match="does not fit"):
        large.solve_rows(rows, np.ones((59, 1)))
