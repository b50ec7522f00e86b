"""Contribution: one offered model by its digests and weight; holds no title, author or time, which change no merge."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Self

from conjoin.errors import BadWeightError, MalformedOperationError
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, parse_digest, tagged

TAG = "conjoin/contribution/1"
WEIGHT_CHARS_MAX = 32
EXTRAS_MAX = 64
_WEIGHT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?")
_USER_WEIGHT = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_EXTRA = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FIELDS = {"base", "extras", "weight", "weights"}
_HINT = "a weight is a positive decimal number such as 1, 2.5 or 0.05"


def check_weight(text: object) -> str:
    r"""Return `text` as a weight in canonical form.

    Canonical: `(0|[1-9][0-9]*)(\.[0-9]*[1-9])?`, not `0`, at most 32 characters; so every weight has one spelling.

    Raises:
        BadWeightError: it is not.
    """
    if not isinstance(text, str) or len(text) > WEIGHT_CHARS_MAX or _WEIGHT.fullmatch(text) is None:
        raise BadWeightError(f"weight {text!r:.60} is not a canonical positive decimal number", hint=_HINT)
    if text == "0":
        raise BadWeightError("weight is 0: a contribution of no weight is not a contribution", hint=_HINT)
    return text


def canonical_weight(text: str) -> str:
    """The canonical form of a weight as a person writes it: `1.50` → `1.5`, `.5` → `0.5`, `01` → `1`.

    Raises:
        BadWeightError: it is not a positive decimal number of at most 32 characters; exponents are not taken.
    """
    if _USER_WEIGHT.fullmatch(text.strip()) is None:
        raise BadWeightError(f"weight {text!r:.60} is not a positive decimal number", hint=_HINT)
    whole, _, fraction = text.strip().partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return check_weight(f"{whole}.{fraction}" if fraction else whole)


_NO_EXTRAS: Mapping[str, Digest] = MappingProxyType({})


@dataclass(frozen=True)
class Contribution:
    """One offered model.

    Attributes:
        weights: content digest of the model's weights.
        base: content digest of the base it was tuned from.
        weight: canonical positive decimal string.
        extras: content digests of side-cars by name, for example `fisher`.

    Raises (when made):
        BadWeightError: the weight is not canonical.
        MalformedOperationError: a digest or the name of an extra is malformed.
    """

    weights: Digest
    base: Digest
    weight: str = "1"
    extras: Mapping[str, Digest] = field(default_factory=lambda: _NO_EXTRAS)

    def __post_init__(self) -> None:
        parse_digest(self.weights, "weights")
        parse_digest(self.base, "base")
        check_weight(self.weight)
        if len(self.extras) > EXTRAS_MAX:
            raise MalformedOperationError(f"contribution has {len(self.extras)} extras, the limit is {EXTRAS_MAX}")
        for name, digest in self.extras.items():
            if _EXTRA.fullmatch(name) is None:
                raise MalformedOperationError(
                    f"extra {name!r:.80} is not named by a-z 0-9 _ - (1 to 64, a letter first)"
                )
            parse_digest(digest, f"extra {name}")
        extras = MappingProxyType(dict(sorted(self.extras.items()))) if self.extras else _NO_EXTRAS
        object.__setattr__(self, "extras", extras)

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> Digest:
        """The contribution's identity and its place in canonical order: SHA-256(tag ‖ canonical JSON)."""
        extras = ",".join(f'"{name}":"{digest}"' for name, digest in self.extras.items())
        text = f'{{"base":"{self.base}","extras":{{{extras}}},"weight":"{self.weight}","weights":"{self.weights}"}}'
        return tagged(TAG, text.encode("ascii"))  # canonical as it is: nothing in it needs an escape

    def to_json(self) -> dict[str, canonical.Json]:
        """The contribution as a JSON value; `from_json` reads it back."""
        return {"base": self.base, "extras": dict(self.extras), "weight": self.weight, "weights": self.weights}

    @classmethod
    def from_json(cls, value: canonical.Json) -> Self:
        """Read a JSON value.

        Raises:
            MalformedOperationError: it is not an object with exactly the four fields, or a digest is malformed.
            BadWeightError: the weight is not canonical.
        """
        if not isinstance(value, dict) or value.keys() != _FIELDS:
            raise MalformedOperationError("a contribution has exactly the fields base, extras, weight, weights")
        extras = value["extras"]
        if not isinstance(extras, dict):
            raise MalformedOperationError("extras of a contribution are an object of digests by name")
        return cls(value["weights"], value["base"], value["weight"], extras)
