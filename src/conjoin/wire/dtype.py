"""The dtypes conjoin carries, by their safetensors names; everything else is refused."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["float", "integer", "bool"]


@dataclass(frozen=True, slots=True)
class Dtype:
    """A tensor dtype: safetensors name, bytes per element, kind, and its rank in safetensors' file order."""

    name: str
    item_bytes: int
    kind: Kind
    file_rank: int


DTYPES: dict[str, Dtype] = {
    dtype.name: dtype
    for dtype in (
        Dtype("BOOL", 1, "bool", 0),
        Dtype("U8", 1, "integer", 1),
        Dtype("I8", 1, "integer", 2),
        Dtype("I16", 2, "integer", 3),
        Dtype("U16", 2, "integer", 4),
        Dtype("F16", 2, "float", 5),
        Dtype("BF16", 2, "float", 6),
        Dtype("I32", 4, "integer", 7),
        Dtype("U32", 4, "integer", 8),
        Dtype("F32", 4, "float", 9),
        Dtype("F64", 8, "float", 10),
        Dtype("I64", 8, "integer", 11),
        Dtype("U64", 8, "integer", 12),
    )
}
