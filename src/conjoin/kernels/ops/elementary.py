"""Exp and log of every element, and what is made of them; not of coefficients, which `scalars` rounds correctly.

Within one unit in the last place of the true value, the same bits on every machine.
"""

import numpy as np

from conjoin.kernels.backend import operation
from conjoin.kernels.formats import Float64
from conjoin.kernels.ops.arguments import require, writable


def exp(values: Float64) -> Float64:
    """The exponentials of (n,) float64; 0 and +Inf beyond the range, NaN of NaN."""
    return operation("elementary.exp", len(values))(_plain(values, 1))


def log(values: Float64) -> Float64:
    """The natural logarithms of (n,) float64; −Inf of ±0, NaN below."""
    return operation("elementary.log", len(values))(_plain(values, 1))


def softmax(rows: Float64) -> Float64:
    """exp(xᵢ) / Σ exp(xⱼ) over the k contributions of each element, (k, n) float64; added in order of the rows."""
    return operation("elementary.softmax", rows.size)(_plain(rows, 2))


def entropy(rows: Float64) -> Float64:
    """The entropy (nats) of the softmax over the k contributions of each element. (k, n) float64 → (n,)."""
    return operation("elementary.entropy", rows.size)(_plain(rows, 2))


def _plain(values: Float64, dimensions: int) -> Float64:
    fits = values.dtype == np.float64 and values.ndim == dimensions and (dimensions == 1 or len(values) > 0)
    require(fits, f"an array of {values.dtype} with shape {values.shape} is not {dimensions}-dimensional float64")
    return writable(values)
