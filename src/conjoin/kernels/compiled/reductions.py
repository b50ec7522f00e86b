"""Sums, compiled."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.compiled.handover import address, addresses, code, floats, words
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Float64, Raw
from conjoin.kernels.layout import BLOCK_ELEMENTS
from conjoin.kernels.native import reductions as native


def block_gram(tensors: Sequence[Raw], base: Raw | None, form: str) -> Float64:
    """See `reference.reductions.block_gram`."""
    n, k = len(tensors[0]), len(tensors)
    out = np.empty((-(-n // BLOCK_ELEMENTS), k, k))
    origin = address(tensors[0] if base is None else base)
    native.block_gram(addresses(tensors), origin, base is not None, n, code(form), BLOCK_ELEMENTS, out)
    return out


def block_moments(tensors: Sequence[Raw], base: Raw | None, form: str, centres: Sequence[float]) -> Float64:
    """See `reference.reductions.block_moments`."""
    n, origin = len(tensors[0]), address(tensors[0] if base is None else base)
    out = np.empty((-(-n // BLOCK_ELEMENTS), len(tensors), 3))
    centred = base is not None
    native.block_moments(addresses(tensors), origin, centred, n, code(form), floats(centres), BLOCK_ELEMENTS, out)
    return out


def block_l1(
    tensors: Sequence[Raw], base: Raw, form: str, drop_below: int, keys: Sequence[DrawKey], start: int
) -> Float64:
    """See `reference.reductions.block_l1`."""
    n = len(base)
    out = np.empty((-(-n // BLOCK_ELEMENTS), len(tensors), 2))
    native.block_l1(
        addresses(tensors),
        address(base),
        n,
        code(form),
        np.uint64(drop_below),
        words(keys),
        start,
        BLOCK_ELEMENTS,
        out,
    )
    return out
