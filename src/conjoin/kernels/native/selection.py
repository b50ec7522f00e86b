"""Kernels that choose elements by the magnitude of their task vector: thresholds and ranks of rows, bands, drops."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.native.bits import LOW32, MAGNITUDE, ONE, PIECE, U64, bits_of, decode, deltas, encode, select
from conjoin.kernels.native.bits import updated as updated_piece
from conjoin.kernels.native.conversion import divided, inverse_of, load, store
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
from conjoin.kernels.native.order import in_order, least_with, magnitude_keys, put
from conjoin.kernels.native.streams import DRAWN, WORDS, draw, streams
from conjoin.kernels.native.vectors import U32, VECTOR, WIDTH, Lanes, by_case, every, hold, read, recall, step

BINS = 1 << 11
BINNED_MAX = 1 << 16
"""Longest row whose keys have bins of their own: more of these would not stay in a core's cache."""
MOVES_MAX = 8
"""Places that the keys of a row are moved on average before it is sorted in another way."""
FEW = 64
"""Keys of one bin that are sorted by themselves."""
NO_KEY = 1 << 31
"""Above every key."""


@jit.kernel
def row_keys(source, base, n, form, at, keys):
    """The magnitude keys of whole vectors of elements, from an index on."""
    control = jit.enter()
    for j in range(0, n, WIDTH):
        put(keys, at + j, in_order(magnitude_keys(source, base, j, form), form))
    jit.leave(control)


@jit.kernel
def bins_of(keys, bins, counts):
    """The bin of each key of a row, and how many keys there are in each bin.

    Bins are of equal width below the largest key, 2^26 in all: eight powers of two, and all that is smaller is in the
    lowest one. So most bins of rows of real numbers have one key or none.
    """
    top, shift = np.uint32(0), 26
    for j in range(len(keys)):
        top = max(top, keys[j])
    low = max(np.int64(top) + 1 - (1 << shift), 0)
    for b in range(len(counts)):
        counts[b] = 0
    while len(counts) << shift > 1 << 26:
        shift -= 1
    for j in range(len(keys)):
        bins[j] = np.uint32(max(np.int64(keys[j]) - low, 0) >> shift)
    for j in range(len(keys)):
        counts[U64(bins[j])] += np.uint32(1)


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
def rank_by_bins(keys, bins, counts, order):
    """The keys of a row become ranks, unless that takes too long: they are put into bins, and neighbours in order."""
    columns, moves = len(keys), 0
    bins_of(keys, bins, counts)
    starts_of(counts)
    for j in range(columns):
        at = counts[U64(bins[j])]
        counts[U64(bins[j])] = np.uint32(at + np.uint32(1))
        order[U64(at)] = U64(keys[j]) << U64(32) | U64(j)
    greatest = order[0]
    for j in range(1, columns):
        one, at = order[j], U64(j)
        if one >= greatest:
            greatest = one
            continue
        while at > U64(0) and order[at - ONE] > one:
            order[at] = order[at - ONE]
            at -= ONE
        order[at] = one
        moves += j - np.int64(at)
        if moves > MOVES_MAX * columns:
            return False
    for j in range(columns):
        keys[order[j] & LOW32] = np.uint32(j)
    return True


@jit.kernel
def rank_by_digits(keys, order, other, counts):
    """The keys of a row become ranks, in three passes whatever they are."""
    columns = len(keys)
    counts[:] = 0
    for j in range(columns):
        key = U64(keys[j])
        order[j] = key << U64(32) | U64(j)
        counts[0, key & U64(0x3FF)] += 1
        counts[1, (key >> U64(10)) & U64(0x3FF)] += 1
        counts[2, key >> U64(20)] += 1
    one = U64(keys[0])
    for digit in range(2):
        shift = U64(10 * digit)
        if counts[digit, (one >> shift) & U64(0x3FF)] < columns:  # else all have the same one
            starts_of(counts[digit])
            scatter(order, other, counts[digit], shift + U64(32), U64(0x3FF))
            order, other = other, order
    before = counts[2]
    starts_of(before)
    for j in range(columns):
        digit = order[j] >> U64(52)
        rank = before[digit]
        before[digit] = rank + 1
        keys[order[j] & LOW32] = rank


@jit.kernel
def row_ranks(keys, n, columns):
    """Each key becomes the number of elements of its row that come before it by (key, index), from the least on."""
    size = bin_count(columns)
    bins, counts, order = np.empty(columns, np.uint32), np.empty(size, np.uint32), np.empty(columns, np.uint64)
    other, digits = np.empty(0, np.uint64), np.empty((3, BINS), np.int64)
    for first in range(0, n, columns):
        row = keys[first : first + columns]
        if columns > BINNED_MAX or not rank_by_bins(row, bins, counts, order):
            if len(other) == 0:
                other = np.empty(columns, np.uint64)
            rank_by_digits(row, order, other, digits)


