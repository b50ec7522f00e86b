"""What is checked of raw arrays before a backend sees them."""

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np

from conjoin.errors import BadArrayError
from conjoin.kernels.formats import FORMATS, Raw


def require(condition: bool, problem: str) -> None:
    """Refuse arrays or numbers that an operation does not take.

    Raises:
        BadArrayError: the condition does not hold.
    """
    if not condition:
        raise BadArrayError(problem, hint="report it to the author of the strategy, or of the code that called")


def plain(raw: Raw, form: str) -> Raw:
    """The array as the kernels need it: one dimension, contiguous, aligned, of the format's width.

    Raises:
        BadArrayError: it has another dtype or shape.
    """
    require(form in FORMATS, f"`{form}` is no format")
    if raw.dtype != FORMATS[form].raw or raw.ndim != 1:  # the words cost more than all the rest here
        require(False, f"an array of {raw.dtype} with {raw.ndim} dimensions is not a row of {form} patterns")
    return raw if raw.flags.c_contiguous and raw.flags.aligned else np.require(raw, requirements=["C", "A"])


def element_count(tensors: Sequence[Raw]) -> int:
    """How many elements all arrays have together."""
    return sum(len(tensor) for tensor in tensors)


def all_plain(tensors: Sequence[Raw], form: str) -> list[Raw]:
    """The arrays as the kernels need them, all of one length.

    Raises:
        BadArrayError: they are of another dtype, shape or of different lengths, or there is none.
    """
    arrays = [plain(tensor, form) for tensor in tensors]
    lengths = {len(tensor) for tensor in arrays}
    require(len(lengths) == 1, f"tensors of different lengths ({sorted(lengths)}), or none")
    return arrays


def all_centred(tensors: Sequence[Raw], base: Raw | None, form: str) -> tuple[Raw | None, list[Raw]]:
    """A base, where there is one, and the arrays as the kernels need them, all of one length.

    Raises:
        BadArrayError: see `all_plain`.
    """
    arrays = all_plain(tensors if base is None else [base, *tensors], form)
    return (None, arrays) if base is None else (arrays[0], arrays[1:])


def require_each(tensors: Sequence[Raw], **lists: Sized) -> None:
    """Refuse lists that have not one entry for each tensor: kernels would read behind their ends.

    Raises:
        BadArrayError: a list is longer or shorter; it is called by its keyword.
    """
    for name, entries in lists.items():
        require(len(entries) == len(tensors), f"{len(entries)} {name} for {len(tensors)} tensors")


def writable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array contiguous, aligned and not read-only, for kernels are compiled anew for every kind of array."""
    return np.require(array, requirements=["C", "A", "W"])
