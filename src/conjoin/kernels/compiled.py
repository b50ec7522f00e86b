"""The compiled arithmetic: the operations of `reference`, by numba kernels; hands over addresses, computes nothing.

Importing this module imports numba. Arguments are checked in `ops`, not here.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels import native
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import FORMATS, Float64, Raw
from conjoin.kernels.layout import (
    BLOCK_ELEMENTS,
    HIGH_BINS,
    INDEX_BINS,
    INDEX_SHIFT,
    LOW_BINS,
    LOW_SHIFT,
    Aggregate,
    Trim,
)

Int64 = npt.NDArray[np.int64]

AGGREGATES: dict[Aggregate, int] = {"mean": 0, "sum": 1, "max": 2}


def _address(raw: Raw) -> np.uint64:
    return np.uint64(raw.ctypes.data)


def _addresses(sources: Sequence[Raw]) -> npt.NDArray[np.uint64]:
    return np.array([source.ctypes.data for source in sources], np.uint64)


def _code(form: str) -> int:
    return FORMATS[form].code


def _out(n: int, form: str) -> Raw:
    return np.empty(n, FORMATS[form].raw)


def _keys(keys: Sequence[DrawKey]) -> npt.NDArray[np.uint64]:
    return np.array(keys, np.uint64).reshape(len(keys), 4)


def _ints(values: Sequence[int]) -> Int64:
    return np.array(values, np.int64)


def _floats(values: Sequence[float]) -> Float64:
    return np.array(values, np.float64)


def linear(sources: Sequence[Raw], numerators: Sequence[float], denominator: float, form: str, out_form: str) -> Raw:
    """See `reference.linear`."""
    n = len(sources[0])
    out = _out(n, out_form)
    native.linear(
        _addresses(sources), _floats(numerators), float(denominator), n, _code(form), _code(out_form), _address(out)
    )
    return out


def high_histograms(tensors: Sequence[Raw], base: Raw, form: str) -> Int64:
    """See `reference.high_histograms`."""
    counts = np.zeros((len(tensors), HIGH_BINS), np.int64)
    native.high_histograms(_addresses(tensors), _address(base), len(base), _code(form), LOW_SHIFT, counts)
    return counts


def low_histograms(tensors: Sequence[Raw], base: Raw, form: str, bins: Sequence[int]) -> Int64:
    """See `reference.low_histograms`."""
    counts = np.zeros((len(tensors), LOW_BINS), np.int64)
    native.low_histograms(_addresses(tensors), _address(base), len(base), _code(form), LOW_SHIFT, _ints(bins), counts)
    return counts


def tie_histograms(
    tensors: Sequence[Raw], base: Raw, form: str, thresholds: Sequence[int], start: int, bins: Sequence[int] | None
) -> Int64:
    """See `reference.tie_histograms`."""
    counts = np.zeros((len(tensors), INDEX_BINS), np.int64)
    within = _ints([-1] * len(tensors) if bins is None else bins)
    native.tie_histograms(
        _addresses(tensors),
        _address(base),
        len(base),
        _code(form),
        _ints(thresholds),
        start,
        INDEX_SHIFT,
        within,
        counts,
    )
    return counts


def elected_signs(
    tensors: Sequence[Raw], base: Raw, form: str, numerators: Sequence[float], trim: Trim, start: int
) -> Int64:
    """See `reference.elected_signs`."""
    counts = np.zeros(2, np.int64)
    thresholds, cutoffs = _ints(trim.thresholds), _ints(trim.cutoffs)
    native.elected_signs(
        _addresses(tensors),
        _address(base),
        len(base),
        _code(form),
        _floats(numerators),
        thresholds,
        cutoffs,
        start,
        counts,
    )
    return counts


def ties(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    trim: Trim,
    start: int,
    aggregate: Aggregate,
    zero_sign: int,
    scale: tuple[float, float],
) -> Raw:
    """See `reference.ties`."""
    out = _out(len(base), out_form)
    native.ties(
        _addresses(tensors),
        _address(base),
        len(base),
        _code(form),
        _code(out_form),
        _floats(numerators),
        float(denominator),
        _ints(trim.thresholds),
        _ints(trim.cutoffs),
        start,
        AGGREGATES[aggregate],
        float(zero_sign),
        float(scale[0]),
        float(scale[1]),
        _address(out),
    )
    return out


def delta_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    drop_below: int,
    keys: Sequence[DrawKey],
    start: int,
) -> Raw:
    """See `reference.delta_sum`."""
    out = _out(len(base), out_form)
    native.delta_sum(
        _addresses(tensors),
        _address(base),
        len(base),
        _code(form),
        _code(out_form),
        _floats(numerators),
        float(denominator),
        np.uint64(drop_below),
        _keys(keys),
        start,
        _address(out),
    )
    return out


def draws(key: DrawKey, start: int, count: int) -> npt.NDArray[np.uint32]:
    """See `reference.draws`."""
    out = np.empty(count, np.uint64)
    native.draws(_keys([key])[0], start, count, out)
    return out.astype(np.uint32)


def block_gram(tensors: Sequence[Raw], base: Raw | None, form: str) -> Float64:
    """See `reference.block_gram`."""
    n, k = len(tensors[0]), len(tensors)
    out = np.empty((-(-n // BLOCK_ELEMENTS), k, k))
    origin = _address(tensors[0] if base is None else base)
    native.block_gram(_addresses(tensors), origin, base is not None, n, _code(form), BLOCK_ELEMENTS, out)
    return out


def block_l1(
    tensors: Sequence[Raw], base: Raw, form: str, drop_below: int, keys: Sequence[DrawKey], start: int
) -> Float64:
    """See `reference.block_l1`."""
    n = len(base)
    out = np.empty((-(-n // BLOCK_ELEMENTS), len(tensors), 2))
    native.block_l1(
        _addresses(tensors),
        _address(base),
        n,
        _code(form),
        np.uint64(drop_below),
        _keys(keys),
        start,
        BLOCK_ELEMENTS,
        out,
    )
    return out
