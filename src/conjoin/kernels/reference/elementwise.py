"""Elementwise operations of the reference."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Float64, Raw, decode, encode
from conjoin.kernels.layout import Aggregate, Trim
from conjoin.kernels.reference.order import magnitude_keys, task_vector
from conjoin.kernels.reference.streams import draws

Int64 = npt.NDArray[np.int64]


def linear(sources: Sequence[Raw], numerators: Sequence[float], denominator: float, form: str, out_form: str) -> Raw:
    """(Σ nᵢ xᵢ) / D in the order given; at least one source."""
    with np.errstate(all="ignore"):
        total = np.float64(numerators[0]) * decode(sources[0], form)
        for source, numerator in zip(sources[1:], numerators[1:], strict=True):
            total = total + np.float64(numerator) * decode(source, form)
        if denominator != 1:
            total = total / np.float64(denominator)
    return encode(total, out_form)


def _trimmed(tensors: Sequence[Raw], base: Raw, form: str, trim: Trim, start: int) -> list[Float64]:
    """τ̂ᵢ: the task vector where its key is above the threshold, or at it and before the cut-off; else 0."""
    kept: list[Float64] = []
    for tensor, threshold, cutoff in zip(tensors, trim.thresholds, trim.cutoffs, strict=True):
        delta = task_vector(tensor, base, form)
        keys = magnitude_keys(delta)
        index = np.arange(start, start + len(delta))
        keep = (keys > np.uint32(threshold)) | ((keys == np.uint32(threshold)) & (index < cutoff))
        kept.append(np.where(keep, delta, 0.0))
    return kept


def _mass(trimmed: Sequence[Float64], numerators: Sequence[float], n: int) -> Float64:
    total = np.zeros(n)
    for delta, numerator in zip(trimmed, numerators, strict=True):
        total = total + np.float64(numerator) * delta
    return total


def elected_signs(
    tensors: Sequence[Raw], base: Raw, form: str, numerators: Sequence[float], trim: Trim, start: int
) -> Int64:
    """(2,): in how many elements the positive and the negative mass wins."""
    with np.errstate(all="ignore"):
        mass = _mass(_trimmed(tensors, base, form, trim, start), numerators, len(base))
    return np.array([np.count_nonzero(mass > 0), np.count_nonzero(mass < 0)], np.int64)


def ties(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    trim: Trim,
    start: int,
    aggregate: Aggregate,
    zero_sign: int,
    scale: tuple[float, float],
) -> Raw:
    """θ₀ + (a·S)/(b·W), S and W over the trimmed values that carry the elected sign."""
    with np.errstate(all="ignore"):
        origin = decode(base, form)
        trimmed = _trimmed(tensors, base, form, trim, start)
        mass = _mass(trimmed, numerators, len(base))
        sign = np.where(mass > 0, 1.0, np.where(mass < 0, -1.0, float(zero_sign)))
        total = np.zeros(len(base))
        share = np.full(len(base), 0.0 if aggregate == "mean" else denominator)
        for delta, numerator in zip(trimmed, numerators, strict=True):
            agrees = delta * sign > 0
            product = np.float64(numerator) * delta
            if aggregate == "max":
                total = np.where(agrees & (product * sign > total * sign), product, total)
            else:
                total = total + np.where(agrees, product, 0.0)
            if aggregate == "mean":
                share = share + np.where(agrees, np.float64(numerator), 0.0)
        update = (np.float64(scale[0]) * total) / (np.float64(scale[1]) * np.where(share == 0, 1.0, share))
        return encode(np.where(update == 0, origin, origin + update), out_form)


def delta_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    drop_below: int,
    keys: Sequence[DrawKey],
    start: int,
) -> Raw:
    """θ₀ + (Σ nᵢ τᵢ)/D over the elements whose draw is not below `drop_below`."""
    with np.errstate(all="ignore"):
        origin = decode(base, form)
        total = np.zeros(len(base))
        for i, (tensor, numerator) in enumerate(zip(tensors, numerators, strict=True)):
            product = np.float64(numerator) * task_vector(tensor, base, form)
            if drop_below:
                product = np.where(draws(keys[i], start, len(base)) < drop_below, 0.0, product)
            total = total + product
        update = total if denominator == 1 else total / np.float64(denominator)
        return encode(np.where(update == 0, origin, origin + update), out_form)
