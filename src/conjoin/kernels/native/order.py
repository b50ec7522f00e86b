"""Kernels of order statistics: magnitude keys and how many share a bin."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.layout import BRACKET_BINS
from conjoin.kernels.native.bits import INFINITY, ONE, PIECE, U64, bits32_of, bits_of, decode, deltas, f32_of
from conjoin.kernels.native.conversion import load
from conjoin.kernels.native.vectors import F32, KEYS, U32, VECTOR, WIDTH, Lanes, hold, recall, step, write


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


@step(KEYS, VECTOR)
def magnitude_keys(delta: Lanes) -> Lanes:
    """The keys of one vector."""
    return delta.to(F32).bits() & 0x7FFF_FFFF


@step(types.uint32, KEYS, types.int64)
def at_least(keys: Lanes, least: Lanes) -> Lanes:
    """A bit per lane: its key is this or a larger one."""
    return (keys >= least.to(U32)).packed()


@step(types.uint32, KEYS, types.int64)
def equal_to(keys: Lanes, key: Lanes) -> Lanes:
    """A bit per lane: it has this key."""
    return keys.equals(key.to(U32)).packed()


@step(types.uint32, KEYS, types.int64, types.int64, types.uint32)
def within(keys: Lanes, low: Lanes, stop: Lanes, but: Lanes) -> Lanes:
    """A bit per lane: its key is from `low` to before `stop`, and it is none of the lanes given."""
    return (keys - low.to(U32) < (stop - low).to(U32)).packed() & (but ^ 0xFFFF_FFFF)


@step(types.int64, types.uint32)
def ones(bits: Lanes) -> Lanes:
    """How many bits are 1."""
    return bits.ones()


@step(types.int64, types.uint32)
def lowest(bits: Lanes) -> Lanes:
    """The place of the lowest bit that is 1; there is one."""
    return bits.zeros_below()


@step(types.void, types.uint32[::1], KEYS)
def put(scratch: Lanes, keys: Lanes) -> None:
    """Keep the keys in an array."""
    write(scratch, None, keys)


ORIGIN_VECTORS = 64
"""Vectors of the base that are kept while the contributions' keys at their places are counted."""


@jit.kernel
def bracket_counts(sources, base, n, form, brackets, counts):
    """Add to counts[i] the keys inside brackets[i] = (low, stop, favourite, shift), above it, and its favourite.

    Few keys are inside, but for the favourite: only they are looked at one by one.
    """
    control = jit.enter()
    origin, keys = np.empty(ORIGIN_VECTORS * WIDTH), np.empty(WIDTH, np.uint32)
    for start in range(0, n, ORIGIN_VECTORS * WIDTH):
        rows = min(ORIGIN_VECTORS, (n - start) // WIDTH)
        for row in range(rows):
            hold(origin, row, load(base, start + row * WIDTH, form))
        for i in range(len(sources)):
            low, stop, favourite, shift = brackets[i, 0], brackets[i, 1], brackets[i, 2], brackets[i, 3]
            above, equal, bins = 0, 0, counts[i]
            for row in range(rows):
                found = magnitude_keys(load(sources[i], start + row * WIDTH, form) - recall(origin, row))
                above += ones(at_least(found, stop))
                same = equal_to(found, favourite)
                equal += ones(same)
                inside = within(found, low, stop, same)
                if inside != 0:
                    put(keys, found)
                    while inside != 0:
                        bins[(np.int64(keys[lowest(inside)]) - low) >> shift] += 1
                        inside = np.uint32(inside & (inside - np.uint32(1)))
            bins[(favourite - low) >> shift] += equal
            bins[BRACKET_BINS] += above
            bins[BRACKET_BINS + 1] += equal
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
