"""The kernels numba compiles: loops over bit patterns, nothing else; called through `compiled`, never directly.

All of them stand in this one file because numba's cache watches the file of a kernel, not the files of its helpers.
Rules that keep them fast and exact: arrays come as addresses, so one compilation serves every k and format; work goes
through pieces of PIECE elements that stay in the first-level cache; a choice of values is `select`, never a branch;
constants next to uint64 are uint64; no fast-math, no parallel loops, no C library. Numba finds the types of the
arguments, so they are not written here: addresses are uint64, counts and codes int64, values float64.
"""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]

from conjoin.kernels import jit
from conjoin.kernels.layout import LANES

PIECE = 1024
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
def accumulate(source, numerator, start, count, form, values, total):
    """Total += nᵢ xᵢ of one piece; the common formats without a stop in `values`."""
    if form == 0:
        short = carray(pointer(source, np.uint16), start + count)[start:]
        for j in range(count):
            total[j] += numerator * wide_bf16(short[j])
    elif form == 2:
        single = carray(pointer(source, np.float32), start + count)[start:]
        for j in range(count):
            total[j] += numerator * np.float64(single[j])
    else:
        decode(source, start, count, form, values)
        for j in range(count):
            total[j] += numerator * values[j]


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
def keys_of(source, origin, start, count, form, values, keys):
    """The magnitude keys of one piece: bits of the float32 nearest to τ, without the sign.

    They go into an array because counting cannot be vectorised and would keep this from being so.
    """
    deltas(source, origin, start, count, form, values)
    for j in range(count):
        keys[j] = bits32_of(np.float32(values[j])) & np.uint32(0x7FFF_FFFF)


@jit.kernel
def high_histograms(sources, base, n, form, shift, counts):
    """counts[i, key >> shift] for each contribution."""
    control = jit.enter()
    origin, values, keys = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.uint32)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for i in range(len(sources)):
            row = counts[i]
            keys_of(sources[i], origin, start, count, form, values, keys)
            for j in range(count):
                row[U64(keys[j]) >> U64(shift)] += 1
    jit.leave(control)


@jit.kernel
def low_histograms(sources, base, n, form, shift, bins, counts):
    """counts[i, lower bits of key] where the upper ones are bins[i]."""
    control = jit.enter()
    origin, values, keys = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.uint32)
    lower = (ONE << U64(shift)) - ONE
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for i in range(len(sources)):
            row, chosen = counts[i], U64(bins[i])
            keys_of(sources[i], origin, start, count, form, values, keys)
            for j in range(count):
                key = U64(keys[j])
                if key >> U64(shift) == chosen:
                    row[key & lower] += 1
    jit.leave(control)


@jit.kernel
def tie_histograms(sources, base, n, form, thresholds, first, shift, bins, counts):
    """counts[i, upper bits of the index] of the keys at the threshold; lower bits within bins[i] where that is ≥ 0."""
    control = jit.enter()
    origin, values, keys = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, np.uint32)
    for start in range(0, n, PIECE):
        count = min(PIECE, n - start)
        decode(base, start, count, form, origin)
        for i in range(len(sources)):
            row, threshold, chosen = counts[i], np.uint32(thresholds[i]), bins[i]
            keys_of(sources[i], origin, start, count, form, values, keys)
            for j in range(count):
                if keys[j] == threshold:
                    index = first + start + j
                    if chosen < 0:
                        row[index >> shift] += 1
                    elif index >> shift == chosen:
                        row[index & ((1 << shift) - 1)] += 1
    jit.leave(control)


@jit.kernel
def least_with(key):
    """Bits of the least float64 magnitude whose nearest float32 has at least this key (from 0 to one above Inf's).

    Rounding is monotonic, so to compare a magnitude with this is to compare keys, without making them.
    """
    if key == 0:
        return U64(0)
    if key > 0x7F80_0000:
        return INFINITY + ONE
    below = np.float64(f32_of(np.uint32(key - 1)))
    above = 2.0**128 if key == 0x7F80_0000 else np.float64(f32_of(np.uint32(key)))
    return bits_of((below + above) * 0.5) + U64(key & 1)


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
def updated(update, origin, count):
    """Update = θ₀ + update; θ₀ itself, sign of zero included, where the update is zero."""
    for j in range(count):
        update[j] = select(update[j] == 0.0, origin[j], origin[j] + update[j])


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
def philox(block, count, key, words):
    """The four words each of `count` counters from `block` on. Nothing but `words` is touched, so it vectorises."""
    key0, key1, c2, c3 = key[0], key[1], key[2], key[3]
    for at in range(count):
        counter = block + U64(at)
        w0, w1, w2, w3, k0, k1 = counter & LOW32, counter >> U64(32), c2, c3, key0, key1
        for _ in range(10):
            p0, p1 = U64(0xD2511F53) * w0, U64(0xCD9E8D57) * w2
            w0, w1, w2, w3 = (p1 >> U64(32)) ^ w1 ^ k0, p1 & LOW32, (p0 >> U64(32)) ^ w3 ^ k1, p0 & LOW32
            k0, k1 = (k0 + U64(0x9E3779B9)) & LOW32, (k1 + U64(0xBB67AE85)) & LOW32
        words[4 * at], words[4 * at + 1], words[4 * at + 2], words[4 * at + 3] = w0, w1, w2, w3


