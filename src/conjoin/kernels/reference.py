"""The reference arithmetic: every operation in plain NumPy, slow and obvious; the compiled one must equal it.

Only ufuncs whose every result bit IEEE 754 fixes are used: + - * /, comparisons, integers and bits, `where`. No sums,
no products, no sorting of floats, no transcendental functions. Arguments are checked in `ops`, not here.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Float64, Raw, decode, encode
from conjoin.kernels.layout import (
    BLOCK_ELEMENTS,
    HIGH_BINS,
    INDEX_BINS,
    INDEX_SHIFT,
    LANES,
    LOW_BINS,
    LOW_SHIFT,
    Aggregate,
    Trim,
)

Int64 = npt.NDArray[np.int64]


def linear(sources: Sequence[Raw], numerators: Sequence[float], denominator: float, form: str, out_form: str) -> Raw:
    """(Σ nᵢ xᵢ) / D in the order given; at least one source."""
    with np.errstate(all="ignore"):
        total = np.float64(numerators[0]) * decode(sources[0], form)
        for source, numerator in zip(sources[1:], numerators[1:], strict=True):
            total = total + np.float64(numerator) * decode(source, form)
        if denominator != 1:
            total = total / np.float64(denominator)
    return encode(total, out_form)


def magnitude_keys(delta: Float64) -> npt.NDArray[np.uint32]:
    """|τ| as an integer that orders like it: the bits of τ rounded to float32, without the sign."""
    with np.errstate(all="ignore"):
        return delta.astype(np.float32).view(np.uint32) & np.uint32(0x7FFF_FFFF)


def _delta(tensor: Raw, base: Raw, form: str) -> Float64:
    with np.errstate(all="ignore"):
        return decode(tensor, form) - decode(base, form)


def high_histograms(tensors: Sequence[Raw], base: Raw, form: str) -> Int64:
    """(k, HIGH_BINS): how many magnitude keys share each upper half."""
    counts = np.zeros((len(tensors), HIGH_BINS), np.int64)
    for row, tensor in zip(counts, tensors, strict=True):
        keys = magnitude_keys(_delta(tensor, base, form))
        row += np.bincount(keys >> np.uint32(LOW_SHIFT), minlength=HIGH_BINS)
    return counts


def low_histograms(tensors: Sequence[Raw], base: Raw, form: str, bins: Sequence[int]) -> Int64:
    """(k, LOW_BINS): the lower halves of the keys whose upper half is the contribution's selected bin."""
    counts = np.zeros((len(tensors), LOW_BINS), np.int64)
    for row, tensor, selected in zip(counts, tensors, bins, strict=True):
        keys = magnitude_keys(_delta(tensor, base, form))
        inside = keys[(keys >> np.uint32(LOW_SHIFT)) == np.uint32(selected)]
        row += np.bincount(inside & np.uint32(LOW_BINS - 1), minlength=LOW_BINS)
    return counts


def tie_histograms(
    tensors: Sequence[Raw], base: Raw, form: str, thresholds: Sequence[int], start: int, bins: Sequence[int] | None
) -> Int64:
    """(k, INDEX_BINS): where the keys equal to the threshold lie: by upper index bits, or lower ones within `bins`."""
    counts = np.zeros((len(tensors), INDEX_BINS), np.int64)
    for i, tensor in enumerate(tensors):
        keys = magnitude_keys(_delta(tensor, base, form))
        index = np.flatnonzero(keys == np.uint32(thresholds[i])) + start
        upper, lower = index >> INDEX_SHIFT, index & (INDEX_BINS - 1)
        chosen = upper if bins is None else lower[upper == bins[i]]
        counts[i] += np.bincount(chosen, minlength=INDEX_BINS)
    return counts


def _trimmed(tensors: Sequence[Raw], base: Raw, form: str, trim: Trim, start: int) -> list[Float64]:
    """τ̂ᵢ: the task vector where its key is above the threshold, or at it and before the cut-off; else 0."""
    kept: list[Float64] = []
    for tensor, threshold, cutoff in zip(tensors, trim.thresholds, trim.cutoffs, strict=True):
        delta = _delta(tensor, base, form)
        keys = magnitude_keys(delta)
        index = np.arange(start, start + len(delta))
        keep = (keys > np.uint32(threshold)) | ((keys == np.uint32(threshold)) & (index < cutoff))
        kept.append(np.where(keep, delta, 0.0))
    return kept


def _mass(trimmed: Sequence[Float64], numerators: Sequence[float], n: int) -> Float64:
    total = np.zeros(n)
    for delta, numerator in zip(trimmed, numerators, strict=True):
        total = total + np.float64(numerator) * delta
    return total


