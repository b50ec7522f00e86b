"""Kernels of sums: 32 lanes per canonical block."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from conjoin.kernels import jit
from conjoin.kernels.layout import LANES
from conjoin.kernels.native.bits import MAGNITUDE, PIECE, U64, bits_of, decode, deltas, f64_of, select
from conjoin.kernels.native.streams import DRAWN, draw, streams


def _lane_loop() -> Any:
    """Code that adds each element of a row, or the product of two rows, to the lanes, all of them in registers.

    Written as vectors because as a loop LLVM unrolls the lanes into scalars before it looks.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.DoubleType(), LANES)
        sums, *rows = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(signature.args[:-1], args[:-1], strict=True)
        )
        target = builder.bitcast(sums, vector.as_pointer())
        total = cgutils.alloca_once_value(builder, builder.load(target, align=8))
        step = ir.Constant(args[-1].type, LANES)
        with cgutils.for_range_slice(builder, step.type(0), args[-1], step, step.type) as (at, _):
            starts = [builder.bitcast(builder.gep(row, [at]), vector.as_pointer()) for row in rows]
            factors = [builder.load(start, align=8) for start in starts]
            term = factors[0] if len(factors) == 1 else builder.fmul(*factors)
            builder.store(builder.fadd(builder.load(total), term), total)
        builder.store(builder.load(total), target, align=8)
        return context.get_dummy_value()

    return codegen


@jit.intrinsic
def add_terms(typingctx: Any, sums: Any, terms: Any, end: Any) -> Any:  # noqa: ARG001
    """sums[:LANES] += terms[at : at + LANES] for each `at`; `end` is a multiple of LANES."""
    return types.void(sums, terms, types.int64), _lane_loop()


@jit.intrinsic
def add_products(typingctx: Any, sums: Any, left: Any, right: Any, end: Any) -> Any:  # noqa: ARG001
    """sums[:LANES] += left[at : at + LANES] · right[at : at + LANES] for each `at`."""
    return types.void(sums, left, right, types.int64), _lane_loop()


@jit.kernel
def filled(row, count):
    """Fill up with zeros to the next multiple of LANES, which is returned; they add nothing."""
    end = (count + LANES - 1) // LANES * LANES
    for j in range(count, end):
        row[j] = 0.0
    return end


@jit.kernel
def add_lanes(sums, terms, count):
    """Add `count` terms to the lanes; `terms` has room up to a multiple of LANES."""
    add_terms(sums, terms, filled(terms, count))


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
    origin, vectors = np.empty(PIECE), np.empty((k, PIECE))
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
                padded = filled(left, count)
                for j in range(i + 1):
                    add_products(lanes[i, j], left, vectors[j], padded)
        for i in range(k):
            for j in range(i + 1):
                out[row, i, j] = out[row, j, i] = fold_lanes(lanes[i, j])
    jit.leave(control)


@jit.kernel
def block_moments(sources, base, centred, n, form, centres, block, out):
    """out[b, i] = Σv, Σ|v| and Σ(v − cᵢ)² over block b, in lanes; v is the tensor or its task vector."""
    control = jit.enter()
    origin, values, terms, lanes = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE), np.empty((3, LANES))
    for row in range(out.shape[0]):
        end = min(n, (row + 1) * block)
        for i in range(len(sources)):
            lanes[:] = 0.0
            for start in range(row * block, end, PIECE):
                count = min(PIECE, end - start)
                if centred:
                    decode(base, start, count, form, origin)
                    deltas(sources[i], origin, start, count, form, values)
                else:
                    decode(sources[i], start, count, form, values)
                add_lanes(lanes[0], values, count)
                for j in range(count):
                    terms[j] = f64_of(bits_of(values[j]) & MAGNITUDE)
                add_lanes(lanes[1], terms, count)
                for j in range(count):
                    values[j] -= centres[i]
                padded = filled(values, count)
                add_products(lanes[2], values, values, padded)
            for column in range(3):
                out[row, i, column] = fold_lanes(lanes[column])
    jit.leave(control)


@jit.kernel
def block_l1(sources, base, n, form, drop_below, keys, first, block, out):
    """out[b, i] = Σ|τᵢ| over all elements of block b and over those that are kept, in lanes."""
    control = jit.enter()
    origin, sizes = np.empty(PIECE), np.empty(PIECE)
    rows, words, least = streams(keys), np.empty((1, PIECE + DRAWN), np.uint32), np.uint32(drop_below)
    lanes = np.empty((2, LANES))
    for row in range(out.shape[0]):
        end = min(n, (row + 1) * block)
        for i in range(len(sources)):
            lanes[:] = 0.0
            for start in range(row * block, end, PIECE):
                count = min(PIECE, end - start)
                decode(base, start, count, form, origin)
                deltas(sources[i], origin, start, count, form, sizes)
                for j in range(count):
                    sizes[j] = f64_of(bits_of(sizes[j]) & MAGNITUDE)
                add_lanes(lanes[0], sizes, count)
                if drop_below > U64(0):
                    draw(rows[i : i + 1], U64(first + start) >> U64(2), count, words)
                    for j in range(count):
                        sizes[j] = select(words[0, j] < least, 0.0, sizes[j])
                    add_lanes(lanes[1], sizes, count)
            out[row, i, 0] = fold_lanes(lanes[0])
            out[row, i, 1] = fold_lanes(lanes[1]) if drop_below > U64(0) else out[row, i, 0]
    jit.leave(control)
