"""Running sums, compiled."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.compiled.handover import address, addresses, code, empty, floats, words
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import SUM_PIECE, Packed, Span
from conjoin.kernels.native import running as native

_NONE = np.zeros((0, 3), np.int16)


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
    """See `reference.running.advance`."""
    n = len(sources[0])
    bounds, packed = np.empty((-(-n // SUM_PIECE), 3), np.int16), np.empty(n, np.uint64)
    used = native.advance(
        np.uint64(0) if before is None else address(before.words),
        _NONE if before is None else before.bounds,
        np.array(before_span, np.int64),
        float(scale),
        addresses(sources),
        floats(factors),
        added,
        np.uint64(0) if base is None else address(base),
        n,
        code(form),
        np.uint64(drop_below),
        words(keys),
        start,
        np.array(spans, np.int64),
        bounds,
        address(packed),
    )
    return None if used < 0 else Packed(bounds, packed[:used])


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
    """See `reference.running.result`."""
    out = empty(n, out_form)
    proven = native.result(
        address(sums.words),
        sums.bounds,
        np.array(span, np.int64),
        np.array(spans, np.int64),
        float(multiplier),
        float(divisor),
        np.uint64(0) if base is None else address(base),
        0.0 if base is None else float(base_numerator),
        float(denominator),
        added_to,
        n,
        code(form),
        code(out_form),
        address(out),
    )
    return out if proven else None
