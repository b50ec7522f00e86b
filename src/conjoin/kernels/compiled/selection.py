"""Choice by magnitude, compiled."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.compiled.handover import Int64, address, addresses, code, empty, floats, ints, words
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import DropAggregate
from conjoin.kernels.native import selection as native

Word32 = npt.NDArray[np.uint32]

AGGREGATES: dict[DropAggregate, int] = {"mean": 0, "sum": 1, "max": 2, "all": 3}


def row_ranks(tensors: Sequence[Raw], base: Raw | None, form: str, columns: int) -> Word32:
    """See `reference.selection.row_ranks`."""
    n, origin = len(tensors[0]), address(tensors[0] if base is None else base)
    ranks = np.empty((len(tensors), n), np.uint32)
    native.row_ranks(addresses(tensors), origin, base is not None, n, code(form), columns, ranks)
    return ranks


def row_bounds(
    tensors: Sequence[Raw], base: Raw | None, form: str, columns: int, tops: Sequence[int], start: int
) -> Int64:
    """See `reference.selection.row_bounds`."""
    n, origin = len(tensors[0]), address(tensors[0] if base is None else base)
    out = np.empty((len(tensors), n // columns, len(tops), 2), np.int64)
    native.row_bounds(addresses(tensors), origin, base is not None, code(form), columns, ints(tops), start, out)
    return out


def band_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    top: Int64,
    kept: Int64,
    columns: int,
    start: int,
) -> Raw:
    """See `reference.selection.band_sum`."""
    out = empty(len(base), out_form)
    native.band_sum(
        addresses(tensors),
        address(base),
        len(base),
        code(form),
        code(out_form),
        floats(numerators),
        float(denominator),
        top,
        kept,
        columns,
        start,
        address(out),
    )
    return out


def dropped_signs(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    numerators: Sequence[float],
    table: Word32,
    ranks: Word32 | None,
    keys: Sequence[DrawKey],
    start: int,
) -> Int64:
    """See `reference.selection.dropped_signs`."""
    counts = np.zeros(2, np.int64)
    native.dropped_signs(
        addresses(tensors),
        address(base),
        len(base),
        code(form),
        floats(numerators),
        table,
        _ranks(ranks),
        words(keys),
        start,
        counts,
    )
    return counts


def dropped_ties(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    table: Word32,
    ranks: Word32 | None,
    keys: Sequence[DrawKey],
    start: int,
    aggregate: DropAggregate,
    zero_sign: int,
    scale: tuple[float, float],
) -> Raw:
    """See `reference.selection.dropped_ties`."""
    out = empty(len(base), out_form)
    native.dropped_ties(
        addresses(tensors),
        address(base),
        len(base),
        code(form),
        code(out_form),
        floats(numerators),
        float(denominator),
        table,
        _ranks(ranks),
        words(keys),
        start,
        AGGREGATES[aggregate],
        float(zero_sign),
        float(scale[0]),
        float(scale[1]),
        address(out),
    )
    return out


def _ranks(ranks: Word32 | None) -> Word32:
    return np.empty((0, 0), np.uint32) if ranks is None else ranks
