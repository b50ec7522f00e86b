"""How arrays and values are handed to kernels."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import FORMATS, Float64, Raw
from conjoin.kernels.native.vectors import WIDTH

Addresses = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]


def address(raw: Raw) -> np.uint64:
    """Where the patterns of one tensor begin."""
    return np.uint64(raw.__array_interface__["data"][0])


def addresses(sources: Sequence[Raw]) -> npt.NDArray[np.uint64]:
    """Where those of each tensor begin. (k,) uint64."""
    return np.array([source.__array_interface__["data"][0] for source in sources], np.uint64)


def code(form: str) -> int:
    """The number by which kernels know a format."""
    return FORMATS[form].code


def in_vectors(tensors: Sequence[Raw], out: Raw | None = None) -> Iterator[tuple[int, int, Addresses, np.uint64]]:
    """The tensors in whole vectors, then their rest with zeros behind it: start, elements, where they and `out` begin.

    Kernels that keep vectors in registers read and write nothing but whole ones. What is made of the rest is put into
    `out` when the next part is asked for.
    """
    n = len(tensors[0])
    whole = n // WIDTH * WIDTH
    if whole:
        yield 0, whole, addresses(tensors), np.uint64(0) if out is None else address(out)
    if n > whole:
        copies = np.zeros((len(tensors), WIDTH), tensors[0].dtype)
        for copy, tensor in zip(copies, tensors, strict=True):
            copy[: n - whole] = tensor[whole:]
        made = np.empty(WIDTH, np.uint64 if out is None else out.dtype)
        yield whole, WIDTH, addresses(list(copies)), address(made)
        if out is not None:
            out[whole:] = made[: n - whole]


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
