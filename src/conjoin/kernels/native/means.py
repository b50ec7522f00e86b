"""Kernels of means whose weights differ from element to element."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np

from conjoin.kernels import jit
from conjoin.kernels.native.bits import PIECE, U64, bits_of, decode, encode, f64_of, select


@jit.kernel
def shares_of(scores, start, count, score_form, numerators, floors, shares, whole):
    """shares[i] = nᵢ · max(Fᵢ, floorᵢ) of one piece, and their sum from the first on."""
    for i in range(len(scores)):
        share, numerator, floor = shares[i], numerators[i], floors[i]
        decode(scores[i], start, count, score_form, share)
        for j in range(count):
            share[j] = numerator * select(share[j] > floor, share[j], floor)
        if i == 0:
            for j in range(count):
                whole[j] = share[j]
        else:
            for j in range(count):
                whole[j] += share[j]


@jit.kernel
def unit_shares(shares, whole, unit, alike, count):
    """Shares times the power of two that brings the whole to between 1 and 4; ones where all are equal."""
    for j in range(count):
        alike[j] = True
    for i in range(1, len(shares)):
        share = shares[i]
        for j in range(count):
            alike[j] &= share[j] == shares[0, j]
    for j in range(count):
        exponent = (bits_of(whole[j]) >> U64(52)) & U64(0x7FF)
        place = select(exponent < U64(0x7FE), U64(0x7FE) - exponent, U64(1))
        unit[j] = f64_of(place << U64(52))
        whole[j] = select(alike[j], np.float64(len(shares)), whole[j] * unit[j])
    for i in range(len(shares)):
        share = shares[i]
        for j in range(count):
            share[j] = select(alike[j], 1.0, share[j] * unit[j])


@jit.kernel
def weighted_mean(sources, scores, n, form, score_form, out_form, numerators, floors, out):
    """(Σ sᵢ θᵢ) / Σ sᵢ, sᵢ = nᵢ · max(Fᵢ, floorᵢ), and never outside the θᵢ whose sᵢ is above 0."""
    control = jit.enter()
    shares, whole, unit = np.empty((len(sources), PIECE)), np.empty(PIECE), np.empty(PIECE)
    values, total, alike = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.bool_)
    low, high = np.empty(PIECE), np.empty(PIECE)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        shares_of(scores, start, count, score_form, numerators, floors, shares, whole)
        unit_shares(shares, whole, unit, alike, count)
        for j in range(count):
            low[j], high[j] = np.inf, -np.inf
        for i in range(len(sources)):
            share = shares[i]
            decode(sources[i], start, count, form, values)
            if i == 0:
                for j in range(count):
                    total[j] = share[j] * values[j]
            else:
                for j in range(count):
                    total[j] += share[j] * values[j]
            for j in range(count):
                low[j] = select((share[j] > 0.0) & (values[j] < low[j]), values[j], low[j])
                high[j] = select((share[j] > 0.0) & (values[j] > high[j]), values[j], high[j])
        for j in range(count):
            mean = total[j] / whole[j]
            mean = select(mean >= low[j], mean, low[j])
            total[j] = select(mean <= high[j], mean, high[j])
        encode(total, count, out_form, out, start)
    jit.leave(control)
