"""Masks, compiled."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.compiled.handover import address, addresses, code, empty, floats, ints
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import Trim
from conjoin.kernels.native import masks as native

Masks = npt.NDArray[np.uint8]


def unified(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    by_sum: bool,
    zero_sign: int,
    numerators: Sequence[float],
    scale: tuple[float, float] | None,
    masks: bool,
) -> tuple[Raw, Masks]:
    """See `reference.masks.unified`."""
    out, bits = empty(len(base), out_form), _empty(len(tensors) if masks else 0, len(base))
    a, b = scale or (1.0, 1.0)
    native.unified(
        addresses(tensors),
        address(base),
        len(base),
        code(form),
        code(out_form),
        by_sum,
        float(zero_sign),
        floats(numerators),
        scale is not None,
        float(a),
        float(b),
        bits,
        address(out),
    )
    return out, bits


def surviving(tensors: Sequence[Raw], base: Raw | None, form: str, trim: Trim, start: int) -> Masks:
    """See `reference.masks.surviving`."""
    n, origin = len(tensors[0]), address(tensors[0] if base is None else base)
    bits = _empty(len(tensors), n)
    thresholds, cutoffs = ints(trim.thresholds), ints(trim.cutoffs)
    native.surviving(addresses(tensors), origin, base is not None, n, code(form), thresholds, cutoffs, start, bits)
    return bits


def unanimous(tensors: Sequence[Raw], base: Raw, form: str) -> Masks:
    """See `reference.masks.unanimous`."""
    bits = _empty(1, len(base))[0]
    native.unanimous(addresses(tensors), address(base), len(base), code(form), bits)
    return bits


def masked_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    masks: Masks,
) -> Raw:
    """See `reference.masks.masked_sum`."""
    out = empty(len(base), out_form)
    native.masked_sum(
        addresses(tensors),
        address(base),
        len(base),
        code(form),
        code(out_form),
        floats(numerators),
        float(denominator),
        masks,
        address(out),
    )
    return out


def _empty(count: int, n: int) -> Masks:
    return np.empty((count, (n + 7) // 8), np.uint8)
