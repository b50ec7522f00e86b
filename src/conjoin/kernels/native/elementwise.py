"""Kernels that make a merged element from the elements at its place; each holds a vector from load to store.

Elements come in whole vectors: n is a multiple of WIDTH.
"""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.native.conversion import MAGNITUDE, divided, inverse_of, load, store
from conjoin.kernels.native.order import least_with
from conjoin.kernels.native.proven import (
    filled,
    fits,
    kept,
    larger,
    moved,
    patterns,
    product,
    put,
    quotient,
    settled,
    share,
    singles,
    smaller,
    steady,
    trimmed_singles,
)
from conjoin.kernels.native.streams import DRAWN, draw, dropped, streams
from conjoin.kernels.native.vectors import (
    U64,
    VECTOR,
    WIDTH,
    Lanes,
    alike,
    by_case,
    every,
    hold,
    number,
    numbered,
    recall_like,
    step,
)


@step(VECTOR, types.float64, VECTOR)
def times(numerator: Lanes, values: Lanes) -> Lanes | None:
    """The product n x; x itself where n = 1, as it is for equal weights."""
    return by_case(numerator.differs(1.0).to(U64), (lambda: values, lambda: values * numerator))


@step(VECTOR, VECTOR, VECTOR)
def updated(origin: Lanes, update: Lanes) -> Lanes:
    """θ₀ + update; θ₀ itself, sign of zero included, where the update is zero."""
    return update.equals(0.0).choose(origin, origin + update)


@step(VECTOR, VECTOR, types.uint64, types.uint64, types.int64)
def trimmed(delta: Lanes, before: Lanes, after: Lanes, edge: Lanes) -> Lanes:
    """τ̂: zero where the bits of |τ| are below a limit, which is another one from lane `edge` on."""
    builder, bits = delta.builder, delta.bits()
    limit = bits.like(edge.signed(">", 0).choose(before, after))
    start = builder.block
    with builder.if_then((edge - 1 < WIDTH - 1).value, likely=False):
        mixed = (numbered(WIDTH, bits) < edge).choose(bits.splat(before), after).value
        inside = builder.block
    phi = builder.phi(limit.type)
    phi.add_incoming(limit, start)
    phi.add_incoming(mixed, inside)
    return ((bits & MAGNITUDE) >= Lanes(builder, phi)).choose(delta, 0.0)


@step(types.int64, VECTOR)
def positives(mass: Lanes) -> Lanes:
    """In how many lanes the mass is positive."""
    return (mass > 0.0).count()


@step(types.int64, VECTOR)
def negatives(mass: Lanes) -> Lanes:
    """In how many lanes the mass is negative."""
    return (mass < 0.0).count()


@step(VECTOR, VECTOR, types.float64)
def elected(mass: Lanes, zero_sign: Lanes) -> Lanes:
    """+1, −1, or the sign for zero mass."""
    return (mass > 0.0).choose(mass.splat(1.0), (mass < 0.0).choose(mass.splat(-1.0), zero_sign))


@step(VECTOR, VECTOR, VECTOR, VECTOR)
def agreeing(value: Lanes, kept: Lanes, sign: Lanes) -> Lanes:
    """The value where τ̂ has the elected sign, else 0."""
    return (kept * sign > 0.0).choose(value, 0.0)


@step(VECTOR, VECTOR, VECTOR, VECTOR, VECTOR)
def largest(total: Lanes, product: Lanes, kept: Lanes, sign: Lanes) -> Lanes:
    """The product where τ̂ has the elected sign and it is larger than the total, else the total."""
    return ((kept * sign > 0.0) & (product * sign > total * sign)).choose(product, total)


@step(VECTOR, VECTOR, VECTOR, types.float64, types.float64)
def scaled(total: Lanes, share: Lanes, a: Lanes, b: Lanes) -> Lanes:
    """(a·S) / (b·W), with 1 for W where it is 0."""
    return total * a / (share.equals(0.0).choose(share.splat(1.0), share) * b)


@jit.kernel
def linear(sources, numerators, denominator, n, form, out_form, spans, out):
    """(Σ nᵢ xᵢ) / D, from the first product on; in float32 where `spans` (see `proven.linear_spans`) let it."""
    control = jit.enter()
    inverse = inverse_of(denominator)
    low, high, spread = spans[0], spans[1], spans[2]
    for at in range(0, n, WIDTH):
        if high > 0:
            found = patterns(sources[0], at)
            most, least = larger(filled(0), found), smaller(filled(0xFFFF), found)
            quick = np.float32(numerators[0]) * singles(found, form)
            for i in range(1, len(sources)):
                found = patterns(sources[i], at)
                most, least = larger(most, found), smaller(least, found)
                quick = quick + np.float32(numerators[i]) * singles(found, form)
            if fits(most, least, low, high, spread):
                put(out, at, out_form, quotient(quick, denominator))
                continue
        total = times(numerators[0], load(sources[0], at, form))
        for i in range(1, len(sources)):
            total = total + times(numerators[i], load(sources[i], at, form))
        store(out, at, out_form, divided(total, denominator, inverse))
    jit.leave(control)


DRAWS = 1024
"""Elements whose draws are made before their sum."""


