"""Fsck: read every object again and name each one that is not what its name says; repairs nothing."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conjoin.errors import ConjoinError, IntegrityError, MissingObjectError, StoreError, TrustError
from conjoin.progress import SILENT, Progress
from conjoin.store.base import REPAIR_HINT, is_object
from conjoin.store.files import aligned_buffer, cores
from conjoin.store.folder import FolderStore
from conjoin.store.inplace import Location, References, ReplicaStore
from conjoin.wire import canonical
from conjoin.wire.digest import LEAF_BYTES, Digest, sha256
from conjoin.wire.envelope import unseal, verify
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import (
    TOP,
    OperationName,
    leaf_name,
    operation_name,
    parse_fork,
    parse_leaf,
    parse_manifest,
    parse_operation,
    parse_segment,
)
from conjoin.wire.segment import check_segment

THREADS_MAX = 4
_OTHERS = {"local", ".tmp"}
_IN = " in "
_SYNC = "`conjoin sync` with a replica or meeting place that has it brings it back"


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong: the object's name (or a file's path), what is wrong with it, and the next step."""

    name: str
    what: str
    hint: str

    @property
    def object_name(self) -> str:
        """The name of the object that would mend it; of a leaf in a file outside, the leaf's."""
        return self.name.partition(_IN)[0]


def fsck(store: FolderStore, progress: Progress = SILENT) -> tuple[int, int, tuple[Damage, ...]]:
    """Read every object of a store again: leaves, manifests, operations with their signatures, files added in place.

    Args:
        store: a folder store or a replica's store.
        progress: told about the bytes read.

    Returns:
        How many objects were read, their size in bytes, and what is wrong, ascending by name: damaged objects, leaves
        that a manifest names and that are missing, files that are no objects; in a replica also operations whose
        ancestors are missing. A file added in place may have changed if another file or a copy holds the same leaf.
    """
    return _Check(store, progress).run()


