"""Kernels of exact sums: whole numbers in words of 32 bits, so that neither order nor partition shows."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np

from conjoin.kernels import jit
from conjoin.kernels.layout import SUM_WORDS, WORDS_OF_SUM
from conjoin.kernels.native.bits import LOW32, MAGNITUDE, PIECE, U64, bits_of, f64_of, vectors

SLICE_BITS = 51
"""Bits of a value that are taken at a time: the sum of 1,024 such numbers fits into 64."""
UNIT = -1074
"""Exponent of the least number."""
FRACTION = U64((1 << 52) - 1)
HUGE = U64(2040 << 52)
"""From here on the numbers that cut a value into slices would overflow."""


@jit.kernel
def add_whole(words, value, shift):
    """Add value · 2^shift units to the words; value is an int64."""
    at, rest = shift >> 5, U64(shift & 31)
    low = (U64(value) & LOW32) << rest
    high = (value >> 32) << np.int64(rest)
    words[at] += np.int64(low & LOW32)
    words[at + 1] += np.int64(low >> U64(32)) + (high & 0xFFFF_FFFF)
    words[at + 2] += high >> 32


@jit.kernel
def add_one(words, value):
    """Add one number, which may be anything: ±Inf and NaN are counted in the last three words."""
    bits = bits_of(value)
    exponent, fraction = np.int64((bits >> U64(52)) & U64(0x7FF)), np.int64(bits & FRACTION)
    negative = bits >> U64(63) != U64(0)
    if exponent == 0x7FF:
        words[SUM_WORDS + (2 if fraction else np.int64(negative))] += 1
    else:
        whole = fraction | (np.int64(exponent > 0) << 52)
        add_whole(words, -whole if negative else whole, max(exponent, 1) - 1)


@jit.kernel
def carried(words):
    """Move what is above 32 bits in each word but the top one upwards."""
    for at in range(SUM_WORDS - 1):
        words[at + 1] += words[at] >> 32
        words[at] &= 0xFFFF_FFFF


@jit.kernel
def largest_of(values, count):
    """Bits of the greatest magnitude."""
    largest = U64(0)
    for j in range(count):
        largest = max(largest, bits_of(values[j]) & MAGNITUDE)
    return largest


@jit.kernel
def add_piece(words, values, count):
    """Add up to PIECE numbers; they are zero afterwards.

    Adding 1.5·2^(u + 52) to a number of at most 51 bits above 2^u rounds it to a whole multiple of 2^u, which then
    stands in the low bits of the sum. What is left over is exact and is cut further down.
    """
    largest = largest_of(values, count)
    while largest > U64(0):
        if largest >= HUGE:
            for j in range(count):
                add_one(words, values[j])
                values[j] = 0.0
            return
        unit = np.int64(largest >> U64(52)) - 1022 - SLICE_BITS if largest >> U64(SLICE_BITS) else UNIT
        magic = f64_of(U64(unit + 52 + 1023) << U64(52) | U64(1 << 51))
        offset, total = np.int64(bits_of(magic)), 0
        for j in range(count):
            cut = values[j] + magic
            total += np.int64(bits_of(cut)) - offset
            values[j] -= cut - magic
        add_whole(words, total, unit - UNIT)
        largest = largest_of(values, count)


@jit.kernel
def sums(sources, base, centred, n, form, kind, out):
    """out[i] = the exact sum of v, |v| or v·v rounded once (kind 0, 1, 2), of the tensor or its task vector."""
    control = jit.enter()
    origin, values = np.empty(PIECE), np.empty(PIECE)
    for i in range(len(sources)):
        words = np.zeros(WORDS_OF_SUM, np.int64)
        for start in range(0, n, PIECE):
            count = min(PIECE, n - start)
            vectors(sources[i], base, centred, start, count, form, origin, values)
            if kind == 1:
                for j in range(count):
                    values[j] = f64_of(bits_of(values[j]) & MAGNITUDE)
            elif kind == 2:
                for j in range(count):
                    values[j] *= values[j]
            add_piece(words, values, count)
            if start & 0xF_FFFF == 0:
                carried(words)
        carried(words)
        for at in range(len(words)):
            out[i, at] = words[at]
    jit.leave(control)
