"""Float32 where it is proven to give the bytes of the chain in float64; what is not proven stays with that chain.

The numbers of 16 bits at the places of a vector are multiples of q, the last place of the least of them that is not 0,
and at most h, the largest; both come from the patterns as whole numbers. Sums and products of whole numbers with them
that stay below 2²⁴ q are exact in float32, hence in float64, in every order. Ties are no exception, so that averages of
numbers alike, which are often ties, are proven too. `spans` says how far h may be from q.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types

from conjoin.kernels.formats import FORMATS
from conjoin.kernels.native.conversion import widened_bf16, widened_f16
from conjoin.kernels.native.streams import WORDS
from conjoin.kernels.native.vectors import (
    F32,
    PATTERNS,
    SINGLES,
    U16,
    U32,
    WIDTH,
    Lanes,
    by_case,
    numbered,
    read,
    read_ahead,
    step,
    write,
)

FRACTION, EXPONENT_LEAST, EXPONENT_MOST = 24, -40, 60
"""Bits of a float32; between which powers of two numbers of BF16 are looked at, so that no result in between overflows
or is subnormal: factors are from 2⁻²⁴ to 2²⁴."""
NEVER = np.array([1 << 16, 0, 0], np.int64)


def spans(form: str, room: float) -> npt.NDArray[np.int64]:
    """(3,): the least and the largest magnitude pattern that are let in, and by how much they may differ.

    If they pass `fits`, room · h < 2²⁴ q: a number is below 2 to its exponent + 1, q is 2 to the power of the least
    exponent less the bits of the fraction, and patterns that differ by s have exponents that differ by s / 2^fraction
    at most.

    Args:
        form: format of the numbers.
        room: at least 1.
    """
    known = FORMATS[form]
    gap = FRACTION - 1 - known.fraction_bits - (math.ceil(room) - 1).bit_length()
    if known.item_bytes > 2 or gap < 0:
        return NEVER
    if form == "BF16":
        least, most = ((exponent + known.bias) << known.fraction_bits for exponent in (EXPONENT_LEAST, EXPONENT_MOST))
    else:
        least, most = 1, known.infinity - 1
    return np.array([least, most, gap << known.fraction_bits], np.int64)


def grain(numbers: Sequence[float]) -> float:
    """The largest power of two, up to 1, of which all the numbers are multiples; 0 if one of them is out of range."""
    least = 1.0
    for number in numbers:
        if not 2.0**-FRACTION <= abs(number) <= 2.0**FRACTION:
            return 0.0
        above, below = number.as_integer_ratio()
        least = min(least, (above & -above) / below)
    return least if least >= 2.0**-FRACTION else 0.0


@functools.lru_cache(256)
def linear_spans(numerators: tuple[float, ...], denominator: float, form: str, out_form: str) -> npt.NDArray[np.int64]:
    """Where (Σ nᵢ xᵢ) / D may be computed in float32 and rounded from there.

    With the nᵢ multiples of g, every partial sum is a multiple of g q and below 2²⁴ g q: S is exact. Let t be halfway
    between two neighbours of the result's format (p bits) and not S/D, and 2^e ≤ |S/D| < 2^(e + 1). S and t·D are
    multiples of the smaller one of g q and 2^(e − p), so S/D is at least that / D away from t. Both are more than
    2⁻²⁴ |S/D|, by which float32 is wrong: g q because |S| < 2²⁴ g q, the other because D ≤ 2^(23 − p). So S/D, its
    float32 and its float64 are on one side of t; and if S/D = t, all three are t.
    """
    smallest, bits = grain(numerators), FORMATS[out_form].fraction_bits + 1
    whole = denominator == int(denominator) and 1 <= denominator <= 2.0 ** (FRACTION - 1 - bits)
    if not smallest or not whole:
        return NEVER
    return spans(form, sum(map(abs, numerators)) / smallest)


@functools.lru_cache(256)
def mass_spans(numerators: tuple[float, ...], form: str) -> npt.NDArray[np.int64]:
    """Where task vectors and Σ nᵢ τ̂ᵢ may be computed in float32.

    Task vectors are multiples of q up to 2 h, so that with the nᵢ multiples of g all sums of products are multiples of
    g q, below 2²⁴ g q: they are exact.
    """
    smallest = grain(numerators)
    return spans(form, 2 * sum(map(abs, numerators)) / smallest) if smallest else NEVER


@functools.lru_cache(256)
def update_spans(
    numerators: tuple[float, ...], denominator: float, scale: tuple[float, float], form: str, out_form: str
) -> tuple[npt.NDArray[np.int64], float]:
    """Where θ₀ + (a·S)/(b·W) may be computed in float32, S a sum of products nᵢ τ̂ᵢ, W one of nᵢ or D; see `settled`.

    Sums are exact as in `mass_spans`, a S and b W too. With G the product of the grains of the nᵢ and of a, the result
    is Q = (b W θ₀ + a S) / (b W), and of halfways t that are multiples of q′ ≤ q it is G q′ / (b |W|) away, or equal to
    one. Float32 is wrong by 2⁻²⁴ (|θ₀| + 2 |a S| / (b |W|)) at most; that is less if (b |W| + 4 |a| N) h < 2²⁴ G q′,
    N = Σ |nᵢ|, |S| ≤ 2 N h. If Q = t, the update t − θ₀ is a multiple of q′ below 2²⁴ q′, hence exact, and so is t.
    Let q′ be the least power of two that `spans` allows. All halfways near Q are multiples of it if |Q| is not much
    less than h.

    Returns:
        The spans, and what share of h a result must have.
    """
    (a, b), weight = scale, max(sum(map(abs, numerators)), denominator, 1.0)
    grains, bits = grain(numerators) * grain([a]), FORMATS[out_form].fraction_bits + 1
    if not grains or bits > FORMATS["F16"].fraction_bits + 1 or any(whole != int(whole) for whole in (b, denominator)):
        return NEVER, 1.0
    room = (b * weight + 4 * abs(a) * sum(map(abs, numerators))) / grains
    return spans(form, room), 2.0 ** ((math.ceil(room) - 1).bit_length() + bits - FRACTION + 3)


def delta_spans(numerators: tuple[float, ...], denominator: float, form: str, out_form: str) -> npt.NDArray[np.int64]:
    """Where θ₀ + (Σ nᵢ τᵢ) / D may be computed in float32 and rounded from there, where it is `steady`.

    A τ is a multiple of q and at most 2h, so it and S = Σ nᵢ τᵢ are exact as in `linear_spans`; with D a power of two
    so is the result N/D, N = D θ₀ + S, steady or not. Else float32 is wrong by 2⁻²⁴ (|S| + |N|) / D at most. N/D is
    at least g q / D away from t, or 2^(e − p) / D where that is less; the first is more than the error by the span,
    the other if |S| ≤ 4 |N|, which `steady` looks at, and D ≤ 2^(20 − p). If N/D = t, then S/D = t − θ₀ has 24 bits
    at most, so that float32 has it.
    """
    smallest, known = grain(numerators), FORMATS[out_form]
    whole = denominator == int(denominator) and 1 <= denominator <= 2.0**FRACTION
    if not smallest or not whole or not numerators or known.item_bytes > 2:
        return NEVER
    size = 2 * sum(map(abs, numerators))
    if math.frexp(denominator)[0] == 0.5:
        return spans(form, (size + denominator) / smallest)
    if denominator > 2.0 ** (FRACTION - 5 - known.fraction_bits):
        return NEVER
    return spans(form, (2 * size + denominator) / smallest * (1 + 2.0**-20))


@step(PATTERNS, types.int64)
def filled(number: Lanes) -> Lanes:
    """A pattern in every lane."""
    return Lanes(number.builder, ir.Constant(ir.VectorType(U16, WIDTH), ir.Undefined)).splat(number.to(U16))


@step(PATTERNS, types.uint64, types.int64)
def patterns(address: Lanes, at: Lanes) -> Lanes:
    """The patterns from element `at` on."""
    return read_ahead(address, at, U16)


@step(PATTERNS, PATTERNS, PATTERNS)
def larger(most: Lanes, found: Lanes) -> Lanes:
    """The larger magnitude."""
    size = found & 0x7FFF
    return (size > most).choose(size, most)


@step(PATTERNS, PATTERNS, PATTERNS)
def smaller(least: Lanes, found: Lanes) -> Lanes:
    """The smaller magnitude less 1; that of 0 is the largest of all, since 0 is a multiple of everything."""
    size = (found & 0x7FFF) - 1
    return (size < least).choose(size, least)


@step(types.boolean, PATTERNS, PATTERNS, types.int64, types.int64, types.int64)
def fits(most: Lanes, least: Lanes, low: Lanes, high: Lanes, spread: Lanes) -> Lanes:
    """Whether all lanes are within `spans`, given their larger and smaller magnitudes."""
    outside = (least < (low - 1).to(U16)) | (most > high.to(U16)) | (most - least > (spread + 1).to(U16))
    return outside.packed().equals(0)


@step(SINGLES, PATTERNS, types.int64)
def singles(found: Lanes, form: Lanes) -> Lanes | None:
    """The numbers, widened exactly."""
    return by_case(form, (lambda: widened_bf16(found), lambda: widened_f16(found)))


@step(SINGLES, SINGLES, types.int64, types.int64)
def trimmed_singles(delta: Lanes, threshold: Lanes, edge: Lanes) -> Lanes:
    """τ̂: zero where the key is below the threshold, or equal to it from element `edge` on."""
    keys, number = delta.bits() & 0x7FFF_FFFF, numbered(WIDTH // 2, threshold.to(U32)) * 2
    place = number.joined(number + 1)
    edge = edge.signed(">", 0).choose(edge.signed("<", WIDTH).choose(edge, WIDTH), 0).to(U32)
    limit = (place < edge).choose(place.splat(threshold.to(U32)), (threshold + 1).to(U32))
    return (keys >= limit).choose(delta, 0.0)


@step(types.boolean, SINGLES, SINGLES, SINGLES, types.float64)
def settled(update: Lanes, result: Lanes, most: Lanes, share: Lanes) -> Lanes:
    """Whether all results have at least that share of the largest number at their place, or no update.

    With e and c the exponents of h and of what `spans` calls room, rounded up, q′ = 2^(e + c − 23). Between 2^d and
    2^(d + 1) halfways of p bits are multiples of 2^(d − p), just below of half of that, and float32 may give the power
    of two for what is less: d − p − 2 ≥ e + c − 23 will do, and follows from a result of 2^(c + p − 21) h.
    """
    size = (result.bits() & 0x7FFF_FFFF).floats()
    return (update.equals(0.0) | (size >= most * share)).packed().equals(0xFFFF_FFFF)


@step(SINGLES, SINGLES, types.float64)
def quotient(total: Lanes, denominator: Lanes) -> Lanes | None:
    """Total / D."""
    return by_case(denominator.differs(1.0), (lambda: total, lambda: total / denominator.to(F32)))


def _upper_bf16(values: Lanes) -> Lanes:
    """Rounded patterns in the upper halves."""
    bits = values.bits()
    return bits + 0x7FFF + ((bits >> 16) & 1)


def _upper_f16(values: Lanes) -> Lanes:
    """Rounded patterns in the upper halves; a subnormal one is the last place of a sum with ½."""
    bits = values.bits()
    size = bits & 0x7FFF_FFFF
    normal = ((size + 0xFFF + ((size >> 13) & 1)) >> 13) - (112 << 10)
    normal = (normal > 0x7C00).choose(normal.splat(0x7C00), normal)
    small = (size.floats() + 0.5).bits() & 0xFFFF
    return ((size < 113 << 23).choose(small, normal) << 16) | (bits & 0x8000_0000)


@step(types.void, types.uint64, types.int64, types.int64, SINGLES)
def put(address: Lanes, at: Lanes, form: Lanes, values: Lanes) -> None:
    """Round finite numbers to 16 bits and put their patterns down from element `at` on."""

    def packed(upper: Lanes) -> None:
        even, odd = upper.halves()
        write(address, at, ((even >> 16) | (odd & 0xFFFF_0000)).split(U16))

    by_case(form, (lambda: packed(_upper_bf16(values)), lambda: packed(_upper_f16(values))))


@step(PATTERNS, PATTERNS, PATTERNS, WORDS, types.int64, types.uint64)
def kept(found: Lanes, origin: Lanes, words: Lanes, at: Lanes, drop_below: Lanes) -> Lanes:
    """θ₀ in place of what is dropped, because its word, from `at` on, is below a limit."""
    return (read(words, at, U32) < drop_below.to(U32)).choose(origin, found)


@step(SINGLES, types.float64, SINGLES)
def product(numerator: Lanes, values: Lanes) -> Lanes | None:
    """The product n x; x itself where n = 1."""
    return by_case(numerator.differs(1.0), (lambda: values, lambda: values * numerator.to(F32)))


@step(SINGLES, SINGLES, types.float64, types.float64)
def share(total: Lanes, denominator: Lanes, inverse: Lanes) -> Lanes | None:
    """Total / D, given what `inverse_of` says of D."""
    divide, multiply = denominator.to(F32), inverse.to(F32)
    return by_case(inverse.differs(0.0), (lambda: total / divide, lambda: total * multiply))


@step(SINGLES, SINGLES, SINGLES)
def moved(origin: Lanes, update: Lanes) -> Lanes:
    """θ₀ + update; θ₀ itself, sign of zero included, where the update is zero."""
    return update.equals(0.0).choose(origin, origin + update)


@step(types.boolean, SINGLES, SINGLES)
def steady(update: Lanes, result: Lanes) -> Lanes:
    """Whether no update is more than about four times its result: a little more is within the room of `delta_spans`."""
    sizes = [(values.bits() & 0x7FFF_FFFF).floats() for values in (update, result)]
    return (sizes[0] > sizes[1] * 4.0).packed().equals(0)
