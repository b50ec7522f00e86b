"""Receipt: what a merged checkpoint was made from, and what its bytes must be; holds no time, host or path."""

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from conjoin.errors import MalformedOperationError, MalformedReceiptError, RecipeError
from conjoin.plan import Plan, Recipe
from conjoin.plan.layout import RECEIPT_NAME, is_beside
from conjoin.store.files import NotRegularError, read_whole, reason, translated_os_errors
from conjoin.wire import canonical
from conjoin.wire.digest import Digest, parse_digest, tagged
from conjoin.wire.manifest import name_problem

FORMAT = "conjoin/receipt/1"
RECEIPT_BYTES_MAX = 64 * 1024 * 1024
_DIGESTS = ("space", "root", "recipe_digest", "seed", "base", "output")
_TYPES: dict[str, type] = {"contributions": list, "side_files": dict, "tensors": dict, "version": str, "warnings": list}
_FIELDS = {*_DIGESTS, *_TYPES, "digest", "files", "format", "numerics", "recipe"}


@dataclass(frozen=True)
class Receipt:
    """The content of conjoin.json.

    Attributes:
        space: the space the contributions were visible in.
        root: root over the contributions.
        recipe: how they were combined.
        recipe_digest: its digest.
        seed: root seed of the draws.
        base: content digest of the base.
        contributions: `digest`, `weights` and `weight` of each, in canonical order.
        output: content digest of the merged checkpoint.
        files: digest of the base's files, or None.
        tensors: root of each tensor of the output, by name.
        side_files: SHA-256 of each file copied along or written beside the tensors, by name.
        numerics: version of the determinism contract.
        version: version of the software.
        warnings: what a strategy had to say, ascending.
    """

    space: Digest
    root: Digest
    recipe: Recipe
    recipe_digest: Digest
    seed: Digest
    base: Digest
    contributions: tuple[Mapping[str, str], ...]
    output: Digest
    files: Digest | None
    tensors: Mapping[str, Digest] = field(repr=False)
    side_files: Mapping[str, Digest]
    numerics: int
    version: str
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        plan: Plan,
        *,
        output: Digest,
        tensors: Mapping[str, Digest],
        side_files: Mapping[str, Digest],
        version: str,
        warnings: tuple[str, ...],
    ) -> Self:
        """The receipt of a plan that has been carried out."""
        return cls(
            space=plan.space,
            root=plan.root,
            recipe=plan.recipe,
            recipe_digest=plan.recipe.digest,
            seed=Digest(plan.seeds["root"].hex()),
            base=plan.base,
            contributions=_contributions(plan),
            output=output,
            files=plan.files,
            tensors=tensors,
            side_files=side_files,
            numerics=plan.recipe.numerics,
            version=version,
            warnings=warnings,
        )

    def differences(self, plan: Plan) -> list[str]:
        """Names of the fields that are not what `plan` says; empty when the receipt follows from the plan."""
        expected: dict[str, object] = {
            "space": plan.space,
            "root": plan.root,
            "recipe": plan.recipe,
            "recipe_digest": plan.recipe.digest,
            "seed": plan.seeds["root"].hex(),
            "base": plan.base,
            "contributions": _contributions(plan),
            "files": plan.files,
            "numerics": plan.recipe.numerics,
        }
        wrong = [name for name, value in expected.items() if getattr(self, name) != value]
        if set(self.tensors) != {tensor.name for tensor in plan.tensors}:
            wrong.append("tensors")
        copied = {*(side.name for side in plan.side_files), *plan.added_files}
        return [*wrong, "side_files"] if set(self.side_files) != copied else wrong

    def to_json(self) -> dict[str, Any]:
        """The receipt as a JSON value; `digest` is over all the rest, so that a slip of a byte anywhere shows."""
        value: dict[str, Any] = {
            "base": self.base,
            "contributions": [dict(one) for one in self.contributions],
            "files": self.files,
            "format": FORMAT,
            "numerics": self.numerics,
            "output": self.output,
            "recipe": self.recipe.to_json(),
            "recipe_digest": self.recipe_digest,
            "root": self.root,
            "seed": self.seed,
            "side_files": dict(self.side_files),
            "space": self.space,
            "tensors": dict(self.tensors),
            "version": self.version,
            "warnings": list(self.warnings),
        }
        return {**value, "digest": _digest_of(value)}

    def encode(self) -> bytes:
        """The bytes of conjoin.json."""
        return canonical.encode(self.to_json())

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the receipt to `path`, or into the folder `path` as conjoin.json.

        Raises:
            ReadOnlyError, DiskFullError, DeviceError: it could not be written.
        """
        with translated_os_errors(path):
            _file_of(path).write_bytes(self.encode())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read the receipt at `path`, or conjoin.json in the folder `path`.

        Raises:
            MalformedReceiptError: there is none, or it is not a receipt of this version, or a byte of it was changed.
        """
        file = _file_of(path)
        try:
            data = read_whole(file, RECEIPT_BYTES_MAX)
        except (OSError, NotRegularError) as cause:
            raise MalformedReceiptError(
                f"there is no receipt {RECEIPT_NAME}: {reason(cause)}",
                where=str(file),
                hint="name the folder that `conjoin resolve` made",
            ) from cause
        if data is None:
            raise MalformedReceiptError(f"the receipt is over {RECEIPT_BYTES_MAX} bytes", where=str(file))
        try:
            return cls.decode(data)
        except MalformedReceiptError as cause:
            raise MalformedReceiptError(cause.what, where=str(file), hint=cause.hint) from cause

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the bytes of a receipt.

        Raises:
            MalformedReceiptError: they are not a receipt of this version.
        """
        try:
            value = canonical.decode(data, "receipt")
            return cls._from_json(value)
        except (MalformedOperationError, RecipeError) as cause:
            raise MalformedReceiptError(f"the receipt cannot be read: {cause.what}", hint=cause.hint) from cause

    @classmethod
    def _from_json(cls, value: object) -> Self:
        if not isinstance(value, dict) or value.get("format") != FORMAT or set(value) != _FIELDS:
            raise MalformedReceiptError(f"it is not a {FORMAT} document", hint="a newer version may read it")
        stated = value.pop("digest")
        if stated != _digest_of(value):
            raise MalformedReceiptError(
                "the receipt was changed after it was written: its own digest does not match",
                hint="resolve again",
            )
        for name, kind in _TYPES.items():
            if not isinstance(value[name], kind):
                raise MalformedReceiptError(f"`{name}` of the receipt is not a {kind.__name__}")
        recipe = Recipe.from_json(value["recipe"])
        if recipe.to_json() != value["recipe"] or recipe.digest != value["recipe_digest"]:
            raise MalformedReceiptError("the receipt's recipe is not in canonical form, or has another digest")
        if value["numerics"] != recipe.numerics:
            raise MalformedReceiptError(f"numerics is {value['numerics']!r}, the recipe's is {recipe.numerics}")
        return cls(
            **{name: parse_digest(value[name], name) for name in _DIGESTS},
            recipe=recipe,
            contributions=tuple(_read_contribution(one) for one in value["contributions"]),
            files=None if value["files"] is None else parse_digest(value["files"], "files"),
            tensors=_read_digests(value["tensors"], "tensors"),
            side_files=_read_digests(value["side_files"], "side_files"),
            numerics=recipe.numerics,
            version=value["version"],
            warnings=tuple(value["warnings"]),
        )

    def __hash__(self) -> int:
        return hash(self.output)

    def _repr_html_(self) -> str:
        rows = {
            "output": self.output[:16],
            "strategy": self.recipe.strategy,
            "contributions": str(len(self.contributions)),
            "root": self.root[:16],
            "base": self.base[:16],
            "warnings": "; ".join(self.warnings) or "none",
        }
        body = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows.items())
        return f"<table>{body}</table>"


def _digest_of(value: Mapping[str, Any]) -> Digest:
    return tagged(FORMAT, canonical.encode(dict(value)))


def _file_of(path: str | os.PathLike[str]) -> Path:
    given = Path(path)
    return given / RECEIPT_NAME if given.is_dir() else given


def _contributions(plan: Plan) -> tuple[dict[str, str], ...]:
    return tuple({"digest": c.digest, "weight": c.weight, "weights": c.weights} for c in plan.contributions)


def _read_contribution(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or set(value) != {"digest", "weight", "weights"}:
        raise MalformedReceiptError("a contribution of the receipt has other fields than digest, weight, weights")
    parse_digest(value["digest"], "contribution")
    parse_digest(value["weights"], "weights")
    if not isinstance(value["weight"], str):
        raise MalformedReceiptError(f"the weight of contribution {value['digest'][:12]} is not a decimal string")
    return dict(value)


def _read_digests(value: object, what: str) -> dict[str, Digest]:
    if not isinstance(value, dict) or any(name_problem(name) and not is_beside(name) for name in value):
        raise MalformedReceiptError(f"`{what}` of the receipt is not an object of digests by name")
    return {name: parse_digest(digest, f"{what}: {name}") for name, digest in value.items()}