def elected_signs(
    tensors: Sequence[Raw], base: Raw, form: str, numerators: Sequence[float], trim: Trim, start: int
) -> Int64:
    """(2,): in how many elements the positive and the negative mass wins."""
    with np.errstate(all="ignore"):
        mass = _mass(_trimmed(tensors, base, form, trim, start), numerators, len(base))
    return np.array([np.count_nonzero(mass > 0), np.count_nonzero(mass < 0)], np.int64)


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
    """θ₀ + (a·S)/(b·W), S and W over the trimmed values that carry the elected sign."""
    with np.errstate(all="ignore"):
        origin = decode(base, form)
        trimmed = _trimmed(tensors, base, form, trim, start)
        mass = _mass(trimmed, numerators, len(base))
        sign = np.where(mass > 0, 1.0, np.where(mass < 0, -1.0, float(zero_sign)))
        total = np.zeros(len(base))
        share = np.full(len(base), 0.0 if aggregate == "mean" else denominator)
        for delta, numerator in zip(trimmed, numerators, strict=True):
            agrees = delta * sign > 0
            product = np.float64(numerator) * delta
            if aggregate == "max":
                total = np.where(agrees & (product * sign > total * sign), product, total)
            else:
                total = total + np.where(agrees, product, 0.0)
            if aggregate == "mean":
                share = share + np.where(agrees, np.float64(numerator), 0.0)
        update = (np.float64(scale[0]) * total) / (np.float64(scale[1]) * np.where(share == 0, 1.0, share))
        return encode(np.where(update == 0, origin, origin + update), out_form)


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
    """θ₀ + (Σ nᵢ τᵢ)/D over the elements whose draw is not below `drop_below`."""
    with np.errstate(all="ignore"):
        origin = decode(base, form)
        total = np.zeros(len(base))
        for i, (tensor, numerator) in enumerate(zip(tensors, numerators, strict=True)):
            product = np.float64(numerator) * _delta(tensor, base, form)
            if drop_below:
                product = np.where(draws(keys[i], start, len(base)) < drop_below, 0.0, product)
            total = total + product
        update = total if denominator == 1 else total / np.float64(denominator)
        return encode(np.where(update == 0, origin, origin + update), out_form)


def draws(key: DrawKey, start: int, count: int) -> npt.NDArray[np.uint32]:
    """Words `start` to `start + count` of a draw: Philox4x32-10, word i is lane i mod 4 of counter i // 4."""
    first, last = start // 4, (start + count + 3) // 4
    counter = np.arange(first, last, dtype=np.uint64)
    low, high, mask = counter & np.uint64(0xFFFF_FFFF), counter >> np.uint64(32), np.uint64(0xFFFF_FFFF)
    c0, c1 = low, high
    c2, c3 = np.full_like(low, key[2]), np.full_like(low, key[3])
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ k0,
            p1 & mask,
            (p0 >> np.uint64(32)) ^ c3 ^ k1,
            p0 & mask,
        )
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    words = np.stack([c0, c1, c2, c3], axis=1).reshape(-1).astype(np.uint32)
    return words[start - 4 * first : start - 4 * first + count].copy()


def _lanes(values: Float64) -> Float64:
    """Sum one row per canonical block: 32 lanes, index ascending, then halves of lanes onto each other. (n,) → (b,).

    Where one block is not full, the zeros behind its end are not visited: they would add nothing.
    """
    blocks = -(-len(values) // BLOCK_ELEMENTS)
    padded = np.zeros(blocks * BLOCK_ELEMENTS)
    padded[: len(values)] = values
    rows = padded.reshape(blocks, BLOCK_ELEMENTS // LANES, LANES)
    lanes = np.zeros((blocks, LANES))
    for step in range(min(BLOCK_ELEMENTS, len(values) + LANES - 1) // LANES):
        lanes = lanes + rows[:, step, :]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def block_gram(tensors: Sequence[Raw], base: Raw | None, form: str) -> Float64:
    """(blocks, k, k): inner products of the tensors, or of the task vectors where there is a base."""
    with np.errstate(all="ignore"):
        vectors = [decode(t, form) if base is None else _delta(t, base, form) for t in tensors]
        n = len(vectors[0])
        gram = np.zeros((-(-n // BLOCK_ELEMENTS), len(vectors), len(vectors)))
        for i, left in enumerate(vectors):
            for j, right in enumerate(vectors[: i + 1]):
                gram[:, i, j] = gram[:, j, i] = _lanes(left * right)
    return gram


def block_l1(
    tensors: Sequence[Raw], base: Raw, form: str, drop_below: int, keys: Sequence[DrawKey], start: int
) -> Float64:
    """(blocks, k, 2): Σ|τ| over all elements and over those that are kept."""
    with np.errstate(all="ignore"):
        norms = np.zeros((-(-len(base) // BLOCK_ELEMENTS), len(tensors), 2))
        for i, tensor in enumerate(tensors):
            delta = _delta(tensor, base, form)
            size = np.where(delta < 0, -delta, delta) + 0.0
            norms[:, i, 0] = _lanes(size)
            norms[:, i, 1] = _lanes(np.where(draws(keys[i], start, len(base)) < drop_below, 0.0, size))
    return norms
