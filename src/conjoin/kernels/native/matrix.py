"""Kernels of dense matrices: the product as a chain per element, on a register tile; factors and solves on it.

A matrix is an address and two strides in elements, of any sign, so that transposing, reversing and cutting cost
nothing. Every element of a product is one chain, its terms in ascending order, so no tile, panel or thread shows.
"""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]
from numba.core.registry import cpu_target

from conjoin.kernels import jit
from conjoin.kernels.layout import LANES
from conjoin.kernels.native.bits import U64, pointer, select, square_root
from conjoin.kernels.native.reductions import add_products, fold_lanes

int64, bool_ = np.int64, np.bool_

DEPTH = 256
"""Steps of k in a packed panel; a panel of B stays in the first-level cache."""
TALL, WIDE = 240, 1920
"""Rows of A packed at once, which stay in the second-level cache, and columns of B; multiples of every tile."""

SMALL = 48
"""Rows of a diagonal block that is factored or solved without products; a multiple of every tile's rows."""

FAR = 2.0**60
"""From here on 1 + ζ² is ζ², and ζ² might overflow."""

TILES = ((12, 2, 8), (4, 3, 4), (6, 2, 2), (6, 4, 2))
"""Register tiles as rows, vectors and lanes: for 512 bits, 256 bits, 128 bits with 16 registers, and with 32."""


def _native_tile() -> int:
    """The tile for the vectors LLVM uses on the processor numba compiles for."""
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()  # pyright: ignore[reportAttributeAccessIssue]
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=name, features=features)
    vector, module = ir.VectorType(ir.DoubleType(), 8), ir.Module()
    function = ir.Function(module, ir.FunctionType(vector, [vector, vector]), "add")
    builder = ir.IRBuilder(function.append_basic_block())
    left, right = function.args
    builder.ret(builder.fadd(left, right))
    assembly = machine.emit_assembly(binding.parse_assembly(str(module)))
    return 0 if "%zmm" in assembly else 1 if "%ymm" in assembly else 3 if jit.IS_ARM else 2


TILE = _native_tile()


