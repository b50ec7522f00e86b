"""What every refusal has in common: its code and status, words that help, and that nothing was left behind."""

import os
from pathlib import Path

from conjoin.apps.cli.failure import error_class
from tests.e2e.shell import Result


def check_refused(result: Result, code: str, *words: str, hint: bool = True) -> None:
    """The command failed with error `code` and its status, and printed every word and a next step to stderr only."""
    assert f"error[{code}]: " in result.stderr, result
    assert result.status == error_class(code).exit_status, result
    assert result.stdout == "", result
    for word in words:
        assert word in result.stderr, f"{word!r} is not in:\n{result.stderr}"
    if hint:
        assert "\nhint: " in result.stderr, result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` but the lock, which says who wrote last."""
    found: dict[str, bytes] = {}
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top) / name
            if name != "lock":
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found