@jit.kernel
def bin_count(columns):
    """A bin for each element of a row, rounded up to a power of two."""
    size = 1
    while size < min(columns, BINNED_MAX):
        size *= 2
    return size


@jit.kernel
def bin_from_top(counts, rank):
    """The bin that holds the rank-th largest thing (from 1), and its rank within the bin."""
    for digit in range(len(counts) - 1, -1, -1):
        if rank <= counts[digit]:
            return digit, rank
        rank -= counts[digit]
    return 0, rank


@jit.kernel
def bound_by_digits(keys, counts, rank):
    """The rank-th largest key of a row, and one more than the index of the element that is so by (key, −index)."""
    known, shift = 0, 33
    for _ in range(3):
        shift -= 11
        counts[:] = 0
        for j in range(len(keys)):
            key = np.int64(keys[j])
            if key >> (shift + 11) == known:
                counts[(key >> shift) & 0x7FF] += 1
        digit, rank = bin_from_top(counts, rank)
        known = known << 11 | digit
    for j in range(len(keys)):
        if keys[j] == np.uint32(known):
            rank -= 1
            if rank == 0:
                return known, j + 1
    return known, len(keys)


@jit.kernel
def bound_by_bins(keys, bins, counts, few, digits, rank):
    """The same, given the bins of the keys; of the few in one bin the one that is wanted is sought by itself."""
    chosen, inner = bin_from_top(counts, rank)
    found = np.int64(counts[chosen])
    if found > len(few):
        return bound_by_digits(keys, digits, rank)
    at = 0
    for j in range(len(keys)):
        if bins[j] == np.uint32(chosen):
            few[at] = U64(keys[j]) << U64(32) | (LOW32 - U64(j))
            at += 1
    for j in range(1, found):
        one, at = few[j], j
        while at > 0 and few[at - 1] < one:
            few[at] = few[at - 1]
            at -= 1
        few[at] = one
    one = few[inner - 1]
    return np.int64(one >> U64(32)), np.int64(LOW32 - (one & LOW32)) + 1


@jit.kernel
def row_bounds(keys, columns, tops, start, out):
    """out[r, t] = key and cut-off of the tops[t] largest elements of row r, equals by index from the lowest."""
    bins, counts = np.empty(columns, np.uint32), np.empty(bin_count(columns), np.uint32)
    few, digits = np.empty(FEW, np.uint64), np.empty(BINS, np.int64)
    for row in range(len(out)):
        first = row * columns
        part = keys[first : first + columns]
        bins_of(part, bins, counts)
        for t in range(len(tops)):
            key, cutoff = NO_KEY, 0
            if tops[t] > 0:
                key, cutoff = bound_by_bins(part, bins, counts, few, digits, tops[t])
            out[row, t, 0], out[row, t, 1] = key, start + first + cutoff


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


@jit.kernel
def limits_of(kept, top, limits):
    """limits[i, r] = the least float64 magnitude that is kept by its bits, and how many bit patterns from there on."""
    for i in range(kept.shape[0]):
        for row in range(kept.shape[1]):
            least, beyond = least_with(kept[i, row]), least_with(top[i, row])
            limits[i, row, 0], limits[i, row, 1] = least, max(beyond, least) - least


@step(VECTOR, VECTOR, types.uint64, types.uint64)
def within(delta: Lanes, least: Lanes, count: Lanes) -> Lanes:
    """τ where the bits of |τ| are among so many from the least on, else 0."""
    bits = delta.bits() & 0x7FFF_FFFF_FFFF_FFFF
    return (bits - least < count).choose(delta, 0.0)


@jit.kernel
def band_sum_in_vectors(
    sources, base, n, form, out_form, numerators, denominator, limits, columns, first, first_row, out
):
    """The same where each vector lies in one row, and whatever has one key is kept together; limits from a row on.

    A vector may go beyond the last element.
    """
    control = jit.enter()
    inverse, begin = inverse_of(denominator), 0
    while begin < n:
        row = (first + begin) // columns
        end = min((row + 1) * columns - first, n)
        for at in range(begin, end, WIDTH):
            origin, total = load(base, at, form), every(0.0)
            for i in range(len(sources)):
                least, count = limits[i, row - first_row, 0], limits[i, row - first_row, 1]
                total = total + times(numerators[i], within(load(sources[i], at, form) - origin, least, count))
            store(out, at, out_form, updated(origin, divided(total, denominator, inverse)))
        begin = end
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
    whole = denominator * b
    inverse_of_whole = inverse_of(whole)
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
            update = scaled(total, share, a, b) if aggregate == 0 else divided(times(a, total), whole, inverse_of_whole)
            store(out, at, out_form, updated(origin, update))
    jit.leave(control)
