"""Kernels of masks, one bit per element, and of the vector that masks are cut from."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np
from numba import carray  # pyright: ignore[reportPrivateImportUsage]

from conjoin.kernels import jit
from conjoin.kernels.native.bits import (
    MAGNITUDE,
    PIECE,
    U64,
    bits_of,
    decode,
    deltas,
    encode,
    pointer,
    select,
    updated,
    vectors,
)
from conjoin.kernels.native.order import least_with

EIGHT_BYTES = U64(0x0101_0101_0101_0101)


@jit.kernel
def pack(flags, count, out, start):
    """Flags (bytes 0 or 1) as bits, the first of eight in the lowest; zeros fill the last byte. `start` is of 8.

    Eight bytes times this number have their lowest bits side by side in the highest byte.
    """
    for j in range(count, (count + 7) // 8 * 8):
        flags[j] = 0
    words = carray(pointer(U64(flags.ctypes.data), np.uint64), PIECE // 8)
    part = out[start // 8 : (start + count + 7) // 8]
    for byte in range(len(part)):
        part[byte] = np.uint8((words[byte] * U64(0x0102_0408_1020_4080)) >> U64(56))


@jit.kernel
def unpack(mask, start, count, flags):
    """Bits as flags (bytes 0 or 1); `start` is a multiple of 8 and flags have room up to one."""
    words = carray(pointer(U64(flags.ctypes.data), np.uint64), PIECE // 8)
    part = mask[start // 8 : (start + count + 7) // 8]
    for byte in range(len(part)):
        spread = (U64(part[byte]) * EIGHT_BYTES) & U64(0x8040_2010_0804_0201)
        words[byte] = ((spread + U64(0x7F7F_7F7F_7F7F_7F7F)) >> U64(7)) & EIGHT_BYTES


@jit.kernel
def best_by_sum(rows, numerators, zero_sign, sign, best, count):
    """Best = of the values that carry the sign of Σ nᵢ τᵢ (or the sign for zero) the one of greatest magnitude."""
    for j in range(count):
        sign[j] = best[j] = 0.0
    for i in range(len(rows)):
        row, numerator = rows[i], numerators[i]
        if numerator != 0.0:
            for j in range(count):
                sign[j] += numerator * row[j]
    signs(sign, zero_sign, count)
    for i in range(len(rows)):
        row = rows[i]
        if numerators[i] == 0.0:
            continue
        for j in range(count):
            wins = (row[j] * sign[j] > 0.0) & (row[j] * sign[j] > best[j] * sign[j])
            best[j] = select(wins, row[j], best[j])


@jit.kernel
def best_by_size(rows, numerators, best, count):
    """Best = the value of greatest magnitude whose numerator is not 0; of opposite ones the positive."""
    for j in range(count):
        best[j] = 0.0
    for i in range(len(rows)):
        row = rows[i]
        if numerators[i] == 0.0:
            continue
        for j in range(count):
            size, largest = bits_of(row[j]) & MAGNITUDE, bits_of(best[j]) & MAGNITUDE
            wins = (size > largest) | ((size == largest) & (row[j] > best[j]))
            best[j] = select(wins, row[j], best[j])


@jit.kernel
def signs(values, zero_sign, count):
    """Values become +1, −1, or the sign for zero."""
    for j in range(count):
        values[j] = select(values[j] > 0.0, 1.0, select(values[j] < 0.0, -1.0, zero_sign))


@jit.kernel
def unified(sources, base, n, form, out_form, by_sum, zero_sign, numerators, added, a, b, masks, out):
    """Per element the task vector's value u of greatest magnitude that has the elected sign; θ₀ + (a·u)/b if `added`.

    masks[i] are the elements where τᵢ has the sign of u; no rows, no masks.
    """
    control = jit.enter()
    origin, sign, best = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE)
    rows, flags = np.empty((len(sources), PIECE)), np.empty(PIECE, np.uint8)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for i in range(len(sources)):
            deltas(sources[i], origin, start, count, form, rows[i])
        if by_sum:
            best_by_sum(rows, numerators, zero_sign, sign, best, count)
        else:
            best_by_size(rows, numerators, best, count)
        for j in range(count):  # assigning a slice would compile a message about shapes, with a logarithm in it
            sign[j] = best[j]
        signs(sign, 0.0, count)
        for i in range(len(masks)):
            row = rows[i]
            for j in range(count):
                flags[j] = row[j] * sign[j] > 0.0
            pack(flags, count, masks[i], start)
        if added:
            for j in range(count):
                best[j] = (a * best[j]) / b
            updated(best, origin, count)
        encode(best, count, out_form, out, start)
    jit.leave(control)


@jit.kernel
def surviving(sources, base, centred, n, form, thresholds, cutoffs, first, masks):
    """masks[i] = where the key is above the threshold, or at it and the index before the cut-off."""
    control = jit.enter()
    origin, values, flags = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.uint8)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        for i in range(len(sources)):
            vectors(sources[i], base, centred, start, count, form, origin, values)
            edge = min(max(cutoffs[i] - first - start, 0), count)
            least, above = least_with(thresholds[i]), least_with(thresholds[i] + 1)
            for j in range(edge):
                flags[j] = (bits_of(values[j]) & MAGNITUDE) >= least
            for j in range(edge, count):
                flags[j] = (bits_of(values[j]) & MAGNITUDE) >= above
            pack(flags, count, masks[i], start)
    jit.leave(control)


@jit.kernel
def unanimous(sources, base, n, form, mask):
    """Mask = where all task vectors have one sign."""
    control = jit.enter()
    origin, values, flags = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.uint8)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for i in range(len(sources)):
            deltas(sources[i], origin, start, count, form, values)
            if i == 0:
                for j in range(count):
                    flags[j] = np.uint8(values[j] > 0.0) + np.uint8(2) * np.uint8(values[j] < 0.0)
            else:
                for j in range(count):
                    flags[j] &= np.uint8(values[j] > 0.0) + np.uint8(2) * np.uint8(values[j] < 0.0)
        for j in range(count):
            flags[j] = flags[j] != 0
        pack(flags, count, mask, start)
    jit.leave(control)


@jit.kernel
def masked_sum(sources, base, n, form, out_form, numerators, denominator, masks, out):
    """θ₀ + (Σ nᵢ τᵢ)/D, the sum over the elements of each mask."""
    control = jit.enter()
    origin, total, values = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE)
    flags = np.empty(PIECE, np.uint8)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for j in range(count):
            total[j] = 0.0
        for i in range(len(sources)):
            numerator = numerators[i]
            deltas(sources[i], origin, start, count, form, values)
            unpack(masks[i], start, count, flags)
            for j in range(count):
                total[j] += select(flags[j] != 0, numerator * values[j], 0.0)
        if denominator != 1.0:
            for j in range(count):
                total[j] /= denominator
        updated(total, origin, count)
        encode(total, count, out_form, out, start)
    jit.leave(control)
