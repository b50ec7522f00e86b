"""Leaves that stay in the files they were added from: where they are, and a replica's store that reads them there.

A reference is a hint, never a fact: every read is verified, and a file that has changed is an error, not a tensor.
"""

import heapq
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conjoin.errors import (
    ChangedFileError,
    ConjoinError,
    MalformedOperationError,
    MissingObjectError,
    StoreError,
    UnsafePathError,
)
from conjoin.store.base import Place
from conjoin.store.checkpoint import CheckpointTensor
from conjoin.store.files import (
    NotRegularError,
    make_directories,
    open_regular,
    read_at,
    read_whole,
    remove_abandoned,
    sync_directory,
    translated_os_errors,
    write_durably,
)
from conjoin.store.folder import FolderStore
from conjoin.wire import canonical
from conjoin.wire.digest import LEAF_BYTES, Digest, is_digest, leaf_digest, leaf_sizes, parse_digest, sha256
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, parse_leaf

FORMAT = "conjoin/inplace/1"
_FILE_BYTES_MAX = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Location:
    """Where a leaf is said to be: file, offset and length in bytes, its tensor, and what the file looked like then."""

    path: str
    offset: int
    size_bytes: int
    tensor: str
    file_bytes: int
    file_mtime_ns: int

    def holds(self, digest: Digest) -> bool:
        """Whether the leaf can be expected to be there: the file looks as it did, or else its bytes are still right."""
        with suppress(OSError):
            status = os.lstat(self.path)
            if (status.st_size, status.st_mtime_ns) == (self.file_bytes, self.file_mtime_ns):
                return True
        try:
            self.read(digest, memoryview(bytearray(self.size_bytes)))
        except (ChangedFileError, StoreError):
            return False
        return True

    def read(self, digest: Digest, into: memoryview) -> int:
        """Read the leaf into the start of `into`; returns its length.

        Raises:
            ChangedFileError: the file is gone, or these bytes of it have another digest now.
        """
        try:
            descriptor = open_regular(self.path)
        except (OSError, NotRegularError) as cause:
            raise self._changed("the file it was added from is gone or cannot be read") from cause
        try:
            with translated_os_errors(self.path):
                done = read_at(descriptor, into[: self.size_bytes], self.offset)
        finally:
            os.close(descriptor)
        if done != self.size_bytes or leaf_digest(into[:done]) != digest:
            raise self._changed("the file it was added from has changed since")
        return done

    def open(self) -> Place:
        """The leaf's place in its file, which may have changed.

        Raises:
            OSError, NotRegularError: the file cannot be opened.
        """
        descriptor = open_regular(self.path)
        status = os.fstat(descriptor)
        stamp = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return Place(descriptor, self.offset, self.size_bytes, stamp)

    def _changed(self, what: str) -> ChangedFileError:
        return ChangedFileError(
            f"tensor `{self.tensor}` was added in place and {what}",
            where=f"{self.path}: tensor `{self.tensor}`, bytes {self.offset}–{self.offset + self.size_bytes}",
            hint="put the original file back, add it again from a copy, or sync with a replica that copied it",
        )


