"""Choice of elements by the magnitude of their task vector: thresholds and ranks of rows, bands, drops by rank."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from conjoin.errors import BadArrayError
from conjoin.kernels.backend import operation
from conjoin.kernels.draws import DrawKey, drop_threshold
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import DropAggregate, Trim
from conjoin.kernels.ops.arguments import all_centred, all_plain, element_count, require, require_each, writable
from conjoin.kernels.scalars import Coefficients

Int64 = npt.NDArray[np.int64]
Word32 = npt.NDArray[np.uint32]
Bounds = npt.NDArray[np.int64]
"""(k, rows, 2): per contribution and row a key and a cut-off. Chosen is what has a greater key, and of those equal to
the key what has a flat index below the cut-off."""

COLUMNS_MAX = 1 << 30
"""Longest row that can be ranked."""


def row_ranks(tensors: Sequence[Raw], base: Raw | None, form: str, columns: int) -> Word32:
    """Ranks within each row by (magnitude key, index), from 0 for the least; exact, by integers alone.

    Args:
        tensors: k arrays (n,) of whole rows; their values are ranked, or their task vectors where there is a base.
        base: (n,) or None.
        form: format of all.
        columns: length of a row.

    Returns:
        (k, n) uint32.
    """
    origin, arrays = _rows(tensors, base, form, columns)
    return operation("selection.row_ranks", element_count(tensors))(arrays, origin, form, columns)


def row_bounds(
    tensors: Sequence[Raw],
    base: Raw | None,
    form: str,
    columns: int,
    tops: Sequence[int],
    *,
    start: int = 0,
) -> npt.NDArray[np.int64]:
    """What bounds the m largest magnitudes of each row, of equal ones those of lowest index.

    Args:
        tensors: k arrays (n,) of whole rows, or task vectors where there is a base.
        base: (n,) or None.
        form: format of all.
        columns: length of a row.
        tops: the numbers m, each from 0 to `columns`.
        start: flat index of the first element.

    Returns:
        (k, rows, len(tops), 2) int64: bounds[:, :, t] are the Bounds of the tops[t] largest.
    """
    require(all(0 <= top <= columns for top in tops), f"{list(tops)} largest of rows of {columns}")
    origin, arrays = _rows(tensors, base, form, columns)
    run = operation("selection.row_bounds", element_count(tensors))
    return run(arrays, origin, form, columns, list(tops), start)


def bounds_of(trim: Trim) -> Bounds:
    """Bounds of a whole tensor as one row."""
    return np.array([trim.thresholds, trim.cutoffs], np.int64).T.reshape(-1, 1, 2).copy()


def band_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    *,
    terms: Coefficients,
    top: Bounds,
    kept: Bounds,
    columns: int,
    start: int = 0,
) -> Raw:
    """θ₀ + (Σ nᵢ τᵢ)/D over the elements that are chosen by `kept` and not by `top`.

    Args:
        tensors: k arrays (n,), any slice.
        base: (n,).
        form: format of both.
        out_form: format of the result.
        terms: k coefficients.
        top: bounds of the rows that the slice touches; what they choose is left out.
        kept: likewise; what they do not choose is left out.
        columns: length of a row.
        start: flat index of the first element.

    Returns:
        (n,) patterns of `out_form`; θ₀ itself, sign of zero included, where the sum is 0.
    """
    require_each(tensors, coefficients=terms.numerators)
    require(columns > 0, f"rows of {columns} elements")
    origin, *arrays = all_plain([base, *tensors], form)
    touched = (start + len(base) - 1) // columns - start // columns + 1 if len(base) else 0
    bounds = [writable(b.astype(np.int64, copy=False)) for b in (top, kept)]
    for b in bounds:
        require(b.shape[0] == len(tensors) and b.shape[1] >= touched and b.shape[2:] == (2,), f"bounds are {b.shape}")
    run, numerators = operation("selection.band_sum", element_count(tensors)), list(terms.numerators)
    return run(arrays, origin, form, out_form, numerators, terms.denominator, *bounds, columns, start)


def drop_table(density: Fraction, window: Fraction, columns: int) -> Word32:
    """Thresholds of draws by rank: the probability to be kept grows with the rank, from density − window/2 on.

    T₀ and T₁ are the thresholds (`drop_threshold`) of density ∓ window/2; rank r of n = `columns` ranks has
    T₀ − ⌊((T₀ − T₁)·r + (n − 1)/2) / (n − 1)⌋, so every value is within half a unit of the line between them. A row
    of one element has the threshold of `density` (Deep et al. 2024, arXiv:2406.11617, MagPrune).

    Args:
        density: mean share kept; density ± window/2 lies above 0 and at most at 1.
        window: how much more likely the greatest magnitude is kept than the least.
        columns: number of ranks.

    Returns:
        (columns,) uint32, or (1,) where `window` is 0.
    """
    require(0 < columns <= COLUMNS_MAX, f"rows of {columns} elements")
    least, most = density - window / 2, density + window / 2
    require(0 < least <= most <= 1, f"probabilities from {float(least):.3g} to {float(most):.3g}")
    if not window or columns == 1:
        return np.array([drop_threshold(density)], np.uint32)
    first, last = drop_threshold(least), drop_threshold(most)
    rank, gaps = np.arange(columns, dtype=np.uint64), np.uint64(columns - 1)
    step = (np.uint64(2 * (first - last)) * rank + gaps) // (np.uint64(2) * gaps)
    return (np.uint64(first) - step).astype(np.uint32)


def dropped_signs(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    terms: Coefficients,
    *,
    table: Word32,
    ranks: Word32 | None,
    keys: Sequence[DrawKey],
    start: int,
) -> Int64:
    """Count the elements in which the mass Σ nᵢ τ̃ᵢ is positive, and negative. (2,); counts of several slices add up.

    The arguments are those of `dropped_ties`.
    """
    require_each(tensors, coefficients=terms.numerators)
    origin, *arrays = all_plain([base, *tensors], form)
    chances = _chances(tensors, table, ranks, keys, start)
    run = operation("selection.dropped_signs", element_count(tensors))
    return run(arrays, origin, form, list(terms.numerators), *chances, start)


def dropped_ties(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    *,
    terms: Coefficients,
    table: Word32,
    ranks: Word32 | None,
    keys: Sequence[DrawKey],
    start: int,
    aggregate: DropAggregate,
    zero_sign: int,
    scale: Coefficients,
) -> Raw:
    """θ₀ + (a·S)/(b·W) over A, the values τ̃ᵢ that carry the elected sign; `ties` with drops in place of the trim.

    An element of rank r is dropped, τ̃ = 0, where its 32-bit draw is below table[r]; else τ̃ = τ / q with q the
    probability (2³² − table[r]) / 2³². Sign, S and W are those of `ties`; aggregate `all` takes every τ̃ᵢ as agreeing
    and W = D.

    Args:
        tensors: k arrays (n,), any slice.
        base: (n,).
        form: format of both.
        out_form: format of the result.
        terms: k weights nᵢ / D, none of them 0.
        table: thresholds by rank, of `drop_table`.
        ranks: (k, n) of `row_ranks`; not read where the table has one entry.
        keys: k names of draws.
        start: index of the first element in the tensor, a multiple of 4.
        aggregate: how the values combine.
        zero_sign: −1, 0 or 1.
        scale: one coefficient a / b.

    Returns:
        (n,) patterns of `out_form`.
    """
    require_each(tensors, coefficients=terms.numerators)
    origin, *arrays = all_plain([base, *tensors], form)
    chances = _chances(tensors, table, ranks, keys, start)
    factor = (scale.numerators[0], scale.denominator)
    run = operation("selection.dropped_ties", element_count(tensors))
    place = (arrays, origin, form, out_form, list(terms.numerators), terms.denominator)
    return run(*place, *chances, start, aggregate, zero_sign, factor)


def _rows(tensors: Sequence[Raw], base: Raw | None, form: str, columns: int) -> tuple[Raw | None, list[Raw]]:
    """The base and the tensors, if these are whole rows."""
    origin, arrays = all_centred(tensors, base, form)
    require(0 < columns <= COLUMNS_MAX, f"rows of {columns} elements")
    require(len(arrays[0]) % columns == 0, f"{len(arrays[0])} elements are not whole rows of {columns}")
    return origin, arrays


def _chances(
    tensors: Sequence[Raw], table: Word32, ranks: Word32 | None, keys: Sequence[DrawKey], start: int
) -> tuple[Word32, Word32 | None, list[DrawKey]]:
    """Table, ranks and keys as the backends need them."""
    require(start % 4 == 0, f"a slice starts at {start}, inside a draw of four")
    require_each(tensors, draws=keys)
    require(table.dtype == np.uint32 and table.ndim == 1 and len(table) > 0, "no table of thresholds")
    if len(table) == 1:
        return writable(table), None, list(keys)
    shape = (len(tensors), len(tensors[0]))
    if ranks is None or ranks.dtype != np.uint32 or ranks.shape != shape:
        raise BadArrayError(f"ranks are not {shape} of uint32", hint="they come from `row_ranks`")
    require(not ranks.size or int(ranks.max()) < len(table), "a rank beyond the table")
    return writable(table), writable(ranks), list(keys)
