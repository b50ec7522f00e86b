"""Kernels that choose elements by the magnitude of their task vector: thresholds and ranks of rows, bands, drops."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.native.bits import LOW32, MAGNITUDE, PIECE, U64, bits32_of, bits_of, decode, deltas, encode, select
from conjoin.kernels.native.bits import updated as updated_piece
from conjoin.kernels.native.conversion import inverse_of, load, store
from conjoin.kernels.native.elementwise import (
    DRAWS,
    agreeing,
    elected,
    largest,
    negatives,
    positives,
    scaled,
    times,
    updated,
)
from conjoin.kernels.native.order import least_with
from conjoin.kernels.native.streams import DRAWN, WORDS, draw, streams
from conjoin.kernels.native.vectors import U32, VECTOR, WIDTH, Lanes, by_case, every, hold, read, recall, step

BINS = 1 << 11
NO_KEY = 1 << 31
"""Above every key."""


@jit.kernel
def vectors(source, base, centred, start, count, form, origin, out):
    """The values of one piece, or its task vector where `centred`."""
    if centred:
        decode(base, start, count, form, origin)
        deltas(source, origin, start, count, form, out)
    else:
        decode(source, start, count, form, out)


@jit.kernel
def row_keys(source, base, centred, first, columns, form, origin, values, keys):
    """The magnitude keys of a row: bits of the float32 nearest to the value, without the sign."""
    for start in range(0, columns, PIECE):
        count = min(PIECE, columns - start)
        vectors(source, base, centred, first + start, count, form, origin, values)
        part = keys[start : start + count]
        for j in range(count):
            part[j] = bits32_of(np.float32(values[j])) & np.uint32(0x7FFF_FFFF)


@jit.kernel
def scatter(order, sorted_order, counts, shift, mask):
    """One pass of a radix sort of (key, index) by a digit of the key; `counts` is where each digit's share begins."""
    for j in range(len(order)):
        digit = (order[j] >> shift) & mask
        at = counts[digit]
        counts[digit] = at + 1
        sorted_order[at] = order[j]


@jit.kernel
def starts_of(counts):
    """Counts become the number of things before each bin."""
    before = 0
    for digit in range(len(counts)):
        here = counts[digit]
        counts[digit] = before
        before += here


@jit.kernel
def row_ranks(sources, base, centred, n, form, columns, ranks):
    """ranks[i, j] = how many elements of the row of j come before it by (key, index), from the least on."""
    control = jit.enter()
    origin, values, keys = np.empty(PIECE), np.empty(PIECE), np.empty(columns, np.uint32)
    order, other = np.empty(columns, np.uint64), np.empty(columns, np.uint64)
    counts = np.empty((3, BINS), np.int64)
    for i in range(len(sources)):
        for first in range(0, n, columns):
            row_keys(sources[i], base, centred, first, columns, form, origin, values, keys)
            counts[:] = 0
            for j in range(columns):
                key = U64(keys[j])
                order[j] = key << U64(32) | U64(j)
                counts[0, key & U64(0x3FF)] += 1
                counts[1, (key >> U64(10)) & U64(0x3FF)] += 1
                counts[2, key >> U64(20)] += 1
            for digit in range(2):
                shift = U64(10 * digit)
                if counts[digit, (U64(keys[0]) >> shift) & U64(0x3FF)] < columns:  # else all have the same one
                    starts_of(counts[digit])
                    scatter(order, other, counts[digit], shift + U64(32), U64(0x3FF))
                    order, other = other, order
            starts_of(counts[2])
            row, before = ranks[i, first : first + columns], counts[2]
            for j in range(columns):
                digit = order[j] >> U64(52)
                rank = before[digit]
                before[digit] = rank + 1
                row[order[j] & LOW32] = rank
    jit.leave(control)


@jit.kernel
def bin_from_top(counts, rank):
    """The bin that holds the rank-th largest thing (from 1), and its rank within the bin."""
    for digit in range(len(counts) - 1, -1, -1):
        if rank <= counts[digit]:
            return digit, rank
        rank -= counts[digit]
    return 0, rank


