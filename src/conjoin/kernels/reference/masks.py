"""Masks of the reference: one bit per element, and the vector that masks are cut from."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.formats import Float64, Raw, decode, encode
from conjoin.kernels.layout import Trim
from conjoin.kernels.reference.order import magnitude_keys, task_vector
from conjoin.kernels.reference.selection import vector_of

Masks = npt.NDArray[np.uint8]
Voters = Sequence[tuple[Float64, float]]
"""Task vectors and their votes."""


def pack(flags: npt.NDArray[np.bool_]) -> Masks:
    """(…, n) flags as (…, ⌈n/8⌉) bytes, the first of eight in the lowest bit."""
    return np.packbits(flags, axis=-1, bitorder="little")


def unpack(masks: Masks, n: int) -> npt.NDArray[np.bool_]:
    """The (…, n) flags of packed bits."""
    return np.unpackbits(masks, axis=-1, count=n, bitorder="little").astype(np.bool_)


def unified(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    by_sum: bool,
    zero_sign: int,
    numerators: Sequence[float],
    scale: tuple[float, float] | None,
    masks: bool,
) -> tuple[Raw, Masks]:
    """(n,) the value u of greatest magnitude with the elected sign, or θ₀ + (a·u)/b; (k, ⌈n/8⌉) where τᵢ agrees."""
    with np.errstate(all="ignore"):
        rows = [task_vector(tensor, base, form) for tensor in tensors]
        voters = [(row, numerator) for row, numerator in zip(rows, numerators, strict=True) if numerator]
        best = _with_sign(voters, zero_sign, len(base)) if by_sum else _largest(voters, len(base))
        sign = np.where(best > 0, 1.0, np.where(best < 0, -1.0, 0.0))
        flags = np.array([row * sign > 0 for row in rows] if masks else np.empty((0, len(base)), np.bool_))
        if scale is None:
            return encode(best, out_form), pack(flags)
        origin, update = decode(base, form), (np.float64(scale[0]) * best) / np.float64(scale[1])
        return encode(np.where(update == 0, origin, origin + update), out_form), pack(flags)


def _with_sign(voters: Voters, zero_sign: int, n: int) -> Float64:
    mass, best = np.zeros(n), np.zeros(n)
    for row, numerator in voters:
        mass = mass + np.float64(numerator) * row
    sign = np.where(mass > 0, 1.0, np.where(mass < 0, -1.0, float(zero_sign)))
    for row, _ in voters:
        best = np.where((row * sign > 0) & (row * sign > best * sign), row, best)
    return best


def _largest(voters: Voters, n: int) -> Float64:
    """Of opposite values of one magnitude the positive one."""
    best = np.zeros(n)
    for row, _ in voters:
        size, largest = np.where(row < 0, -row, row), np.where(best < 0, -best, best)
        best = np.where((size > largest) | ((size == largest) & (row > best)), row, best)
    return best


def surviving(tensors: Sequence[Raw], base: Raw | None, form: str, trim: Trim, start: int) -> Masks:
    """(k, ⌈n/8⌉): where the key is above the threshold, or at it and before the cut-off."""
    index, flags = np.arange(start, start + len(tensors[0])), list[npt.NDArray[np.bool_]]()
    for tensor, threshold, cutoff in zip(tensors, trim.thresholds, trim.cutoffs, strict=True):
        keys = magnitude_keys(vector_of(tensor, base, form))
        flags.append((keys > threshold) | ((keys == threshold) & (index < cutoff)))
    return pack(np.array(flags))


def unanimous(tensors: Sequence[Raw], base: Raw, form: str) -> Masks:
    """(⌈n/8⌉,): where all task vectors are positive, or all negative."""
    rows = np.array([task_vector(tensor, base, form) for tensor in tensors])
    return pack(np.logical_and.reduce(rows > 0) | np.logical_and.reduce(rows < 0))


def masked_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    numerators: Sequence[float],
    denominator: float,
    masks: Masks,
) -> Raw:
    """θ₀ + (Σ nᵢ τᵢ)/D, the sum over the elements of each mask."""
    with np.errstate(all="ignore"):
        total = np.zeros(len(base))
        for tensor, numerator, mask in zip(tensors, numerators, masks, strict=True):
            product = np.float64(numerator) * task_vector(tensor, base, form)
            total = total + np.where(unpack(mask, len(base)), product, 0.0)
        origin, update = decode(base, form), total if denominator == 1 else total / np.float64(denominator)
        return encode(np.where(update == 0, origin, origin + update), out_form)