class References:
    """Where leaves are in files outside the store: one JSON note per manifest in `folder`, kept to the replica."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self._locations: dict[Digest, list[Location]] = {}
        self._noted: dict[Digest, frozenset[Digest]] = {}
        self._damaged: list[str] = []
        self._seen: int | None = None

    def record(self, manifest: Manifest, tensors: Sequence[CheckpointTensor]) -> None:
        """Note durably where the leaves of `manifest` are.

        Args:
            manifest: what was read from the files.
            tensors: the same tensors, with their files and offsets.

        Raises:
            UnsafePathError: a file's path is not UTF-8 text.
            StoreError: the note could not be written.
        """
        files = sorted({tensor.file for tensor in tensors}, key=lambda file: file.path)
        number = {file: index for index, file in enumerate(files)}
        body = {
            "files": [{"mtime_ns": str(f.identity.mtime_ns), "path": str(f.path), "size": f.size_bytes} for f in files],
            "format": FORMAT,
            "tensors": [
                {
                    "file": number[tensor.file],
                    "leaves": list(manifest.by_name[tensor.name].leaves),
                    "name": tensor.name,
                    "offset": tensor.offset,
                    "size": tensor.size_bytes,
                }
                for tensor in tensors
            ],
        }
        try:
            data = canonical.encode({"body": body, "sha256": sha256(canonical.encode(body))})
        except MalformedOperationError as cause:
            raise UnsafePathError(
                "the path of a file is not UTF-8 text, so it cannot be added in place",
                where="\n".join(repr(os.fspath(file.path)) for file in files[:5]),
                hint="rename it, or add it without --in-place",
            ) from cause
        with translated_os_errors(self._folder):
            changed = make_directories(self._folder)
            write_durably(self._folder, self._folder / f"{manifest.digest}.json", data)
            for folder in [self._folder, *changed]:
                sync_directory(folder)
        with self._lock:
            self._seen = None

    def has(self, digest: Digest) -> bool:
        """Whether a file is said to hold the leaf."""
        return bool(self.locations(digest))

    def locations(self, digest: Digest) -> list[Location]:
        """Where the leaf is said to be."""
        with self._lock:
            self._load()
            return self._locations.get(digest, [])

    def leaves(self) -> list[Digest]:
        """Every leaf that some file is said to hold, ascending."""
        with self._lock:
            self._load()
            return sorted(self._locations)

    def manifests(self) -> frozenset[Digest]:
        """The manifests with a note on where their leaves are."""
        with self._lock:
            self._load()
            return frozenset(self._noted)

    def leaves_in(self, manifest: Digest) -> frozenset[Digest]:
        """The leaves that the note of a manifest is about; none where there is no such note."""
        with self._lock:
            self._load()
            return self._noted.get(manifest, frozenset())

    def noted_at(self, manifest: Digest) -> float:
        """When the note of a manifest was written, in seconds since the epoch; 0 where there is none."""
        try:
            return os.stat(self._folder / f"{manifest}.json").st_mtime
        except FileNotFoundError:
            return 0.0

    def damaged(self) -> list[str]:
        """Paths of notes that are not what was written."""
        with self._lock:
            self._load()
            return list(self._damaged)

    def drop(self, manifest: Digest) -> None:
        """Forget where the leaves of a manifest are."""
        with translated_os_errors(self._folder), suppress(FileNotFoundError):
            os.unlink(self._folder / f"{manifest}.json")
            sync_directory(self._folder)
        with self._lock:
            self._seen = None

    def sweep(self) -> int:
        """Remove unfinished notes that a killed process left; returns how many."""
        removed = 0
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if not name.endswith(".json"):
                    with suppress(OSError):
                        removed += remove_abandoned(self._folder / name)
        return removed

    def _load(self) -> None:
        """Read the notes again if the folder has changed."""
        try:
            now = os.stat(self._folder).st_mtime_ns
            if now == self._seen:
                return
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            now, names = 0, []
        self._locations, self._noted, self._damaged, self._seen = {}, {}, [], now
        for name in names:
            if name.endswith(".json") and is_digest(name[:-5]):
                try:
                    found = _read_note(self._folder / name)
                    for digest, location in found:
                        self._locations.setdefault(digest, []).append(location)
                    self._noted[Digest(name[:-5])] = frozenset(digest for digest, _ in found)
                except (ConjoinError, OSError, NotRegularError, ValueError, KeyError, TypeError, IndexError):
                    self._damaged.append(os.fspath(self._folder / name))


def _read_note(path: Path) -> list[tuple[Digest, Location]]:
    """The leaves and locations in one note; raises one of several errors if the note is damaged."""
    value: Any = canonical.decode(read_whole(path, _FILE_BYTES_MAX) or b"", "note")
    body = value["body"]
    if value["sha256"] != sha256(canonical.encode(body)) or body["format"] != FORMAT:
        raise ValueError("the note's digest is another")
    found: list[tuple[Digest, Location]] = []
    for tensor in body["tensors"]:
        file = body["files"][tensor["file"]]
        was = int(file["size"]), int(file["mtime_ns"])
        offset = tensor["offset"]
        for leaf, size in zip(tensor["leaves"], leaf_sizes(tensor["size"]), strict=True):
            found.append((parse_digest(leaf), Location(file["path"], offset, size, tensor["name"], *was)))
            offset += size
    return found


class ReplicaStore(FolderStore):
    """A replica's store: its own objects, and leaves that stay in the files they were added from."""

    def __init__(
        self, root: str | os.PathLike[str], temporary: str | os.PathLike[str] | None, references: References
    ) -> None:
        super().__init__(root, temporary)
        self.references = references

    def has(self, name: str) -> bool:
        """See `Store`."""
        if super().has(name):
            return True
        leaf = parse_leaf(name)
        return leaf is not None and self.references.has(leaf)

    def holds(self, name: str) -> bool:
        """Whether the object is here, or in a file outside that has not changed: see `store.base.holds`."""
        if super().has(name):
            return True
        leaf = parse_leaf(name)
        return leaf is not None and any(location.holds(leaf) for location in self.references.locations(leaf))

    def get(self, name: str, *, trusted: bool = False) -> bytes:
        """See `FolderStore`."""
        try:
            return super().get(name, trusted=trusted)
        except MissingObjectError:
            leaf = parse_leaf(name)
            if leaf is None or not self.references.has(leaf):
                raise
            buffer = memoryview(bytearray(LEAF_BYTES))
            return bytes(buffer[: self._read_reference(leaf, buffer)])

    def read_leaf(self, digest: Digest, into: memoryview, *, trusted: bool = False) -> int:
        """See `Store`; what lies outside the store is verified even when it is `trusted`."""
        try:
            return super().read_leaf(digest, into, trusted=trusted)
        except MissingObjectError:
            if not self.references.has(digest):
                raise
            return self._read_reference(digest, into)

    def place(self, digest: Digest) -> Place | None:
        """See `store.base.place_of`; of several files outside, the first that can be opened."""
        if found := super().place(digest):
            return found
        for location in self.references.locations(digest):
            with suppress(OSError, NotRegularError):
                return location.open()
        return None

    def names(self, prefix: str) -> Iterator[str]:
        """See `Store`."""
        elsewhere = (name for leaf in self.references.leaves() if (name := leaf_name(leaf)).startswith(prefix))
        last = ""
        for name in heapq.merge(super().names(prefix), elsewhere):
            if name != last:
                yield name
            last = name

    def sweep(self, older_than_s: float = 0.0) -> int:
        """See `FolderStore`; the notes on files outside are swept as well."""
        return super().sweep(older_than_s) + self.references.sweep()

    def _read_reference(self, digest: Digest, into: memoryview) -> int:
        """Read a leaf from the first file that still holds it."""
        *others, last = self.references.locations(digest)
        for location in others:
            with suppress(ChangedFileError):
                return location.read(digest, into)
        return last.read(digest, into)