@jit.kernel
def bound_of(keys, high, counts, rank):
    """The rank-th largest key of a row, and one more than the index of the element that is so by (key, −index).

    `high` counts the upper digits.
    """
    upper, rank = bin_from_top(high, rank)
    known, shift = upper, 20
    for _ in range(2):
        shift -= 10
        counts[:] = 0
        for j in range(len(keys)):
            key = np.int64(keys[j])
            if key >> (shift + 10) == known:
                counts[(key >> shift) & 0x3FF] += 1
        digit, rank = bin_from_top(counts, rank)
        known = known << 10 | digit
    for j in range(len(keys)):
        if keys[j] == np.uint32(known):
            rank -= 1
            if rank == 0:
                return known, j + 1
    return known, len(keys)


@jit.kernel
def row_bounds(sources, base, centred, form, columns, tops, start, out):
    """out[i, r, t] = key and cut-off of the tops[t] largest elements of row r, equals by index from the lowest."""
    control = jit.enter()
    origin, values, keys = np.empty(PIECE), np.empty(PIECE), np.empty(columns, np.uint32)
    high, counts = np.empty(BINS, np.int64), np.empty(1 << 10, np.int64)
    for i in range(len(sources)):
        for row in range(out.shape[1]):
            first = row * columns
            row_keys(sources[i], base, centred, first, columns, form, origin, values, keys)
            high[:] = 0
            for j in range(columns):
                high[U64(keys[j]) >> U64(20)] += 1
            for t in range(len(tops)):
                key, cutoff = NO_KEY, 0
                if tops[t] > 0:
                    key, cutoff = bound_of(keys, high, counts, tops[t])
                out[i, row, t, 0], out[i, row, t, 1] = key, start + first + cutoff
    jit.leave(control)


@jit.kernel
def keep_band(values, begin, end, low, high):
    """Zero what has a key below `low` or from `high` on, from `begin` to before `end`."""
    least, beyond, part = least_with(low), least_with(high), values[begin:end]
    for j in range(len(part)):
        size = bits_of(part[j]) & MAGNITUDE
        part[j] = select((size >= least) & (size < beyond), part[j], 0.0)


@jit.kernel
def banded(values, first, begin, end, top, kept):
    """Zero what is among the top ones, or not among the kept ones; `first` is the flat index of values[0]."""
    edge_top = min(max(top[1] - first, begin), end)
    edge_kept = min(max(kept[1] - first, begin), end)
    one, two = min(edge_top, edge_kept), max(edge_top, edge_kept)
    keep_band(values, begin, one, kept[0], top[0])
    keep_band(values, one, two, kept[0] + (edge_kept <= one), top[0] + (edge_top <= one))
    keep_band(values, two, end, kept[0] + 1, top[0] + 1)


@jit.kernel
def band_sum(sources, base, n, form, out_form, numerators, denominator, top, kept, columns, first, out):
    """θ₀ + (Σ nᵢ τᵢ)/D over what is among the kept ones of its row and not among the top ones."""
    control = jit.enter()
    origin, total, values = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE)
    first_row = first // columns
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for j in range(count):
            total[j] = 0.0
        for i in range(len(sources)):
            deltas(sources[i], origin, start, count, form, values)
            at, numerator = 0, numerators[i]
            while at < count:
                row = (first + start + at) // columns
                end = min((row + 1) * columns - first - start, count)
                banded(values, first + start, at, end, top[i, row - first_row], kept[i, row - first_row])
                at = end
            for j in range(count):
                total[j] += numerator * values[j]
        if denominator != 1.0:
            for j in range(count):
                total[j] /= denominator
        updated_piece(total, origin, count)
        encode(total, count, out_form, out, start)
    jit.leave(control)


@step(VECTOR, VECTOR, WORDS, types.int64, WORDS, types.int64, types.float64)
def dropped(delta: Lanes, words: Lanes, word: Lanes, drops: Lanes, drop: Lanes, inverse: Lanes) -> Lanes:
    """τ̃: zero where the word is below its limit, else τ / q, q = (2³² − limit) / 2³²; or τ · `inverse`."""
    limits = read(drops, drop, U32)
    keep = (delta.splat(2.0**32) - limits.whole_numbers()) * 2.0**-32
    whole = by_case(inverse.differs(0.0).to(U32), (lambda: delta / keep, lambda: delta * inverse))
    assert whole is not None
    return (read(words, word, U32) < limits).choose(whole.splat(0.0), whole)


