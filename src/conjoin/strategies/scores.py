"""Scores that side-cars hold: refused where one is negative or no number; computes nothing."""

import numpy as np

from conjoin.errors import BadSidecarError
from conjoin.kernels import FORMATS, decode
from conjoin.strategies.base import Block, Extra


def scores(x: Block, side: str, called: str) -> Extra:
    """The scores of a slice, none of them negative.

    Args:
        x: the slice.
        side: name of the SideCar.
        called: what the scores are, for the error.

    Raises:
        BadSidecarError: one is negative, infinite or not a number.
    """
    extra = x.extras[side]
    infinity = FORMATS[extra.format].infinity
    minus_zero = 1 << (8 * FORMATS[extra.format].item_bytes - 1)
    for digest, raw in zip(x.contributions, extra.tensors, strict=True):
        if not len(raw) or raw.max() < infinity:  # patterns order as numbers do; those with a sign are above all others
            continue
        wrong = (raw >= infinity) & (raw != minus_zero)
        if wrong.any():
            at = int(np.argmax(wrong))
            value = float(decode(raw[at : at + 1], extra.format)[0])
            raise BadSidecarError(
                f"{called} of element {x.offset + at} is {value:g}, not a number from 0 on",
                where=f"tensor `{x.name}`, contribution {digest[:12]}",
                hint="scores are squares or magnitudes; `conjoin stats` makes such side-cars",
            )
    return extra
