"""How arrays and values are handed to kernels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import FORMATS, Float64, Raw

Int64 = npt.NDArray[np.int64]


def address(raw: Raw) -> np.uint64:
    """Where the patterns of one tensor begin."""
    return np.uint64(raw.ctypes.data)


def addresses(sources: Sequence[Raw]) -> npt.NDArray[np.uint64]:
    """Where those of each tensor begin. (k,) uint64."""
    return np.array([source.ctypes.data for source in sources], np.uint64)


def code(form: str) -> int:
    """The number by which kernels know a format."""
    return FORMATS[form].code


def empty(n: int, form: str) -> Raw:
    """(n,) patterns to be filled."""
    return np.empty(n, FORMATS[form].raw)


def words(keys: Sequence[DrawKey]) -> npt.NDArray[np.uint64]:
    """(k, 4) uint64 of draw keys."""
    return np.array(keys, np.uint64).reshape(len(keys), 4)


def ints(values: Sequence[int]) -> Int64:
    """int64 array."""
    return np.array(values, np.int64)


def floats(values: Sequence[float]) -> Float64:
    """float64 array."""
    return np.array(values, np.float64)