@jit.kernel
def draw_drops(rows, counter, count, table, ranks, place, words, drops):
    """The words of `count` elements, and their limits by rank; a table of one entry has its limits in place."""
    draw(rows, counter, count, words)
    if len(table) > 1:
        for i in range(len(drops)):
            limits, of_row = drops[i], ranks[i, place : place + count]
            for j in range(count):
                limits[j] = table[of_row[j]]


@jit.kernel
def dropped_signs(sources, base, n, form, numerators, table, ranks, place, keys, first, counts):
    """Counts = elements won by the positive and by the negative mass of what is kept. ranks are from `place` on."""
    control = jit.enter()
    rows, words = streams(keys), np.empty((len(sources), DRAWS + DRAWN), np.uint32)
    drops, inverse = np.full((len(sources), DRAWS), table[0]), inverse_of_only(table)
    for begin in range(0, n, DRAWS):
        end = min(begin + DRAWS, n)
        draw_drops(rows, U64(first + begin) >> U64(2), end - begin, table, ranks, place + begin, words, drops)
        for at in range(begin, end, WIDTH):
            origin, mass = load(base, at, form), every(0.0)
            for i in range(len(sources)):
                delta = load(sources[i], at, form) - origin
                word, drop = i * (DRAWS + DRAWN) + at - begin, i * DRAWS + at - begin
                mass = mass + times(numerators[i], dropped(delta, words, word, drops, drop, inverse))
            counts[0] += positives(mass)
            counts[1] += negatives(mass)
    jit.leave(control)


@jit.kernel
def inverse_of_only(table):
    """1 / q of a table's only entry where that is a power of two; else 0."""
    return inverse_of((2.0**32 - np.float64(table[0])) * 2.0**-32) if len(table) == 1 else 0.0


@jit.kernel
def dropped_ties(
    sources,
    base,
    n,
    form,
    out_form,
    numerators,
    denominator,
    table,
    ranks,
    place,
    keys,
    first,
    aggregate,
    zero_sign,
    a,
    b,
    out,
):
    """θ₀ + (a·S)/(b·W) over the kept values that carry the elected sign. aggregate 3: over all that are kept."""
    control = jit.enter()
    rows, words = streams(keys), np.empty((len(sources), DRAWS + DRAWN), np.uint32)
    drops, inverse = np.full((len(sources), DRAWS), table[0]), inverse_of_only(table)
    kept = np.empty(len(sources) * WIDTH)
    for begin in range(0, n, DRAWS):
        end = min(begin + DRAWS, n)
        draw_drops(rows, U64(first + begin) >> U64(2), end - begin, table, ranks, place + begin, words, drops)
        for at in range(begin, end, WIDTH):
            origin, mass = load(base, at, form), every(0.0)
            for i in range(len(sources)):
                delta = load(sources[i], at, form) - origin
                word, drop = i * (DRAWS + DRAWN) + at - begin, i * DRAWS + at - begin
                tau = dropped(delta, words, word, drops, drop, inverse)
                hold(kept, i, tau)
                mass = mass + times(numerators[i], tau)
            sign, total, share = elected(mass, zero_sign), every(0.0), every(denominator)
            if aggregate == 0:
                share = every(0.0)
                for i in range(len(sources)):
                    tau = recall(kept, i)
                    total = total + agreeing(times(numerators[i], tau), tau, sign)
                    share = share + agreeing(every(numerators[i]), tau, sign)
            elif aggregate == 3:
                total = mass
            else:
                for i in range(len(sources)):
                    tau = recall(kept, i)
                    if aggregate == 1:
                        total = total + agreeing(times(numerators[i], tau), tau, sign)
                    else:
                        total = largest(total, numerators[i] * tau, tau, sign)
            store(out, at, out_form, updated(origin, scaled(total, share, a, b)))
    jit.leave(control)