@jit.kernel
def delta_sum(sources, base, n, form, out_form, numerators, denominator, drop_below, keys, first, spans, out):
    """θ₀ + (Σ nᵢ τᵢ)/D over the elements whose draw is not below `drop_below`; `first` is a multiple of 4.

    In float32 where `spans` (see `proven.delta_spans`) let it.
    """
    control = jit.enter()
    inverse, rows, words = inverse_of(denominator), streams(keys), np.empty((len(keys), DRAWS + DRAWN), np.uint32)
    low, high, spread = spans[0], spans[1], spans[2]
    for begin in range(0, n, DRAWS):
        end = min(begin + DRAWS, n)
        draw(rows, np.uint64(first + begin) >> np.uint64(2), end - begin, words)
        for at in range(begin, end, WIDTH):
            if high > 0:
                foot = patterns(base, at)
                most, least, ground = larger(filled(0), foot), smaller(filled(0xFFFF), foot), singles(foot, form)
                quick = ground - ground
                for i in range(len(sources)):
                    found = patterns(sources[i], at)
                    if drop_below != 0:
                        found = kept(found, foot, words, i * (DRAWS + DRAWN) + at - begin, drop_below)
                    most, least = larger(most, found), smaller(least, found)
                    quick = quick + product(numerators[i], singles(found, form) - ground)
                if fits(most, least, low, high, spread):
                    quick = share(quick, denominator, inverse)
                    result = moved(ground, quick)
                    if inverse != 0.0 or steady(quick, result):
                        put(out, at, out_form, result)
                        continue
            origin, total = load(base, at, form), every(0.0)
            for i in range(len(sources)):
                term = numerators[i] * (load(sources[i], at, form) - origin)
                if drop_below != 0:
                    term = dropped(term, words, i * (DRAWS + DRAWN) + at - begin, drop_below)
                total = total + term
            store(out, at, out_form, updated(origin, divided(total, denominator, inverse)))
    jit.leave(control)


@jit.kernel
def limits(thresholds):
    """(k, 2): bits of the least magnitudes that survive before the cut-off, and from it on."""
    least = np.empty((len(thresholds), 2), np.uint64)
    for i in range(len(thresholds)):
        least[i, 0], least[i, 1] = least_with(thresholds[i]), least_with(thresholds[i] + 1)
    return least


@jit.kernel
def elected_signs(sources, base, n, form, numerators, thresholds, cutoffs, first, spans, counts):
    """Add to counts the elements won by the positive and by the negative mass; see `proven.mass_spans`."""
    control = jit.enter()
    limit = limits(thresholds)
    low, high, spread = spans[0], spans[1], spans[2]
    for at in range(0, n, WIDTH):
        if high > 0:
            found = patterns(base, at)
            most, least = larger(filled(0), found), smaller(filled(0xFFFF), found)
            near = singles(found, form)
            sums = alike(near, 0.0)
            for i in range(len(sources)):
                found = patterns(sources[i], at)
                most, least = larger(most, found), smaller(least, found)
                delta = singles(found, form) - near
                sums = sums + times(numerators[i], trimmed_singles(delta, thresholds[i], cutoffs[i] - first - at))
            if fits(most, least, low, high, spread):
                counts[0] += positives(sums)
                counts[1] += negatives(sums)
                continue
        origin, mass = load(base, at, form), every(0.0)
        for i in range(len(sources)):
            delta64 = load(sources[i], at, form) - origin
            mass = mass + times(numerators[i], trimmed(delta64, limit[i, 0], limit[i, 1], cutoffs[i] - first - at))
        counts[0] += positives(mass)
        counts[1] += negatives(mass)
    jit.leave(control)


@jit.part
def merged(kept, numerators, count, denominator, mass, zero_sign, aggregate, a, b):
    """(a·S)/(b·W) over the kept values that carry the elected sign; all in the type of the mass.

    Arrays are given by their addresses: numba would count references to them for every vector.
    """
    sign, total, share = elected(mass, zero_sign), alike(mass, 0.0), alike(mass, denominator)
    if aggregate == 0:
        share = alike(mass, 0.0)
    for i in range(count):
        numerator, tau = number(numerators, i), recall_like(kept, i, mass)
        product = times(numerator, tau)
        if aggregate == 2:
            total = largest(total, product, tau, sign)
        else:
            total = total + agreeing(product, tau, sign)
            if aggregate == 0:
                share = share + agreeing(alike(mass, numerator), tau, sign)
    return scaled(total, share, a, b)


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
    spans,
    share,
    out,
):
    """θ₀ + (a·S)/(b·W) over the trimmed values that carry the elected sign. aggregate: 0 mean, 1 sum, 2 max.

    In float32 where `proven.update_spans` let it.
    """
    control = jit.enter()
    limit, kept = limits(thresholds), np.empty(len(sources) * WIDTH)
    kept_at, numerators_at = np.uint64(kept.ctypes.data), np.uint64(numerators.ctypes.data)
    low, high, spread = spans[0], spans[1], spans[2]
    for at in range(0, n, WIDTH):
        if high > 0:
            found = patterns(base, at)
            most, least = larger(filled(0), found), smaller(filled(0xFFFF), found)
            near = singles(found, form)
            sums = alike(near, 0.0)
            for i in range(len(sources)):
                found = patterns(sources[i], at)
                most, least = larger(most, found), smaller(least, found)
                tau = trimmed_singles(singles(found, form) - near, thresholds[i], cutoffs[i] - first - at)
                hold(kept, i, tau)
                sums = sums + times(numerators[i], tau)
            if fits(most, least, low, high, spread):
                update = merged(kept_at, numerators_at, len(sources), denominator, sums, zero_sign, aggregate, a, b)
                result = updated(near, update)
                if settled(update, result, singles(most, form), share):
                    put(out, at, out_form, result)
                    continue
        origin, mass = load(base, at, form), every(0.0)
        for i in range(len(sources)):
            delta = load(sources[i], at, form) - origin
            tau64 = trimmed(delta, limit[i, 0], limit[i, 1], cutoffs[i] - first - at)
            hold(kept, i, tau64)
            mass = mass + times(numerators[i], tau64)
        exact = merged(kept_at, numerators_at, len(sources), denominator, mass, zero_sign, aggregate, a, b)
        store(out, at, out_form, updated(origin, exact))
    jit.leave(control)
