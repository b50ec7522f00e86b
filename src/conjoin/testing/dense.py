"""Models of one tensor `w` from arrays of numbers, for tests of formulas; draws with integers, judges nothing."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.kernels import selftest
from conjoin.strategies.base import RawArray
from conjoin.testing.strategy_suite import Model, digest_number

Array = npt.NDArray[np.float64]

SMALL_SHAPES: Mapping[str, int | tuple[int, ...]] = {
    "a.bias": 1,
    "b.weight": (9, 6),
    "c.weight": (4, 5, 2),
    "d.norm": 65,
    "e.weight": (11, 2),
}
"""What the suites of matrix strategies compare the backends on: tall, wide, vectors, taller than four side by side."""


def values(shape: tuple[int, ...], count: int) -> tuple[Array, list[Array]]:
    """A base and so many others, numbers with 10 bits between −1 and 1."""

    def one(salt: int) -> Array:
        words = selftest.patterns("F64", salt, math.prod(shape)) % np.uint64(2047)
        return ((words.astype(np.float64) - 1023) / 1024).reshape(shape)

    return one(0), [one(salt + 1) for salt in range(count)]


def model_of(
    base: Array | None,
    thetas: Sequence[Array],
    *,
    weights: Sequence[Fraction] = (),
    extras: Mapping[str, Sequence[Array]] | None = None,
    form: str = "F64",
) -> Model:
    """A model of one tensor `w`; the contributions have ascending digests, in the order given.

    Args:
        base: its values, or None.
        thetas: the values of each contribution.
        weights: one for each; 1 where none are given.
        extras: by SideCar name what each contribution carries.
        form: format of the tensor.
    """
    digests = sorted(map(digest_number, range(len(thetas))))
    shape = np.shape(thetas[0])

    def raw(array: Array, kind: str = form) -> dict[str, RawArray]:
        return {"w": kernels.encode(np.array(array, np.float64).ravel(), kind)}

    held: dict[str, Any] = {
        name: {digest: raw(array, "F32") for digest, array in zip(digests, arrays, strict=True)}
        for name, arrays in (extras or {}).items()
    }
    return Model(
        form,
        None if base is None else raw(base),
        {digest: raw(theta) for digest, theta in zip(digests, thetas, strict=True)},
        dict(zip(digests, weights, strict=False)),
        shapes={"w": shape},
        extras=held,
    )


def decoded(result: Mapping[str, RawArray], shape: tuple[int, ...], form: str = "F64") -> Array:
    """The values of the tensor `w` of a result."""
    return kernels.decode(result["w"], form).reshape(shape)
