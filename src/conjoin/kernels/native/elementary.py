"""Kernels of exp and log, from + − × ÷ and bits alone."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np

from conjoin.kernels import jit
from conjoin.kernels.layout import EXP_TERMS, LN2_HIGH, LN2_LOW, LOG2_E, LOG_TERMS, ROUNDER
from conjoin.kernels.native.bits import PIECE, U64, bits_of, f64_of, select

ROUNDER_BITS = U64(np.float64(ROUNDER).view(np.uint64))
SQRT_HALF = U64(np.float64(0.7071067811865476).view(np.uint64))
SIGN = U64(1 << 63)


@jit.kernel
def exp_piece(values, count):
    """Each value becomes its exponential: 2ⁿ·(1 + r + …), r = x − n·ln 2."""
    t = EXP_TERMS
    for j in range(count):
        x = values[j]
        x = select(x > 710.0, 710.0, select(x < -750.0, -750.0, x))
        shifted = x * LOG2_E + ROUNDER
        n = shifted - ROUNDER
        high, low = x - n * LN2_HIGH, n * LN2_LOW
        r = high - low
        rest = (high - r) - low
        p = t[11] + r * t[12]
        p = t[9] + r * (t[10] + r * p)
        p = t[7] + r * (t[8] + r * p)
        p = t[5] + r * (t[6] + r * p)
        p = t[3] + r * (t[4] + r * p)
        p = t[1] + r * (t[2] + r * p)
        p = t[0] + r * p
        one = 1.0 + r
        y = one + ((r - (one - 1.0)) + (r * r * p + (rest + r * rest)))
        whole = bits_of(shifted) - ROUNDER_BITS
        half = U64(np.int64(whole) >> 1)
        scaled = (y * f64_of((half + U64(1023)) << U64(52))) * f64_of((whole - half + U64(1023)) << U64(52))
        values[j] = select(values[j] != values[j], np.nan, scaled)


@jit.kernel
def log_piece(values, count):
    """Each value becomes its natural logarithm: e·ln 2 + log(1 + f), by the series of artanh f / (2 + f)."""
    t = LOG_TERMS
    for j in range(count):
        x = values[j]
        small = x < 2.0**-1022
        bits = bits_of(select(small, x * 2.0**54, x))
        e = np.int64(bits - SQRT_HALF) >> 52
        f = f64_of(bits - (U64(e) << U64(52))) - 1.0
        n = f64_of(ROUNDER_BITS + U64(e)) - ROUNDER - select(small, 54.0, 0.0)
        s = f / (2.0 + f)
        z = s * s
        p = t[9] + z * t[10]
        p = t[7] + z * (t[8] + z * p)
        p = t[5] + z * (t[6] + z * p)
        p = t[3] + z * (t[4] + z * p)
        p = t[1] + z * (t[2] + z * p)
        p = z * (t[0] + z * p)
        square = 0.5 * f * f
        main = n * LN2_HIGH
        high = main + f
        y = high + (((main - high) + f) - (square - (s * (square + p) + n * LN2_LOW)))
        y = select(x == np.inf, np.inf, y)
        values[j] = select(x > 0.0, y, select(x == 0.0, -np.inf, np.nan))


@jit.kernel
def exp(values, out):
    """Exponentials of all values."""
    control = jit.enter()
    for start in range(0, len(values), PIECE):
        part = out[start : start + PIECE]
        for j in range(len(part)):
            part[j] = values[start + j]
        exp_piece(part, len(part))
    jit.leave(control)


@jit.kernel
def log(values, out):
    """Natural logarithms of all values."""
    control = jit.enter()
    for start in range(0, len(values), PIECE):
        part = out[start : start + PIECE]
        for j in range(len(part)):
            part[j] = values[start + j]
        log_piece(part, len(part))
    jit.leave(control)


@jit.kernel
def powers(rows, start, count, largest, total, parts):
    """parts[i] = exp(xᵢ − the largest) of one piece, and their sum in order."""
    for j in range(count):
        largest[j], total[j] = rows[0, start + j], 0.0
    for i in range(1, len(rows)):
        row = rows[i, start : start + count]
        for j in range(count):
            largest[j] = select(row[j] > largest[j], row[j], largest[j])
    for i in range(len(rows)):
        row, part = rows[i, start : start + count], parts[i]
        for j in range(count):
            part[j] = row[j] - largest[j]
        exp_piece(part, count)
        for j in range(count):
            total[j] += part[j]


@jit.kernel
def softmax(rows, out):
    """out[i] = exp(xᵢ − the largest) / the sum of these, per column."""
    control = jit.enter()
    largest, total, parts = np.empty(PIECE), np.empty(PIECE), np.empty((len(rows), PIECE))
    for start in range(0, rows.shape[1], PIECE):
        count = min(PIECE, rows.shape[1] - start)
        powers(rows, start, count, largest, total, parts)
        for i in range(len(rows)):
            part, target = parts[i], out[i, start : start + count]
            for j in range(count):
                target[j] = part[j] / total[j]
    jit.leave(control)


@jit.kernel
def entropy(rows, out):
    """Out = log Z − (Σ eᵢ dᵢ) / Z per column, with dᵢ = xᵢ − the largest, eᵢ = exp dᵢ, Z = Σ eᵢ."""
    control = jit.enter()
    largest, total, parts = np.empty(PIECE), np.empty(PIECE), np.empty((len(rows), PIECE))
    sums, logs = np.empty(PIECE), np.empty(PIECE)
    for start in range(0, rows.shape[1], PIECE):
        count = min(PIECE, rows.shape[1] - start)
        powers(rows, start, count, largest, total, parts)
        for j in range(count):
            sums[j], logs[j] = 0.0, total[j]
        for i in range(len(rows)):
            row, part = rows[i, start : start + count], parts[i]
            for j in range(count):
                sums[j] += part[j] * (row[j] - largest[j])
        log_piece(logs, count)
        target = out[start : start + count]
        for j in range(count):
            target[j] = logs[j] - sums[j] / total[j]
    jit.leave(control)
