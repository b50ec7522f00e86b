"""Models to audit, generated from integers: dense noise for small shapes, decaying spectra at full size; reads nothing.

Every number is an IEEE product or sum of named draws, so the same integers give the same bits everywhere.

At full size a matrix is Σ Aⱼ ⊗ Bⱼ, two Kronecker products of small factors. The singular values of A ⊗ B are the
products of those of A and of B, so power laws in the factors give one in the matrix, at one multiplication an element.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.apps.audit.shapes import Layer

Array = npt.NDArray[Any]

BASE_SCALE, DELTA_SCALE = 0.02, 0.001
"""Root mean square of weights and of task vectors at full size, as in models of these kinds."""
_TERMS = 2
DENSE_ELEMENTS = 1 << 16
"""Up to here tensors are noise; larger ones have structure."""


@dataclass(frozen=True, slots=True)
class Family:
    """A base and three fine-tunes of one tensor.

    Attributes:
        layer: which tensor.
        base: θ₀.
        models: a, b and c, or more.
    """

    layer: Layer
    base: Array
    models: tuple[Array, ...]

    def stored_as(self, dtype: str) -> "Family":
        """The same numbers in another dtype."""
        convert = partial(np.ndarray.astype, dtype=dtype, copy=False)
        return Family(self.layer, convert(self.base), tuple(map(convert, self.models)))


def family(layer: Layer, dtype: str, *, values: str, seed: int, count: int = 3) -> Family:
    """Generate a base and `count` fine-tunes of one tensor.

    Args:
        layer: which tensor; its name is part of every draw's name.
        dtype: of the arrays, as NumPy spells it.
        values: dtype to whose numbers every element is rounded.
        seed: names everything.
        count: how many fine-tunes.
    """
    name, shape = layer.name, layer.shape
    dense = shape[0] * shape[1] <= DENSE_ELEMENTS
    base = noise(shape, _key(seed, name, "base")) if dense else spectrum(shape, seed, f"{name} base", BASE_SCALE, 1)
    models: list[Array] = []
    for index in range(count):
        if dense:
            model = base + noise(shape, _key(seed, name, f"delta {index}"))
        else:
            model = spectrum(shape, seed, f"{name} delta {index}", DELTA_SCALE, 2)
            model += base
        models.append(_stored(model, values, dtype))
    return Family(layer, _stored(base, values, dtype), tuple(models))


def noise(shape: tuple[int, ...], key: kernels.DrawKey) -> npt.NDArray[np.float64]:
    """About normal numbers of variance 1: sums of three draws."""
    words = kernels.draws(key, 0, 3 * math.prod(shape)).astype(np.float64).reshape(3, *shape)
    first, second, third = (words + 0.5) * 2.0**-31 - 1.0
    return first + second + third


def spectrum(shape: tuple[int, int], seed: int, name: str, rms: float, power: int) -> npt.NDArray[np.float32]:
    """A matrix (shape) in float32 whose singular values fall about like r^(−power/2) in each factor.

    Args:
        shape: rows and columns.
        seed: names the draws.
        name: names the draws.
        rms: root mean square of the elements.
        power: 1 for the slow decay of weights, 2 for the faster one of task vectors.
    """
    (rows_a, rows_b), (columns_a, columns_b) = _split(shape[0]), _split(shape[1])
    result = np.zeros((rows_a, rows_b, columns_a, columns_b), np.float32)
    for term in range(_TERMS):
        a = _factor(rows_a, columns_a, power, _key(seed, name, f"a {term}"))
        b = _factor(rows_b, columns_b, power, _key(seed, name, f"b {term}")) * np.float32(rms / math.sqrt(_TERMS))
        for row in range(rows_a):
            result[row] += a[row, None, :, None] * b[:, None, :]
    return result.reshape(shape)


def _factor(rows: int, columns: int, power: int, key: kernels.DrawKey) -> npt.NDArray[np.float32]:
    """Σ sᵣ uᵣ vᵣᵀ with sᵣ = r^(−power/2) and noise for u and v; variance 1."""
    rank = min(rows, columns)
    drawn = noise((rank, rows + columns), key)
    total, energy = np.zeros((rows, columns)), 0.0
    for index in range(rank):
        value = 1 / math.sqrt((index + 1) ** power)
        left, right = drawn[index, :rows], drawn[index, rows:]
        total += value * left[:, None] * right
        energy += value * value
    return (total / math.sqrt(energy)).astype(np.float32)


def _split(n: int) -> tuple[int, int]:
    """Two factors of n as near to each other as can be, the smaller one first."""
    smaller = next(divisor for divisor in range(math.isqrt(n), 0, -1) if n % divisor == 0)
    return smaller, n // smaller


def _stored(values: Array, rounded_to: str, dtype: str) -> Array:
    """As a checkpoint of one dtype, read as another one."""
    return values.astype(rounded_to).astype(dtype, copy=False)


def _key(seed: int, name: str, what: str) -> kernels.DrawKey:
    stream = hashlib.sha256(what.encode()).hexdigest()
    return kernels.draw_key(hashlib.sha256(b"conjoin/audit/1 %d" % seed).digest(), "audit", name, stream)
