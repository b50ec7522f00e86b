"""Exp and log, compiled."""

import numpy as np

from conjoin.kernels.formats import Float64
from conjoin.kernels.native import elementary as native


def exp(values: Float64) -> Float64:
    """See `reference.elementary.exp`."""
    out = np.empty(len(values))
    native.exp(values, out)
    return out


def log(values: Float64) -> Float64:
    """See `reference.elementary.log`."""
    out = np.empty(len(values))
    native.log(values, out)
    return out


def softmax(rows: Float64) -> Float64:
    """See `reference.elementary.softmax`."""
    out = np.empty(rows.shape)
    native.softmax(rows, out)
    return out


def entropy(rows: Float64) -> Float64:
    """See `reference.elementary.entropy`."""
    out = np.empty(rows.shape[1])
    native.entropy(rows, out)
    return out
