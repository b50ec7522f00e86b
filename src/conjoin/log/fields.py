"""Checks of single fields of an operation; refuses whatever a reader could show or read in two ways."""

import re
from collections.abc import Iterable
from itertools import pairwise

from conjoin.errors import MalformedOperationError
from conjoin.wire.canonical import Json
from conjoin.wire.digest import Digest, parse_digest

# Control characters, line separators and the marks that reorder text on a screen.
_UNPRINTABLE = re.compile("[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]")
_TIME = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def exact_fields(value: Json, names: Iterable[str], what: str) -> dict[str, Json]:
    """Return `value` as an object with exactly the fields `names`.

    Raises:
        MalformedOperationError: it is no object, or fields are missing or unknown.
    """
    if not isinstance(value, dict):
        raise MalformedOperationError(f"{what} is not an object: {value!r:.80}")
    expected = frozenset(names)
    if value.keys() != expected:
        missing, unknown = sorted(expected - value.keys()), sorted(value.keys() - expected)
        raise MalformedOperationError(
            f"{what} has other fields than its type: missing {missing}, unknown {unknown!r:.80}"
        )
    return value


def text_field(value: Json, chars_max: int, what: str) -> str:
    """Return `value` as a text of at most `chars_max` code points without control or reordering characters.

    Raises:
        MalformedOperationError: it is not.
    """
    if not isinstance(value, str) or len(value) > chars_max:
        raise MalformedOperationError(f"{what} is not a text of at most {chars_max} characters: {value!r:.80}")
    if _UNPRINTABLE.search(value):
        raise MalformedOperationError(f"{what} holds a control character: {value!r:.80}")
    return value


def time_field(value: Json, what: str) -> str:
    """Return `value` as an RFC 3339 time with offset, or the empty string. Days per month are not checked.

    Raises:
        MalformedOperationError: it is not.
    """
    if value == "" or (isinstance(value, str) and _TIME.fullmatch(value)):
        return value
    raise MalformedOperationError(f"{what} is not an RFC 3339 time or empty: {value!r:.80}")


def integer_field(value: Json, least: int, most: int, what: str) -> int:
    """Return `value` as an integer in `least … most`; booleans are no integers.

    Raises:
        MalformedOperationError: it is not.
    """
    if type(value) is not int or not least <= value <= most:
        raise MalformedOperationError(f"{what} is not an integer in {least} … {most}: {value!r:.80}")
    return value


def hex_field(value: Json, chars: int, what: str) -> str:
    """Return `value` as exactly `chars` lower-case hex characters.

    Raises:
        MalformedOperationError: it is not.
    """
    if not isinstance(value, str) or re.fullmatch(f"[0-9a-f]{{{chars}}}", value) is None:
        raise MalformedOperationError(f"{what} is not {chars} lower-case hex characters: {value!r:.80}")
    return value


def digests_field(value: Json, least: int, most: int, what: str) -> tuple[Digest, ...]:
    """Return `value` as `least … most` digests in ascending order without repetition.

    Raises:
        MalformedOperationError: it is not.
    """
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise MalformedOperationError(f"{what} is not a list of {least} to {most} operation ids")
    digests = tuple(parse_digest(item, what) for item in value)
    if len(digests) > 1 and any(left >= right for left, right in pairwise(digests)):
        raise MalformedOperationError(f"{what} are not ascending without repetition")
    return digests
