"""Options that several commands share, and the reading of their values; opens no file and loads no room."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.progress import Bar
from conjoin.errors import ConjoinError, UsageError

if TYPE_CHECKING:
    from conjoin.replica import Replica

Where = Annotated[
    Path | None,
    typer.Option("-C", metavar="DIR", help="The replica to work in (default: the nearest one upward from here)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print the bare result only, and no progress.")]

SPACES, CONTRIBUTIONS, MERGING, LOOKING = "Spaces", "Contributions", "Merging", "Looking"
"""Panels of `conjoin --help`."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shell:
    """What every command is told: where to work and how to report.

    Attributes:
        where: the directory named by `-C`, or None.
        as_json: one JSON document instead of text.
        quiet: the bare result only.
    """

    where: Path | None = None
    as_json: bool = False
    quiet: bool = False

    @classmethod
    def of(cls, ctx: typer.Context, where: Path | None, as_json: bool, quiet: bool) -> "Shell":
        """The options of a command, completed by those given before its name."""
        before = ctx.find_root().obj
        before = before if isinstance(before, Shell) else Shell()
        return cls(where or before.where, as_json or before.as_json, quiet or before.quiet)

    def replica(self) -> "Replica":
        """Open the replica that `-C` names, or the nearest one upward from the working directory.

        Raises:
            NoReplicaError: there is none.
        """
        from conjoin.replica import Replica

        return Replica.open(self.where or Replica.find(Path.cwd()))

    def command(self, words: str) -> str:
        """A command to type next, for the replica this one worked in."""
        return f"`conjoin {words}`" if self.where is None else f"`conjoin -C {self.where} {words}`"

    def bar(self, unit: str = "") -> Bar:
        """A progress bar that shows itself only where somebody can see it; with `unit` it counts those, not bytes."""
        return Bar(enabled=not (self.as_json or self.quiet), unit=unit)

    def tell(self, value: Any, *, brief: str = "", human: Callable[[], Iterable[Any]]) -> None:
        """Print the result of the command, once, and say where another arithmetic had to run than the one wanted.

        Args:
            value: what `--json` prints; dataclasses are taken apart.
            brief: what `-q` prints; nothing when empty.
            human: gives the lines and tables for people; called only when they are printed.
        """
        note = _arithmetic_note()
        if self.as_json:
            found = plain(value)
            if note and isinstance(found, dict):
                found["arithmetic_note"] = note
            sys.stdout.write(json.dumps(found, indent=2) + "\n")
            return
        from conjoin.apps.cli.render import show, warn

        if self.quiet:
            sys.stdout.write(brief + "\n" if brief else "")
        else:
            show(human())
        if note:
            warn(note)


def _arithmetic_note() -> str | None:
    """Why another arithmetic ran; None where none did, or nothing was computed."""
    backend = sys.modules.get("conjoin.kernels.backend")
    return None if backend is None else backend.backend_note()


def plain(value: Any) -> Any:
    """`value` as JSON types: dataclasses and mappings become objects, paths text, errors their own JSON form."""
    if isinstance(value, ConjoinError):
        return value.as_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def epilog(*lines: str) -> str:
    """The examples at the end of a command's help."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])


def size_in_bytes(text: str, option: str) -> int:
    """Read a size such as `5GB`, `512MiB` or `1000000`; KB, MB, GB, TB are powers of 1000, KiB … of 1024.

    Raises:
        UsageError: it is not such a size, or not above zero.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} is {text!r}, not a size", hint="write it like 5GB, 512MiB or 1000000 (bytes)")
    number, unit, binary = match.groups()
    size = int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))
    if size <= 0:
        raise UsageError(f"{option} is {text!r}; a size is above zero", hint="write it like 5GB or 512MiB")
    return size


def assignments(given: Sequence[str], option: str, form: str) -> dict[str, str]:
    """Read repeated `NAME=VALUE` options.

    Raises:
        UsageError: one has no `=`, an empty name, or repeats a name.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or not value:
            raise UsageError(f"{option} {text!r} is not of the form {form}", hint=f"write `{option} {form}`")
        if name in found:
            raise UsageError(f"{option} gives {name} twice: {found[name]!r} and {value!r}", hint="give it once")
        found[name] = value
    return found


def parameters(given: Sequence[str]) -> dict[str, Any]:
    """Read `-p name=value` and `-p name.DIGEST=value`; the second form gives a mapping digest prefix → value.

    Raises:
        UsageError: malformed, repeated, or both forms for one name.
    """
    found: dict[str, Any] = {}
    for key, value in assignments(given, "-p", "NAME=VALUE").items():
        name, dot, digest = key.partition(".")
        earlier = found.get(name)
        if (earlier is not None) and (not dot or not isinstance(earlier, dict)):
            raise UsageError(
                f"-p {name} is given both for all contributions and for one", hint=f"use `-p {name}.DIGEST=VALUE` only"
            )
        if dot:
            found[name] = {**(earlier or {}), digest: value}
        else:
            found[name] = value
    return found