class _Check:
    """One run over a store; workers share it."""

    def __init__(self, store: FolderStore, progress: Progress) -> None:
        self._store = store
        self._references: References | None = store.references if isinstance(store, ReplicaStore) else None
        self._progress = progress
        self._lock = threading.Lock()
        self._damage: dict[str, Damage] = {}
        self._named: dict[Digest, str] = {}
        self._parents: dict[Digest, tuple[str, str | None]] = {}
        self._operations: set[Digest] = set()
        self._outside: set[Digest] = set()
        self._changed: list[tuple[Digest, Damage]] = []
        self._objects = 0
        self._size_bytes = 0

    def run(self) -> tuple[int, int, tuple[Damage, ...]]:
        """Check everything."""
        files = list(self._files())
        self._progress.start("checking", sum(size for _, size in files))
        units: Iterator[str | tuple[Digest, Location]] = iter([*(name for name, _ in files), *self._elsewhere()])
        workers = min(THREADS_MAX, cores())
        with ThreadPoolExecutor(workers, "fsck") as pool:
            for worker in [pool.submit(self._work, units) for _ in range(workers)]:
                worker.result()
        self._check_leaves()
        if self._references is not None and not any(map(parse_segment, self._damage)):  # it may hold what is missing
            self._check_ancestors()
        return self._objects, self._size_bytes, tuple(self._damage[name] for name in sorted(self._damage))

    def _check_leaves(self) -> None:
        """Note the leaves that are in no file, here or outside, or only in files that have changed."""
        lost: set[Digest] = set()
        for leaf, damage in self._changed:
            if leaf not in self._outside and not FolderStore.has(self._store, leaf_name(leaf)):
                lost.add(leaf)
                self._add(damage)
        for leaf, manifest in self._named.items():
            name = leaf_name(leaf)
            held = leaf in self._outside or FolderStore.has(self._store, name)
            if not held and leaf not in lost:
                self._add(Damage(name, f"it is missing, and {manifest} names it", REPAIR_HINT))

    def _check_ancestors(self) -> None:
        """Note what operations of a replica name and the replica lacks: it writes an operation after its ancestors."""
        damaged = {operation.id for name in self._damage if (operation := parse_operation(name))}
        for parent, (child, name) in self._parents.items():
            if parent in self._operations or parent in damaged:
                continue
            if name is None:
                self._add(Damage(f"operation {parent}", f"it is missing, and {child} names it", _SYNC))
            else:
                self._add(Damage(name, f"it is missing, and {child} follows it", _SYNC))

    def _files(self) -> Iterator[tuple[str, int]]:
        """Every object file with its size; other files are noted as damage."""
        for path, size in _walk(self._store.root):
            name = path.relative_to(self._store.root).as_posix()
            if is_object(name) and size is not None:
                yield name, size
            elif is_object(name):
                self._add(Damage(name, "the object is not a regular file", REPAIR_HINT))
            else:
                self._add(Damage(name, "it is not an object of conjoin", f"move it away: {path}"))

    def _elsewhere(self) -> Iterator[tuple[Digest, Location]]:
        """Every leaf that lies in a file outside; damaged notes are noted as damage."""
        if self._references is None:
            return
        for path in self._references.damaged():
            hint = "remove it and add the checkpoint again with --in-place"
            self._add(Damage(path, "the note where leaves added in place are is damaged", hint))
        for leaf in self._references.leaves():
            for location in self._references.locations(leaf):
                yield leaf, location

    def _work(self, units: Iterator[str | tuple[Digest, Location]]) -> None:
        buffer = aligned_buffer(LEAF_BYTES)
        while True:
            with self._lock:
                unit = next(units, None)
            if unit is None:
                return
            try:
                size = self._read(unit, buffer) if isinstance(unit, str) else self._read_outside(*unit, buffer)
            except MissingObjectError:  # removed since it was listed: by somebody who gave up adding it
                continue
            except (IntegrityError, TrustError, StoreError) as error:
                if isinstance(unit, str):
                    self._add(_damage(unit, error))
                else:
                    name = f"{leaf_name(unit[0])}{_IN}{unit[1].path}"
                    self._changed.append((unit[0], _damage(name, error)))
                continue
            with self._lock:
                self._objects += 1
                self._size_bytes += size
            self._progress.advance(size)

    def _read(self, name: str, buffer: memoryview) -> int:
        """Read one object file and check it wholly; returns its size."""
        if leaf := parse_leaf(name):
            return FolderStore.read_leaf(self._store, leaf, buffer)
        segment = parse_segment(name)
        data = self._store.get(name, trusted=segment is not None)
        if manifest := parse_manifest(name):
            leaves = Manifest.decode(data, manifest).leaf_lengths()
            with self._lock:
                self._named.update(dict.fromkeys(leaves, name))
        elif operation := parse_operation(name) or parse_fork(name):
            payload, author, signature = unseal(data)
            verify(payload, author, signature)
            fields = canonical.decode(payload, "operation")
            seq = fields.get("seq")
            if seq != operation.seq:
                self._add(Damage(name, f"the operation's seq is {seq} and not the one in the name", REPAIR_HINT))
            self._note_links(operation, name, fields)
        elif segment is not None:
            for payload, author, signature in check_segment(segment, data):
                verify(payload, author, signature)
                fields = canonical.decode(payload, "operation")
                self._note_links(OperationName(author, fields["seq"], sha256(payload)), name, fields)
        return len(data)

    def _read_outside(self, leaf: Digest, location: Location, buffer: memoryview) -> int:
        """Read one leaf in a file outside; returns its size."""
        size = location.read(leaf, buffer)
        with self._lock:
            self._outside.add(leaf)
        return size

    def _note_links(self, operation: OperationName, name: str, fields: dict[str, Any]) -> None:
        """Remember what an operation is and which ones it names; `prev` alone tells author and seq as well."""
        prev = fields.get("prev")
        with self._lock:
            self._operations.add(operation.id)
            for dep in fields.get("deps") or []:
                self._parents.setdefault(dep, (name, None))
            if prev is not None and operation.seq > 0:
                self._parents[prev] = (name, operation_name(operation.author, operation.seq - 1, prev))

    def _add(self, damage: Damage) -> None:
        with self._lock:
            self._damage.setdefault(damage.name, damage)


def _damage(name: str, error: ConjoinError) -> Damage:
    return Damage(name, error.what, error.hint or REPAIR_HINT)


def _walk(root: Path) -> Iterator[tuple[Path, int | None]]:
    """Every file in a store's folders with its size, None for what is no regular file; unknown top entries as well."""
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        for entry in entries:
            top = folder == root
            if top and entry.name in _OTHERS:
                continue
            if entry.is_dir(follow_symlinks=False) and (not top or entry.name in TOP):
                pending.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # removed since it was listed
                    yield Path(entry.path), entry.stat(follow_symlinks=False).st_size
            else:
                yield Path(entry.path), None
