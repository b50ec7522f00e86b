"""What a sync tells its caller; a value that decides nothing."""

from dataclasses import dataclass

from conjoin.errors import ConjoinError
from conjoin.wire.digest import Digest


@dataclass(frozen=True, slots=True)
class Refusal:
    """One object that was not taken: its name, the code of the rule it broke, and what is wrong with it."""

    name: str
    code: str
    what: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Leaves that did not move because they were there already, of content of which others did."""

    objects: int = 0
    size_bytes: int = 0


NOTHING_SKIPPED = Skipped()


@dataclass(frozen=True, slots=True)
class SyncReport:
    """One exchange with one remote.

    `bytes_in` and `objects_in` count what was received and what of it was kept; `waiting` counts operations whose
    ancestors are known nowhere here; `missing` names the content digests (canonical order) of visible contributions,
    the base and its files that are not complete here; `failure` is why the remote could not be written, if it could
    not: everything that was pulled before is kept; `key_used_elsewhere` names an operation that this replica's key has
    signed somewhere else; `root_there` is the root that a live peer stated at the end; `lacking_there` counts the
    operations here that the other side did not have at the end, None where that was not looked at; `begun` says that a
    place held no operation of the space before; `skipped_in` and `skipped_out` are what earlier syncs, or other
    content, had brought here and there of content that moved.
    """

    source: str
    operations_in: int
    operations_out: int
    bytes_in: int
    bytes_out: int
    objects_in: int
    objects_out: int
    refused: tuple[Refusal, ...]
    waiting: int
    missing: tuple[Digest, ...]
    root: Digest
    failure: ConjoinError | None = None
    key_used_elsewhere: str | None = None
    root_there: Digest | None = None
    lacking_there: int | None = None
    begun: bool = False
    skipped_in: Skipped = NOTHING_SKIPPED
    skipped_out: Skipped = NOTHING_SKIPPED
