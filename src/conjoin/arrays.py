"""Arrays: NumPy arrays and torch tensors to bytes and back, dtype and kind kept; imports no torch of its own."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin.errors import UnsupportedDtypeError
from conjoin.wire.dtype import DTYPES

Bytes = npt.NDArray[np.uint8]
Restore = Callable[[Bytes, str, tuple[int, ...]], Any]

_NUMPY_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
_NAMES = {name: dtype for dtype, name in _NUMPY_NAMES.items()}
assert _NUMPY_NAMES.keys() == DTYPES.keys()


@dataclass(frozen=True, slots=True)
class Taken:
    """An array as bytes.

    Attributes:
        dtype: safetensors name of the dtype.
        shape: its shape.
        data: its bytes, C order, little-endian, read-only.
        restore: makes an array of the same kind (NumPy; torch on the same device) from bytes, dtype and shape.
    """

    dtype: str
    shape: tuple[int, ...]
    data: Bytes
    restore: Restore


def take(array: Any, where: str, *, copy: bool = False) -> Taken:
    """An array as bytes.

    Args:
        array: a NumPy array (bfloat16 of ml_dtypes included), a torch tensor, or what `numpy.asarray` takes.
        where: its name in errors.
        copy: the bytes are kept while the array may change; otherwise they are the array's own where they can be.

    Raises:
        UnsupportedDtypeError: its dtype is not one that conjoin carries.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return _take_torch(array, where, torch, copy=copy)
    plain = np.asarray(array)
    dtype = _NAMES.get(plain.dtype.name)
    if dtype is None:
        raise _unsupported(str(plain.dtype), where)
    if sys.byteorder == "big" or plain.dtype.byteorder == ">":
        plain = plain.astype(plain.dtype.newbyteorder("<"))
    flat = np.ascontiguousarray(plain).reshape(-1).view(np.uint8)
    return Taken(dtype, plain.shape, _fixed(flat, copy=copy), _to_numpy)


def _fixed(flat: Bytes, *, copy: bool) -> Bytes:
    """Bytes that are not written to through what is returned."""
    data = flat.copy() if copy else flat.view()
    data.flags.writeable = False
    return data


def _take_torch(tensor: Any, where: str, torch: Any, *, copy: bool) -> Taken:
    dtype = _NAMES.get(str(tensor.dtype).removeprefix("torch."))
    if dtype is None or tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        raise _unsupported(f"{tensor.dtype} ({tensor.layout})", where)
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
    device = tensor.device

    def restore(result: Bytes, out_dtype: str, shape: tuple[int, ...]) -> Any:
        kind = getattr(torch, _NUMPY_NAMES[out_dtype])
        if not result.size:
            return torch.empty(shape, dtype=kind, device=device)
        return torch.from_numpy(result).view(kind).reshape(shape).to(device)

    return Taken(dtype, tuple(tensor.shape), _fixed(data, copy=copy), restore)


def _to_numpy(data: Bytes, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    name = _NUMPY_NAMES[dtype]
    if name == "bfloat16":
        try:
            kind = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        except ImportError as cause:
            raise UnsupportedDtypeError(
                "the result is BF16, which NumPy alone does not have",
                hint="install ml_dtypes, or ask for another dtype",
            ) from cause
    else:
        kind = np.dtype(name).newbyteorder("<")
    return data.view(kind).reshape(shape)


def _unsupported(dtype: str, where: str) -> UnsupportedDtypeError:
    return UnsupportedDtypeError(
        f"the array has dtype {dtype}, which conjoin cannot carry",
        where=where,
        hint=f"convert it to one of {', '.join(_NUMPY_NAMES.values())}",
    )
