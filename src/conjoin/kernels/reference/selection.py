"""Choice by magnitude of the reference: thresholds and ranks of rows, bands, drops that depend on the rank."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Float64, Raw, decode, encode
from conjoin.kernels.layout import DropAggregate
from conjoin.kernels.reference.order import magnitude_keys, task_vector
from conjoin.kernels.reference.streams import draws

Int64 = npt.NDArray[np.int64]
Word32 = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]

NO_KEY = 1 << 31
"""Above every key."""


def vector_of(tensor: Raw, base: Raw | None, form: str) -> Float64:
    """The values, or the task vector where there is a base."""
    return decode(tensor, form) if base is None else task_vector(tensor, base, form)


def row_ranks(tensors: Sequence[Raw], base: Raw | None, form: str, columns: int) -> Word32:
    """(k, n): how many elements of its row come before an element by (key, index), from the least on."""
    ranks = np.empty((len(tensors), len(tensors[0])), np.uint32)
    for row, tensor in zip(ranks, tensors, strict=True):
        keys = magnitude_keys(vector_of(tensor, base, form)).reshape(-1, columns)
        order = np.argsort(keys, axis=1, kind="stable")
        np.put_along_axis(row.reshape(-1, columns), order, np.arange(columns, dtype=np.uint32)[None], axis=1)
    return ranks


def row_bounds(
    tensors: Sequence[Raw], base: Raw | None, form: str, columns: int, tops: Sequence[int], start: int
) -> Int64:
    """(k, rows, tops, 2): key and cut-off of the largest elements of each row, equals by index from the lowest."""
    rows = len(tensors[0]) // columns
    out = np.empty((len(tensors), rows, len(tops), 2), np.int64)
    begins = start + np.arange(rows) * columns
    for bounds, tensor in zip(out, tensors, strict=True):
        keys = magnitude_keys(vector_of(tensor, base, form)).reshape(rows, columns)
        order = np.argsort(~keys, axis=1, kind="stable")
        for t, top in enumerate(tops):
            last = order[:, top - 1 : top] if top else None
            bounds[:, t, 0] = NO_KEY if last is None else np.take_along_axis(keys, last, axis=1)[:, 0]
            bounds[:, t, 1] = begins if last is None else begins + last[:, 0] + 1
    return out


def _among(keys: Word32, bounds: Int64, columns: int, start: int) -> Flags:
    """Which elements are above the key of their row, or at it and before the cut-off."""
    index = np.arange(start, start + len(keys))
    row = index // columns - start // columns
    key, cutoff = bounds[row, 0], bounds[row, 1]
    return (keys > key) | ((keys == key) & (index < cutoff))


def _added(origin: Float64, update: Float64, out_form: str) -> Raw:
    return encode(np.where(update == 0, origin, origin + update), out_form)


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
    """θ₀ + (Σ nᵢ τᵢ)/D over what is among the kept ones of its row and not among the top ones."""
    with np.errstate(all="ignore"):
        total = np.zeros(len(base))
        for i, (tensor, numerator) in enumerate(zip(tensors, numerators, strict=True)):
            delta = task_vector(tensor, base, form)
            keys = magnitude_keys(delta)
            chosen = _among(keys, kept[i], columns, start) & ~_among(keys, top[i], columns, start)
            total = total + np.float64(numerator) * np.where(chosen, delta, 0.0)
        update = total if denominator == 1 else total / np.float64(denominator)
        return _added(decode(base, form), update, out_form)


def _dropped(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    table: Word32,
    ranks: Word32 | None,
    keys: Sequence[DrawKey],
    start: int,
) -> list[Float64]:
    """τ̃ᵢ: the task vector over the probability with which it is kept, or 0."""
    kept: list[Float64] = []
    for i, tensor in enumerate(tensors):
        drop = np.full(len(base), table[0]) if ranks is None else table[ranks[i]]
        keep = (np.uint64(1 << 32) - drop.astype(np.uint64)).astype(np.float64) / 2.0**32
        scaled = task_vector(tensor, base, form) / keep
        kept.append(np.where(draws(keys[i], start, len(base)) < drop, 0.0, scaled))
    return kept


def _mass(kept: Sequence[Float64], numerators: Sequence[float], n: int) -> Float64:
    total = np.zeros(n)
    for values, numerator in zip(kept, numerators, strict=True):
        total = total + np.float64(numerator) * values
    return total


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
    """(2,): in how many elements the positive and the negative mass of what is kept wins."""
    with np.errstate(all="ignore"):
        mass = _mass(_dropped(tensors, base, form, table, ranks, keys, start), numerators, len(base))
    return np.array([np.count_nonzero(mass > 0), np.count_nonzero(mass < 0)], np.int64)


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
    """θ₀ + (a·S)/(b·W) over the kept values that carry the elected sign, or over all that are kept."""
    with np.errstate(all="ignore"):
        kept = _dropped(tensors, base, form, table, ranks, keys, start)
        mass = _mass(kept, numerators, len(base))
        sign = np.where(mass > 0, 1.0, np.where(mass < 0, -1.0, float(zero_sign)))
        total = mass if aggregate == "all" else np.zeros(len(base))
        share = np.full(len(base), 0.0 if aggregate == "mean" else denominator)
        for values, numerator in zip(kept, numerators, strict=True):
            agrees, product = values * sign > 0, np.float64(numerator) * values
            if aggregate == "max":
                total = np.where(agrees & (product * sign > total * sign), product, total)
            elif aggregate != "all":
                total = total + np.where(agrees, product, 0.0)
            if aggregate == "mean":
                share = share + np.where(agrees, np.float64(numerator), 0.0)
        update = (np.float64(scale[0]) * total) / (np.float64(scale[1]) * np.where(share == 0, 1.0, share))
        return _added(decode(base, form), update, out_form)
