"""Kernels of order statistics: magnitude keys and how many share a bin."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np

from conjoin.kernels import jit
from conjoin.kernels.native.bits import INFINITY, ONE, PIECE, U64, bits32_of, bits_of, decode, deltas, f32_of


@jit.kernel
def keys_of(source, origin, start, count, form, values, keys):
    """The magnitude keys of one piece: bits of the float32 nearest to τ, without the sign.

    They go into an array because counting cannot be vectorised and would keep this from being so.
    """
    deltas(source, origin, start, count, form, values)
    for j in range(count):
        keys[j] = bits32_of(np.float32(values[j])) & np.uint32(0x7FFF_FFFF)


@jit.kernel
def high_histograms(sources, base, n, form, shift, counts):
    """counts[i, key >> shift] for each contribution."""
    control = jit.enter()
    origin, values, keys = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.uint32)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for i in range(len(sources)):
            row = counts[i]
            keys_of(sources[i], origin, start, count, form, values, keys)
            for j in range(count):
                row[U64(keys[j]) >> U64(shift)] += 1
    jit.leave(control)


@jit.kernel
def low_histograms(sources, base, n, form, shift, bins, counts):
    """counts[i, lower bits of key] where the upper ones are bins[i]."""
    control = jit.enter()
    origin, values, keys = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.uint32)
    lower = (ONE << U64(shift)) - ONE
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for i in range(len(sources)):
            row, chosen = counts[i], U64(bins[i])
            keys_of(sources[i], origin, start, count, form, values, keys)
            for j in range(count):
                key = U64(keys[j])
                if key >> U64(shift) == chosen:
                    row[key & lower] += 1
    jit.leave(control)


@jit.kernel
def tie_histograms(sources, base, n, form, thresholds, first, shift, bins, counts):
    """counts[i, upper bits of the index] of the keys at the threshold; lower bits within bins[i] where that is ≥ 0."""
    control = jit.enter()
    origin, values, keys = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.uint32)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for i in range(len(sources)):
            row, threshold, chosen = counts[i], np.uint32(thresholds[i]), bins[i]
            keys_of(sources[i], origin, start, count, form, values, keys)
            for j in range(count):
                if keys[j] == threshold:
                    index = first + start + j
                    if chosen < 0:
                        row[index >> shift] += 1
                    elif index >> shift == chosen:
                        row[index & ((1 << shift) - 1)] += 1
    jit.leave(control)


@jit.kernel
def least_with(key):
    """Bits of the least float64 magnitude whose nearest float32 has at least this key (from 0 to one above Inf's).

    Rounding is monotonic, so to compare a magnitude with this is to compare keys, without making them.
    """
    if key == 0:
        return U64(0)
    if key > 0x7F80_0000:
        return INFINITY + ONE
    below = np.float64(f32_of(np.uint32(key - 1)))
    above = 2.0**128 if key == 0x7F80_0000 else np.float64(f32_of(np.uint32(key)))
    return bits_of((below + above) * 0.5) + U64(key & 1)
