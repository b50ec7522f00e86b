"""Kernels of sums: 32 lanes per canonical block."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.layout import LANES
from conjoin.kernels.native.bits import MAGNITUDE, PIECE, bits_of, decode, deltas, f64_of, select
from conjoin.kernels.native.streams import draw_piece


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
