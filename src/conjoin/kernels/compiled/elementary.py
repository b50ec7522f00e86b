"""Exp and log, compiled."""

import numpy as np

from conjoin.kernels.formats import Float64
from conjoin.kernels.native import elementary as native
from conjoin.kernels.native.vectors import WIDTH


def exp(values: Float64) -> Float64:
    """See `reference.elementary.exp`."""
    whole = _whole(values)
    out = np.empty(len(whole))
    native.exp(whole, out)
    return out[: len(values)]


def log(values: Float64) -> Float64:
    """See `reference.elementary.log`."""
    whole = _whole(values)
    out = np.empty(len(whole))
    native.log(whole, out)
    return out[: len(values)]


def softmax(rows: Float64) -> Float64:
    """See `reference.elementary.softmax`."""
    whole = _whole(rows)
    out = np.empty(whole.shape)
    native.softmax(whole.reshape(-1), len(rows), out.reshape(-1))
    return out[:, : rows.shape[1]]


def entropy(rows: Float64) -> Float64:
    """See `reference.elementary.entropy`."""
    whole = _whole(rows)
    out = np.empty(whole.shape[1])
    native.entropy(whole.reshape(-1), len(rows), out)
    return out[: rows.shape[1]]


def _whole(values: Float64) -> Float64:
    """The values with zeros behind their last axis, where they do not end with a vector."""
    n = values.shape[-1]
    if n % WIDTH == 0:
        return values
    whole = np.zeros((*values.shape[:-1], -(-n // WIDTH) * WIDTH))
    whole[..., :n] = values
    return whole
