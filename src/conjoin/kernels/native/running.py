"""Kernels of running sums: exact sums of whole contributions, kept piece by piece with the bounds that prove them."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np
from numba import carray  # pyright: ignore[reportPrivateImportUsage]

from conjoin.kernels import jit
from conjoin.kernels.layout import EXPONENT_MAX, EXPONENT_MIN, SUM_PIECE, UNBOUNDED
from conjoin.kernels.native.bits import (
    MAGNITUDE,
    ONE,
    U64,
    bits_of,
    decode,
    deltas,
    encode,
    f64_of,
    pointer,
    select,
    updated,
)
from conjoin.kernels.native.streams import DRAWN, draw, streams

SIGN = U64(1 << 63)


@jit.kernel
def power(exponent):
    """2^exponent, −1022 to 1023."""
    return f64_of(U64(exponent + 1023) << U64(52))


@jit.kernel
def measure(values, count, bound):
    """Bound = (low, top, whether a −0 occurs): every value is a multiple of 2^low and smaller than 2^top.

    Adding 1.5·2^(unit + 52) leaves the value as a whole number of units in the low bits, if it is one.
    """
    largest, minus = U64(0), False
    for j in range(count):
        bits = bits_of(values[j])
        size = bits & MAGNITUDE
        largest = select(size > largest, size, largest)
        minus |= bits == SIGN
    bound[0], bound[1], bound[2] = UNBOUNDED, -UNBOUNDED, minus
    if largest == U64(0):
        return
    top = max(np.int64(largest >> U64(52)), 1) - 1022
    unit = max(top - 51, EXPONENT_MIN)
    if top > EXPONENT_MAX:
        bound[0], bound[1] = -UNBOUNDED, UNBOUNDED
        return
    shift, found, broken = 1.5 * power(unit + 52), U64(0), False
    for j in range(count):
        moved = values[j] + shift
        broken |= moved - shift != values[j]
        found |= bits_of(moved)
    while found & ONE == U64(0):
        found >>= ONE
        unit += 1
    bound[0], bound[1] = unit, top
    if broken:
        bound[0], bound[1] = -UNBOUNDED, UNBOUNDED


@jit.kernel
def holds(low, top, span):
    """Whether a sum with that span (see `layout.Span`) of values within those bounds never rounds, in any order."""
    unit, end = low + span[0], top + span[1]
    return (end <= unit + 53) & (unit >= EXPONENT_MIN) & (end <= EXPONENT_MAX)


@jit.kernel
def width_of(low, top, minus, span):
    """Bytes per element of a packed sum: 0, 2 or 4 as a whole number of units, else 8."""
    unit = low + span[0]
    bits = top + span[1] - unit
    if (minus != 0) | (bits > 31):
        return 8
    if bits <= 0:
        return 0
    if (unit < -1000) | (unit > 1000):
        return 8
    return 2 if bits <= 15 else 4


@jit.kernel
def unpack(packed, at, bound, span, count, total):
    """Read the sums of a piece from word `at` on; returns where the next piece begins."""
    width = width_of(bound[0], bound[1], bound[2], span)
    source = packed + U64(8 * at)
    if width == 0:
        for j in range(count):
            total[j] = 0.0
    elif width == 8:
        double = carray(pointer(source, np.float64), count)
        for j in range(count):
            total[j] = double[j]
    else:
        unit = power(bound[0] + span[0])
        if width == 2:
            short = carray(pointer(source, np.int16), count)
            for j in range(count):
                total[j] = np.float64(short[j]) * unit
        else:
            whole = carray(pointer(source, np.int32), count)
            for j in range(count):
                total[j] = np.float64(whole[j]) * unit
    return at + (count * width + 7) // 8


@jit.kernel
def pack(total, count, bound, span, packed, at):
    """Write the sums of a piece from word `at` on; returns where the next piece begins."""
    width = width_of(bound[0], bound[1], bound[2], span)
    end = at + (count * width + 7) // 8
    target = packed + U64(8 * at)
    if width:
        carray(pointer(target, np.uint64), end - at)[end - at - 1] = U64(0)
    if width == 8:
        double = carray(pointer(target, np.float64), count)
        for j in range(count):
            double[j] = total[j]
    elif width:
        scale = power(-bound[0] - span[0])
        if width == 2:
            short = carray(pointer(target, np.int16), count)
            for j in range(count):
                short[j] = np.int16(np.int32(total[j] * scale))
        else:
            whole = carray(pointer(target, np.int32), count)
            for j in range(count):
                whole[j] = np.int32(total[j] * scale)
    return end


@jit.kernel
def term(source, base, origin, start, count, form, drop_below, words, values):
    """Values = one contribution, or what is kept of its task vector."""
    if base:
        deltas(source, origin, start, count, form, values)
        if drop_below != U64(0):
            least = np.uint32(drop_below)
            for j in range(count):
                values[j] = select(words[j] < least, 0.0, values[j])
    else:
        decode(source, start, count, form, values)


@jit.kernel
def take_out(total, factor, values, count):
    """Total −= factor · values; returns whether a zero is left whose sign the sum no longer knows."""
    unsure = False
    for j in range(count):
        rest = total[j] - factor * values[j]
        empty = bits_of(total[j]) == SIGN  # every term is −0, so the rest are
        unsure |= (rest == 0.0) & (not empty)
        total[j] = select(empty, total[j], rest)
    return unsure


@jit.kernel
def begin(before, at, bounds, piece, span, scale, count, bound, total):
    """Bound and total = those of a piece before, times the scale; of an empty sum where there are no bounds."""
    bound[0], bound[1], bound[2] = UNBOUNDED, -UNBOUNDED, 0
    if len(bounds) == 0:
        for j in range(count):
            total[j] = -0.0
        return at
    for field in range(3):
        bound[field] = bounds[piece, field]
    at = unpack(before, at, bound, span, count, total)
    if scale != 1.0:
        for j in range(count):
            total[j] *= scale
    return at


@jit.kernel
def advance(
    before,
    bounds,
    before_span,
    scale,
    sources,
    factors,
    added,
    base,
    n,
    form,
    drop_below,
    keys,
    first,
    spans,
    after_bounds,
    after,
):
    """Add the first `added` sources to scale · `before`, take the others out; returns the words written, or −1.

    base: 0 sums up the sources, an address their task vectors. spans: of everything before and added; of the result.
    """
    control = jit.enter()
    total, values, origin = np.empty(SUM_PIECE), np.empty(SUM_PIECE), np.empty(SUM_PIECE)
    rows, words = streams(keys), np.empty((len(sources), SUM_PIECE + DRAWN), np.uint32)
    own, merged = np.empty(3, np.int64), np.empty(3, np.int64)
    read, written = 0, 0
    for piece in range((n + SUM_PIECE - 1) // SUM_PIECE):
        start = piece * SUM_PIECE
        count = min(SUM_PIECE, n - start)
        read = begin(before, read, bounds, piece, before_span, scale, count, merged, total)
        if base:
            decode(base, start, count, form, origin)
        if drop_below != U64(0):
            draw(rows, U64(first + start) >> U64(2), count, words)
        unsure = False
        for i in range(len(sources)):
            term(sources[i], base, origin, start, count, form, drop_below, words[i], values)
            measure(values, count, own)
            merged[0], merged[1] = min(merged[0], own[0]), max(merged[1], own[1])
            if not base:
                merged[2] |= own[2]
            if i < added:
                factor = factors[i]
                for j in range(count):
                    total[j] += factor * values[j]
            else:
                unsure |= take_out(total, factors[i], values, count)
        if (not holds(merged[0], merged[1], spans[0])) | (unsure & (merged[2] != 0)):
            written = -1
            break
        for field in range(3):
            after_bounds[piece, field] = merged[field]
        written = pack(total, count, merged, spans[1], after, written)
    jit.leave(control)
    return written


@jit.kernel
def add_base(total, origin, numerator, negative, count):
    """Total += n₀ · θ₀, nothing where n₀ is 0; returns whether a zero is left whose sign the sum does not know.

    The sum knows the sign of its zeros: −0 where every term is −0. Of the negative sum it does not.
    """
    unsure = False
    if numerator == 0.0:
        if not negative:
            return False
        for j in range(count):
            unsure |= total[j] == 0.0
    else:
        for j in range(count):
            own = numerator * origin[j]
            total[j] += own
            unsure |= (total[j] == 0.0) & (bits_of(own) == SIGN)
    return unsure & negative


@jit.kernel
def scaled(total, multiplier, divisor, count):
    """Total = total · multiplier / divisor."""
    if multiplier != 1.0:
        for j in range(count):
            total[j] *= multiplier
    if divisor != 1.0:
        for j in range(count):
            total[j] /= divisor


@jit.kernel
def result(
    sums,
    bounds,
    span,
    spans,
    multiplier,
    divisor,
    base,
    base_numerator,
    denominator,
    added_to,
    n,
    form,
    out_form,
    out,
):
    """The linear form, or θ₀ + u where `added_to`, that a full resolve gives; False where that is not proven.

    spans: of the terms of the full resolve; of the base's term; of the sum times the multiplier.
    """
    control = jit.enter()
    total, origin, own, bound = np.empty(SUM_PIECE), np.empty(SUM_PIECE), np.empty(3, np.int64), np.empty(3, np.int64)
    read, proven = 0, True
    for piece in range((n + SUM_PIECE - 1) // SUM_PIECE):
        start = piece * SUM_PIECE
        count = min(SUM_PIECE, n - start)
        for field in range(3):
            bound[field] = bounds[piece, field]
        read = unpack(sums, read, bound, span, count, total)
        low, end = bound[0] + spans[0, 0], bound[1] + spans[0, 1]
        if base:
            decode(base, start, count, form, origin)
        if (base != U64(0)) & (not added_to):
            measure(origin, count, own)
            low, end = min(low, own[0] + spans[1, 0]), max(end, own[1] + spans[1, 1]) + 1
        proven = (end <= low + 53) & (low >= EXPONENT_MIN) & (end <= EXPONENT_MAX)
        proven &= holds(bound[0], bound[1], spans[2])
        if not proven:
            break
        scaled(total, multiplier, divisor, count)
        if (not added_to) and add_base(total, origin, base_numerator, multiplier < 0.0, count):
            proven = False
            break
        scaled(total, 1.0, denominator, count)
        if added_to:
            updated(total, origin, count)
        encode(total, count, out_form, out, start)
    jit.leave(control)
    return proven
