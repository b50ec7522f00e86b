"""Asset: what was learned or searched for one set of contributions, as bytes with a digest; judges no value."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from conjoin.errors import MalformedOperationError, WrongAssetError
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, parse_digest, tagged

FORMAT = "conjoin/asset/1"
ASSET_BYTES_MAX = 64 * 1024 * 1024
_FIELDS = {"base", "contributions", "evidence", "format", "strategy", "values"}


def asset_file(digest: str) -> str:
    """Where a merged checkpoint keeps a copy of the asset it was made with, relative to its folder."""
    return f"sidecars/asset-{digest[:16]}.json"


@dataclass(frozen=True)
class Asset:
    """What `conjoin fit` found: coefficients, masks, adapters or a genome, which a strategy applies exactly.

    Attributes:
        strategy: the strategy it is for.
        base: content digest of the base, 64 zeros where there is none.
        contributions: digests of the contributions it was made for, ascending.
        values: what the strategy applies: objects, lists, integers and strings; real numbers as decimal strings,
            arrays as hex of little-endian float32.
        evidence: how it was found (digests of data, settings, history), for people; changes no merge.
    """

    strategy: str
    base: Digest
    contributions: tuple[Digest, ...]
    values: Mapping[str, Any]
    evidence: Mapping[str, Any]

    def to_json(self) -> dict[str, canonical.Json]:
        """The asset as a JSON value; `decode` reads its canonical bytes."""
        return {
            "base": self.base,
            "contributions": list(self.contributions),
            "evidence": dict(self.evidence),
            "format": FORMAT,
            "strategy": self.strategy,
            "values": dict(self.values),
        }

    def encode(self) -> bytes:
        """Its canonical bytes.

        Raises:
            WrongAssetError: it holds a float or another value that has no canonical form.
        """
        try:
            return canonical.encode(self.to_json())
        except MalformedOperationError as cause:
            raise WrongAssetError(f"the asset cannot be written: {cause.what}") from cause

    @cached_property
    def digest(self) -> Digest:
        """SHA-256("conjoin/asset/1" ‖ its bytes)."""
        return tagged(FORMAT, self.encode())

    def __hash__(self) -> int:
        return hash(self.digest)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the bytes of an asset.

        Raises:
            WrongAssetError: they are no asset of this version.
        """
        try:
            value = canonical.decode(data, "the asset")
            if not isinstance(value, dict) or value.get("format") != FORMAT or set(value) != _FIELDS:
                raise WrongAssetError(f"it is not a {FORMAT} document", hint="`conjoin fit` makes one")
            digests = tuple(parse_digest(one, "a contribution of the asset") for one in value["contributions"])
            base = parse_digest(value["base"], "the base of the asset")
        except MalformedOperationError as cause:
            raise WrongAssetError(f"the asset cannot be read: {cause.what}", hint="`conjoin fit` makes one") from cause
        if not isinstance(value["strategy"], str) or not all(
            isinstance(value[f], dict) for f in ("values", "evidence")
        ):
            raise WrongAssetError("the asset's strategy, values or evidence are of another type")
        if list(digests) != sorted(set(digests)):
            raise WrongAssetError("the asset's contributions are not in ascending order")
        return cls(value["strategy"], base, digests, value["values"], value["evidence"])

    def __repr__(self) -> str:
        return f"Asset({self.strategy}, {self.digest[:12]}, {len(self.contributions)} contributions)"
