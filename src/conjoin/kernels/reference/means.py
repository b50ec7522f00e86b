"""Means of the reference whose weights differ from element to element."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.formats import Float64, Raw, decode, encode


def weighted_mean(
    tensors: Sequence[Raw],
    scores: Sequence[Raw],
    form: str,
    score_form: str,
    out_form: str,
    numerators: Sequence[float],
    floors: Sequence[float],
) -> Raw:
    """(Σ sᵢ θᵢ) / Σ sᵢ, sᵢ = nᵢ · max(Fᵢ, floorᵢ), 1 where all are equal; never outside the θᵢ whose sᵢ is above 0."""
    with np.errstate(all="ignore"):
        values = [decode(tensor, form) for tensor in tensors]
        shares = [
            np.float64(numerator) * _at_least(decode(score, score_form), floor)
            for score, numerator, floor in zip(scores, numerators, floors, strict=True)
        ]
        whole = shares[0]
        for share in shares[1:]:
            whole = whole + share
        unit, alike = _unit(whole), np.logical_and.reduce([share == shares[0] for share in shares])
        whole = np.where(alike, float(len(shares)), whole * unit)
        shares = [np.where(alike, 1.0, share * unit) for share in shares]
        total = shares[0] * values[0]
        for share, value in zip(shares[1:], values[1:], strict=True):
            total = total + share * value
        mean = total / whole
        low, high = np.full(len(mean), np.inf), np.full(len(mean), -np.inf)
        for share, value in zip(shares, values, strict=True):
            low = np.where((share > 0) & (value < low), value, low)
            high = np.where((share > 0) & (value > high), value, high)
        mean = np.where(mean >= low, mean, low)
        return encode(np.where(mean <= high, mean, high), out_form)


def _at_least(score: Float64, floor: float) -> Float64:
    return np.where(score > floor, score, floor)


def _unit(whole: Float64) -> Float64:
    """The power of two that brings a number to between 1 and 4."""
    exponent = whole.view(np.uint64) >> np.uint64(52) & np.uint64(0x7FF)
    place = np.where(exponent < 0x7FE, np.uint64(0x7FE) - exponent, np.uint64(1))
    return (place << np.uint64(52)).view(np.float64)
