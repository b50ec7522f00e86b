"""Canonical JSON (RFC 8785) with integers only: one byte string per value; refuses every other spelling."""

import json
from typing import Any

import rfc8785

from conjoin.errors import MalformedOperationError

Json = Any
"""A JSON value without floats: None, bool, int (|n| < 2^53), str, list, dict with str keys."""


def encode(value: Json) -> bytes:
    """The canonical bytes of `value`.

    Raises:
        MalformedOperationError: it holds a float, an integer of 2^53 or more, a lone surrogate or another type.
    """
    _refuse_floats(value)
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as cause:
        raise MalformedOperationError(f"value has no canonical JSON form: {cause}") from cause


def decode(data: bytes, what: str = "document") -> Json:
    """The value of canonical JSON bytes; `what` names the document in errors.

    Raises:
        MalformedOperationError: the bytes are not JSON, or encoding the value again gives other bytes (duplicate keys,
            floats, white space, another key order, escapes, …).
    """
    try:
        value = json.loads(data.decode("utf-8"))
        same = encode(value) == data
    except (ValueError, RecursionError) as cause:
        raise MalformedOperationError(f"{what} is not JSON: {cause}") from cause
    except MalformedOperationError as cause:
        raise MalformedOperationError(f"{what} is not canonical JSON: {cause.what}") from cause
    if not same:
        raise MalformedOperationError(f"{what} is not canonical JSON: encoding its value again gives other bytes")
    return value


def _refuse_floats(value: Json) -> None:
    """Walk `value` without recursion and refuse floats, which RFC 8785 would accept."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, float):
            raise MalformedOperationError(f"numbers are integers or decimal strings, not floats: {item!r}")
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
