"""Choice by magnitude, compiled."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.compiled.handover import Int64, address, addresses, code, empty, floats, in_vectors, ints, words
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import DropAggregate
from conjoin.kernels.native import selection as native
from conjoin.kernels.native.vectors import WIDTH

Word32 = npt.NDArray[np.uint32]

AGGREGATES: dict[DropAggregate, int] = {"mean": 0, "sum": 1, "max": 2, "all": 3}


def _keys(tensors: Sequence[Raw], base: Raw | None, form: str) -> Word32:
    """Magnitude keys (k, at least n)."""
    origin = np.zeros_like(tensors[0]) if base is None else base
    keys = np.empty((len(tensors), -(-len(origin) // WIDTH) * WIDTH), np.uint32)
    for at, n, inputs, _ in in_vectors([origin, *tensors]):
        for row, source in zip(keys, inputs[1:], strict=True):
            native.row_keys(source, inputs[0], n, code(form), at, row)
    return keys


def row_ranks(tensors: Sequence[Raw], base: Raw | None, form: str, columns: int) -> Word32:
    """See `reference.selection.row_ranks`."""
    n, keys = len(tensors[0]), _keys(tensors, base, form)
    for row in keys:
        native.row_ranks(row, n, columns)
    return keys if keys.shape[1] == n else np.ascontiguousarray(keys[:, :n])


def row_bounds(
    tensors: Sequence[Raw], base: Raw | None, form: str, columns: int, tops: Sequence[int], start: int
) -> Int64:
    """See `reference.selection.row_bounds`."""
    out = np.empty((len(tensors), len(tensors[0]) // columns, len(tops), 2), np.int64)
    for row, bounds in zip(_keys(tensors, base, form), out, strict=True):
        native.row_bounds(row, columns, ints(tops), start, bounds)
    return out


def _limits(top: Int64, kept: Int64, columns: int, start: int, n: int) -> npt.NDArray[np.uint64] | None:
    """Limits (k, rows, 2) of magnitudes by their bits; None where a cut-off or the end of a row is inside a vector."""
    rows = np.arange(start // columns, (start + n - 1) // columns + 1, dtype=np.int64)
    begins, ends = np.maximum(rows * columns, start), np.minimum((rows + 1) * columns, start + n)
    if len(rows) > 1 and (columns % WIDTH or start % WIDTH):
        return None
    above: list[Int64] = []
    for bounds in (kept[:, : len(rows)], top[:, : len(rows)]):
        keys, cutoffs = bounds[..., 0], bounds[..., 1]
        if ((cutoffs > begins) & (cutoffs < ends)).any():
            return None
        above.append(keys + (cutoffs <= begins))
    limits = np.empty((*above[0].shape, 2), np.uint64)
    native.limits_of(*above, limits)
    return limits


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
    limits = _limits(top, kept, columns, start, len(base))
    if limits is not None:
        for at, n, inputs, output in in_vectors([base, *tensors], out):
            native.band_sum_in_vectors(
                inputs[1:],
                inputs[0],
                min(n, len(base) - at),  # behind the last element no row begins
                code(form),
                code(out_form),
                floats(numerators),
                float(denominator),
                limits,
                columns,
                start + at,
                start // columns,
                output,
            )
        return out
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
    for at, n, inputs, _ in in_vectors([base, *tensors]):
        part, place = _ranks(ranks, at, n)
        native.dropped_signs(
            inputs[1:],
            inputs[0],
            n,
            code(form),
            floats(numerators),
            table,
            part,
            place,
            words(keys),
            start + at,
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
    for at, n, inputs, output in in_vectors([base, *tensors], out):
        part, place = _ranks(ranks, at, n)
        native.dropped_ties(
            inputs[1:],
            inputs[0],
            n,
            code(form),
            code(out_form),
            floats(numerators),
            float(denominator),
            table,
            part,
            place,
            words(keys),
            start + at,
            AGGREGATES[aggregate],
            float(zero_sign),
            float(scale[0]),
            float(scale[1]),
            output,
        )
    return out


def _ranks(ranks: Word32 | None, at: int, n: int) -> tuple[Word32, int]:
    """Ranks, and from where on they are those of n elements from `at` on; zeros behind the last."""
    if ranks is None:
        return np.empty((0, 0), np.uint32), 0
    if at + n <= ranks.shape[1]:
        return ranks, at
    rest = np.zeros((len(ranks), n), np.uint32)
    rest[:, : ranks.shape[1] - at] = ranks[:, at:]
    return rest, 0
