"""Choice by magnitude: reference and compiled agree, and both with the definition in plain Python."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kernel_worlds import FORMS, KEYS, both, matrices

from conjoin import kernels
from conjoin.errors import BadArrayError
from conjoin.kernels import Coefficients, Trim, bounds_of, decode, drop_table, drop_threshold, encode, selftest
from conjoin.kernels.layout import NO_CUTOFF
from conjoin.kernels.reference.order import magnitude_keys, task_vector

SHARES = st.lists(st.floats(-8, 8, width=32), min_size=5, max_size=5)


def keys_of(world):
    form, tensors, base, columns = world
    return [magnitude_keys(task_vector(t, base, form)).reshape(-1, columns).tolist() for t in tensors]


@given(matrices(), st.booleans())
@settings(deadline=None)
def test_ranks(world, centred):
    form, tensors, base, columns = world
    ranks = both(lambda: kernels.row_ranks(tensors, base if centred else None, form, columns))
    if not centred:
        tensors = [decode(t, form) for t in tensors]
        base, form = np.zeros(len(base), np.uint64), "F64"
        world = (form, [t.view(np.uint64) for t in tensors], base, columns)
    for found, rows in zip(ranks, keys_of(world), strict=True):
        for r, row in enumerate(rows):
            order = sorted(range(columns), key=lambda j: (row[j], j))
            assert found[r * columns : (r + 1) * columns][order].tolist() == list(range(columns))


@given(matrices(), st.data())
@settings(deadline=None)
def test_bounds_choose_the_largest(world, data):
    form, tensors, base, columns = world
    tops = data.draw(st.lists(st.integers(0, columns), min_size=1, max_size=3))
    start = data.draw(st.sampled_from([0, 7 * columns]))
    bounds = both(lambda: kernels.row_bounds(tensors, base, form, columns, tops, start=start))
    for found, rows in zip(bounds, keys_of(world), strict=True):
        for r, row in enumerate(rows):
            for t, top in enumerate(tops):
                key, cutoff = found[r, t].tolist()
                begin = start + r * columns
                chosen = {j for j in range(columns) if row[j] > key or (row[j] == key and begin + j < cutoff)}
                assert chosen == set(sorted(range(columns), key=lambda j: (-row[j], j))[:top])


@pytest.mark.parametrize(("columns", "rows", "start"), [(64, 9, 0), (64, 9, 128), (96, 3, 0), (577, 1, 0), (5, 1, 0)])
@pytest.mark.parametrize("form", ["BF16", "F16", "F32", "F64"])
def test_bands_without_cut_offs(columns, rows, start, form):
    """Whatever has one key is kept or left together: rows of whole vectors go another way than others."""
    n = columns * rows
    base, *tensors = (selftest.patterns(form, salt, n) for salt in range(4))
    found = kernels.row_bounds(tensors, base, form, columns, [max(1, columns // 9), columns // 2])
    top, kept = found[:, :, 0].copy(), found[:, :, 1].copy()
    top[..., 1], kept[..., 1] = 0, NO_CUTOFF
    top[1, 0], kept[2, 0, 0] = (1 << 31, 0), 0
    part = slice(start // columns, None)
    for numerators, denominator in (((1.0, 1.0, 1.0), 1.0), ((0.5, -3.0, 2.0), 3.0)):
        more = {"terms": Coefficients(numerators, denominator), "top": top[:, part], "kept": kept[:, part]}
        arguments = {**more, "columns": columns, "start": start}
        both(lambda given=arguments: kernels.band_sum([t[start:] for t in tensors], base[start:], form, "F32", **given))


AWKWARD = {
    "falling": 1 + np.arange(600, 0, -1) / 2**12,
    "falling in the lowest bin": np.append(np.arange(600, 0, -1) / 2**30, 1.0),
    "equal": np.full(600, -3.0),
    "few values": np.arange(600) % 7 - 3.0,
    "of every size": 2.0 ** (np.arange(600) * 37 % 240 - 120),
    "longer than there are bins": np.arange(70_000) * 7919 % 70_001 / 7.0,
    "one": np.array([5.0]),
    "zeros": np.zeros(100),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_rows_that_do_not_fit_into_bins(name):
    """Where neighbours are far from their places, or many keys share a bin, rows are sorted in another way."""
    row = AWKWARD[name]
    tensors, base = [encode(row, "F32"), encode(row[::-1].copy(), "F32")], np.zeros(len(row), np.uint32)
    both(lambda: kernels.row_ranks(tensors, base, "F32", len(row)))
    both(lambda: kernels.row_bounds(tensors, base, "F32", len(row), [0, 1, len(row) // 3, len(row)]))


@given(matrices(), FORMS, SHARES, st.data())
@settings(deadline=None)
def test_bands(world, out_form, numerators, data):
    form, tensors, base, columns = world
    gone = data.draw(st.integers(0, columns))
    tops = [gone, data.draw(st.integers(gone, columns))]
    bounds = kernels.row_bounds(tensors, base, form, columns, tops)
    terms = Coefficients(tuple(numerators[: len(tensors)]), 3.0)
    begin = 4 * data.draw(st.integers(0, (len(base) - 1) // 4))
    rows = slice(begin // columns, None)
    arguments = {"terms": terms, "columns": columns, "start": begin}
    found = both(
        lambda: kernels.band_sum(
            [t[begin:] for t in tensors], base[begin:], form, out_form,
            top=bounds[:, rows, 0], kept=bounds[:, rows, 1], **arguments,
        )
    )  # fmt: skip
    parts = []
    for tensor, keys in zip(tensors, keys_of(world), strict=True):
        order = [sorted(range(columns), key=lambda j, row=row: (-row[j], j))[tops[0] : tops[1]] for row in keys]
        flat = [r * columns + j for r, row in enumerate(order) for j in row]
        part = base.copy()
        part[flat] = tensor[flat]
        parts.append(part)
    if not any(n == 0 for n in terms.numerators):
        expected = kernels.delta_sum(parts, base, form, out_form, terms=terms)
        assert (found == expected[begin:]).all()


def test_breadcrumbs_by_example():
    """Per tensor, density 1/2, an eighth of the largest gone: STRATEGIES' worked example, in eighths."""
    taus = [[8, -4, 1, 0, 2, -6, 3, 5], [4, 6, -3, 2, 1, 7, -8, -5], [-8, 1, 3, 0, 5, -4, 7, 6]]
    base = encode(np.zeros(8), "F32")
    tensors = [encode(np.array(tau, float), "F32") for tau in taus]
    bounds = kernels.row_bounds(tensors, base, "F32", 8, [1, 5])
    one = Coefficients((1.0,), 1.0)
    kept = [
        decode(
            kernels.band_sum(
                [tensor], base, "F32", "F32", terms=one, columns=8, top=bounds[i : i + 1, :, 0],
                kept=bounds[i : i + 1, :, 1],
            ),
            "F32",
        ).tolist()
        for i, tensor in enumerate(tensors)
    ]  # fmt: skip
    assert kept == [[0, -4, 0, 0, 0, -6, 3, 5], [4, 6, 0, 0, 0, 7, 0, -5], [0, 0, 0, 0, 5, -4, 7, 6]]


