"""Exact sums, compiled."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.compiled.handover import Int64, address, addresses, code
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import WORDS_OF_SUM, SumOf
from conjoin.kernels.native import exact as native

KINDS: dict[SumOf, int] = {"values": 0, "sizes": 1, "squares": 2}


def sums(tensors: Sequence[Raw], base: Raw | None, form: str, kind: SumOf) -> Int64:
    """See `reference.exact.sums`."""
    n, origin = len(tensors[0]), address(tensors[0] if base is None else base)
    out = np.empty((len(tensors), WORDS_OF_SUM), np.int64)
    native.sums(addresses(tensors), origin, base is not None, n, code(form), KINDS[kind], out)
    return out
