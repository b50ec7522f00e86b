"""What is checked of raw arrays before a backend sees them."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.formats import FORMATS, Raw


def plain(raw: Raw, form: str) -> Raw:
    """The array as the kernels need it: one dimension, contiguous, aligned, of the format's width."""
    assert raw.dtype == FORMATS[form].raw and raw.ndim == 1, f"{raw.dtype} with {raw.ndim} dimensions is not raw {form}"
    return np.require(raw, requirements=["C", "A"])


def element_count(tensors: Sequence[Raw]) -> int:
    """How many elements all arrays have together."""
    return sum(len(tensor) for tensor in tensors)


def all_plain(tensors: Sequence[Raw], form: str) -> list[Raw]:
    """The arrays as the kernels need them, all of one length."""
    arrays = [plain(tensor, form) for tensor in tensors]
    assert all(len(tensor) == len(arrays[0]) for tensor in arrays), "tensors of different lengths"
    return arrays
