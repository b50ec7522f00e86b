"""A replica's log as it lies in its store, where several processes may write; decides nothing that admission decides.

What is kept here needs the replica's lock; what only reads does not.
"""

import gc
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from itertools import chain

from conjoin.errors import ConjoinError, DamagedObjectError, MissingObjectError, StoreError
from conjoin.inventory import count
from conjoin.log import Log, Operation, parse
from conjoin.log.segments import object_of, read_segment, runs, salvage
from conjoin.store.inplace import ReplicaStore
from conjoin.wire.digest import Digest
from conjoin.wire.objects import parse_fork, parse_operation, parse_segment

KINDS = ("fork", "ops", "seg")
"""The folders that hold operations."""
SETTLED_NS = 2_500_000_000
"""A folder whose time is younger than this when it is read may change again without another time, on FAT for one."""


class KeptLog:
    """The log in a store, and which objects of it are damaged.

    Attributes:
        log: what was admitted of the operations in the store; replaced by `read_anew`, otherwise only growing.
        damaged: names of objects that should hold operations and do not, for fsck and sync to mend.
    """

    log: Log
    damaged: tuple[str, ...]

    def __init__(self, store: ReplicaStore, space: Digest) -> None:
        """Read and admit every stored operation.

        Raises:
            DamagedObjectError: the operation that founded the space is missing or damaged.
        """
        self._store = store
        self._space = space
        self._times: tuple[tuple[str, int], ...] = ()
        self._looked_ns = 0
        self.read_anew()

    def read_anew(self) -> None:
        """Let the log be what lies in the store, and nothing else.

        Raises:
            DamagedObjectError: the operation that founded the space is missing or damaged.
        """
        self._times = ()
        self._listed = set(self._names())  # first: what comes meanwhile is read when it is noticed
        with _uncollected():
            self.log, self.damaged = _read(self._store, self._space)

    def refresh(self) -> None:
        """Notice what other processes wrote, put together or removed since."""
        if self.damaged or self.log.waiting() or self.log.wanted() or self._listed - (names := set(self._names())):
            self.read_anew()
        else:
            self._admit(names)

    def grow(self, *, settled: bool = False) -> None:
        """As `refresh`, for a log that others refer to: it never gives up what it has.

        Args:
            settled: believe the times of folders, which is quicker and misses what came within their resolution; for
                telling others what there is, and never for writing.
        """
        if not settled or self._folders_changed():
            self._admit(set(self._names()))

    def persist(self, operation: Operation) -> None:
        """Make one operation durable; whoever calls this lets the log have it."""
        if operation.name in self.damaged:
            self._store.replace(operation.name, operation.envelope)
            self.damaged = tuple(name for name in self.damaged if name != operation.name)
        else:
            self._store.put(operation.name, operation.envelope)

    def mend(self) -> list[str]:
        """Write damaged objects again whose operations are all known by now; returns their names."""
        mended: list[str] = []
        for name in self.damaged:
            data = None
            with suppress(DamagedObjectError):
                data = object_of(self.log, name)
            if data is not None:
                self._store.replace(name, data)
                mended.append(name)
        self.damaged = tuple(name for name in self.damaged if name not in mended)
        return mended

    def require_whole(self) -> None:
        """Refuse a log with gaps: what is visible is not known, and the operation after a lost one would be a fork.

        Raises:
            DamagedObjectError: operations are damaged or missing.
        """
        lost = self._lost()
        if lost and not self.damaged:  # or another process was writing here just while this one read
            self.read_anew()
            lost = self._lost()
        if self.damaged or lost:
            damaged = [*self.damaged, *lost]
            raise DamagedObjectError(
                f"{count(len(damaged), 'operation')} of the log damaged or missing: what is visible is not known",
                where="\n".join(damaged[:5]),
                hint="`conjoin sync SOURCE` or `conjoin fsck --repair-from SOURCE` mends them from another replica",
            )

    # ------------------------------------------------------------------ inside

    def _lost(self) -> list[str]:
        return [f"operation {wanted}" for wanted in self.log.wanted()]

    def _names(self) -> Iterator[str]:
        """Names of the objects that hold operations."""
        return chain.from_iterable(self._store.names(f"{kind}/") for kind in KINDS)

    def _folders_changed(self) -> bool:
        """Whether a folder may have changed since this was asked."""
        times = self._folder_times()
        newest = max((changed for _, changed in times), default=0)
        if times == self._times and newest < self._looked_ns - SETTLED_NS:
            return False
        self._times, self._looked_ns = times, time.time_ns()
        return True

    def _folder_times(self) -> tuple[tuple[str, int], ...]:
        """Every folder that holds operations, with the time of its last change."""
        found: list[tuple[str, int]] = []
        for kind in KINDS:
            top = self._store.root / kind
            with suppress(FileNotFoundError):
                found.append((kind, os.stat(top).st_mtime_ns))
                with os.scandir(top) as entries:
                    for entry in entries:
                        found.append((entry.path, entry.stat(follow_symlinks=False).st_mtime_ns))
        return tuple(sorted(found))

    def _admit(self, names: set[str]) -> None:
        """Let the log have what the objects hold that were not looked at before."""
        operations: dict[Digest, Operation] = {}
        for name in sorted(names - self._listed):
            with suppress(StoreError):  # what cannot be read now is looked at again
                found, damaged = _operations_in(self._store, name, self.log)
                operations |= {operation.id: operation for operation in found}
                self._listed.add(name)
                if damaged:
                    self.damaged = (*self.damaged, name)
        for run in runs(operations.values()):
            for operation in run:
                self.log.offer(operation)


@contextmanager
def _uncollected() -> Generator[None]:
    """A block without cyclic garbage collection: a log has no cycles, and each look at all of it takes longer."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(store: ReplicaStore, space: Digest) -> tuple[Log, tuple[str, ...]]:
    """Admit every stored operation; returns the log and the names of damaged objects."""
    operations: dict[Digest, Operation] = {}
    damaged: list[str] = []
    for kind in KINDS:  # segments last: what is packed while this reads is in one of them
        for name in store.names(f"{kind}/"):
            found, is_damaged = [], True
            with suppress(StoreError):  # it may be another time, and until then something is missing
                found, is_damaged = _operations_in(store, name)
            operations |= {operation.id: operation for operation in found}
            if is_damaged:
                damaged.append(name)
    if space not in operations:
        raise DamagedObjectError(
            f"the operation {space[:12]} that founded this space is missing or damaged",
            where=str(store.root / "ops"),
            hint="copy its file from the `ops` of another replica or meeting place",
        )
    log = Log.founded_by(operations[space])
    for run in runs(operations.values()):  # ancestors first: the waiting room is for what others send
        for operation in run:
            log.offer(operation)
    return log, tuple(damaged)


def _operations_in(store: ReplicaStore, name: str, known: Log | None = None) -> tuple[list[Operation], bool]:
    """The operations in one object that `known` may lack, and whether the object is damaged.

    Raises:
        StoreError: it could not be read.
    """
    parts = parse_operation(name) or parse_fork(name) or parse_segment(name)
    if known is not None and parts is not None and known.has(parts.id):  # of a segment the last, so the others too
        return [], False
    data = b""
    try:
        if not parse_segment(name):
            return [parse(store.get(name))], False
        data = store.get(name, trusted=True)
        return read_segment(name, data), False
    except MissingObjectError:  # since it was listed it has gone into a segment, which is read as well
        return [], False
    except StoreError:
        raise
    except ConjoinError:
        return salvage(data) if parse_segment(name) else [], True