def _step(rows: int, vectors: int, lanes: int) -> Any:
    """An intrinsic: c (rows, vectors · lanes) = c, or +0, and then + a[p, i] · b[p, j] for p from 0 on.

    The sums stay in vector registers; LLVM cannot be trusted to keep an array in them.
    """

    def times(builder: Any, value: Any, by: int) -> Any:
        return builder.mul(value, ir.Constant(ir.IntType(64), by))

    def vector_at(builder: Any, base: Any, offset: Any) -> Any:
        return builder.bitcast(builder.gep(base, [offset]), ir.VectorType(ir.DoubleType(), lanes).as_pointer())

    def everywhere(builder: Any, number: Any) -> Any:
        i32 = ir.IntType(32)
        blank = ir.Constant(ir.VectorType(ir.DoubleType(), lanes), ir.Undefined)
        first = builder.insert_element(blank, number, ir.Constant(i32, 0))
        return builder.shuffle_vector(first, blank, ir.Constant(ir.VectorType(i32, lanes), [0] * lanes))

    @jit.intrinsic
    def step(typingctx: Any, a: Any, b: Any, k: Any, c: Any, c_row: Any, keep: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            i64, vector = ir.IntType(64), ir.VectorType(ir.DoubleType(), lanes)
            left, right, out = (builder.inttoptr(args[i], ir.DoubleType().as_pointer()) for i in (0, 1, 3))
            places = [
                vector_at(builder, out, builder.add(times(builder, args[4], i), ir.Constant(i64, v * lanes)))
                for i in range(rows)
                for v in range(vectors)
            ]
            begin = builder.block
            load, loop, done = (builder.append_basic_block(name) for name in ("load", "loop", "done"))
            builder.cbranch(args[5], load, loop)

            builder.position_at_end(load)
            kept = [builder.load(place, align=8) for place in places]
            builder.branch(loop)

            builder.position_at_end(loop)
            p, sums = builder.phi(i64), [builder.phi(vector) for _ in places]
            at_a, at_b = times(builder, p, rows), times(builder, p, vectors * lanes)
            wide = [
                builder.load(vector_at(builder, right, builder.add(at_b, ir.Constant(i64, v * lanes))), align=8)
                for v in range(vectors)
            ]
            added: list[Any] = []
            for i in range(rows):
                number = builder.load(builder.gep(left, [builder.add(at_a, ir.Constant(i64, i))]))
                one = everywhere(builder, number)
                added += [builder.fadd(sums[i * vectors + v], builder.fmul(one, wide[v])) for v in range(vectors)]
            following = builder.add(p, ir.Constant(i64, 1))
            builder.cbranch(builder.icmp_signed("<", following, args[2]), loop, done)
            for value, *incoming in [
                (p, ir.Constant(i64, 0), ir.Constant(i64, 0), following),
                *zip(sums, [ir.Constant(vector, [0.0] * lanes)] * len(sums), kept, added, strict=True),
            ]:
                for source, block in zip(incoming, (begin, load, loop), strict=True):
                    value.add_incoming(source, block)

            builder.position_at_end(done)
            for place, value in zip(places, added, strict=True):
                builder.store(value, place, align=8)
            return context.get_dummy_value()

        address, count = types.uint64, types.int64
        return types.void(address, address, count, address, count, types.boolean), codegen

    return step


_step_512, _step_256, _step_128, _step_arm = (_step(*tile) for tile in TILES)


@jit.intrinsic
def place(typingctx: Any, array: Any) -> Any:  # noqa: ARG001
    """The address of an array's first element, of any layout."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.uint64(array), codegen


@jit.kernel
def tile_step(tile, a, b, k, c, c_row, keep):
    """One register tile of C over k ≥ 1 steps of packed panels."""
    if tile == 0:
        _step_512(a, b, k, c, c_row, keep)
    elif tile == 1:
        _step_256(a, b, k, c, c_row, keep)
    elif tile == 2:
        _step_128(a, b, k, c, c_row, keep)
    else:
        _step_arm(a, b, k, c, c_row, keep)


@jit.kernel
def pack(source, rows, row, steps, column, width, sign, target):
    """Copy sign · a (rows, steps) into panels [rows / width, steps, width]; rows behind the end stay as they are."""
    x = carray(pointer(source, np.float64), 1)
    out = carray(pointer(target, np.float64), (rows + width - 1) // width * width * steps)
    for first in range(0, rows, width):
        part, high = out[first * steps :], min(width, rows - first)
        if row == 1:
            for p in range(steps):
                for i in range(high):
                    part[p * width + i] = sign * x[U64(first + i + p * column)]
        else:
            for i in range(high):
                for p in range(steps):
                    part[p * width + i] = sign * x[U64((first + i) * row + p * column)]


@jit.kernel
def aligned(buffer):
    """The first address in a buffer that is a multiple of 64 bytes; the buffer has 8 elements to spare."""
    return (place(buffer) + U64(63)) & ~U64(63)


@jit.kernel
def copy_part(source, source_row, source_column, target, target_row, target_column, rows, columns, below, region):
    """Copy a small matrix where region · (below + i − j) ≥ 0.

    Constants are handed over as int64, for numba compiles anew for every literal number.
    """
    x, out = carray(pointer(source, np.float64), 1), carray(pointer(target, np.float64), 1)
    for i in range(rows):
        for j in range(columns):
            if region * (below + i - j) >= 0:
                out[U64(i * target_row + j * target_column)] = x[U64(i * source_row + j * source_column)]


@jit.kernel
def panels(left, right, edge, rows, columns, steps, c, c_row, c_column, kept, below, region, tile):
    """One packed panel of A times one of B, onto the part of C at address c that lies `below` rows under the diagonal.

    A tile that is cut, crosses the edge of the region or has no neighbours in memory is worked on in `edge`.
    """
    high, across = TILES[tile][0], TILES[tile][1] * TILES[tile][2]
    for j in range(0, columns, across):
        cut = min(across, columns - j)
        for i in range(0, rows, high):
            tip, under = min(high, rows - i), below + i - j
            if (region > 0 and under + tip <= 0) or (region < 0 and under - cut >= 0):
                continue
            inside = region == 0 or (region > 0 and under >= cut - 1) or (region < 0 and under + tip <= 1)
            corner = c + U64((i * c_row + j * c_column) * 8)
            from_left, from_right = left + U64(i * steps * 8), right + U64(j * steps * 8)
            if inside and c_column == 1 and tip == high and cut == across:
                tile_step(tile, from_left, from_right, steps, corner, c_row, kept)
            else:
                if kept:
                    copy_part(corner, c_row, c_column, edge, across, int64(1), tip, cut, int64(0), int64(0))
                tile_step(tile, from_left, from_right, steps, edge, across, kept)
                copy_part(edge, across, int64(1), corner, c_row, c_column, tip, cut, under, region)


@jit.kernel
def gemm(m, n, k, a, a_row, a_column, b, b_row, b_column, c, c_row, c_column, sign, keep, region, tile):
    """C (m, n) = C, or +0 unless `keep`, and then + (sign · A[i, p]) · B[p, j] for p from 0 to k − 1; sign is 1 or −1.

    Region: 0 all of C, 1 on and below the diagonal, −1 on and above it; nothing else of C is written.
    """
    control = jit.enter()
    if c_column != 1 and c_row == 1:  # by columns: the transposed product has the same terms
        m, n, region = n, m, -region
        a, a_row, a_column, b, b_row, b_column = b, b_column, b_row, a, a_column, a_row
        c_row, c_column = c_column, c_row
    high, across = TILES[tile][0], TILES[tile][1] * TILES[tile][2]
    deep, tall, wide = min(k, DEPTH), min(m + high, TALL), min(n + across, WIDE)
    left, right, edge = np.empty(tall * deep + 8), np.empty(wide * deep + 8), np.zeros(high * across + 8)
    for_left, for_right, for_edge = aligned(left), aligned(right), aligned(edge)
    if k == 0 and not keep:
        for i in range(m):
            copy_part(for_edge, int64(0), int64(0), c + U64(i * c_row * 8), int64(0), c_column, int64(1), n, i, region)
    for j0 in range(0, n, WIDE):
        columns = min(WIDE, n - j0)
        for p0 in range(0, k, DEPTH):
            steps, kept = min(DEPTH, k - p0), keep or p0 > 0
            from_b = b + U64((p0 * b_row + j0 * b_column) * 8)
            pack(from_b, columns, b_column, steps, b_row, across, 1.0, for_right)
            for i0 in range(0, m, TALL):
                rows, corner = min(TALL, m - i0), c + U64((i0 * c_row + j0 * c_column) * 8)
                from_a = a + U64((i0 * a_row + p0 * a_column) * 8)
                pack(from_a, rows, a_row, steps, a_column, high, sign, for_left)
                panels(
                    for_left, for_right, for_edge, rows, columns, steps,
                    corner, c_row, c_column, kept, i0 - j0, region, tile,
                )  # fmt: skip
    left[0] = right[0] = edge[0] = 0.0  # numba frees an array after its last use, and an address is none
    jit.leave(control)


@jit.kernel
def factor_small(n, a, limits):
    """A (n, n) = its lower Cholesky factor, in place; returns the first column that is refused, or −1.

    A pivot that is not above its limit becomes +Inf, so that its column is 0 and takes no part in what follows.
    """
    refused, column = -1, np.empty(n)
    for k in range(n):
        if a[k, k] > limits[k]:
            a[k, k] = square_root(a[k, k])
        else:
            a[k, k] = np.inf
            refused = k if refused < 0 else refused
        for i in range(k + 1, n):
            a[i, k] /= a[k, k]
            column[i] = a[i, k]
        for i in range(k + 1, n):
            row, factor = a[i], a[i, k]
            for j in range(k + 1, i + 1):
                row[j] -= factor * column[j]
    return refused


@jit.kernel
def solve_small(n, r, lower, l_row, l_column, x, x_row, x_column, part):
    """X (n, r) = L⁻¹ X for a small L, in place, by strips of columns copied into `part` (SMALL, strip)."""
    factors, strip = carray(pointer(lower, np.float64), 1), part.shape[1]
    for j in range(0, r, strip):
        wide, corner = min(strip, r - j), x + U64(j * x_column * 8)
        copy_part(corner, x_row, x_column, place(part), strip, int64(1), n, wide, int64(0), int64(0))
        for i in range(n):
            row = part[i, :wide]
            for k in range(i):
                factor, above = factors[U64(i * l_row + k * l_column)], part[k, :wide]
                for q in range(wide):
                    row[q] -= factor * above[q]
            pivot = factors[U64(i * l_row + i * l_column)]
            for q in range(wide):
                row[q] /= pivot
        copy_part(place(part), strip, int64(1), corner, x_row, x_column, n, wide, int64(0), int64(0))


@jit.kernel
def solve_lower(n, r, lower, l_row, l_column, x, x_row, x_column):
    """X (n, r) = L⁻¹ X in place: x_ij = (… (x_ij − l_i0·x_0j) − … − l_i,i−1·x_i−1,j) / l_ii."""
    control, part = jit.enter(), np.empty((SMALL, 256))
    for i in range(0, n, SMALL):
        high = min(SMALL, n - i)
        here, corner, rest = x + U64(i * x_row * 8), i * (l_row + l_column), n - i - high
        solve_small(high, r, lower + U64(corner * 8), l_row, l_column, here, x_row, x_column, part)
        below, under = lower + U64((corner + high * l_row) * 8), here + U64(high * x_row * 8)
        if rest > 0:
            gemm(
                rest, r, high, below, l_row, l_column, here, x_row, x_column, under, x_row, x_column,
                -1.0, bool_(1), int64(0), int64(TILE),
            )  # fmt: skip
    jit.leave(control)


@jit.kernel
def factor(n, a, a_row, a_column, limits):
    """The lower triangle of A (n, n) = its Cholesky factor, in place; what is above the diagonal stays.

    l_ij = (… (a_ij − l_i0·l_j0) − … − l_i,j−1·l_j,j−1) / l_jj and l_jj the square root of the same chain; pivots and
    the value returned as in `factor_small`.
    """
    control, refused, block = jit.enter(), -1, np.empty((SMALL, SMALL))
    for k in range(0, n, SMALL):
        high = min(SMALL, n - k)
        corner, rest = a + U64(k * (a_row + a_column) * 8), n - k - high
        copy_part(corner, a_row, a_column, place(block), int64(SMALL), int64(1), high, high, int64(0), int64(1))
        first = factor_small(high, block, limits[k : k + high])
        refused = k + first if refused < 0 and first >= 0 else refused
        copy_part(place(block), int64(SMALL), int64(1), corner, a_row, a_column, high, high, int64(0), int64(1))
        if rest > 0:
            below, after = corner + U64(high * a_row * 8), corner + U64(high * (a_row + a_column) * 8)
            solve_lower(high, rest, corner, a_row, a_column, below, a_column, a_row)
            gemm(
                rest, rest, high, below, a_row, a_column, below, a_column, a_row, after, a_row, a_column,
                -1.0, bool_(1), int64(1), int64(TILE),
            )  # fmt: skip
    jit.leave(control)
    return refused


@jit.kernel
def add_squares(x, sums):
    """sums[j] = sums[j] + x[i, j]² for i from 0 on."""
    control = jit.enter()
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(x.shape[1]):
            sums[j] += row[j] * row[j]
    jit.leave(control)


@jit.kernel
def normalise(x, sizes):
    """sizes[j] = √sizes[j] and x[i, j] = x[i, j] / sizes[j], or +0 where that is 0, in place."""
    control = jit.enter()
    for j in range(x.shape[1]):
        sizes[j] = square_root(sizes[j])
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(x.shape[1]):
            row[j] = select(sizes[j] == 0.0, 0.0, row[j] / sizes[j])
    jit.leave(control)


@jit.kernel
def lane_dot(left, right, lanes):
    """Σ leftⱼ·rightⱼ in lanes, over rows that are padded with zeros to a multiple of LANES."""
    lanes[:] = 0.0
    add_products(lanes, left, right, len(left))
    return fold_lanes(lanes)


@jit.kernel
def rotate(left, right, cosine, sine):
    """Left, right = c·left − s·right, s·left + c·right."""
    for j in range(len(left)):
        x, y = left[j], right[j]
        left[j] = cosine * x - sine * y
        right[j] = sine * x + cosine * y


@jit.kernel
def swap(left, right):
    """Left, right = right, left."""
    for j in range(len(left)):
        left[j], right[j] = right[j], left[j]


@jit.kernel
def angle(alpha, beta, gamma):
    """Cosine and sine of the smaller rotation that makes γ zero."""
    zeta = (beta - alpha) / (2.0 * gamma)
    size = abs(zeta)
    tangent = 0.5 / size if size > FAR else 1.0 / (size + square_root(1.0 + zeta * zeta))
    tangent = -tangent if zeta < 0.0 else tangent
    cosine = 1.0 / square_root(1.0 + tangent * tangent)
    return cosine, cosine * tangent


@jit.kernel
def jacobi(w, v, sizes, tolerance, sweeps):
    """Rotate the rows of W (r, m) against one another, and those of V (r, r) along, until all are orthogonal.

    Pairs p < q row by row: the longer one becomes the first; they are left alone where |γ| ≤ tolerance·√α·√β. A second
    row of which a rotation leaves at most the share `tolerance` was rounding and becomes 0. m is a multiple of LANES,
    and sizes become the squared norms of the rows. Returns the sweeps done, the last one without a rotation, or
    `sweeps` + 1 where they did not suffice.
    """
    control, r, lanes = jit.enter(), len(w), np.empty(LANES)
    for p in range(r):
        sizes[p] = lane_dot(w[p], w[p], lanes)
    for sweep in range(sweeps):
        turned = False
        for p in range(r):
            for q in range(p + 1, r):
                if sizes[p] < sizes[q]:
                    swap(w[p], w[q])
                    swap(v[p], v[q])
                    sizes[p], sizes[q] = sizes[q], sizes[p]
                alpha, beta, gamma = sizes[p], sizes[q], lane_dot(w[p], w[q], lanes)
                if abs(gamma) > tolerance * square_root(alpha) * square_root(beta):
                    turned = True
                    cosine, sine = angle(alpha, beta, gamma)
                    rotate(w[p], w[q], cosine, sine)
                    rotate(v[p], v[q], cosine, sine)
                    sizes[p] = lane_dot(w[p], w[p], lanes)
                    sizes[q] = lane_dot(w[q], w[q], lanes)
                    if sizes[q] <= tolerance * tolerance * beta:
                        w[q] = 0.0
                        sizes[q] = 0.0
        if not turned:
            jit.leave(control)
            return sweep + 1
    jit.leave(control)
    return sweeps + 1
