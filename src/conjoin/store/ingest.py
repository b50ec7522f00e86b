"""Ingest: read a checkpoint once, hash and check every tensor, keep its leaves, and write its manifest last.

What is refused, interrupted or killed leaves at most leaves that no manifest names; whoever asked takes them back.
"""

import os
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin.errors import ChangedFileError, MalformedCheckpointError, NonFiniteError
from conjoin.progress import SILENT, Progress
from conjoin.store.base import Store, batch
from conjoin.store.checkpoint import Checkpoint, CheckpointTensor, FileIdentity, SourceFile
from conjoin.store.files import NotRegularError, aligned_buffer, cores, open_regular, read_at, translated_os_errors
from conjoin.store.inplace import References
from conjoin.wire.digest import LEAF_BYTES, Digest, LeafHasher
from conjoin.wire.dtype import DTYPES
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import leaf_name, manifest_name

THREADS_MAX = 4
PIECE_BYTES = 512 * 1024
"""How much of a leaf is read, checked and hashed at a time: what stays in a core's own cache."""
_LISTED_MAX = 50


def ingest(
    checkpoint: Checkpoint,
    store: Store,
    *,
    in_place: bool = False,
    references: References | None = None,
    progress: Progress = SILENT,
    threads: int | None = None,
) -> Manifest:
    """Keep a checkpoint in a store and return its manifest, whose digest is the checkpoint's content digest.

    Args:
        checkpoint: what the gate let in.
        store: where the leaves and the manifest go.
        in_place: write no leaves; record in `references` where in the checkpoint's files they are.
        references: needed with `in_place`.
        progress: told about the bytes read.
        threads: workers; None takes up to four, one per core. The result does not depend on it.

    Raises:
        NonFiniteError: tensors hold NaN or Inf; all of them are listed.
        MalformedCheckpointError: a BOOL tensor holds other bytes than 0 and 1.
        ChangedFileError: a file was changed while it was read.
        StoreError: the store could not be written.
    """
    assert references is not None or not in_place
    progress.start(f"reading {checkpoint.path.name}", checkpoint.size_bytes)
    with batch(store):
        manifest = _read(checkpoint.tensors, None if in_place else store, progress, threads)
        if references is not None and in_place:
            references.record(manifest, checkpoint.tensors)
        store.put(manifest_name(manifest.digest), manifest.encode())
    return manifest


def ingest_files(files: Sequence[SourceFile], store: Store) -> Manifest:
    """Keep the files beside the weights: a manifest with one U8 tensor of shape [size] per file, named as the file.

    Raises:
        ChangedFileError: a file was changed since the gate saw it.
        StoreError: the store could not be written.
    """
    tensors = [CheckpointTensor(file.name, "U8", (file.size_bytes,), file, 0, file.size_bytes) for file in files]
    with batch(store):
        manifest = _read(tensors, store, SILENT, 1)
        store.put(manifest_name(manifest.digest), manifest.encode())
    return manifest


