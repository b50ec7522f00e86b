"""Elementwise operations on the device."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.device.streams import words
from conjoin.kernels.device.tensors import (
    Tensor,
    decode,
    encode,
    indices,
    magnitude_keys,
    number,
    task_vector,
    torch,
    zeros,
)
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import Aggregate, Trim

Int64 = npt.NDArray[np.int64]


def linear(sources: Sequence[Raw], numerators: Sequence[float], denominator: float, form: str, out_form: str) -> Raw:
    """See `reference.elementwise.linear`."""
    total = number(numerators[0]) * decode(sources[0], form)
    for source, numerator in zip(sources[1:], numerators[1:], strict=True):
        total = total + number(numerator) * decode(source, form)
    if denominator != 1:
        total = total / number(denominator)
    return encode(total, out_form)


def _trimmed(tensors: Sequence[Raw], base: Raw, form: str, trim: Trim, start: int) -> list[Tensor]:
    """τ̂ᵢ: the task vector where its key is above the threshold, or at it and before the cut-off; else 0."""
    kept: list[Tensor] = []
    index = indices(start, start + len(base))
    for tensor, threshold, cutoff in zip(tensors, trim.thresholds, trim.cutoffs, strict=True):
        delta = task_vector(tensor, base, form)
        keys = magnitude_keys(delta).to(torch.int64)
        keep = (keys > threshold) | ((keys == threshold) & (index < cutoff))
        kept.append(torch.where(keep, delta, torch.zeros_like(delta)))
    return kept


def _mass(trimmed: Sequence[Tensor], numerators: Sequence[float], n: int) -> Tensor:
    total = zeros(n)
    for delta, numerator in zip(trimmed, numerators, strict=True):
        total = total + number(numerator) * delta
    return total


def elected_signs(
    tensors: Sequence[Raw], base: Raw, form: str, numerators: Sequence[float], trim: Trim, start: int
) -> Int64:
    """See `reference.elementwise.elected_signs`."""
    mass = _mass(_trimmed(tensors, base, form, trim, start), numerators, len(base))
    return np.array([int(torch.count_nonzero(mass > 0)), int(torch.count_nonzero(mass < 0))], np.int64)


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
    """See `reference.elementwise.ties`."""
    origin, trimmed = decode(base, form), _trimmed(tensors, base, form, trim, start)
    mass, nothing = _mass(trimmed, numerators, len(base)), zeros(len(base))
    against = torch.where(mass < 0, number(-1.0), number(float(zero_sign)))
    sign = torch.where(mass > 0, number(1.0), against)
    total = nothing
    share = nothing if aggregate == "mean" else nothing + number(denominator)
    for delta, numerator in zip(trimmed, numerators, strict=True):
        agrees = delta * sign > 0
        product = number(numerator) * delta
        if aggregate == "max":
            total = torch.where(agrees & (product * sign > total * sign), product, total)
        else:
            total = total + torch.where(agrees, product, nothing)
        if aggregate == "mean":
            share = share + torch.where(agrees, number(numerator), nothing)
    share = torch.where(share == 0, number(1.0), share)
    return _updated(origin, (number(scale[0]) * total) / (number(scale[1]) * share), out_form)


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
    """See `reference.elementwise.delta_sum`."""
    total, nothing = zeros(len(base)), zeros(len(base))
    for i, (tensor, numerator) in enumerate(zip(tensors, numerators, strict=True)):
        product = number(numerator) * task_vector(tensor, base, form)
        if drop_below:
            product = torch.where(words(keys[i], start, len(base)) < drop_below, nothing, product)
        total = total + product
    update = total if denominator == 1 else total / number(denominator)
    return _updated(decode(base, form), update, out_form)


def _updated(origin: Tensor, update: Tensor, out_form: str) -> Raw:
    """θ₀ + update; θ₀ itself, sign of zero included, where the update is zero."""
    return encode(torch.where(update == 0, origin, origin + update), out_form)