@given(matrices(), st.data())
@settings(deadline=None)
def test_a_trim_is_the_bounds_of_one_row(world, data):
    form, tensors, base, _ = world
    keys = [magnitude_keys(task_vector(t, base, form)) for t in tensors]
    trim = Trim(tuple(int(data.draw(st.sampled_from(k.tolist()))) for k in keys), (len(base) // 2,) * len(tensors))
    terms = Coefficients((1.0,) * len(tensors), 1.0)
    nothing = bounds_of(Trim((1 << 31,) * len(tensors), (0,) * len(tensors)))
    found = kernels.band_sum(
        tensors, base, form, form, terms=terms, top=nothing, kept=bounds_of(trim), columns=len(base)
    )
    chosen = [(k > t) | ((k == t) & (np.arange(len(base)) < c)) for k, t, c in zip(keys, *_columns(trim), strict=True)]
    parts = [np.where(c, t, base) for c, t in zip(chosen, tensors, strict=True)]
    assert (found == kernels.delta_sum(parts, base, form, form, terms=terms)).all()


def _columns(trim):
    return trim.thresholds, trim.cutoffs


DROPS = st.tuples(st.sampled_from(["0.1", "0.3", "0.5", "0.75"]), st.sampled_from(["0", "0.1", "0.14"]))


@given(matrices(), FORMS, SHARES, DROPS, st.sampled_from(["mean", "sum", "max", "all"]), st.sampled_from([-1, 0, 1]))
@settings(deadline=None, max_examples=60)
def test_drops_by_rank(world, out_form, numerators, drops, aggregate, zero_sign):
    form, tensors, base, columns = world
    density, window = map(Fraction, drops)
    table = drop_table(density, window, columns)
    ranks = kernels.row_ranks(tensors, base, form, columns)
    arguments = {"table": table, "ranks": ranks, "keys": KEYS[: len(tensors)], "start": 1 << 36}
    terms = Coefficients(tuple(abs(n) + 1 for n in numerators[: len(tensors)]), 3.0)
    counts = both(lambda: kernels.dropped_signs(tensors, base, form, terms, **arguments))
    scale = Coefficients((numerators[-1],), 10.0)
    rest = {"aggregate": aggregate, "zero_sign": zero_sign, "scale": scale}
    both(lambda: kernels.dropped_ties(tensors, base, form, out_form, terms=terms, **arguments, **rest))
    kept = []
    for i, tensor in enumerate(tensors):
        drop = table[ranks[i]] if len(table) > 1 else np.full(len(base), table[0])
        keep = np.array([float(Fraction(2**32 - int(t), 2**32)) for t in drop])
        alive = kernels.draws(KEYS[i], 1 << 36, len(base)) >= drop
        with np.errstate(all="ignore"):
            kept.append(np.where(alive, task_vector(tensor, base, form) / keep, 0.0))
    zero = np.zeros(len(base), np.uint64)
    parts = [values.view(np.uint64) for values in kept]
    nothing = Trim.nothing(len(parts))
    assert (counts == kernels.elected_signs(parts, zero, "F64", terms, nothing, 0)).all()
    if aggregate != "all" and form != "F64":
        merged = kernels.ties(parts, zero, "F64", "F64", terms=terms, trim=nothing, start=0, **rest).view(np.float64)
        with np.errstate(all="ignore"):
            origin = decode(base, form)
            expected = encode(np.where(merged == 0, origin, origin + merged), out_form)
        found = kernels.dropped_ties(tensors, base, form, out_form, terms=terms, **arguments, **rest)
        assert (found == expected).all()


@given(st.fractions("1/10", "3/4", max_denominator=1000), st.fractions(0, "1/10"), st.integers(2, 5000))
def test_probabilities_are_linear_in_the_rank(density, window, columns):
    table = drop_table(density, window, columns)
    if not window:
        assert table.tolist() == [drop_threshold(density)]
        return
    assert table.dtype == np.uint32 and len(table) == columns
    for r in (0, 1, columns // 3, columns - 1):
        exact = density - window / 2 + window * Fraction(r, columns - 1)
        assert abs((1 - exact) * 2**32 - int(table[r])) <= 1
    assert table[0] == drop_threshold(density - window / 2)
    assert table[-1] == drop_threshold(density + window / 2)


def test_probabilities_by_example():
    """STRATEGIES' row (8, −4, 1, 0) / 8 with density 1/2 and half-width 0.15."""
    row = [encode(np.array([8, -4, 1, 0.0]) / 8, "BF16")]
    ranks = kernels.row_ranks(row, encode(np.zeros(4), "BF16"), "BF16", 4)[0]
    keep = 1 - drop_table(Fraction(1, 2), Fraction("0.3"), 4)[ranks] / 2.0**32
    assert np.allclose(keep, [0.65, 0.55, 0.45, 0.35], atol=2**-31)
    assert drop_table(Fraction(1, 2), Fraction("0.3"), 1).tolist() == [2**31]


def test_the_dropped_sum_has_the_right_mean():
    columns, draws = 64, 3000
    row = encode(np.linspace(0.5, 2.0, columns), "F32")
    tensors = [np.tile(row, draws)]
    base = encode(np.zeros(columns * draws), "F32")
    out = kernels.dropped_ties(
        tensors, base, "F32", "F64", terms=Coefficients((1.0,), 1.0),
        table=drop_table(Fraction("0.3"), Fraction("0.14"), columns),
        ranks=kernels.row_ranks(tensors, base, "F32", columns), keys=[(7, 7, 7, 7)], start=0,
        aggregate="all", zero_sign=0, scale=Coefficients((1.0,), 1.0),
    )  # fmt: skip
    values = out.view(np.float64).reshape(draws, columns)
    share = (values != 0).mean(axis=0)
    assert abs(share[: columns // 4].mean() - 0.2475) < 0.01
    assert abs(share[-columns // 4 :].mean() - 0.3525) < 0.01
    assert abs(values.mean(axis=0) / decode(row, "F32") - 1).max() < 0.15


def test_bad_rows_are_refused():
    raw = np.zeros(6, np.uint16)
    for columns in (0, 4):
        with pytest.raises(BadArrayError):
            kernels.row_ranks([raw], None, "BF16", columns)
    with pytest.raises(BadArrayError):
        kernels.row_bounds([raw], None, "BF16", 3, [4])
    with pytest.raises(BadArrayError):
        drop_table(Fraction(1, 10), Fraction(1, 5), 4)
