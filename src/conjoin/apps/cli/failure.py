"""How a failed command ends: one error on stderr or as JSON, and its exit status; repairs nothing."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from conjoin.errors import ConjoinError, DeviceError, DiskFullError, MissingFileError, ReadOnlyError, UnreachableError

if TYPE_CHECKING:
    from conjoin.sync import SyncReport

INTERRUPTED_STATUS = 130
BROKEN_PIPE_STATUS = 141
BUG_STATUS = 70


def printable(text: str, *, keep: str = "\n") -> str:
    """`text` with every control character made visible: names and titles come from others and reach a terminal."""
    return "".join(c if c.isprintable() or c in keep else f"\\x{ord(c):02x}" for c in text)


def error_classes() -> list[type[ConjoinError]]:
    """Every error class, families first, by code."""
    found: list[type[ConjoinError]] = [ConjoinError]
    for parent in found:
        found.extend(parent.__subclasses__())
    return sorted(found, key=lambda kind: kind.code)


def error_class(code: str) -> type[ConjoinError]:
    """The class of errors with that code; the parent of all where it is not known."""
    return next((kind for kind in error_classes() if kind.code == code), ConjoinError)


def from_os(cause: OSError) -> ConjoinError:
    """The store error that says what the operating system refused."""
    paths = [
        os.fspath(path) for path in (cause.filename, cause.filename2) if isinstance(path, str | bytes | os.PathLike)
    ]
    where = (
        ", ".join(path.decode("utf-8", "replace") if isinstance(path, bytes) else str(path) for path in paths) or None
    )
    what = (cause.strerror or str(cause)).lower()
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"cannot write: {what}", where=where, hint="free some space and run the command again")
    if cause.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyError(f"cannot use it: {what}", where=where, hint="check the owner and permissions of this path")
    if cause.errno == errno.ENOENT:
        return MissingFileError(f"it is not there: {what}", where=where, hint="check the spelling of the path")
    return DeviceError(f"the operating system refused: {what}", where=where, hint="run `conjoin fsck` afterwards")


def report(error: ConjoinError, *, as_json: bool) -> int:
    """Print `error` and return the exit status."""
    if as_json:
        sys.stdout.write(json.dumps({"error": error.as_json()}, indent=2) + "\n")
    else:
        sys.stderr.write(printable(str(error)) + "\n")
    return error.exit_status


def refusals(found: "SyncReport") -> list[ConjoinError]:
    """The errors that objects were refused for in a sync; a line that broke is named once for all of them."""
    errors: dict[object, ConjoinError] = {}
    for refusal in found.refused:
        kind = error_class(refusal.code)
        if issubclass(kind, UnreachableError):
            errors[refusal.what] = kind(
                refusal.what, where=found.source, hint="run the command again: what was moved is kept"
            )
        else:
            errors[refusal] = kind(
                refusal.what,
                where=f"{refusal.name} in {found.source}",
                hint="it was not taken; ask whoever wrote it, or remove the object from the source",
            )
    return list(errors.values())


def name_errors(errors: Sequence[ConjoinError], *, as_json: bool) -> int:
    """Name on stderr what went wrong in a command that went on, unless its JSON tells; returns the exit status."""
    if not as_json:
        sys.stderr.writelines(printable(str(error)) + "\n" for error in errors)
    return errors[0].exit_status if errors else 0


def interrupted(*, as_json: bool) -> int:
    """Ctrl-C: one line, or one JSON document."""
    # An interrupt that passed through code made from text, as a dataclass is, leaves a mark in the interpreter, by
    # which `python -m` ends as killed whatever the exit status; running other such code takes the mark away.
    exec("")
    message = "interrupted: what a replica has by now is kept, the same command can be run again"
    if as_json:
        sys.stdout.write(json.dumps({"error": {"what": message, "exit_status": INTERRUPTED_STATUS}}, indent=2) + "\n")
    else:
        sys.stderr.write(message + "\n")
    return INTERRUPTED_STATUS


def close_pipe() -> int:
    """The reader of our output is gone: leave without a word."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    return BROKEN_PIPE_STATUS
