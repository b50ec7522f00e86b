"""Exp and log of the reference, from + − × ÷ and bits alone."""

import numpy as np

from conjoin.kernels.formats import Float64
from conjoin.kernels.layout import EXP_TERMS, LN2_HIGH, LN2_LOW, LOG2_E, LOG_TERMS, ROUNDER

BIAS, FRACTION = np.int64(1023), np.int64(52)
ROUNDER_BITS = np.float64(ROUNDER).view(np.int64)
SQRT_HALF = np.float64(0.7071067811865476).view(np.int64)


def _horner(x: Float64, terms: tuple[float, ...]) -> Float64:
    """terms[0] + x·(terms[1] + x·(…)), from the last term on."""
    total = np.full_like(x, terms[-1])
    for term in terms[-2::-1]:
        total = np.float64(term) + x * total
    return total


def exp(values: Float64) -> Float64:
    """2ⁿ·(1 + r + …), r = x − n·ln 2."""
    with np.errstate(all="ignore"):
        x = np.where(values > 710, 710.0, np.where(values < -750, -750.0, values))
        x = np.where(np.isnan(values), 0.0, x)
        shifted = x * LOG2_E + ROUNDER
        n = shifted - ROUNDER
        high, low = x - n * LN2_HIGH, n * LN2_LOW
        r = high - low
        rest = (high - r) - low
        one = 1.0 + r
        y = one + ((r - (one - 1.0)) + (r * r * _horner(r, EXP_TERMS) + (rest + r * rest)))
        whole = shifted.view(np.int64) - ROUNDER_BITS
        half = whole >> np.int64(1)
        y = (y * ((half + BIAS) << FRACTION).view(np.float64)) * ((whole - half + BIAS) << FRACTION).view(np.float64)
        return np.where(np.isnan(values), np.nan, y)


def log(values: Float64) -> Float64:
    """Natural logarithms: x = 2ᵉ·(1 + f), and the series of artanh for f."""
    with np.errstate(all="ignore"):
        small, x = values < 2.0**-1022, np.where(values > 0, values, 1.0)
        bits = np.where(small, x * 2.0**54, x).view(np.int64)
        e = (bits - SQRT_HALF) >> FRACTION
        f = (bits - (e << FRACTION)).view(np.float64) - 1.0
        n = (ROUNDER_BITS + e).view(np.float64) - ROUNDER - np.where(small, 54.0, 0.0)
        s = f / (2.0 + f)
        z = s * s
        p, square, main = z * _horner(z, LOG_TERMS), 0.5 * f * f, n * LN2_HIGH
        high = main + f
        y = high + (((main - high) + f) - (square - (s * (square + p) + n * LN2_LOW)))
        y = np.where(values == np.inf, np.inf, y)
        return np.where(values > 0, y, np.where(values == 0, -np.inf, np.nan))


def _powers(rows: Float64) -> tuple[Float64, Float64, Float64]:
    """dᵢ = xᵢ − the largest, eᵢ = exp dᵢ, and Σ eᵢ in order."""
    largest = rows[0]
    for row in rows[1:]:
        largest = np.where(row > largest, row, largest)
    gaps = rows - largest
    parts, total = exp(gaps.reshape(-1)).reshape(gaps.shape), np.zeros(rows.shape[1])
    for part in parts:
        total = total + part
    return gaps, parts, total


def softmax(rows: Float64) -> Float64:
    """(k, n): exp(xᵢ − the largest) / the sum of these, per column."""
    with np.errstate(all="ignore"):
        _, parts, total = _powers(rows)
        return parts / total


def entropy(rows: Float64) -> Float64:
    """(n,): log Z − (Σ eᵢ dᵢ) / Z per column."""
    with np.errstate(all="ignore"):
        gaps, parts, total = _powers(rows)
        sums = np.zeros(rows.shape[1])
        for gap, part in zip(gaps, parts, strict=True):
            sums = sums + part * gap
        return log(total) - sums / total
