"""Kernels of the symmetric eigensolver: reflections, rotations, secular equation; the scalar steps are `spectrum`'s.

What is long is read once: a sweep takes several rows of the matrix side by side past the vectors they meet, so that
each element is loaded once for the row's sum and for the column's.
"""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from conjoin.kernels import jit, spectrum
from conjoin.kernels.native.bits import U64, select, square_root
from conjoin.kernels.native.matrix import TILE, place
from conjoin.kernels.spectrum import LANES, REFLECTED_MIN, SECULAR_LIMIT

ROWS = 8 if TILE in (0, 3) else 4
"""Rows of a sweep: their lanes, two vectors and a product fill the registers. No bit depends on it."""
GROUP = 64
"""Roots that are looked for side by side. No bit depends on it."""


def _sweep(rows: int, symmetric: bool) -> Any:
    """An intrinsic: lanes[i] = the lanes of Σ_j matrix[i, j] v[j] for `rows` rows, j < count, a multiple of LANES.

    Where `symmetric`, also u[j] += matrix[i, j] v[count + first + i], row after row.
    """
    f64, i64 = ir.DoubleType(), ir.IntType(64)
    vector = ir.VectorType(f64, LANES)
    blank = ir.Constant(vector, ir.Undefined)
    nowhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

    @jit.intrinsic
    def sweep(typingctx: Any, matrix: Any, stride: Any, v: Any, u: Any, count: Any, first: Any, lanes: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            matrix, v, u, lanes = (builder.inttoptr(args[i], f64.as_pointer()) for i in (0, 2, 3, 6))
            stride, count, first = args[1], args[4], args[5]

            def at(base: Any, offset: Any) -> Any:
                return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

            def number(value: int) -> Any:
                return ir.Constant(i64, value)

            starts = [builder.gep(matrix, [builder.mul(stride, number(i))]) for i in range(rows)]
            factors: list[Any] = []
            for i in range(rows if symmetric else 0):
                place_of = builder.gep(v, [builder.add(builder.add(count, first), number(i))])
                one = builder.insert_element(blank, builder.load(place_of), ir.Constant(ir.IntType(32), 0))
                factors.append(builder.shuffle_vector(one, blank, nowhere))
            begin = builder.block
            loop, done = (builder.append_basic_block(name) for name in ("loop", "done"))
            zero = ir.Constant(vector, [0.0] * LANES)
            builder.cbranch(builder.icmp_signed(">", count, number(0)), loop, done)

            builder.position_at_end(loop)
            j, sums = builder.phi(i64), [builder.phi(vector) for _ in range(rows)]
            here = builder.load(at(v, j), align=8)
            column = builder.load(at(u, j), align=8) if symmetric else None
            added: list[Any] = []
            for i in range(rows):
                element = builder.load(at(starts[i], j), align=8)
                added.append(builder.fadd(sums[i], builder.fmul(element, here)))
                if symmetric:
                    column = builder.fadd(column, builder.fmul(element, factors[i]))
            if symmetric:
                builder.store(column, at(u, j), align=8)
            following = builder.add(j, number(LANES))
            builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
            for value, origin, new in [(j, number(0), following), *zip(sums, [zero] * rows, added, strict=True)]:
                value.add_incoming(origin, begin)
                value.add_incoming(new, loop)

            builder.position_at_end(done)
            for i in range(rows):
                total = builder.phi(vector)
                total.add_incoming(zero, begin)
                total.add_incoming(added[i], loop)
                sums[i] = total
            for i in range(rows):
                builder.store(sums[i], at(lanes, number(i * LANES)), align=8)
            return context.get_dummy_value()

        u64, count_type = types.uint64, types.int64
        return types.void(u64, count_type, u64, u64, count_type, count_type, u64), codegen

    return sweep


_rows_down, _row_down = _sweep(ROWS, True), _sweep(1, True)
_rows_along, _row_along = _sweep(4, False), _sweep(1, False)


@jit.kernel
def hold():
    """Set the thread to IEEE arithmetic; returns what `release` takes."""
    return jit.enter()


@jit.kernel
def release(control):
    """Give the thread back its floating point state."""
    jit.leave(control)


@jit.kernel
def folded(lanes):
    """The sum of eight lanes, halves onto each other."""
    a, b = lanes[0] + lanes[4], lanes[1] + lanes[5]
    c, d = lanes[2] + lanes[6], lanes[3] + lanes[7]
    return (a + c) + (b + d)


@jit.kernel
def inner(x, y, count):
    """Σ xⱼ yⱼ over `count` elements, in lanes."""
    lanes = np.empty(LANES)
    whole = count // LANES * LANES
    _row_along(place(x), 0, place(y), place(y), whole, 0, place(lanes))
    for j in range(whole, count):
        lanes[j - whole] += x[j] * y[j]
    return folded(lanes)


@jit.kernel
def inner_rows(rows, height, v, count, out):
    """out[i] = Σ_j rows[i, j] vⱼ over `count` elements, in lanes."""
    lanes = np.empty((4, LANES))
    whole, stride = count // LANES * LANES, rows.strides[0] // 8
    for i in range(0, height // 4 * 4, 4):
        _rows_along(place(rows) + U64(i * stride * 8), stride, place(v), place(v), whole, 0, place(lanes))
        for r in range(4):
            for j in range(whole, count):
                lanes[r, j - whole] += rows[i + r, j] * v[j]
            out[i + r] = folded(lanes[r])
    for i in range(height // 4 * 4, height):
        out[i] = inner(rows[i], v, count)


@jit.kernel
def symmetric_times(a, v, n, out, down):
    """Out = A v, the first n rows and columns of A by its lower triangle; `down` is room for n elements."""
    lanes = np.empty((LANES, LANES))
    stride = a.strides[0] // 8
    for j in range(n):
        down[j] = 0.0
    for start in range(0, n, LANES):
        tip = min(LANES, n - start)
        source = place(a) + U64(start * stride * 8)
        if tip == LANES:
            for r in range(0, LANES, ROWS):
                rows = source + U64(r * stride * 8)
                _rows_down(rows, stride, place(v), place(down), start, r, place(lanes) + U64(r * LANES * 8))
        else:
            for r in range(tip):
                rows = source + U64(r * stride * 8)
                _row_down(rows, stride, place(v), place(down), start, r, place(lanes) + U64(r * LANES * 8))
        for r in range(tip):
            i, row = start + r, a[start + r]
            for j in range(start, i):
                lanes[r, j - start] += row[j] * v[j]
                down[j] += row[j] * v[i]
            lanes[r, r] += row[i] * v[i]
            out[i] = folded(lanes[r])
    for j in range(n):
        out[j] += down[j]


@jit.kernel
def subtract_rows(target, count, factors, rows, height):
    """Target −= factors[q] · rows[q], one row after the other."""
    for q in range(0, height - height % 4, 4):
        f0, f1, f2, f3 = factors[q], factors[q + 1], factors[q + 2], factors[q + 3]
        r0, r1, r2, r3 = rows[q], rows[q + 1], rows[q + 2], rows[q + 3]
        for j in range(count):
            target[j] = (((target[j] - f0 * r0[j]) - f1 * r1[j]) - f2 * r2[j]) - f3 * r3[j]
    for q in range(height - height % 4, height):
        factor, row = factors[q], rows[q]
        for j in range(count):
            target[j] -= factor * row[j]


@jit.kernel
def reflect_row(row, r, v):
    """Make the reflection that leaves of row[: r] its last element; v, then that element and τ, which is 0 for none."""
    pivot, weight = row[r - 1], inner(row, row, r - 1)
    if weight <= REFLECTED_MIN:
        return pivot, 0.0
    norm = square_root(pivot * pivot + weight)
    kept = -norm if pivot > 0.0 else norm
    scale = pivot - kept
    for j in range(r - 1):
        v[j] = row[j] / scale
    v[r - 1] = 1.0
    return kept, (kept - pivot) / kept


@jit.kernel
def reduce_panel(a, top, bottom, d, e, tau, left, right):
    """See `reference.eigen.reduce_panel`."""
    control = jit.enter()
    factors, v, w, down = np.empty(len(left)), np.empty(top), np.empty(top), np.empty(top)
    for r in range(top - 1, bottom - 1, -1):
        done = 2 * (top - 1 - r)
        row = a[r]
        for q in range(done):
            factors[q] = left[q, r]
        subtract_rows(row, r + 1, factors, right, done)
        d[r] = row[r]
        if r == 0:
            for j in range(len(row)):
                row[j] = 0.0
            break
        e[r - 1], tau[r] = reflect_row(row, r, v)
        factor = tau[r]
        if factor != 0.0:
            symmetric_times(a, v, r, w, down)
            inner_rows(right, done, v, r, factors)
            subtract_rows(w, r, factors, left, done)
            for j in range(r):
                w[j] = factor * w[j]
            shift = (0.5 * factor) * inner(w, v, r)
            for j in range(r):
                w[j] = w[j] - shift * v[j]
        else:
            for j in range(r):
                v[j] = w[j] = 0.0
        first, second, third, fourth = left[done], left[done + 1], right[done], right[done + 1]
        for j in range(r):
            row[j] = first[j] = fourth[j] = v[j]
            second[j] = third[j] = w[j]
        for j in range(r, top):
            first[j] = second[j] = third[j] = fourth[j] = 0.0
        for j in range(r, len(row)):
            row[j] = 0.0
    jit.leave(control)


@jit.kernel
def block_factor(gram, tau, out):
    """See `reference.eigen.block_factor`; `out` is zero."""
    control = jit.enter()
    for j in range(len(gram)):
        for q in range(j):
            for i in range(j):
                out[i, j] += out[i, q] * gram[q, j]
        for i in range(j):
            out[i, j] = -tau[j] * out[i, j]
        out[j, j] = tau[j]
    jit.leave(control)


ql_rotations = jit.kernel(spectrum.ql_rotations)
deflation = jit.kernel(spectrum.deflation)
secular_start = jit.kernel(spectrum.secular_start)
secular_step = jit.kernel(spectrum.secular_step)


@jit.kernel
def rotate(rows, firsts, seconds, cosines, sines):
    """See `reference.eigen.rotate`."""
    control = jit.enter()
    for t in range(len(firsts)):
        x, y, c, s = rows[firsts[t]], rows[seconds[t]], cosines[t], sines[t]
        for j in range(len(x)):
            before = x[j]
            x[j] = c * before - s * y[j]
            y[j] = s * before + c * y[j]
    jit.leave(control)


@jit.kernel
def secular_sums(d, z, shift, at, start, size, sums):
    """See `reference.eigen._secular_sums`."""
    left, left_slope, right, right_slope = sums[0], sums[1], sums[2], sums[3]
    for r in range(size):
        left[r] = left_slope[r] = right[r] = right_slope[r] = 0.0
    for i in range(start + size):
        pole, weight = d[i], z[i]
        for r in range(max(i - start, 0), size):
            term = weight / ((pole - shift[r]) - at[r])
            left[r] += weight * term
            left_slope[r] += term * term
    for i in range(len(d) - 1, start, -1):
        pole, weight = d[i], z[i]
        for r in range(min(i - start, size)):
            term = weight / ((pole - shift[r]) - at[r])
            right[r] += weight * term
            right_slope[r] += term * term


@jit.kernel
def secular_group(d, z, rho, total, start, size, origins, offsets):
    """Roots `start` to `start + size`; False at the limit."""
    k, constant = len(d), 1.0 / rho
    shift, at, low, high, before = np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    active, sums = np.empty(size, np.bool_), np.empty((4, size))
    for r in range(size):
        j = start + r
        shift[r], origins[j], before[r], active[r] = d[j], j, np.inf, True
        if j < k - 1:
            at[r] = (d[j + 1] - d[j]) * 0.5
        else:
            at[r], low[r], high[r] = rho * total, 0.0, (2.0 * rho) * total
    secular_sums(d, z, shift, at, start, size, sums)
    for r in range(min(size, k - 1 - start)):
        j = start + r
        value = (constant + sums[0, r]) + sums[2, r]
        second, at[r], low[r], high[r] = secular_start(d[j + 1] - d[j], value, z[j], z[j + 1])
        if second:
            origins[j], shift[r] = j + 1, d[j + 1]
    left = size
    for step in range(SECULAR_LIMIT):
        secular_sums(d, z, shift, at, start, size, sums)
        for r in range(size):
            if active[r]:
                j = start + r
                held = (at[r], low[r], high[r], before[r])
                terms = (constant, sums[0, r], sums[1, r], sums[2, r], sums[3, r])
                near, behind = (d[j] - shift[r]) - at[r], (d[min(j + 1, k - 1)] - shift[r]) - at[r]
                found, at[r], low[r], high[r], before[r] = secular_step(step, k, held, terms, near, behind, j == k - 1)
                if found:
                    active[r] = False
                    left -= 1
        if left == 0:
            for r in range(size):
                offsets[start + r] = at[r]
            return True
    return False


@jit.kernel
def secular_roots(d, z, rho, start, stop, origins, offsets):
    """See `reference.eigen.secular_roots`."""
    control = jit.enter()
    total, found = 0.0, True
    for i in range(len(z)):
        total += z[i] * z[i]
    for first in range(start, stop, GROUP):
        found &= secular_group(d, z, rho, total, first, min(GROUP, stop - first), origins, offsets)
    jit.leave(control)
    return found


@jit.kernel
def recomputed_weights(d, z, origins, offsets, out):
    """See `reference.eigen.recomputed_weights`."""
    control = jit.enter()
    k = len(d)
    for i in range(k):
        out[i] = 1.0
    for j in range(k):
        shift, at = d[origins[j]], offsets[j]
        if j == k - 1:
            for i in range(k):
                out[i] *= (shift - d[i]) + at
        else:
            pole = d[j + 1]
            for i in range(j + 1):
                out[i] *= ((shift - d[i]) + at) / (pole - d[i])
            pole = d[j]
            for i in range(j + 1, k):
                out[i] *= ((shift - d[i]) + at) / (pole - d[i])
    for i in range(k):
        root = square_root(out[i])
        out[i] = select(z[i] < 0.0, -root, root)
    jit.leave(control)


@jit.kernel
def secular_vectors(d, z, origins, offsets, start, out):
    """See `reference.eigen.secular_vectors`."""
    control = jit.enter()
    for r in range(len(out)):
        shift, at, row = d[origins[start + r]], offsets[start + r], out[r]
        for i in range(len(d)):
            row[i] = z[i] / ((d[i] - shift) - at)
        norm = square_root(inner(row, row, len(d)))
        for i in range(len(d)):
            row[i] /= norm
    jit.leave(control)


@jit.kernel
def make_canonical(rows):
    """See `reference.eigen.make_canonical`."""
    for r in range(len(rows)):
        row = rows[r]
        largest = 0.0
        for j in range(len(row)):
            largest = select(abs(row[j]) > largest, abs(row[j]), largest)
        for j in range(len(row)):
            if abs(row[j]) == largest:
                if row[j] < 0.0:
                    for i in range(len(row)):
                        row[i] = -row[i]
                break
