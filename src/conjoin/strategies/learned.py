"""What strategies read from an asset: numbers, bits and float32 rows by tensor and contribution; applies nothing."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin.errors import BadParameterError, WrongAssetError
from conjoin.strategies.base import Block, parse_decimal

EVERY = "*"
"""Stands for every tensor that has no entry of its own."""
AGAIN = "make it again with `conjoin fit`"


def entries(x: Block, kind: str) -> tuple[Any, ...] | None:
    """What the asset holds of a kind for this tensor, per contribution; None where it names the tensor nowhere.

    Raises:
        MissingAssetError: there is no asset.
        WrongAssetError: it holds nothing of that kind, or not for every contribution.
    """
    table = x.learned.get(kind)
    if not isinstance(table, Mapping):
        raise WrongAssetError(f"the asset holds no `{kind}`, which {x.strategy} applies", hint=AGAIN)
    row = table.get(x.name, table.get(EVERY))
    if row is None:
        return None
    if not isinstance(row, Mapping):
        raise _refused(x, kind, f"{row!r:.40} is no object with an entry per contribution")
    missing = [digest[:12] for digest in x.contributions if digest not in row]
    if missing:
        raise _refused(x, kind, f"nothing for the contributions {', '.join(missing)}")
    return tuple(row[digest] for digest in x.contributions)


def required(x: Block, kind: str) -> tuple[Any, ...]:
    """As `entries`, of an asset that names the tensor.

    Raises:
        MissingAssetError, WrongAssetError: as `entries`, and where it does not name it.
    """
    found = entries(x, kind)
    if found is None:
        raise _refused(x, kind, "nothing for this tensor")
    return found


def require_same(x: Block, kind: str, wanted: Any) -> None:
    """Refuse to apply what was learned for something else.

    Args:
        x: the block.
        kind: under what the asset says for what it was learned.
        wanted: for what it is needed; None where the asset then says nothing.

    Raises:
        MissingAssetError: there is no asset.
        WrongAssetError: it says something else.
    """
    known = x.learned.get(kind)
    if known != wanted:
        raise WrongAssetError(
            f"the asset was learned with another `{kind}`: {known}, not {wanted}",
            hint="give the parameters it was made with, or fit again",
        )


def numbers(x: Block, kind: str) -> tuple[Fraction, ...]:
    """Decimal strings, one per contribution.

    Raises:
        MissingAssetError, WrongAssetError: as `required`, and where one is no decimal number.
    """
    try:
        return tuple(parse_decimal(text, "an entry") for text in required(x, kind))
    except BadParameterError as error:
        raise _refused(x, kind, error.what) from error


def bits(x: Block, kind: str, length: int) -> tuple[npt.NDArray[np.bool_], ...] | None:
    """Strings of 0 and 1, one per contribution, each of a length; None where the asset names the tensor nowhere.

    Raises:
        MissingAssetError, WrongAssetError: as `entries`, and where one is something else.
    """
    found = entries(x, kind)
    if found is None:
        return None
    for text in found:
        if not isinstance(text, str) or len(text) != length or text.strip("01"):
            raise _refused(x, kind, f"{text!r:.40} is not a string of {length} bits")
    return tuple(np.frombuffer(text.encode(), np.uint8) == ord("1") for text in found)


def floats(x: Block, kind: str, length: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Hex of little-endian float32, one per contribution, of a length or of one number that stands for all.

    Raises:
        MissingAssetError, WrongAssetError: as `required`, and where one is something else.
    """
    return tuple(_floats(x, kind, text, {1, length}) for text in required(x, kind))


def _floats(x: Block, kind: str, text: Any, lengths: set[int]) -> npt.NDArray[np.float64]:
    values = float32_of(text)
    if values is None or len(values) not in lengths:
        wanted = " or ".join(str(length) for length in sorted(lengths))
        raise _refused(x, kind, f"{text!r:.40} is not the hex of {wanted} finite float32 numbers")
    return values


def float32_of(text: Any) -> npt.NDArray[np.float64] | None:
    """The numbers of a hex of little-endian float32; None where it is something else, or they are not finite."""
    try:
        values = np.frombuffer(bytes.fromhex(text), "<f4").astype(np.float64)
    except (TypeError, ValueError):
        return None
    return values if np.isfinite(values).all() else None


def _refused(x: Block, kind: str, problem: str) -> WrongAssetError:
    return WrongAssetError(f"`{kind}` of the asset: {problem}", where=f"tensor `{x.name}`", hint=AGAIN)
