"""Pieces of kernels: bits read as other types, choices without branches, formats, task vectors."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from typing import Any

import numpy as np
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]

from conjoin.kernels import jit

PIECE = 1024
"""Elements worked on at a time."""
U64 = np.uint64
MAGNITUDE = U64(0x7FFF_FFFF_FFFF_FFFF)
INFINITY = U64(0x7FF0_0000_0000_0000)
ONE = U64(1)
LOW32 = U64(0xFFFF_FFFF)


def _cast(source: Any, target: Any) -> Any:
    """An intrinsic that reads the bits of one type as another."""

    @jit.intrinsic
    def cast(typingctx: Any, value: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(signature.return_type))

        return target(source), codegen

    return cast


f64_of = _cast(types.uint64, types.float64)
bits_of = _cast(types.float64, types.uint64)
f32_of = _cast(types.uint32, types.float32)
bits32_of = _cast(types.float32, types.uint32)


@jit.intrinsic
def select(typingctx: Any, condition: Any, yes: Any, no: Any) -> Any:  # noqa: ARG001
    """`yes if condition else no` without a branch; both sides are of one type."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.select(args[0], args[1], args[2])

    return yes(types.boolean, yes, yes), codegen


@jit.intrinsic
def square_root(typingctx: Any, value: Any) -> Any:  # noqa: ARG001
    """The processor's square root; numba's own may call the C library."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [args[0].type]), args)

    return types.float64(types.float64), codegen


@jit.intrinsic
def pointer(typingctx: Any, address: Any, dtype: Any) -> Any:  # noqa: ARG001
    """The address as a typed pointer."""
    target = types.CPointer(dtype.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return target(types.uint64, dtype), codegen


@jit.kernel
def wide_bf16(pattern):
    """A BF16 number: the upper half of a float32."""
    return np.float64(f32_of(np.uint32(pattern) << np.uint32(16)))


@jit.kernel
def decode(address, start, count, form, out):
    """Widen `count` patterns from index `start` on into `out`. Formats by code: BF16, F16, F32, F64."""
    if form == 0:
        short = carray(pointer(address, np.uint16), start + count)[start:]
        for j in range(count):
            out[j] = wide_bf16(short[j])
    elif form == 1:
        short = carray(pointer(address, np.uint16), start + count)[start:]
        for j in range(count):
            size = U64(short[j]) & U64(0x7FFF)
            small = bits_of((f64_of(size | U64(0x4330_0000_0000_0000)) - 2.0**52) * 2.0**-24)
            wide = (size << U64(42)) + U64(1008 << 52)
            wide = select(size >= U64(0x7C00), wide | INFINITY, wide)
            sign = (U64(short[j]) >> U64(15)) << U64(63)
            out[j] = f64_of(select(size < U64(0x400), small, wide) | sign)
    elif form == 2:
        single = carray(pointer(address, np.float32), start + count)[start:]
        for j in range(count):
            out[j] = np.float64(single[j])
    else:
        double = carray(pointer(address, np.float64), start + count)[start:]
        for j in range(count):
            out[j] = double[j]


@jit.kernel
def short_of(value, cut, half, rebias, infinity, nan, units, smallest):
    """Round one value to a 16-bit format; the constants are those of `formats._encode_short`."""
    bits = bits_of(value)
    size = bits & MAGNITUDE
    normal = ((size + half + ((size >> cut) & ONE)) >> cut) - rebias
    normal = select(normal > infinity, infinity, normal)
    small = bits_of(f64_of(size) + units) & U64(0xFFFF)
    pattern = select(size < smallest, small, normal) | ((bits >> U64(48)) & U64(0x8000))
    return np.uint16(select(size > INFINITY, nan, pattern))


@jit.kernel
def encode(values, count, form, address, start):
    """Round `count` values into patterns from index `start` on."""
    if form == 0:
        short = carray(pointer(address, np.uint16), start + count)[start:]
        for j in range(count):
            short[j] = short_of(
                values[j],
                U64(45),
                U64((1 << 44) - 1),
                U64(896 << 7),
                U64(0x7F80),
                U64(0x7FC0),
                2.0**-81,
                U64(897 << 52),
            )
    elif form == 1:
        short = carray(pointer(address, np.uint16), start + count)[start:]
        for j in range(count):
            short[j] = short_of(
                values[j],
                U64(42),
                U64((1 << 41) - 1),
                U64(1008 << 10),
                U64(0x7C00),
                U64(0x7E00),
                2.0**28,
                U64(1009 << 52),
            )
    elif form == 2:
        single = carray(pointer(address, np.uint32), start + count)[start:]
        for j in range(count):
            pattern = bits32_of(np.float32(values[j]))
            single[j] = select((bits_of(values[j]) & MAGNITUDE) > INFINITY, np.uint32(0x7FC0_0000), pattern)
    else:
        double = carray(pointer(address, np.uint64), start + count)[start:]
        for j in range(count):
            bits = bits_of(values[j])
            double[j] = select((bits & MAGNITUDE) > INFINITY, U64(0x7FF8_0000_0000_0000), bits)


@jit.kernel
def deltas(source, origin, start, count, form, out):
    """τ = θ − θ₀ of one piece; `origin` holds the decoded base."""
    if form == 0:
        short = carray(pointer(source, np.uint16), start + count)[start:]
        for j in range(count):
            out[j] = wide_bf16(short[j]) - origin[j]
    elif form == 2:
        single = carray(pointer(source, np.float32), start + count)[start:]
        for j in range(count):
            out[j] = np.float64(single[j]) - origin[j]
    else:
        decode(source, start, count, form, out)
        for j in range(count):
            out[j] -= origin[j]


@jit.kernel
def vectors(source, base, centred, start, count, form, origin, out):
    """The values of one piece, or its task vector where `centred`."""
    if centred:
        decode(base, start, count, form, origin)
        deltas(source, origin, start, count, form, out)
    else:
        decode(source, start, count, form, out)


@jit.kernel
def updated(update, origin, count):
    """Update = θ₀ + update; θ₀ itself, sign of zero included, where the update is zero."""
    for j in range(count):
        update[j] = select(update[j] == 0.0, origin[j], origin[j] + update[j])
