"""Fit: how the tensors of one checkpoint differ from another's in name, shape and dtype; never looks at values."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from conjoin.wire.manifest import Manifest


class Described(Protocol):
    """A tensor's description: an entry of a manifest or of a checkpoint that is being read."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def dtype(self) -> str:
        """Its dtype, by safetensors name."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """One tensor that is not the same in both checkpoints; `str()` says how."""

    name: str
    kind: Literal["missing", "extra", "shape", "dtype"]
    found: str
    expected: str

    @property
    def both(self) -> bool:
        """Whether both checkpoints have the tensor, so that its shape or dtype differs."""
        return self.kind in ("shape", "dtype")

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"tensor `{self.name}` {self.expected} is missing"
        if self.kind == "extra":
            return f"tensor `{self.name}` {self.found} is not in the base"
        return f"tensor `{self.name}` is {self.found} but {self.expected} in the base"


def compare_tensors(base: Iterable[Described], other: Iterable[Described]) -> list[Difference]:
    """How the tensors of `other` differ from those of `base`, in name order; empty when it fits."""
    expected = {tensor.name: tensor for tensor in base}
    found = {tensor.name: tensor for tensor in other}
    differences: list[Difference] = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            differences.append(Difference(name, "missing", "", _describe(expected[name])))
        elif name not in expected:
            differences.append(Difference(name, "extra", _describe(found[name]), ""))
        elif tuple(expected[name].shape) != tuple(found[name].shape):
            differences.append(Difference(name, "shape", _describe(found[name]), _describe(expected[name])))
        elif expected[name].dtype != found[name].dtype:
            differences.append(Difference(name, "dtype", _describe(found[name]), _describe(expected[name])))
    return differences


def compare_manifests(base: Manifest, other: Manifest) -> list[str]:
    """How the tensors of `other` differ from those of `base`, one line per tensor, in name order."""
    if base.described == other.described:
        return []
    return [str(difference) for difference in compare_tensors(base.tensors, other.tensors)]


def _describe(tensor: Described) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"
