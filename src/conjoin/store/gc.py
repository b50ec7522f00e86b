"""Gc: finds content that nothing needs any more, and removes it; never an operation, never a file outside the store.

A manifest goes before its leaves, so that every manifest is complete wherever gc is killed.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from conjoin.errors import IntegrityError
from conjoin.progress import SILENT, Progress
from conjoin.store.files import translated_os_errors
from conjoin.store.folder import FolderStore
from conjoin.store.inplace import ReplicaStore
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, manifest_name, parse_leaf, parse_manifest


@dataclass(frozen=True, slots=True)
class Needed:
    """What must stay.

    Attributes:
        content: digests of the manifests that something needs.
        leaves: leaves that something needs by themselves.
        last: when content that nothing needs now was last needed, in seconds since the epoch, where that is known.
    """

    content: Collection[Digest]
    leaves: Collection[Digest]
    last: Mapping[Digest, float]


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Content that nothing needs, and what of it can be removed.

    Attributes:
        content: its digest; None for leaves that no manifest names.
        files: sizes in bytes of the objects to remove, by name, the manifest first.
        noted: whether the note on where it lies in files outside goes as well.
    """

    content: Digest | None
    files: Mapping[str, int]
    noted: bool = False

    @property
    def size_bytes(self) -> int:
        """What removing it frees."""
        return sum(self.files.values())


def find(store: ReplicaStore, needed: Needed, before: float) -> tuple[tuple[Unneeded, ...], int]:
    """What can be removed: content that nothing needs and that was neither needed nor written after `before`.

    While a needed manifest is missing or damaged, leaves that no manifest names stay: they may be its leaves, on their
    way here.

    Args:
        store: a replica's store.
        needed: what must stay.
        before: seconds since the epoch.

    Returns:
        What to remove, ascending by digest, and the bytes that nothing needs but that stay for now.

    Raises:
        DamagedObjectError: a manifest that is needed is damaged, so that its leaves are not known.
    """
    return _Search(store, needed, before).run()


def remove(store: ReplicaStore, unneeded: Iterable[Unneeded], progress: Progress = SILENT) -> None:
    """Remove what `find` returned; the caller holds the replica's lock since before it looked.

    Raises:
        StoreError: something could not be removed; run it again.
    """
    every = list(unneeded)
    progress.start("collecting", sum(one.size_bytes for one in every))
    manifests = {name: size for one in every for name, size in one.files.items() if parse_manifest(name)}
    store.discard(manifests, progress)
    for one in every:
        if one.noted and one.content is not None:
            store.references.drop(one.content)
    store.discard({name: size for one in every for name, size in one.files.items() if name not in manifests}, progress)


class _Search:
    """One look at a store."""

    def __init__(self, store: ReplicaStore, needed: Needed, before: float) -> None:
        self._store = store
        self._needed = needed
        self._before = before
        self._files: dict[str, tuple[int, float]] = {}
        self._manifests: dict[Digest, frozenset[Digest]] = {}
        self._wanted: set[Digest] = set(needed.leaves)
        self._kept: set[Digest] = set()
        self._whole = True

    def run(self) -> tuple[tuple[Unneeded, ...], int]:
        """See `find`."""
        for name in chain(FolderStore.names(self._store, "leaf/"), FolderStore.names(self._store, "manifest/")):
            self._look_at(name)
        for digest in self._needed.content:
            if manifest_name(digest) in self._files:
                self._wanted |= self._leaves(digest)
            else:
                self._whole = False
        notes = self._store.references.manifests()
        here = {digest for name in self._files if (digest := parse_manifest(name))}
        candidates = sorted((here | notes) - set(self._needed.content))
        young = {digest for digest in candidates if self._is_young(digest)}
        self._kept = self._wanted.union(*(self._leaves_if_whole(digest) for digest in young))
        old = [digest for digest in candidates if digest not in young]
        dropped = self._droppable(notes, old)
        found: list[Unneeded] = []
        named: set[Digest] = set()
        for digest in old:
            leaves = self._leaves_if_whole(digest)
            names = [manifest_name(digest), *(leaf_name(leaf) for leaf in sorted(leaves - named) if self._may_go(leaf))]
            files = {name: self._files[name][0] for name in names if name in self._files}
            named |= leaves
            if files or digest in dropped:
                found.append(Unneeded(digest, files, digest in dropped))
        left = {name: size for name, (size, _) in self._files.items() if self._is_left(name, named)}
        if left:
            found.append(Unneeded(None, left))
        return tuple(found), self._later({name for one in found for name in one.files}, young)

    def _look_at(self, name: str) -> None:
        path = f"{self._store.root}/{name}"
        with translated_os_errors(path), suppress(FileNotFoundError):  # gone since it was listed
            status = os.lstat(path)
            self._files[name] = status.st_size, status.st_mtime

    def _leaves(self, digest: Digest) -> frozenset[Digest]:
        """The leaves of a manifest; a damaged one is an error."""
        if digest not in self._manifests:
            manifest = Manifest.decode(self._store.get(manifest_name(digest)), digest)
            self._manifests[digest] = frozenset(manifest.leaf_lengths())
        return self._manifests[digest]

    def _leaves_if_whole(self, digest: Digest) -> frozenset[Digest]:
        """The leaves of a manifest, none where it is missing or damaged."""
        try:
            return self._leaves(digest)
        except IntegrityError:
            return frozenset()

    def _is_young(self, digest: Digest) -> bool:
        written = self._files.get(manifest_name(digest), (0, 0.0))[1]
        return max(written, self._needed.last.get(digest, 0.0), self._store.references.noted_at(digest)) > self._before

    def _may_go(self, leaf: Digest) -> bool:
        """Whether a leaf is here, nothing that stays has it, and it was not written lately."""
        file = self._files.get(leaf_name(leaf))
        return file is not None and leaf not in self._kept and file[1] <= self._before

    def _is_left(self, name: str, named: Collection[Digest]) -> bool:
        """Whether an object is a leaf that may go and that no manifest names."""
        leaf = parse_leaf(name)
        return leaf is not None and self._whole and leaf not in named and self._may_go(leaf)

    def _later(self, going: Collection[str], young: Collection[Digest]) -> int:
        """The bytes that nothing needs and that stay for now."""
        names = {manifest_name(digest) for digest in young}
        for name in self._files:
            leaf = parse_leaf(name)
            if leaf is not None and leaf not in self._wanted:
                names.add(name)
        return sum(self._files[name][0] for name in names if name in self._files and name not in going)

    def _droppable(self, notes: Collection[Digest], old: Iterable[Digest]) -> set[Digest]:
        """The notes on `old` content without which every leaf that stays still is somewhere."""
        references = self._store.references
        staying = set(notes)
        for digest in old:
            only_there = [
                leaf
                for leaf in references.leaves_in(digest) & self._kept
                if leaf_name(leaf) not in self._files
                and not any(leaf in references.leaves_in(other) for other in staying - {digest})
            ]
            if not only_there:
                staying.discard(digest)
        return set(notes) - staying
