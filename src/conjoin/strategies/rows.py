"""Rows: what strategies that rank magnitudes take as one row, and slices in pieces of whole rows; merges nothing."""

import math
from collections.abc import Iterator

PIECE_ELEMENTS = 1 << 18
"""About as many elements at once, so that what is measured of them stays in a core's cache."""


def columns_of(shape: tuple[int, ...]) -> int:
    """Length of a row: everything behind the first dimension; a vector is one row."""
    return max(1, math.prod(shape[1:] if len(shape) > 1 else shape))


def pieces(elements: int, columns: int) -> Iterator[slice]:
    """Whole rows, a few at a time; each piece starts at a multiple of four elements, as draws do."""
    least = math.lcm(4, columns)
    step = max(1, PIECE_ELEMENTS // least) * least
    return (slice(at, min(at + step, elements)) for at in range(0, elements, step))
