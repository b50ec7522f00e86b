"""Running sums of the reference: exact sums of whole contributions with the bounds that prove them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Float64, Raw, decode, encode
from conjoin.kernels.layout import EXPONENT_MAX, EXPONENT_MIN, SUM_PIECE, UNBOUNDED, Packed, Span
from conjoin.kernels.reference.order import task_vector
from conjoin.kernels.reference.streams import draws

_TYPES = {2: np.int16, 4: np.int32, 8: np.float64}


class _Bound(NamedTuple):
    """Every value is a multiple of 2^low and smaller than 2^top; whether a −0 occurs."""

    low: int
    top: int
    minus: bool


def _minus_zero(values: Float64) -> npt.NDArray[np.bool_]:
    return values.view(np.uint64) == np.uint64(1 << 63)


def _measure(values: Float64) -> _Bound:
    """The bounds of the values of a piece; without bounds where they span more than 51 bits."""
    largest, minus = int((values.view(np.uint64) & np.uint64((1 << 63) - 1)).max()), bool(_minus_zero(values).any())
    if not largest:
        return _Bound(UNBOUNDED, -UNBOUNDED, minus)
    top = max(largest >> 52, 1) - 1022
    unit = max(top - 51, EXPONENT_MIN)
    if top > EXPONENT_MAX:
        return _Bound(-UNBOUNDED, UNBOUNDED, minus)
    shift = np.float64(1.5) * math.ldexp(1.0, unit + 52)
    moved = values + shift
    if (moved - shift != values).any():
        return _Bound(-UNBOUNDED, UNBOUNDED, minus)
    found = int(np.bitwise_or.reduce(moved.view(np.uint64)))
    return _Bound(unit + (found & -found).bit_length() - 1, top, minus)


def _holds(low: int, top: int, span: Span) -> bool:
    unit, end = low + span.low, top + span.top
    return end <= unit + 53 and unit >= EXPONENT_MIN and end <= EXPONENT_MAX


def _width(bound: _Bound, span: Span) -> int:
    """Bytes per element of a packed sum: 0, 2 or 4 as a whole number of units, else 8."""
    unit = bound.low + span.low
    bits = bound.top + span.top - unit
    if bound.minus or bits > 31:
        return 8
    if bits <= 0:
        return 0
    return 8 if abs(unit) > 1000 else 2 if bits <= 15 else 4


def _unpack(packed: Packed, span: Span, n: int) -> list[tuple[_Bound, Float64]]:
    """Bounds and sums of every piece."""
    pieces: list[tuple[_Bound, Float64]] = []
    at = 0
    for start, row in zip(range(0, n, SUM_PIECE), packed.bounds.tolist(), strict=True):
        bound, count = _Bound(row[0], row[1], bool(row[2])), min(SUM_PIECE, n - start)
        width = _width(bound, span)
        if width:
            stored = packed.words[at:].view(_TYPES[width])[:count].astype(np.float64)
            pieces.append((bound, stored if width == 8 else stored * math.ldexp(1.0, bound.low + span.low)))
        else:
            pieces.append((bound, np.zeros(count)))
        at += (count * width + 7) // 8
    return pieces


def _pack(pieces: Sequence[tuple[_Bound, Float64]], span: Span) -> Packed:
    """The sums of every piece in as few bytes as its bounds allow."""
    words: list[npt.NDArray[np.uint64]] = []
    for bound, total in pieces:
        width = _width(bound, span)
        if width:
            room = np.zeros((len(total) * width + 7) // 8, np.uint64)
            stored = total if width == 8 else total * math.ldexp(1.0, -(bound.low + span.low))
            room.view(_TYPES[width])[: len(total)] = stored.astype(_TYPES[width])
            words.append(room)
    bounds = np.array([bound for bound, _ in pieces], np.int16).reshape(len(pieces), 3)
    return Packed(bounds, np.concatenate([*words, np.zeros(0, np.uint64)]))


def advance(
    before: Packed | None,
    before_span: Span,
    scale: float,
    sources: Sequence[Raw],
    factors: Sequence[float],
    added: int,
    base: Raw | None,
    form: str,
    drop_below: int,
    keys: Sequence[DrawKey],
    start: int,
    spans: tuple[Span, Span],
) -> Packed | None:
    """Add the first `added` sources to scale · `before` and take the others out; None where a bound does not hold."""
    n = len(sources[0])
    with np.errstate(all="ignore"):
        values: list[Float64] = []
        for i, source in enumerate(sources):
            value = decode(source, form) if base is None else task_vector(source, base, form)
            values.append(np.where(draws(keys[i], start, n) < drop_below, 0.0, value) if drop_below else value)
        pieces = _unpack(before, before_span, n) if before is not None else None
        after: list[tuple[_Bound, Float64]] = []
        for number, at in enumerate(range(0, n, SUM_PIECE)):
            bound, total = _Bound(UNBOUNDED, -UNBOUNDED, False), np.full(min(SUM_PIECE, n - at), -0.0)
            if pieces is not None:
                bound, total = pieces[number][0], pieces[number][1] * np.float64(scale)
            unsure = False
            for i, (whole, factor) in enumerate(zip(values, factors, strict=True)):
                value = whole[at : at + SUM_PIECE]
                own = _measure(value)
                minus = bound.minus or (base is None and own.minus)
                bound = _Bound(min(bound.low, own.low), max(bound.top, own.top), minus)
                if i < added:
                    total = total + np.float64(factor) * value
                else:
                    rest, empty = total - np.float64(factor) * value, _minus_zero(total)
                    unsure |= bool(((rest == 0) & ~empty).any())
                    total = np.where(empty, total, rest)
            if not _holds(bound.low, bound.top, spans[0]) or (unsure and bound.minus):
                return None
            after.append((bound, total))
        return _pack(after, spans[1])


def result(
    sums: Packed,
    span: Span,
    spans: tuple[Span, Span, Span],
    multiplier: float,
    divisor: float,
    base: Raw | None,
    base_numerator: float,
    denominator: float,
    added_to: bool,
    n: int,
    form: str,
    out_form: str,
) -> Raw | None:
    """What a full resolve gives: the linear form, or θ₀ + u where `added_to`; None where that is not proven."""
    origin = None if base is None else decode(base, form)
    out: list[Float64] = []
    with np.errstate(all="ignore"):
        for number, (bound, total) in enumerate(_unpack(sums, span, n)):
            place = slice(number * SUM_PIECE, (number + 1) * SUM_PIECE)
            low, end = bound.low + spans[0].low, bound.top + spans[0].top
            if origin is not None and not added_to:
                own = _measure(origin[place])
                low, end = min(low, own.low + spans[1].low), max(end, own.top + spans[1].top) + 1
            if not _holds(low, end, Span(0, 0)) or not _holds(bound.low, bound.top, spans[2]):
                return None
            total = total * np.float64(multiplier) / np.float64(divisor)
            if not added_to:
                unsure = total == 0
                if origin is not None:
                    term = np.float64(base_numerator) * origin[place]
                    total = total + term
                    unsure = (total == 0) & _minus_zero(term)
                if multiplier < 0 and unsure.any():
                    return None
            total = total / np.float64(denominator)
            if added_to:
                assert origin is not None
                total = np.where(total == 0, origin[place], origin[place] + total)
            out.append(total)
    return encode(np.concatenate(out), out_form)
