"""Operations refuse arrays and lists that do not fit together, which kernels would read behind their ends."""

from fractions import Fraction

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadArrayError
from conjoin.kernels import Bracket, Coefficients, Trim

N = 256
TENSORS = [np.arange(N, dtype=np.uint16) + i for i in range(3)]
BASE, SHORT = TENSORS[0], TENSORS[0][:100]
TWO, THREE, ONE = (Coefficients((1.0,) * count, 1.0) for count in (2, 3, 1))
KEYS = [(1, 2, 3, 4)] * 3
BRACKETS = [Bracket(0, 1 << 31, 0)] * 3
TABLE = kernels.drop_table(Fraction(1, 2), Fraction(1, 4), N)
RANKS = np.zeros((3, N), np.uint32)
WHOLE = kernels.bounds_of(Trim.nothing(3))
MASKS = np.zeros((3, N // 8), np.uint8)


def ties(base, terms, trim):
    rest = {"start": 0, "aggregate": "mean", "zero_sign": 1, "scale": ONE}
    return kernels.ties(TENSORS, base, "BF16", "BF16", terms=terms, trim=trim, **rest)


def band_sum(base, terms, columns=N):
    return kernels.band_sum(TENSORS, base, "BF16", "BF16", terms=terms, top=WHOLE, kept=WHOLE, columns=columns)


def dropped(base, terms, keys=KEYS, start=0):
    chances = {"table": TABLE, "ranks": RANKS, "keys": keys, "start": start}
    return kernels.dropped_signs(TENSORS, base, "BF16", terms, **chances)


def dropped_ties(base, terms):
    chances = {"table": TABLE, "ranks": RANKS, "keys": KEYS, "start": 0}
    rest = {"aggregate": "mean", "zero_sign": 1, "scale": ONE}
    return kernels.dropped_ties(TENSORS, base, "BF16", "BF16", terms=terms, **chances, **rest)


def delta_sum(base, terms, **drops):
    return kernels.delta_sum(TENSORS, base, "BF16", "BF16", terms=terms, **drops)


def block_l1(base, keys, start=0):
    return kernels.block_l1(TENSORS, base, "BF16", drop_below=9, keys=keys, start=start)


def added(base=None, **options):
    return kernels.running_sum(None, [(BASE, 1.0)], "BF16", base=base, **options)


BASES = {
    "elected_signs": lambda base: kernels.elected_signs(TENSORS, base, "BF16", THREE, Trim.nothing(3), 0),
    "ties": lambda base: ties(base, THREE, Trim.nothing(3)),
    "delta_sum": lambda base: delta_sum(base, THREE),
    "block_l1": lambda base: block_l1(base, KEYS),
    "block_gram": lambda base: kernels.block_gram(TENSORS, base, "BF16"),
    "block_moments": lambda base: kernels.block_moments(TENSORS, base, "BF16"),
    "exact_sums": lambda base: kernels.exact_sums(TENSORS, base, "BF16", "values"),
    "high_histograms": lambda base: kernels.high_histograms(TENSORS, base, "BF16"),
    "bracket_counts": lambda base: kernels.bracket_counts(TENSORS, base, "BF16", BRACKETS),
    "tie_histograms": lambda base: kernels.tie_histograms(TENSORS, base, "BF16", [0, 0, 0], 0),
    "unified": lambda base: kernels.unified(TENSORS, base, "BF16", "BF16", elect="sum"),
    "surviving": lambda base: kernels.surviving(TENSORS, base, "BF16", Trim.nothing(3)),
    "unanimous": lambda base: kernels.unanimous(TENSORS, base, "BF16"),
    "masked_sum": lambda base: kernels.masked_sum(TENSORS, base, "BF16", "BF16", terms=THREE, masks=MASKS),
    "row_ranks": lambda base: kernels.row_ranks(TENSORS, base, "BF16", N),
    "row_bounds": lambda base: kernels.row_bounds(TENSORS, base, "BF16", N, [3]),
    "band_sum": lambda base: band_sum(base, THREE),
    "dropped_signs": lambda base: dropped(base, THREE),
    "dropped_ties": lambda base: dropped_ties(base, THREE),
    "running_sum": added,
}

OTHERS = {
    "linear coefficients": lambda: kernels.linear(TENSORS, TWO, "BF16", "BF16"),
    "linear format": lambda: kernels.linear(TENSORS, THREE, "F8", "BF16"),
    "linear length": lambda: kernels.linear([*TENSORS[:2], SHORT], THREE, "BF16", "BF16"),
    "signs coefficients": lambda: kernels.elected_signs(TENSORS, BASE, "BF16", TWO, Trim.nothing(3), 0),
    "signs bounds": lambda: kernels.elected_signs(TENSORS, BASE, "BF16", THREE, Trim.nothing(2), 0),
    "ties coefficients": lambda: ties(BASE, TWO, Trim.nothing(3)),
    "ties bounds": lambda: ties(BASE, THREE, Trim.nothing(2)),
    "delta_sum coefficients": lambda: delta_sum(BASE, TWO),
    "delta_sum draws": lambda: delta_sum(BASE, THREE, drop_below=9, keys=KEYS[:2]),
    "delta_sum start": lambda: delta_sum(BASE, THREE, drop_below=9, keys=KEYS, start=2),
    "block_l1 draws": lambda: block_l1(BASE, KEYS[:2]),
    "block_l1 start": lambda: block_l1(BASE, KEYS, start=4),
    "centres": lambda: kernels.block_moments(TENSORS, BASE, "BF16", [0.0]),
    "brackets": lambda: kernels.bracket_counts(TENSORS, BASE, "BF16", BRACKETS[:2]),
    "tie thresholds": lambda: kernels.tie_histograms(TENSORS, BASE, "BF16", [0, 0], 0),
    "tie bins": lambda: kernels.tie_histograms(TENSORS, BASE, "BF16", [0, 0, 0], 0, [0]),
    "surviving bounds": lambda: kernels.surviving(TENSORS, BASE, "BF16", Trim.nothing(2)),
    "masked_sum coefficients": lambda: kernels.masked_sum(TENSORS, BASE, "BF16", "BF16", terms=TWO, masks=MASKS),
    "mask": lambda: kernels.masked(BASE, "BF16", MASKS[0, 1:]),
    "band coefficients": lambda: band_sum(BASE, TWO),
    "band columns": lambda: band_sum(BASE, THREE, columns=0),
    "dropped_signs coefficients": lambda: dropped(BASE, TWO),
    "dropped_signs draws": lambda: dropped(BASE, THREE, keys=KEYS[:2]),
    "dropped_signs start": lambda: dropped(BASE, THREE, start=2),
    "dropped_ties coefficients": lambda: dropped_ties(BASE, TWO),
    "draws": lambda: kernels.draws(KEYS[0], -1, 4),
    "running start": lambda: added(BASE, start=2),
    "running draws": lambda: added(BASE, drop_below=9),
    "running drops without base": lambda: added(drop_below=9, keys=KEYS[:1]),
    "running factor": lambda: kernels.running_sum(None, [(BASE, 0.0)], "BF16"),
    "running length": lambda: kernels.running_sum(added(), [(SHORT, 1.0)], "BF16"),
    "svd rank": lambda: kernels.svd(np.eye(3), rank=-1),
    "subspace rank": lambda: kernels.subspace_svd(np.eye(3), -1, KEYS[0]),
}


@pytest.mark.parametrize("name", BASES)
def test_a_base_of_another_length_is_refused(name):
    BASES[name](BASE)
    with pytest.raises(BadArrayError, match=r"length|other than"):
        BASES[name](SHORT)


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_fit_is_refused(name):
    with pytest.raises(BadArrayError):
        OTHERS[name]()
