"""The self-test of a backend: each operation on fixed patterns against a committed digest; milliseconds, no files.

The patterns are all kinds of finite numbers, subnormal ones and both zeros included, so that a thread which flushes
subnormals, a compiler that contracts or reassociates, or a wrong conversion gives another digest.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np

from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import FORMATS, Float64, Raw, encode
from conjoin.kernels.golden import GOLDEN
from conjoin.kernels.layout import NO_CUTOFF, SUM_PIECE, Bracket, Span, Trim

ELEMENTS = 333
KEYS: list[DrawKey] = [(1, 2, 3, 4), (0xFFFFFFFF, 7, 0x80000000, 9), (5, 0, 0, 0xFFFFFFFF)]
NUMERATORS = [3.0, 0.333333343267440796, 1.0]


def patterns(form: str, salt: int, n: int = ELEMENTS) -> Raw:
    """Finite patterns of a format, from integer arithmetic alone; every fourth one subnormal or zero.

    Every seventh has a common magnitude, so that sums and products of several are rounded in their last bits: there a
    fused multiplication and addition shows.
    """
    known = FORMATS[form]
    index = np.arange(n, dtype=np.uint64) + np.uint64(salt * 1_000_003)
    word = index * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    raw = (word ^ (word >> np.uint64(31))).astype(known.raw)
    exponent = known.raw.type(known.infinity)
    raw[(raw & exponent) == exponent] &= ~known.raw.type(1 << known.fraction_bits)
    raw[1::7] = (raw[1::7] & ~exponent) | known.raw.type(exponent >> 1) & exponent
    raw[::4] &= ~exponent
    raw[::29] &= known.raw.type(1 << (known.raw.itemsize * 8 - 1))
    return raw


def near(form: str, salt: int, n: int = ELEMENTS) -> Raw:
    """Patterns that differ from `patterns(form, 0)` in their last two bits alone, as a fine-tune does from its base.

    Those of common magnitude differ from it in all bits of the fraction.
    """
    known = FORMATS[form]
    other = patterns("F64", salt, n) & np.uint64(3)
    other[1::7] = patterns(form, salt, n)[1::7] & known.raw.type((1 << known.fraction_bits) - 1)
    return patterns(form, 0, n) ^ other.astype(known.raw)


def _inputs(form: str) -> tuple[list[Raw], Raw]:
    return [patterns(form, 1), near(form, 2), near(form, 3)], patterns(form, 0)


def _linear(module: ModuleType, form: str) -> Iterator[Any]:
    sources, _ = _inputs(form)
    for out_form in FORMATS:
        yield module.linear(sources, NUMERATORS, 1.0, form, out_form)
        yield module.linear(sources, [1.0, 1.0, 1.0], 3.0, form, out_form)


def _high_histograms(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.high_histograms(*_inputs(form), form)


def _bracket_counts(module: ModuleType, form: str) -> Iterator[Any]:
    narrow = Bracket(0x3F00_0000, 0x3F01_0000, 0x3F00_8000)
    yield module.bracket_counts(*_inputs(form), form, [Bracket(0, 1 << 31, 0), Bracket(0, 1, 0), narrow])
    yield module.bracket_counts(*_inputs(form), form, [narrow, Bracket(1, 1 << 24, 5), Bracket(3, 1 << 31, 1 << 30)])


def _tie_histograms(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.tie_histograms(*_inputs(form), form, [1, 0, 0], (1 << 18) - 100, None)
    yield module.tie_histograms(*_inputs(form), form, [1, 0, 0], (1 << 18) - 100, [0, 0, 1])


def _trims() -> list[Trim]:
    return [Trim.nothing(3), Trim((0x3F000000, 0, 1), (NO_CUTOFF, 1100, 0))]


def _elected_signs(module: ModuleType, form: str) -> Iterator[Any]:
    for trim in _trims():
        yield module.elected_signs(*_inputs(form), form, NUMERATORS, trim, 1000)


def _ties(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    for trim in _trims():
        for aggregate, zero_sign in (("mean", -1), ("sum", 1), ("max", 0)):
            arguments = (NUMERATORS, 1.0, trim, 1000, aggregate, zero_sign, (3.0, 10.0))
            yield module.ties(tensors, base, form, form, *arguments)


def _delta_sum(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    for out_form in FORMATS:
        yield module.delta_sum(tensors, base, form, out_form, NUMERATORS, 3.0, 0, [], 0)
        yield module.delta_sum(tensors, base, form, out_form, NUMERATORS, 1.0, 0x9999999A, KEYS, 1 << 34)


def _draws(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.draws(KEYS[1], (1 << 35) + FORMATS[form].code, 50)


def _block_gram(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    yield module.block_gram(tensors, None, form)
    yield module.block_gram(tensors, base, form)


def _row_ranks(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    for columns in (37, ELEMENTS):
        yield module.row_ranks(tensors, base, form, columns)
    yield module.row_ranks(tensors, None, form, 1)


def _row_bounds(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    yield module.row_bounds(tensors, base, form, 37, [0, 1, 12, 37], 100)
    yield module.row_bounds(tensors, None, form, ELEMENTS, [200], 0)


def _band_sum(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    bound = np.array([[[0x3F000000 >> i, 1100 - 9 * row] for row in range(11)] for i in range(3)], np.int64)
    for columns in (37, 5000):
        yield module.band_sum(tensors, base, form, form, NUMERATORS, 3.0, bound, bound // 2, columns, 1000)
        yield module.band_sum(tensors, base, form, form, NUMERATORS, 1.0, bound + 1, bound - (0, 99), columns, 1000)
    whole = bound * (1, 0)  # no cut-off, so that whole vectors are alike
    yield module.band_sum(tensors, base, form, form, NUMERATORS, 3.0, whole, whole // 2, 5000, 1000)


def _rank_chances(module: ModuleType, form: str, columns: int) -> tuple[Any, Any]:
    table = np.arange(columns, 0, -1, dtype=np.uint32) * np.uint32(0xFFFFFFFF // columns)
    return table, module.row_ranks(*_inputs(form), form, columns) if columns > 1 else None


def _dropped_signs(module: ModuleType, form: str) -> Iterator[Any]:
    for columns in (1, 37):
        chances = _rank_chances(module, form, columns)
        yield module.dropped_signs(*_inputs(form), form, NUMERATORS, *chances, KEYS, 1 << 34)


def _dropped_ties(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    for columns in (1, 37):
        chances = (*_rank_chances(module, form, columns), KEYS, 1 << 34)
        for aggregate, zero_sign in (("mean", -1), ("sum", 1), ("max", 0), ("all", 0)):
            ending = (aggregate, zero_sign, (3.0, 10.0))
            yield module.dropped_ties(tensors, base, form, form, NUMERATORS, 1.0, *chances, *ending)


def _unified(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    for by_sum, zero_sign in ((True, -1), (True, 1), (False, 0)):
        yield from module.unified(tensors, base, form, form, by_sum, zero_sign, [1.0] * 3, None, True)
        four = [1.0, *NUMERATORS]
        yield from module.unified([base, *tensors], base, form, "BF16", by_sum, zero_sign, four, (3.0, 10.0), False)
        yield from module.unified(tensors, base, form, form, by_sum, zero_sign, [3.0, 0.0, 1.0], None, True)
    values = precise(form, 22, 1, ELEMENTS)[0]
    weighted = [float(Fraction(v) * Fraction(NUMERATORS[1])) for v in values.tolist()]  # however this thread rounds
    opposed = [encode(-np.array(weighted), "F64"), encode(values, "F64")]  # a fused sum would not be 0
    zeros = np.zeros(ELEMENTS, np.uint64)
    yield from module.unified(opposed, zeros, "F64", "F64", True, 1, [1.0, NUMERATORS[1]], None, True)


def _surviving(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    for trim in _trims():
        yield module.surviving(tensors, base, form, trim, 1000)
        yield module.surviving(tensors, None, form, trim, 1000)


def _unanimous(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    yield module.unanimous(tensors, base, form)
    yield module.unanimous([base, *tensors], base, form)


def _masked_sum(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    masks = patterns("F64", 5, 3 * 42).astype(np.uint8).reshape(3, 42)
    yield module.masked_sum(tensors, base, form, form, NUMERATORS, 3.0, masks)
    yield module.masked_sum(tensors, base, form, form, NUMERATORS, 1.0, ~masks)


def _weighted_mean(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, _ = _inputs(form)
    for score_form, out_form in (("F32", form), (form, "BF16"), ("F64", "F64")):
        sign = FORMATS[score_form].raw.type(1 << (8 * FORMATS[score_form].item_bytes - 1))
        scores = [patterns(score_form, salt) & ~sign for salt in (7, 8, 9)]
        for floor in (1e-6, 0.25):
            arguments = (form, score_form, out_form, [3.0, 0.1, 1e-300], [floor, 0.0, floor])
            yield module.weighted_mean(tensors, scores, *arguments)


def _sums(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    for kind in ("values", "sizes", "squares"):
        yield module.sums(tensors, base, form, kind)
        yield module.sums([patterns(form, 4, 3000)], None, form, kind)


def _arguments(form: str) -> Float64:
    """Numbers of all sizes, and moderate ones."""
    wild = patterns("F64", 6 + FORMATS[form].code).view(np.float64)
    special = [0.0, -0.0, 709.8, -745.2, np.inf, -np.inf, np.nan]
    return np.concatenate([wild, matrix(form, 6, 1, ELEMENTS)[0] * 2.0**-12, special])


def _exp(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.exp(_arguments(form))


def _log(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.log(_arguments(form))


def _softmax(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.softmax(matrix(form, 7, 3, ELEMENTS) * 2.0**-14)


def _entropy(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.entropy(matrix(form, 7, 3, ELEMENTS) * 2.0**-14)


def _block_moments(module: ModuleType, form: str) -> Iterator[Any]:
    tensors, base = _inputs(form)
    yield module.block_moments(tensors, None, form, [0.0, 0.0, 0.0])
    yield module.block_moments(tensors, base, form, [1.0, 0.333333343267440796, -1e-3])


def _block_l1(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.block_l1(*_inputs(form), form, 0x9999999A, KEYS, 1 << 34)


def matrix(form: str, salt: int, rows: int, columns: int) -> Float64:
    """Numbers of 24 bits and a few exponents, both signs: (rows, columns) float64."""
    word = patterns("F64", salt + FORMATS[form].code, rows * columns)
    scale = (((word & np.uint64(7)) + np.uint64(1023 - 28)) << np.uint64(52)).view(np.float64)
    size = (word >> np.uint64(40)).astype(np.float64) * scale
    return np.where(word & np.uint64(8), -size, size).reshape(rows, columns)


def precise(form: str, salt: int, rows: int, columns: int) -> Float64:
    """Numbers of 53 bits between 1 and 2, both signs, so that their products are rounded: (rows, columns) float64."""
    word = patterns("F64", salt + FORMATS[form].code, rows * columns) & np.uint64((1 << 63) | ((1 << 52) - 1))
    return (word | np.uint64(1023 << 52)).view(np.float64).reshape(rows, columns)


def _gemm(module: ModuleType, form: str) -> Iterator[Any]:
    a, b, c = matrix(form, 11, 17, 29), matrix(form, 12, 29, 21), matrix(form, 13, 17, 21)
    tall, wide = (patterns("F64", salt, 51).view(np.float64) for salt in (14, 15))
    yield module.gemm(c.copy(), a, b, False, False, 0)
    for region in (-1, 0, 1):
        yield module.gemm(c.copy(), a, b, True, True, region)
    yield module.gemm(np.zeros((17, 17)), tall.reshape(17, 3), wide.reshape(3, 17), False, True, 0)
    yield module.gemm(
        c.copy(), precise(form, 11, 17, 29), precise(form, 12, 29, 21), False, True, 0
    )  # inexact products, which a fused addition would keep


def _in_turn(tasks: Sequence[Callable[[], object]]) -> None:
    for task in tasks:
        task()


def _eigh(module: ModuleType, form: str) -> Iterator[Any]:
    n = 35 if form == "F32" else 7 + FORMATS[form].code
    below, subnormal = np.tri(n, dtype=np.bool_), patterns("F64", 17, n * n) & np.uint64((1 << 52) - 1)
    for square in (matrix(form, 16, n, n), subnormal.view(np.float64).reshape(n, n)):
        for vectors in (True, False):
            yield from module.eigh(np.where(below, square, square.T), vectors, _in_turn)


def _small(form: str, salt: int, n: int = ELEMENTS) -> Raw:
    """Whole numbers up to 2,047 as patterns, every fourth one a zero, some of them −0."""
    word = patterns("F64", salt, n)
    raw = encode((word % np.uint64(4095)).astype(np.float64) - 2047.0, form)
    raw[::4] = (word[::4] & np.uint64(1)).astype(raw.dtype) << raw.dtype.type(raw.itemsize * 8 - 1)
    return raw


def _kept(found: Any) -> Iterator[Any]:
    """What a running sum keeps, bounds first; one zero where it keeps nothing."""
    yield from (np.zeros(1, np.int64),) if found is None else (found.bounds, found.words)


def _advance(module: ModuleType, form: str) -> Iterator[Any]:
    n = SUM_PIECE + 9
    base, *tensors = (_small(form, salt, n) for salt in range(4))
    tensors[1][:SUM_PIECE] = 0
    one, two, five = Span(0, 0), Span(0, 2), Span(0, 5)
    for origin in (None, base):
        before = module.advance(None, one, 1.0, tensors[:2], [1.0, 2.0], 2, origin, form, 0, [], 0, (two, two))
        yield from _kept(before)
        for added, scale, spans in ((1, 3.0, (five, five)), (0, 1.0, (two, one))):
            source, factor = (tensors[2], 4.0) if added else (tensors[1], 2.0)
            changed = ([source], [factor], added, origin, form, 0, [], 0, spans)
            yield from _kept(module.advance(before, two, scale, *changed))
    masked = (base, form, 0x9999999A, KEYS[:2], 1 << 34, (two, two))
    yield from _kept(module.advance(None, one, 1.0, tensors[:2], [1.0, 2.0], 2, *masked))
    wild = [patterns(form, 1), near(form, 2)]
    yield from _kept(module.advance(None, one, 1.0, wild, [1.0, 3.0], 2, None, form, 0, [], 0, (two, two)))


def _result(module: ModuleType, form: str) -> Iterator[Any]:
    n = SUM_PIECE + 9
    base, *tensors = (_small(form, salt, n) for salt in range(4))
    span, wide = Span(0, 2), Span(0, 6)
    for origin, added_to in ((None, False), (base, False), (base, True)):
        summed = origin if added_to else None
        kept = module.advance(None, span, 1.0, tensors, [1.0, 1.0, 2.0], 3, summed, form, 0, [], 0, (span, span))
        for out_form in FORMATS:
            for multiplier, divisor in ((1.0, 1.0), (-9.0, 1.0), (0.5, 3.0)):
                scaled = (wide, wide, Span(-1, 6))
                arguments = (multiplier, divisor, origin, -7.0, 5.0, added_to, n, form, out_form)
                found = module.result(kept, span, scaled, *arguments)
                yield np.zeros(1, np.int64) if found is None else found


def _spd(form: str) -> Float64:
    """A positive definite matrix: small numbers beside a large diagonal. (101, 101)."""
    near = matrix(form, 16, 101, 101)
    return np.where(np.eye(101, dtype=bool), 2.0**8 + near, (near + near.T) * 0.125)


def _factor(module: ModuleType, form: str) -> Iterator[Any]:
    for limit in (0.0, 2.0**8):
        a = _spd(form)
        yield module.factor(a, np.full(101, limit))
        yield a


def _solve_lower(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.solve_lower(_spd(form), matrix(form, 17, 101, 13))


def _add_squares(module: ModuleType, form: str) -> Iterator[Any]:
    yield module.add_squares(precise(form, 18, 23, 11), matrix(form, 19, 1, 11)[0].copy())


def _normalise(module: ModuleType, form: str) -> Iterator[Any]:
    sizes = np.where(np.arange(11) == 4, 0.0, np.arange(11.0))
    yield module.normalise(matrix(form, 20, 23, 11), sizes)
    yield sizes


def _jacobi(module: ModuleType, form: str) -> Iterator[Any]:
    for used in (35, 3):
        w, v = matrix(form, 21, 6, 35), np.eye(6)
        w[:, used:] = 0.0
        yield from module.jacobi(w, v, 2.0**-46, 5)
        yield from (w, v)


CASES: dict[str, Callable[[ModuleType, str], Iterator[Any]]] = {
    "elementwise.linear": _linear,
    "order.high_histograms": _high_histograms,
    "order.bracket_counts": _bracket_counts,
    "order.tie_histograms": _tie_histograms,
    "elementwise.elected_signs": _elected_signs,
    "elementwise.ties": _ties,
    "elementwise.delta_sum": _delta_sum,
    "streams.draws": _draws,
    "reductions.block_gram": _block_gram,
    "reductions.block_l1": _block_l1,
    "running.advance": _advance,
    "running.result": _result,
    "reductions.block_moments": _block_moments,
    "elementary.exp": _exp,
    "elementary.log": _log,
    "elementary.softmax": _softmax,
    "elementary.entropy": _entropy,
    "exact.sums": _sums,
    "means.weighted_mean": _weighted_mean,
    "masks.unified": _unified,
    "masks.surviving": _surviving,
    "masks.unanimous": _unanimous,
    "masks.masked_sum": _masked_sum,
    "selection.row_ranks": _row_ranks,
    "selection.row_bounds": _row_bounds,
    "selection.band_sum": _band_sum,
    "selection.dropped_signs": _dropped_signs,
    "selection.dropped_ties": _dropped_ties,
    "matrix.gemm": _gemm,
    "matrix.factor": _factor,
    "matrix.solve_lower": _solve_lower,
    "matrix.add_squares": _add_squares,
    "matrix.normalise": _normalise,
    "matrix.jacobi": _jacobi,
    "eigen.eigh": _eigh,
}
"""Every operation by family and name, with its case, which is given the family's module of a backend.

An operation without a case does not exist.
"""


def digest_of(module: ModuleType, operation: str) -> str:
    """SHA-256 over the bytes of everything the operation's case returns, in every format."""
    state = hashlib.sha256()
    for form in FORMATS:
        for value in CASES[operation](module, form):
            state.update(_portable(np.asarray(value)))
    return state.hexdigest()


def _portable(array: np.ndarray[Any, Any]) -> bytes:
    """The same bytes on every machine: one NaN, little-endian, and of counts only those that are not zero."""
    if array.dtype == np.float64:
        array = np.where(np.isnan(array), np.nan, array)
    elif array.dtype == np.int64:
        flat = array.reshape(-1)
        at = np.flatnonzero(flat)
        array = np.stack([at, flat[at]])
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def passes(module: ModuleType, operation: str) -> bool:
    """Whether the backend reproduces the golden digest of the operation."""
    return digest_of(module, operation) == GOLDEN[operation]