def _read(
    tensors: Sequence[CheckpointTensor], store: Store | None, progress: Progress, threads: int | None
) -> Manifest:
    """Read every tensor, put its leaves into `store` (if any), and return the manifest of what was read."""
    with ExitStack() as stack:
        files = {tensor.file: -1 for tensor in tensors}
        for file in files:
            files[file] = _open(file)
            stack.callback(os.close, files[file])
        work = _Work(tensors, files, store, progress)
        size = sum(tensor.size_bytes for tensor in tensors)
        workers = threads or min(THREADS_MAX, cores())
        work.run(min(workers, 1 + size // LEAF_BYTES))
        for file, descriptor in files.items():
            _check_unchanged(file, descriptor)
    work.raise_findings()
    return Manifest.of(
        TensorEntry(tensor.name, tensor.dtype, tensor.shape, tuple(leaves))
        for tensor, leaves in zip(tensors, work.leaves, strict=True)
    )


@dataclass(slots=True)
class _Finding:
    """Values of one tensor that are refused: how many, and the index of the first."""

    count: int
    first: int


@dataclass(slots=True)
class _Leaf:
    """One leaf to read: its tensor's place in the list, its own place in the tensor, and its bytes in the file."""

    tensor: int
    index: int
    offset: int
    size_bytes: int


@dataclass
class _Work:
    """The leaves of all tensors, handed to workers one by one."""

    tensors: Sequence[CheckpointTensor]
    files: dict[SourceFile, int]
    store: Store | None
    progress: Progress
    leaves: list[list[Digest]] = field(default_factory=list)
    findings: dict[int, _Finding] = field(default_factory=dict)
    claimed: set[Digest] = field(default_factory=set)
    stopped: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, workers: int) -> None:
        """Read everything with `workers` threads; the first error of any of them is raised."""
        todo = self._todo()
        self.leaves = [[Digest("")] * -(-tensor.size_bytes // LEAF_BYTES) for tensor in self.tensors]
        if workers == 1:
            self._work(todo)
            return
        with ThreadPoolExecutor(workers, "ingest") as pool:
            running = [pool.submit(self._work, todo) for _ in range(workers)]
            try:
                for worker in running:
                    worker.result()
            finally:
                self.stopped = True

    def raise_findings(self) -> None:
        """Raise the error that lists every tensor with refused values, if there is one."""
        refused = [(self.tensors[index], finding) for index, finding in sorted(self.findings.items())]
        bools = [(tensor, finding) for tensor, finding in refused if tensor.dtype == "BOOL"]
        floats = [(tensor, finding) for tensor, finding in refused if tensor.dtype != "BOOL"]
        if floats:
            raise NonFiniteError(
                f"{_plural(len(floats), 'tensor holds', 'tensors hold')} NaN or Inf:\n{_listing(floats)}",
                where=_places(floats),
                hint="this fine-tune diverged or was saved wrongly; add an earlier checkpoint of it",
            )
        if bools:
            raise MalformedCheckpointError(
                f"{_plural(len(bools), 'BOOL tensor holds', 'BOOL tensors hold')} bytes other than 0 and 1:\n"
                + _listing(bools),
                where=_places(bools),
                hint="write the file again with the safetensors library",
            )

    def _todo(self) -> Generator[_Leaf]:
        for position, tensor in enumerate(self.tensors):
            for index, start in enumerate(range(0, tensor.size_bytes, LEAF_BYTES)):
                yield _Leaf(position, index, tensor.offset + start, min(LEAF_BYTES, tensor.size_bytes - start))

    def _next(self, todo: Iterator[_Leaf]) -> _Leaf | None:
        with self.lock:
            return None if self.stopped else next(todo, None)

    def _work(self, todo: Iterator[_Leaf]) -> None:
        """Take leaves until there are none; read, hash, check and keep each."""
        buffer = aligned_buffer(LEAF_BYTES)
        try:
            while (leaf := self._next(todo)) is not None:
                digest = self._read_leaf(leaf, buffer)
                self.leaves[leaf.tensor][leaf.index] = digest
                if self.store is not None and self._claim(digest):
                    self.store.put(leaf_name(digest), buffer[: leaf.size_bytes])
                self.progress.advance(leaf.size_bytes)
        except BaseException:
            self.stopped = True
            raise

    def _claim(self, digest: Digest) -> bool:
        """Whether this worker is to write the leaf: nobody else took it, and nothing was refused so far."""
        with self.lock:
            if self.findings or digest in self.claimed:
                return False
            self.claimed.add(digest)
            return True

    def _read_leaf(self, leaf: _Leaf, buffer: memoryview) -> Digest:
        """Read one leaf into `buffer`; returns its digest and notes refused values."""
        tensor = self.tensors[leaf.tensor]
        hasher = LeafHasher()
        for start in range(0, leaf.size_bytes, PIECE_BYTES):
            piece = buffer[start : min(start + PIECE_BYTES, leaf.size_bytes)]
            with translated_os_errors(tensor.file.path):
                done = read_at(self.files[tensor.file], piece, leaf.offset + start)
            if done != len(piece):
                raise _changed(tensor.file, "it became shorter while it was read")
            count, first = _refused_values(piece, tensor.dtype)
            if count:
                before = leaf.index * LEAF_BYTES + start
                self._note(leaf, count, before // DTYPES[tensor.dtype].item_bytes + first)
            hasher.update(piece)
        return hasher.digest()

    def _note(self, leaf: _Leaf, count: int, first: int) -> None:
        with self.lock:
            finding = self.findings.setdefault(leaf.tensor, _Finding(0, first))
            finding.count += count
            finding.first = min(finding.first, first)


def _refused_values(data: memoryview, dtype: str) -> tuple[int, int]:
    """How many elements of `data` are NaN, Inf or no bool, and the index of the first; (0, 0) for none."""
    kind = DTYPES[dtype].kind
    if kind == "integer":
        return 0, 0
    if kind == "bool":
        bad = np.frombuffer(data, np.uint8) > 1
        return (int(np.count_nonzero(bad)), int(bad.argmax())) if bad.any() else (0, 0)
    from conjoin.kernels import FORMATS, count_nonfinite

    form = FORMATS[dtype]
    raw: npt.NDArray[Any] = np.frombuffer(data, form.raw)
    count = count_nonfinite(raw, dtype)
    if not count:
        return 0, 0
    mask = form.raw.type(form.infinity)
    return count, int(((raw & mask) == mask).argmax())


def _open(file: SourceFile) -> int:
    """Open a file that the gate saw and make sure it is still the same."""
    try:
        descriptor = open_regular(file.path)
    except (OSError, NotRegularError) as cause:
        raise _changed(file, "it is gone or replaced") from cause
    try:
        _check_unchanged(file, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_unchanged(file: SourceFile, descriptor: int) -> None:
    try:
        now = {FileIdentity.of(os.fstat(descriptor)), FileIdentity.of(os.lstat(file.path))}
    except OSError as cause:
        raise _changed(file, "it is gone") from cause
    if now != {file.identity}:
        raise _changed(file, "its size, time or inode is another now")


def _changed(file: SourceFile, how: str) -> ChangedFileError:
    return ChangedFileError(
        f"the file was changed while it was added: {how}",
        where=str(file.path),
        hint="wait until nothing writes to it any more and add it again",
    )


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _listing(refused: Sequence[tuple[CheckpointTensor, _Finding]]) -> str:
    lines = [
        f"  {tensor.name}: {_plural(finding.count, 'value', 'values')}, the first at element {finding.first}"
        for tensor, finding in refused[:_LISTED_MAX]
    ]
    if len(refused) > _LISTED_MAX:
        lines.append(f"  … and {len(refused) - _LISTED_MAX} more")
    return "\n".join(lines)


def _places(refused: Sequence[tuple[CheckpointTensor, _Finding]]) -> str:
    return "\n".join(sorted({str(tensor.file.path) for tensor, _ in refused}))
