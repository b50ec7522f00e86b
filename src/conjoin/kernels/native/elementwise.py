"""Kernels that make a merged element from the elements at its place."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np

from conjoin.kernels import jit
from conjoin.kernels.native.bits import (
    MAGNITUDE,
    PIECE,
    U64,
    accumulate,
    bits_of,
    decode,
    deltas,
    encode,
    select,
    updated,
)
from conjoin.kernels.native.order import least_with
from conjoin.kernels.native.streams import draw_piece


@jit.kernel
def linear(sources, numerators, denominator, n, form, out_form, out):
    """(Σ nᵢ xᵢ) / D, from the first product on."""
    control = jit.enter()
    total, values = np.empty(PIECE), np.empty(PIECE)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        for i in range(len(sources)):
            numerator = numerators[i]
            if i == 0:
                decode(sources[i], start, count, form, total)
                for j in range(count):
                    total[j] *= numerator
            else:
                accumulate(sources[i], numerator, start, count, form, values, total)
        if denominator != 1.0:
            for j in range(count):
                total[j] /= denominator
        encode(total, count, out_form, out, start)
    jit.leave(control)


@jit.kernel
def trim(values, begin, end, key):
    """Zero what has a lesser key, from `begin` to before `end`."""
    least, part = least_with(key), values[begin:end]
    for j in range(len(part)):
        part[j] = select((bits_of(part[j]) & MAGNITUDE) >= least, part[j], 0.0)


@jit.kernel
def trimmed(sources, origin, start, count, form, numerators, thresholds, cutoffs, first, kept, mass):
    """kept[i] = τ̂ᵢ of one piece and mass = Σ nᵢ τ̂ᵢ."""
    for j in range(count):
        mass[j] = 0.0
    for i in range(len(sources)):
        row, numerator = kept[i], numerators[i]
        deltas(sources[i], origin, start, count, form, row)
        edge = min(max(cutoffs[i] - first - start, 0), count)
        trim(row, 0, edge, thresholds[i])
        trim(row, edge, count, thresholds[i] + 1)
        for j in range(count):
            mass[j] += numerator * row[j]


@jit.kernel
def elected_signs(sources, base, n, form, numerators, thresholds, cutoffs, first, counts):
    """Counts = elements won by the positive and by the negative mass."""
    control = jit.enter()
    origin, mass, kept = np.empty(PIECE), np.empty(PIECE), np.empty((len(sources), PIECE))
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        trimmed(sources, origin, start, count, form, numerators, thresholds, cutoffs, first, kept, mass)
        positive, negative = 0, 0
        for j in range(count):
            positive += mass[j] > 0.0
            negative += mass[j] < 0.0
        counts[0] += positive
        counts[1] += negative
    jit.leave(control)


@jit.kernel
def elect(mass, zero_sign, count):
    """Mass = +1, −1, or the sign for zero mass."""
    for j in range(count):
        mass[j] = select(mass[j] > 0.0, 1.0, select(mass[j] < 0.0, -1.0, zero_sign))


@jit.kernel
def ties(
    sources,
    base,
    n,
    form,
    out_form,
    numerators,
    denominator,
    thresholds,
    cutoffs,
    first,
    aggregate,
    zero_sign,
    a,
    b,
    out,
):
    """θ₀ + (a·S)/(b·W) over the trimmed values that carry the elected sign. aggregate: 0 mean, 1 sum, 2 max."""
    control = jit.enter()
    origin, sign, kept = np.empty(PIECE), np.empty(PIECE), np.empty((len(sources), PIECE))
    total, share = np.empty(PIECE), np.empty(PIECE)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        trimmed(sources, origin, start, count, form, numerators, thresholds, cutoffs, first, kept, sign)
        elect(sign, zero_sign, count)
        for j in range(count):
            total[j] = 0.0
            share[j] = 0.0 if aggregate == 0 else denominator
        for i in range(len(sources)):
            row, numerator = kept[i], numerators[i]
            if aggregate == 0:
                for j in range(count):
                    agrees = row[j] * sign[j] > 0.0
                    total[j] += select(agrees, numerator * row[j], 0.0)
                    share[j] += select(agrees, numerator, 0.0)
            elif aggregate == 1:
                for j in range(count):
                    total[j] += select(row[j] * sign[j] > 0.0, numerator * row[j], 0.0)
            else:
                for j in range(count):
                    product = numerator * row[j]
                    larger = (row[j] * sign[j] > 0.0) & (product * sign[j] > total[j] * sign[j])
                    total[j] = select(larger, product, total[j])
        for j in range(count):
            total[j] = (a * total[j]) / (b * select(share[j] == 0.0, 1.0, share[j]))
        updated(total, origin, count)
        encode(total, count, out_form, out, start)
    jit.leave(control)


@jit.kernel
def delta_sum(sources, base, n, form, out_form, numerators, denominator, drop_below, keys, first, out):
    """θ₀ + (Σ nᵢ τᵢ)/D over the elements whose draw is not below `drop_below`; `first` is a multiple of 4."""
    control = jit.enter()
    origin, total, values = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE)
    words = np.empty(PIECE + 4, np.uint64)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for j in range(count):
            total[j] = 0.0
        for i in range(len(sources)):
            deltas(sources[i], origin, start, count, form, values)
            numerator = numerators[i]
            if drop_below == U64(0):
                for j in range(count):
                    total[j] += numerator * values[j]
            else:
                draw_piece(keys[i], first + start, count, words)
                for j in range(count):
                    total[j] += select(words[j] < drop_below, 0.0, numerator * values[j])
        if denominator != 1.0:
            for j in range(count):
                total[j] /= denominator
        updated(total, origin, count)
        encode(total, count, out_form, out, start)
    jit.leave(control)
