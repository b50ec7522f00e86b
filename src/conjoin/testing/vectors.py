"""Vector files: a strategy's inputs, parameters and outputs as little-endian hex; reads and writes, judges nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from conjoin.kernels import FORMATS
from conjoin.strategies.base import RawArray
from conjoin.testing.strategy_suite import Model, Tensors


@dataclass(frozen=True)
class Vector:
    """One vector file.

    Attributes:
        strategy: name.
        version: the strategy's version, which goes up when its bytes change.
        provenance: where the outputs come from.
        params: as a user gives them.
        model: inputs.
        out_form: format of the outputs.
        out: outputs by tensor name.
    """

    strategy: str
    version: int
    provenance: str
    params: Mapping[str, Any]
    model: Model
    out_form: str
    out: Tensors

    def to_json(self) -> dict[str, Any]:
        """The file as one JSON value."""
        model = self.model
        shapes = {name: list(shape) for name, shape in model.shapes.items() if len(shape) != 1}
        extras = {
            side: {digest: _hex(tensors) for digest, tensors in held.items()} for side, held in model.extras.items()
        }
        return {
            **({"shapes": shapes} if shapes else {}),
            **({"extras": extras} if extras else {}),
            **({} if model.fitted is None else {"fitted": dict(model.fitted)}),
            "strategy": self.strategy,
            "version": self.version,
            "provenance": self.provenance,
            "params": dict(self.params),
            "format": model.form,
            "base": None if model.base is None else _hex(model.base),
            "contributions": {digest: _hex(model.contributions[digest]) for digest in model.digests},
            "weights": {digest: str(model.weights.get(digest, Fraction(1))) for digest in model.digests},
            "seeds": {scope: seed.hex() for scope, seed in sorted(model.seeds.items())},
            "out_format": self.out_form,
            "out": _hex(self.out),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Vector":
        """Read a file's JSON value."""
        form = value["format"]
        model = Model(
            form,
            None if value["base"] is None else _raw(value["base"], form),
            {digest: _raw(tensors, form) for digest, tensors in value["contributions"].items()},
            {digest: Fraction(weight) for digest, weight in value["weights"].items()},
            {scope: bytes.fromhex(seed) for scope, seed in value["seeds"].items()},
            {name: tuple(shape) for name, shape in value.get("shapes", {}).items()},
            {
                side: {digest: _raw(tensors, "F32") for digest, tensors in held.items()}
                for side, held in value.get("extras", {}).items()
            },
            value.get("fitted"),
        )
        return cls(
            value["strategy"],
            value["version"],
            value["provenance"],
            value["params"],
            model,
            value["out_format"],
            _raw(value["out"], value["out_format"]),
        )


def _hex(tensors: Tensors) -> dict[str, str]:
    return {name: raw.astype(raw.dtype.newbyteorder("<")).tobytes().hex() for name, raw in sorted(tensors.items())}


def _raw(tensors: Mapping[str, str], form: str) -> dict[str, RawArray]:
    """Patterns; what was written beside a tensor (`NAME|SIDE`) is bits or float64."""
    found: dict[str, RawArray] = {}
    for name, text in tensors.items():
        kind = FORMATS[form].raw
        if "|" in name:
            kind = np.dtype(np.uint8)
        found[name] = np.frombuffer(bytes.fromhex(text), kind.newbyteorder("<")).astype(kind)
    return found
