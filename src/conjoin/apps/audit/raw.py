"""A strategy as a raw operation on tensors, without layer 1 and without canonical order; the audit's Phase 1.

f(a, b) calls the strategy's own function on a and b in this order, a multiset: f(a, a) has two members. What belongs to
a tensor (its digest, side-cars, role) follows from its content, so an intermediate result has its own.
"""

import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.strategies.base import BLOCK_ELEMENTS, Block, Extent, Extra, Made, Pass, RawArray, Scope, Strategy

Array = npt.NDArray[Any]

_FORMATS = {"float16": "F16", "float32": "F32", "float64": "F64"}
_SLICE_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor and the digest of its content."""

    array: Array
    digest: str

    @classmethod
    def of(cls, array: Array) -> "Operand":
        """The tensor with the digest of its shape, dtype and bytes."""
        plain = np.ascontiguousarray(array)
        named = hashlib.sha256(f"{plain.dtype.name} {plain.shape}\n".encode())
        named.update(plain.data)
        return cls(plain, named.hexdigest())


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a strategy needs beside the tensors, for operands in the order of the call.

    Attributes:
        params: parameters as a user gives them; one that is given per contribution is a list in the order of the call.
        extras: side-car tensors in float32 by SideCar name, in the order of the call.
        values: of the asset, or None.
    """

    params: Mapping[str, Any]
    extras: Mapping[str, Sequence[Array]]
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A strategy on one tensor with a fixed base."""

    strategy: Strategy
    name: str
    base: Operand

    def __call__(self, operands: Sequence[Operand], equipment: Equipment) -> Operand:
        """Apply the strategy to the operands in this order."""
        by_operand = {key: value for key, value in equipment.params.items() if isinstance(value, list)}
        alone = {key: value for key, value in equipment.params.items() if key not in by_operand}
        params = self.strategy.parse(alone)
        for key, values in by_operand.items():
            parameter = self.strategy.parameter(key)
            params[key] = tuple(None if one is None else parameter.parse(one, self.strategy.name) for one in values)
        weights = (Fraction(1),) * len(operands)
        self.strategy.check(params, weights)
        whole = self._block(operands, equipment, params)
        measured: dict[str, Any] = {}
        for step in self.strategy.passes:
            if step.needed(params) and not step.settled(measured):
                partials = [step.measure(part, params) for part in self._slices(whole, params, measured)]
                extent = Extent(len(operands), self.base.array.size, weights, dict(measured))
                measured[step.name] = step.finish(_combined(step, partials), params, extent)
        made = [self.strategy.function(part, **params) for part in self._slices(whole, params, measured)]
        flat = np.concatenate([one.tensor if isinstance(one, Made) else one for one in made])
        return Operand.of(flat.view(self.base.array.dtype).reshape(self.base.array.shape))

    def _block(self, operands: Sequence[Operand], equipment: Equipment, params: Mapping[str, Any]) -> Block:
        """The whole tensor as one block. Draws are named by the set of contents, as by a root, and by the content."""
        members = "".join(sorted({operand.digest for operand in operands}))
        form = _FORMATS[self.base.array.dtype.name]
        return Block(
            tensors=tuple(_patterns(operand.array) for operand in operands),
            base=_patterns(self.base.array) if self.strategy.reads_base(params) else None,
            weights=(Fraction(1),) * len(operands),
            contributions=tuple(operand.digest for operand in operands),
            format=form,
            out_format=form,
            name=self.name,
            shape=self.base.array.shape,
            offset=0,
            flat_offset=0,
            seeds={
                "root": hashlib.sha256(members.encode()).digest(),
                "contribution": hashlib.sha256(self.base.digest.encode()).digest(),
            },
            strategy=self.strategy.name,
            extras={
                side: Extra(tuple(map(_patterns, arrays)), "F32", arrays[0].shape)
                for side, arrays in equipment.extras.items()
            },
            fitted=equipment.values,
        )

    def _slices(self, whole: Block, params: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[Block]:
        """The block in the slices that the strategy's scope allows."""
        elements = len(whole.tensors[0])
        step = math.lcm(BLOCK_ELEMENTS, self.strategy.together(params, whole.shape))
        size = elements if self.strategy.scope is Scope.MATRIX else max(1, _SLICE_ELEMENTS // step) * step
        cut = {side.name for side in self.strategy.side_cars(params) if side.elementwise}
        for start in range(0, elements, size):
            part = slice(start, start + size)
            yield replace(
                whole,
                tensors=tuple(tensor[part] for tensor in whole.tensors),
                base=None if whole.base is None else whole.base[part],
                offset=start,
                measured=dict(measured),
                extras={
                    name: replace(extra, tensors=tuple(one[part] for one in extra.tensors)) if name in cut else extra
                    for name, extra in whole.extras.items()
                },
            )


def _patterns(array: Array) -> RawArray:
    return array.reshape(-1).view(kernels.FORMATS[_FORMATS[array.dtype.name]].raw)


def _combined(step: Pass, partials: list[Any]) -> Any:
    if step.combine == "tree":
        return kernels.fold_blocks(np.concatenate(partials))
    return functools.reduce(np.add, partials)
