"""Scores of elements: those that side-cars hold, refused where one is negative, and those that stand in for them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from conjoin.errors import BadSidecarError
from conjoin.kernels import FORMATS, Coefficients, decode, encode, linear
from conjoin.strategies.base import Block, Extra, RawArray

Values = npt.NDArray[np.float64]

PIECE_ELEMENTS = 16_384
"""Worked on at a time, so that what is in between stays in a core's cache."""


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


def derived(
    tensor: RawArray, origin: RawArray | None, form: str, formula: Callable[[Values, Values], Values]
) -> RawArray:
    """F64 patterns of what a formula makes, element by element, of a tensor and its base (zeros for none)."""
    made = np.empty(len(tensor), FORMATS["F64"].raw)
    with np.errstate(all="ignore"):
        for start in range(0, len(tensor), PIECE_ELEMENTS):
            part = slice(start, start + PIECE_ELEMENTS)
            values = wide(tensor[part], form)
            base = np.zeros(len(values)) if origin is None else wide(origin[part], form)
            made[part] = encode(formula(values, base), "F64")
    return made


def wide(raw: RawArray, form: str) -> Values:
    """The numbers that patterns stand for."""
    return linear([raw], Coefficients((1.0,), 1.0), form, "F64").view(np.float64)
