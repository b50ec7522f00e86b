"""Kernels of order statistics: magnitude keys and how many share a bin."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.layout import BRACKET_BINS
from conjoin.kernels.native.bits import INFINITY, ONE, PIECE, U64, bits_of, f32_of
from conjoin.kernels.native.conversion import widened_bf16, widened_f16
from conjoin.kernels.native.vectors import (
    F32,
    F64,
    KEYS,
    U16,
    U32,
    WIDTH,
    Lanes,
    by_case,
    read,
    read_ahead,
    step,
    write,
)


@step(KEYS, types.uint64, types.uint64, types.int64, types.int64)
def magnitude_keys(source: Lanes, base: Lanes, at: Lanes, form: Lanes) -> Lanes | None:
    """The keys of the vector from element `at` on: bits of the float32 nearest to τ in float64, without the sign.

    Of patterns of 16 bits the even elements come first. But for F64 the difference is taken in float32, which gives the
    same: where a format has more than twice as many bits as another, rounding a sum of two numbers of the latter to the
    former on the way changes nothing (Figueroa, "When is double rounding innocuous?", SIGNUM Newsletter 30(3), 1995).
    """

    def key(widened: Callable[[Lanes], Lanes], kind: Any) -> Lanes:
        delta = widened(read_ahead(source, at, kind)) - widened(read(base, at, kind))
        return delta.to(F32).bits() & 0x7FFF_FFFF

    return by_case(
        form,
        (
            lambda: key(widened_bf16, U16),
            lambda: key(widened_f16, U16),
            lambda: key(lambda single: single, F32),
            lambda: key(lambda double: double, F64),
        ),
    )


@step(KEYS, KEYS, types.int64)
def in_order(keys: Lanes, form: Lanes) -> Lanes | None:
    """The keys in the order of the elements."""
    even, odd = keys.halves()
    return by_case(form > 1, (lambda: even.interleaved(odd), lambda: keys))


@step(types.void, types.uint32[::1], types.int64, KEYS)
def put(scratch: Lanes, at: Lanes, keys: Lanes) -> None:
    """Keep the keys in an array from an index on."""
    write(scratch, at, keys)


@jit.kernel
def keys_of(source, base, start, count, form, keys):
    """The magnitude keys of one piece in an array: counting cannot be vectorised and would keep this from being so."""
    for j in range(0, count, WIDTH):
        put(keys, j, magnitude_keys(source, base, start + j, form))


@jit.kernel
def high_histograms(sources, base, n, form, shift, counts):
    """counts[i, key >> shift] for each contribution."""
    control = jit.enter()
    keys = np.empty(PIECE, np.uint32)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        for i in range(len(sources)):
            row = counts[i]
            keys_of(sources[i], base, start, count, form, keys)
            for j in range(count):
                row[U64(keys[j]) >> U64(shift)] += 1
    jit.leave(control)


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


COUNTED = 64
"""Vectors of a contribution that are counted before those of the next one, so that the base stays near."""


@jit.kernel
def bracket_counts(sources, base, n, form, brackets, counts):
    """Add to counts[i] the keys inside brackets[i] = (low, stop, favourite, shift), above it, and its favourite.

    Few keys are inside, but for the favourite: only they are looked at one by one.
    """
    control = jit.enter()
    keys = np.empty(WIDTH, np.uint32)
    for start in range(0, n, COUNTED * WIDTH):
        end = min(start + COUNTED * WIDTH, n)
        for i in range(len(sources)):
            low, stop, favourite, shift = brackets[i, 0], brackets[i, 1], brackets[i, 2], brackets[i, 3]
            above, equal, bins = 0, 0, counts[i]
            for at in range(start, end, WIDTH):
                found = magnitude_keys(sources[i], base, at, form)
                above += ones(at_least(found, stop))
                same = equal_to(found, favourite)
                equal += ones(same)
                inside = within(found, low, stop, same)
                if inside != 0:
                    put(keys, 0, found)
                    while inside != 0:
                        bins[(np.int64(keys[lowest(inside)]) - low) >> shift] += 1
                        inside = np.uint32(inside & (inside - np.uint32(1)))
            bins[(favourite - low) >> shift] += equal
            bins[BRACKET_BINS] += above
            bins[BRACKET_BINS + 1] += equal
    jit.leave(control)


@jit.kernel
def tie_histograms(sources, base, n, form, thresholds, first, stop, shift, bins, counts):
    """counts[i, upper bits of the index] of the keys at the threshold; lower bits within bins[i] where that is ≥ 0.

    The index of an element begins at `first`; those from `stop` on do not count.
    """
    control = jit.enter()
    for at in range(0, n, WIDTH):
        for i in range(len(sources)):
            row, chosen = counts[i], bins[i]
            same = equal_to(in_order(magnitude_keys(sources[i], base, at, form), form), thresholds[i])
            while same != 0:
                index = first + at + lowest(same)
                same = np.uint32(same & (same - np.uint32(1)))
                if index < stop:
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
