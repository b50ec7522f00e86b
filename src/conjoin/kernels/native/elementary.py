"""Kernels of exp and log, from + − × ÷ and bits alone. Arrays hold whole vectors."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import math
from collections.abc import Sequence

import numpy as np

from conjoin.kernels import jit
from conjoin.kernels.layout import EXP_TERMS, LN2_HIGH, LN2_LOW, LOG2_E, LOG_TERMS, ROUNDER
from conjoin.kernels.native.vectors import VECTOR, WIDTH, Lanes, every, hold, recall, step

ROUNDER_BITS = int(np.float64(ROUNDER).view(np.uint64))
SQRT_HALF = int(np.float64(0.7071067811865476).view(np.uint64))


def _horner(x: Lanes, terms: Sequence[float]) -> Lanes:
    """terms[0] + x·(terms[1] + x·(…)), from the last term on."""
    total = x.splat(terms[-1])
    for term in terms[-2::-1]:
        total = x.splat(term) + x * total
    return total


@step(VECTOR, VECTOR)
def exp_of(values: Lanes) -> Lanes:
    """2ⁿ·(1 + r + …), r = x − n·ln 2; 0 and +Inf beyond the range, NaN of NaN.

    2ⁿ is the product of two powers, ⌊n / 2⌋ and the rest, so that neither leaves the range; n is above −2048.
    """
    x = (values > 710.0).choose(values.splat(710.0), (values < -750.0).choose(values.splat(-750.0), values))
    shifted = x * LOG2_E + ROUNDER
    n = shifted - ROUNDER
    high, low = x - n * LN2_HIGH, n * LN2_LOW
    r = high - low
    rest, one = (high - r) - low, r.splat(1.0) + r
    y = one + ((r - (one - 1.0)) + (r * r * _horner(r, EXP_TERMS) + (rest + r * rest)))
    whole = shifted.bits() - ROUNDER_BITS
    half = ((whole + 2048) >> 1) - 1024
    scaled = (y * ((half + 1023) << 52).floats()) * ((whole - half + 1023) << 52).floats()
    return values.differs(values).choose(values.splat(math.nan), scaled)


@step(VECTOR, VECTOR)
def log_of(values: Lanes) -> Lanes:
    """e·ln 2 + log(1 + f), by the series of artanh f / (2 + f); −Inf of ±0, NaN below and of NaN."""
    small = values < 2.0**-1022
    bits = small.choose(values * 2.0**54, values).bits()
    e = ((bits - SQRT_HALF + (2048 << 52)) >> 52) - 2048
    f = (bits - (e << 52)).floats() - 1.0
    n = (e + ROUNDER_BITS).floats() - ROUNDER - small.choose(values.splat(54.0), 0.0)
    s = f / (f.splat(2.0) + f)
    z = s * s
    p, square, main = z * _horner(z, LOG_TERMS), f.splat(0.5) * f * f, n * LN2_HIGH
    high = main + f
    y = high + (((main - high) + f) - (square - (s * (square + p) + n * LN2_LOW)))
    y = values.equals(math.inf).choose(values, y)
    return (values > 0.0).choose(y, values.equals(0.0).choose(values.splat(-math.inf), math.nan))


@step(VECTOR, VECTOR, VECTOR)
def larger(row: Lanes, largest: Lanes) -> Lanes:
    """The row's value where it is larger."""
    return (row > largest).choose(row, largest)


@jit.kernel
def exp(values, out):
    """Exponentials of all values."""
    control = jit.enter()
    for row in range(len(values) // WIDTH):
        hold(out, row, exp_of(recall(values, row)))
    jit.leave(control)


@jit.kernel
def log(values, out):
    """Natural logarithms of all values."""
    control = jit.enter()
    for row in range(len(values) // WIDTH):
        hold(out, row, log_of(recall(values, row)))
    jit.leave(control)


@jit.kernel
def softmax(values, k, out):
    """out[i] = exp(xᵢ − the largest) / the sum of these, per column; k rows one after the other."""
    control = jit.enter()
    vectors = len(values) // (k * WIDTH)
    for at in range(vectors):
        largest, total = recall(values, at), every(0.0)
        for i in range(1, k):
            largest = larger(recall(values, i * vectors + at), largest)
        for i in range(k):
            part = exp_of(recall(values, i * vectors + at) - largest)
            hold(out, i * vectors + at, part)
            total = total + part
        for i in range(k):
            hold(out, i * vectors + at, recall(out, i * vectors + at) / total)
    jit.leave(control)


@jit.kernel
def entropy(values, k, out):
    """Out = log Z − (Σ eᵢ dᵢ) / Z per column, with dᵢ = xᵢ − the largest, eᵢ = exp dᵢ, Z = Σ eᵢ."""
    control = jit.enter()
    vectors = len(out) // WIDTH
    for at in range(vectors):
        largest, total, sums = recall(values, at), every(0.0), every(0.0)
        for i in range(1, k):
            largest = larger(recall(values, i * vectors + at), largest)
        for i in range(k):
            gap = recall(values, i * vectors + at) - largest
            part = exp_of(gap)
            total = total + part
            sums = sums + part * gap
        hold(out, at, log_of(total) - sums / total)
    jit.leave(control)
