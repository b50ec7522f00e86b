"""Canonical JSON (RFC 8785) with integers only: one byte string per value; refuses every other spelling."""

import json
from typing import Any

import rfc8785

from conjoin.errors import MalformedOperationError

Json = Any
"""A JSON value without floats: None, bool, int (|n| < 2^53), str, list, dict with str keys."""

NESTING_MAX = 64
"""How deep arrays and objects may nest. A rule, not the stack's limit, or replicas would differ on deep values."""

INTEGER_MAX = 2**53 - 1

_ASCII = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"), sort_keys=True)
"""Writes what RFC 8785 says where all is ASCII, thirty times as fast as its library; else keys may sort otherwise."""

_INTEGER_CHARS_MAX = len(str(-INTEGER_MAX))


def encode(value: Json) -> bytes:
    """The canonical bytes of `value`.

    Raises:
        MalformedOperationError: it holds a float, an integer of 2^53 or more, a lone surrogate or another type, or
            nests deeper than NESTING_MAX.
    """
    _refuse_floats_and_depth(value)
    return _encode(value)


def _encode(value: Json) -> bytes:
    try:
        data = _ASCII.encode(value)
        if data.isascii():
            return data.encode()
    except (TypeError, ValueError):
        pass  # the library below says what is wrong
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
        value = _READER.decode(data.decode("utf-8"))
        if data.count(b"[") + data.count(b"{") > NESTING_MAX:
            _refuse_floats_and_depth(value)
        same = _encode(value) == data
    except (ValueError, RecursionError) as cause:
        raise MalformedOperationError(f"{what} is not JSON: {unread(cause)}") from cause
    except MalformedOperationError as cause:
        raise MalformedOperationError(f"{what} is not canonical JSON: {cause.what}") from cause
    if not same:
        raise MalformedOperationError(f"{what} is not canonical JSON: encoding its value again gives other bytes")
    return value


def unread(cause: ValueError | RecursionError) -> str:
    """Why bytes are not JSON, in the words of a message."""
    match cause:
        case json.JSONDecodeError():
            return f"{cause.msg[:1].lower()}{cause.msg[1:]} (line {cause.lineno}, column {cause.colno})"
        case UnicodeDecodeError():
            return f"byte {cause.start} is not of a text in UTF-8"
        case RecursionError():
            return "it nests too deep"
        case _:
            return str(cause)


def _refuse_number(text: str) -> Json:
    raise MalformedOperationError(f"numbers are integers or decimal strings, not floats: {text:.40}")


def _read_integer(text: str) -> int:
    number = int(text) if len(text) <= _INTEGER_CHARS_MAX else INTEGER_MAX + 1
    if not -INTEGER_MAX <= number <= INTEGER_MAX:
        raise MalformedOperationError(f"an integer is beyond ±{INTEGER_MAX}")
    return number


_READER = json.JSONDecoder(parse_float=_refuse_number, parse_int=_read_integer, parse_constant=_refuse_number)
"""Refuses floats and large integers where it meets them."""


def _refuse_floats_and_depth(value: Json) -> None:
    """Walk `value` without recursion; refuse floats, which RFC 8785 would accept, large integers and deep nesting."""
    level, depth = [value], 0
    while level:
        inner: list[Json] = []
        for item in level:
            if type(item) is str:  # most are
                continue
            if isinstance(item, float):
                raise MalformedOperationError(f"numbers are integers or decimal strings, not floats: {item!r}")
            if isinstance(item, int) and not -INTEGER_MAX <= item <= INTEGER_MAX:
                raise MalformedOperationError(f"an integer is beyond ±{INTEGER_MAX}")
            if isinstance(item, dict | list | tuple):
                if depth == NESTING_MAX:
                    raise MalformedOperationError(f"arrays and objects nest deeper than {NESTING_MAX}")
                if isinstance(item, dict):
                    _refuse_keys(item)
                inner.extend(item.values() if isinstance(item, dict) else item)
        level, depth = inner, depth + 1


def _refuse_keys(item: dict[Any, Any]) -> None:
    for key in item:
        if not isinstance(key, str):
            raise MalformedOperationError(f"value has no canonical JSON form: {key!r:.80} is a key and no string")
