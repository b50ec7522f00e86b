"""Patterns and numbers as tensors on the device, and the formats in operations of torch."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from conjoin.errors import UnknownDeviceError
from conjoin.kernels.formats import FORMATS, Raw

torch: Any = importlib.import_module("torch")
Tensor = Any
"""A torch.Tensor; torch is not a dependency, so its types are not known here."""

MAGNITUDE = 0x7FFF_FFFF_FFFF_FFFF
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_FLOAT = {"F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
_place: dict[str, Any] = {"device": torch.device("cpu")}


def place(name: str) -> None:
    """Choose the device.

    Raises:
        UnknownDeviceError: it is not there, or has no float64.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device)
    except Exception as error:  # torch raises many kinds
        raise UnknownDeviceError(
            f"torch cannot compute on the device `{name}`: {str(error).splitlines()[0]}",
            hint="`cuda` needs an NVIDIA GPU, its driver and a CUDA build of torch; leave --device out to use the CPU",
        ) from error
    _place["device"] = device


def number(value: float) -> Tensor:
    """One float64 as a tensor (1,), so that no operation takes it for a scalar to be treated in its own way."""
    return torch.tensor([value], dtype=torch.float64, device=_place["device"])


def zeros(n: int) -> Tensor:
    """(n,) float64 +0."""
    return torch.zeros(n, dtype=torch.float64, device=_place["device"])


def indices(start: int, stop: int) -> Tensor:
    """(stop − start,) int64 from `start` on."""
    return torch.arange(start, stop, dtype=torch.int64, device=_place["device"])


def patterns(raw: Raw) -> Tensor:
    """The same bits as signed integers on the device."""
    whole = np.ascontiguousarray(raw).view(f"i{raw.itemsize}")
    if not whole.flags.writeable:
        whole = whole.copy()  # torch warns of memory that it may not write to
    return torch.from_numpy(whole).to(_place["device"])


def decode(raw: Raw, form: str) -> Tensor:
    """The exact values. (n,) float64."""
    bits = patterns(raw)
    if form == "BF16":
        return (bits.to(torch.int32) << 16).view(torch.float32).to(torch.float64)
    return bits.view(_FLOAT[form]).to(torch.float64)


def task_vector(tensor: Raw, base: Raw, form: str) -> Tensor:
    """τ = θ − θ₀ (n,)."""
    return decode(tensor, form) - decode(base, form)


def encode(values: Tensor, name: str) -> Raw:
    """Round once, as `formats.encode` does. (n,) patterns on the host."""
    form = FORMATS[name]
    bits = values.view(torch.int64)
    size = bits & MAGNITUDE
    if name == "F64":
        whole = bits
    elif name == "F32":
        whole = values.to(torch.float32).view(torch.int32).to(torch.int64)
    else:
        cut = 52 - form.fraction_bits
        half = (1 << (51 - form.fraction_bits)) - 1
        normal = ((size + half + ((size >> cut) & 1)) >> cut) - ((1023 - form.bias) << form.fraction_bits)
        normal = torch.where(normal > form.infinity, torch.full_like(normal, form.infinity), normal)
        units = number(2.0 ** (52 + 1 - form.bias - form.fraction_bits))
        small = (size.view(torch.float64) + units).view(torch.int64) & 0xFFFF
        whole = torch.where(size < ((1024 - form.bias) << 52), small, normal) | ((bits >> 48) & 0x8000)
    whole = torch.where(size > 0x7FF0_0000_0000_0000, torch.full_like(whole, form.nan), whole)
    return whole.to(_WHOLE[form.item_bytes]).cpu().numpy().view(form.raw)


def magnitude_keys(delta: Tensor) -> Tensor:
    """|τ| as an integer that orders like it: the bits of τ rounded to float32, without the sign. (n,) int32."""
    return delta.to(torch.float32).view(torch.int32) & 0x7FFF_FFFF


def counted(rows: Sequence[Tensor], bins: int) -> np.ndarray[Any, Any]:
    """How often each whole number below `bins` occurs in each row. (k, bins) int64."""
    return np.stack([torch.bincount(row, minlength=bins).cpu().numpy() for row in rows]).astype(np.int64)
