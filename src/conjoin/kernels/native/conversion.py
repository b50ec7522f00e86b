"""Conversion: patterns of every format to vectors of float64 and back, and the quotient of a sum.

A format is known by its code: BF16, F16, F32, F64. The code is looked at anew for every vector, which costs nothing
beside the work on it, so that one compilation serves every format.
"""

import math
from typing import Any

from llvmlite import ir
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.native.vectors import F32, F64, U16, U32, U64, VECTOR, WIDTH, Lanes, by_case, read, step, write

MAGNITUDE, INFINITY = (1 << 63) - 1, 0x7FF << 52


def _widened_f16(upper: Lanes) -> Lanes:
    """F16 in the upper half of 32 bits, whose lower half is 0, as float32.

    The exponent is moved; a subnormal is a difference of two numbers of its own binade.
    """
    size = (upper & 0x7FFF_0000) >> 3
    normal = size + (112 << 23)
    normal = (size >= 0x7C00 << 13).choose(normal + (112 << 23), normal)
    small = ((size + (113 << 23)).floats() - 2.0**-14).bits()
    return (((size < 0x400 << 13).choose(small, normal)) | (upper & 0x8000_0000)).floats()


@step(VECTOR, types.uint64, types.int64, types.int64)
def load(address: Lanes, at: Lanes, form: Lanes) -> Lanes | None:
    """The numbers from element `at` on, widened exactly."""
    return by_case(
        form,
        (
            lambda: (read(address, at, U16).to(U32) << 16).floats().to(F64),
            lambda: _widened_f16(read(address, at, U16).to(U32) << 16).to(F64),
            lambda: read(address, at, F32).to(F64),
            lambda: read(address, at, F64),
        ),
    )


def _upper(patterns: Lanes) -> Lanes:
    """Patterns of 16 bits in the upper halves of 32 bits, those of even elements first."""
    pairs = Lanes(patterns.builder, patterns.builder.bitcast(patterns.value, ir.VectorType(U32, WIDTH // 2)))
    return (pairs << 16).joined(pairs & 0xFFFF_0000)


def widened_bf16(patterns: Lanes) -> Lanes:
    """BF16 as float32, even elements first."""
    return _upper(patterns).floats()


def widened_f16(patterns: Lanes) -> Lanes:
    """F16 as float32, even elements first."""
    return _widened_f16(_upper(patterns))


def _rounded(values: Lanes, fraction_bits: int, bias: int) -> Lanes:
    """16-bit patterns of float64 numbers, rounded once.

    A number plus 1.5 · 2^(52 − fraction bits) times its power of two has no room for more fraction bits, so the
    addition itself rounds; taking that away again is exact, and so is float32. Where a result is not a normal number
    the whole vector goes the way of `formats._encode_short`.
    """
    builder = values.builder
    power = (values.bits() & INFINITY).floats() * (1.5 * 2.0 ** (52 - fraction_bits))
    single = ((values + power) - power).to(F32).bits()
    size, infinity = single & 0x7FFF_FFFF, (2 * bias + 1) << fraction_bits
    quick = ((size >> (23 - fraction_bits)) - ((127 - bias) << fraction_bits)) | ((single >> 16) & 0x8000)
    unusual = (size - ((128 - bias) << 23) >= (2 * bias) << 23).any()
    before = builder.block
    with builder.if_then(unusual, likely=False):
        bits, cut = values.bits(), 52 - fraction_bits
        size = bits & MAGNITUDE
        normal = ((size + ((1 << (cut - 1)) - 1) + ((size >> cut) & 1)) >> cut) - ((1023 - bias) << fraction_bits)
        normal = (normal > infinity).choose(normal.splat(infinity), normal)
        small = (size.floats() + 2.0 ** (53 - bias - fraction_bits)).bits() & 0xFFFF
        pattern = (size < (1024 - bias) << 52).choose(small, normal) | ((bits >> 48) & 0x8000)
        careful = (size > INFINITY).choose(pattern.splat(infinity | 1 << (fraction_bits - 1)), pattern).to(U32)
        inside = builder.block
    phi = builder.phi(quick.value.type)
    phi.add_incoming(quick.value, before)
    phi.add_incoming(careful.value, inside)
    return Lanes(builder, phi).to(U16)


@step(types.void, types.uint64, types.int64, types.int64, VECTOR)
def store(address: Lanes, at: Lanes, form: Lanes, values: Lanes) -> None:
    """Round numbers once and put their patterns down from element `at` on."""

    def plain(kind: Any, nan: int) -> Lanes:
        bits = values.to(kind).bits()
        return values.differs(values).choose(bits.splat(nan), bits)

    by_case(
        form,
        (
            lambda: write(address, at, _rounded(values, 7, 127)),
            lambda: write(address, at, _rounded(values, 10, 15)),
            lambda: write(address, at, plain(F32, 0x7FC0_0000)),
            lambda: write(address, at, plain(F64, 0x7FF8 << 48)),
        ),
    )


@jit.kernel
def inverse_of(denominator: float) -> float:
    """1 / D where D is a power of two, so that the product with it is the quotient; else 0."""
    mantissa, _ = math.frexp(denominator)
    return 1.0 / denominator if mantissa == 0.5 else 0.0


@step(VECTOR, VECTOR, types.float64, types.float64)
def divided(total: Lanes, denominator: Lanes, inverse: Lanes) -> Lanes | None:
    """Total / D, given what `inverse_of` says of D."""
    exact = inverse.differs(0.0).to(U64)
    return by_case(exact, (lambda: total / denominator, lambda: total * inverse))
