"""How long work reports how far it has come; draws nothing itself."""

from typing import Protocol


class Progress(Protocol):
    """Something that is told about work in bytes: a progress bar, a recorder, or nothing."""

    def start(self, what: str, total_bytes: int) -> None:
        """Begin a stage named `what` (lower case, shown to the user) of `total_bytes` bytes."""
        ...

    def advance(self, done_bytes: int) -> None:
        """Say that `done_bytes` more bytes of the current stage are done; any thread may call it."""
        ...


class Silent:
    """Progress that nobody watches."""

    def start(self, what: str, total_bytes: int) -> None:
        """Ignore the stage."""

    def advance(self, done_bytes: int) -> None:
        """Ignore the bytes."""


SILENT: Progress = Silent()
