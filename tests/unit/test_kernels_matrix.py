"""Dense matrices: compiled against reference bit for bit, against LAPACK within tolerances, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin.kernels import use
from conjoin.kernels.compiled import matrix as compiled
from conjoin.kernels.native.matrix import TILES
from conjoin.kernels.ops import matrix
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


@settings(deadline=None, max_examples=150)
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
    with pytest.raises(AssertionError, match="wide"):
        matrix.gemm(fine, wide)
    assert matrix.gemm(fine, wide, wide=True)[0, 0] == 0.1 + 0.1 + 0.1
    with pytest.raises(AssertionError, match="float32 is not float64"):
        matrix.gemm(fine.astype(np.float32), fine)
    with pytest.raises(AssertionError, match="dimensions"):
        matrix.gemm(fine, np.ones(3))
    with pytest.raises(AssertionError, match="is not"):
        matrix.gemm(fine, np.ones((2, 3)))
    frozen = fine.copy()
    frozen.flags.writeable = False
    with pytest.raises(AssertionError):
        matrix.multiply_into(frozen, fine, fine)


def test_nothing_finite_is_asked_of_the_operands():
    a = np.array([[np.inf, 1.0], [np.nan, 0.0]])
    got = matrix.gemm(a, np.ones((2, 1)))
    assert np.isposinf(got[0, 0]) and np.isnan(got[1, 0])