@jit.kernel
def draw_piece(key, first, count, words):
    """Words `first` to `first + count` at the front of `words`; first is a multiple of 4, words has room for 3 more."""
    philox(U64(first) >> U64(2), (count + 3) // 4, key, words)


@jit.kernel
def draws(key, first, count, out):
    """Words `first` to `first + count` of a stream, into a uint64 array."""
    words = np.empty(PIECE + 8, np.uint64)
    skip = first & 3
    for start in range(0, count, PIECE):
        part = min(PIECE, count - start)
        draw_piece(key, first - skip + start, part + skip, words)
        out[start : start + part] = words[skip : skip + part]


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


@jit.intrinsic
def add_step(typingctx: Any, sums: Any, terms: Any, at: Any) -> Any:  # noqa: ARG001
    """sums[:LANES] += terms[at : at + LANES] as one vector; as a loop LLVM unrolls it into scalars before it looks."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.DoubleType(), LANES).as_pointer()
        sums, terms = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 1))
        target = builder.bitcast(sums, vector)
        added = builder.load(builder.bitcast(builder.gep(terms, [args[2]]), vector), align=8)
        builder.store(builder.fadd(builder.load(target, align=8), added), target, align=8)
        return context.get_dummy_value()

    return types.void(sums, terms, types.int64), codegen


@jit.kernel
def add_lanes(sums, terms, count):
    """Add `count` terms to the lanes; `terms` has room up to a multiple of LANES."""
    end = (count + LANES - 1) // LANES * LANES
    for j in range(count, end):
        terms[j] = 0.0
    for at in range(0, end, LANES):
        add_step(sums, terms, at)


@jit.kernel
def fold_lanes(lanes):
    """Add the upper half of the lanes onto the lower one until one is left."""
    half = len(lanes) // 2
    while half > 0:
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
        half //= 2
    return lanes[0]


@jit.kernel
def block_gram(sources, base, centred, n, form, block, out):
    """out[b, i, j] = ⟨vᵢ, vⱼ⟩ over block b, in lanes; vᵢ is the tensor, or its task vector where `centred`."""
    control = jit.enter()
    k = len(sources)
    origin, vectors, products = np.empty(PIECE), np.empty((k, PIECE)), np.empty(PIECE)
    lanes = np.empty((k, k, LANES))
    for row in range(out.shape[0]):
        lanes[:] = 0.0
        end = min(n, (row + 1) * block)
        for start in range(row * block, end, PIECE):
            count = min(PIECE, end - start)
            if centred:
                decode(base, start, count, form, origin)
            for i in range(k):
                left = vectors[i]
                if centred:
                    deltas(sources[i], origin, start, count, form, left)
                else:
                    decode(sources[i], start, count, form, left)
                for j in range(i + 1):
                    right = vectors[j]
                    for at in range(count):
                        products[at] = left[at] * right[at]
                    add_lanes(lanes[i, j], products, count)
        for i in range(k):
            for j in range(i + 1):
                out[row, i, j] = out[row, j, i] = fold_lanes(lanes[i, j])
    jit.leave(control)


@jit.kernel
def block_l1(sources, base, n, form, drop_below, keys, first, block, out):
    """out[b, i] = Σ|τᵢ| over all elements of block b and over those that are kept, in lanes."""
    control = jit.enter()
    origin, sizes = np.empty(PIECE), np.empty(PIECE)
    words, lanes = np.empty(PIECE + 4, np.uint64), np.empty((2, LANES))
    for row in range(out.shape[0]):
        end = min(n, (row + 1) * block)
        for i in range(len(sources)):
            lanes[:] = 0.0
            for start in range(row * block, end, PIECE):
                count = min(PIECE, end - start)
                decode(base, start, count, form, origin)
                deltas(sources[i], origin, start, count, form, sizes)
                draw_piece(keys[i], first + start, count, words)
                for j in range(count):
                    sizes[j] = f64_of(bits_of(sizes[j]) & MAGNITUDE)
                add_lanes(lanes[0], sizes, count)
                for j in range(count):
                    sizes[j] = select(words[j] < drop_below, 0.0, sizes[j])
                add_lanes(lanes[1], sizes, count)
            out[row, i, 0] = fold_lanes(lanes[0])
            out[row, i, 1] = fold_lanes(lanes[1])
    jit.leave(control)
