"""Order statistics on the device: how many magnitude keys share a bin."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.device.tensors import counted, indices, magnitude_keys, task_vector
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import HIGH_BINS, INDEX_BINS, INDEX_SHIFT, LOW_BINS, LOW_SHIFT

Int64 = npt.NDArray[np.int64]


def high_histograms(tensors: Sequence[Raw], base: Raw, form: str) -> Int64:
    """See `reference.order.high_histograms`."""
    return counted([magnitude_keys(task_vector(t, base, form)) >> LOW_SHIFT for t in tensors], HIGH_BINS)


def low_histograms(tensors: Sequence[Raw], base: Raw, form: str, bins: Sequence[int]) -> Int64:
    """See `reference.order.low_histograms`."""
    keys = [magnitude_keys(task_vector(t, base, form)) for t in tensors]
    inside = [key[(key >> LOW_SHIFT) == chosen] & (LOW_BINS - 1) for key, chosen in zip(keys, bins, strict=True)]
    return counted(inside, LOW_BINS)


def tie_histograms(
    tensors: Sequence[Raw], base: Raw, form: str, thresholds: Sequence[int], start: int, bins: Sequence[int] | None
) -> Int64:
    """See `reference.order.tie_histograms`."""
    places = indices(start, start + len(base))
    ties = [
        places[magnitude_keys(task_vector(t, base, form)) == threshold]
        for t, threshold in zip(tensors, thresholds, strict=True)
    ]
    if bins is None:
        return counted([at >> INDEX_SHIFT for at in ties], INDEX_BINS)
    inside = [at[(at >> INDEX_SHIFT) == chosen] & (INDEX_BINS - 1) for at, chosen in zip(ties, bins, strict=True)]
    return counted(inside, INDEX_BINS)
