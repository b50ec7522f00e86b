"""The float formats and their exact conversions to and from float64; knows bits, never tensors' names or files."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Raw = npt.NDArray[Any]
"""Bit patterns of one format: uint16 (BF16, F16), uint32 (F32) or uint64 (F64)."""
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Format:
    """A binary float format.

    Attributes:
        name: safetensors name.
        code: number by which the compiled kernels know it.
        raw: dtype of its bit patterns.
        item_bytes: bytes of an element.
        fraction_bits: stored bits of the significand.
        exponent_bits: bits of the exponent.
    """

    name: str
    code: int
    raw: np.dtype[Any]
    item_bytes: int
    fraction_bits: int
    exponent_bits: int

    @property
    def infinity(self) -> int:
        """Pattern of +Inf, which is also the mask of the exponent."""
        return ((1 << self.exponent_bits) - 1) << self.fraction_bits

    @property
    def nan(self) -> int:
        """Pattern of the one NaN that is ever written: positive, quiet, no payload."""
        return self.infinity | 1 << (self.fraction_bits - 1)

    @property
    def bias(self) -> int:
        """What is added to an exponent before it is stored."""
        return (1 << (self.exponent_bits - 1)) - 1


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("BF16", 0, np.dtype(np.uint16), 2, 7, 8),
        Format("F16", 1, np.dtype(np.uint16), 2, 10, 5),
        Format("F32", 2, np.dtype(np.uint32), 4, 23, 8),
        Format("F64", 3, np.dtype(np.uint64), 8, 52, 11),
    )
}


def decode(raw: Raw, name: str) -> Float64:
    """The exact values of bit patterns.

    Args:
        raw: (n,) bit patterns.
        name: their format.

    Returns:
        (n,) float64, a new array.
    """
    if name == "F64":
        return raw.view(np.float64).copy()
    narrow = _widened(raw) if name == "BF16" else raw.view(np.float16 if name == "F16" else np.float32)
    with np.errstate(all="ignore"):
        return narrow.astype(np.float64)


def _widened(raw: Raw) -> Raw:
    """BF16 patterns as the float32 numbers of which they are the upper half."""
    return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)


def encode(values: Float64, name: str) -> Raw:
    """Round float64 values once, to nearest even; overflow gives Inf, NaN the canonical NaN, -0 stays.

    Args:
        values: (n,) float64.
        name: format to round to.

    Returns:
        (n,) bit patterns, a new array.
    """
    form = FORMATS[name]
    if name in ("BF16", "F16"):
        return _encode_short(values, form)
    with np.errstate(all="ignore"):
        raw = values.astype(np.float32).view(np.uint32) if name == "F32" else values.copy().view(np.uint64)
    raw[np.isnan(values)] = form.nan
    return raw


def _encode_short(values: Float64, form: Format) -> Raw:
    """Round to a 16-bit format with integers alone, so that nothing is rounded twice on the way.

    Normal numbers: add half a unit (less one, plus the last bit that stays) and cut. Subnormal numbers: adding 2^52
    units lets the float64 addition itself round to a whole number of units, which is the pattern.
    """
    bits = np.ascontiguousarray(values).view(np.uint64)
    magnitude = bits & np.uint64(0x7FFF_FFFF_FFFF_FFFF)
    sign = (bits >> np.uint64(48)) & np.uint64(0x8000)
    cut = np.uint64(52 - form.fraction_bits)
    half = np.uint64((1 << (51 - form.fraction_bits)) - 1)
    rebias = np.uint64((1023 - form.bias) << form.fraction_bits)
    odd = (magnitude >> cut) & np.uint64(1)
    normal = ((magnitude + half + odd) >> cut) - rebias
    normal = np.where(normal > np.uint64(form.infinity), np.uint64(form.infinity), normal)
    units = np.float64(2.0 ** (52 + 1 - form.bias - form.fraction_bits))
    smallest_normal = np.float64(2.0 ** (1 - form.bias)).view(np.uint64)
    with np.errstate(all="ignore"):
        small = (magnitude.view(np.float64) + units).view(np.uint64) & np.uint64(0xFFFF)
    pattern = np.where(magnitude < smallest_normal, small, normal) | sign
    pattern = np.where(magnitude > np.uint64(0x7FF0_0000_0000_0000), np.uint64(form.nan), pattern)
    return pattern.astype(np.uint16)
