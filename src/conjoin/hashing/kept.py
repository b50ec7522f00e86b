"""Kept: machine code that one process made, for the next one; what is lost, damaged or refused costs time only."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

_DIGEST_BYTES = 32


def recall(name: str, stamp: str) -> bytes | None:
    """The machine code kept under a name and everything it depends on, or None where no whole copy is found."""
    for folder in _folders():
        try:
            found = (folder / _file(name, stamp)).read_bytes()
        except OSError:
            continue
        code = found[_DIGEST_BYTES:]
        if found[:_DIGEST_BYTES] == _digest(stamp, code):
            return code
    return None


def keep(name: str, stamp: str, code: bytes) -> None:
    """Keep machine code for `recall`, in the first folder that takes it."""
    for folder in _folders():
        path = folder / _file(name, stamp)
        part = path.with_suffix(f".{os.getpid()}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(_digest(stamp, code) + code)
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
        else:
            return


def _folders() -> Iterator[Path]:
    """Where numba keeps its own: where it is told to, else beside the sources, else in the user's cache."""
    told = os.environ.get("NUMBA_CACHE_DIR")
    if told:
        yield Path(told)
        return
    yield Path(cache_from_source(__file__)).parent
    yield Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "conjoin"


def _file(name: str, stamp: str) -> str:
    return f"{name}-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.o"


def _digest(stamp: str, code: bytes) -> bytes:
    return hashlib.sha256(stamp.encode() + b"\0" + code).digest()
