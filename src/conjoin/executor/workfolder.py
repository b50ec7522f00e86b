"""Work folder: where a checkpoint is written before it appears, with what a later run needs to go on; computes nothing.

Beside OUT stands `.OUT.conjoin-partial` with `checkpoint/` (becomes OUT), `journal` (what is finished) and `lock`. The
checkpoint appears by one rename after everything in it is durable; the rest is removed after that. So OUT is either
absent or whole, and a work folder beside a whole OUT says that the last run was killed while tidying up.
"""

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from conjoin.errors import LockedError, OutputExistsError, StoreError
from conjoin.executor.flusher import Flusher
from conjoin.plan import Plan
from conjoin.plan.layout import SIDE_FOLDER, Shard
from conjoin.plan.tasks import Leaves, Task
from conjoin.store.files import aligned_buffer, make_directories, read_at, sync_directory, translated_os_errors
from conjoin.store.lock import ReplicaLock
from conjoin.wire import canonical
from conjoin.wire.digest import LEAF_BYTES, Digest, leaf_digest, leaf_sizes, merkle_root

_FORMAT = "conjoin/journal/1"
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_TRIES = 10
_NO_FALLOCATE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def work_path(out: Path) -> Path:
    """The work folder of an output."""
    return out.parent / f".{out.name}.conjoin-partial"


def require_absent(out: Path) -> None:
    """Refuse an output that exists in any form.

    Raises:
        OutputExistsError: a file, folder or symlink is there.
    """
    if os.path.lexists(out):
        raise OutputExistsError(
            "the output exists, and conjoin never overwrites", where=str(out), hint="name another one, or remove it"
        )


@contextmanager
def locked(out: Path) -> Generator[Path]:
    """Hold the work folder of `out`, made if need be, for this process alone.

    Raises:
        LockedError: another process is resolving to the same output.
    """
    work = work_path(out)
    with ExitStack() as stack:
        for _ in range(_TRIES):
            with translated_os_errors(work):
                make_directories(work)
            held = stack.enter_context(ExitStack())
            try:
                held.enter_context(ReplicaLock(work / "lock"))
            except LockedError as cause:
                raise LockedError(
                    "another process is resolving to this output",
                    where=str(out),
                    hint="wait until it is done, or name another output",
                ) from cause
            except StoreError as cause:
                if not isinstance(cause.__cause__, FileNotFoundError):
                    raise
                continue  # the process before us has just removed the folder
            with suppress(OSError):
                if (work / "lock").read_text() == f"{os.getpid()}\n":
                    break
            held.close()  # it removed the lock file that we hold
        yield work


def remove(work: Path) -> None:
    """Remove a work folder: what was written first, the folder itself last."""
    with translated_os_errors(work):
        for name in ("checkpoint", "journal", "lock"):
            path = work / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(path)
        shutil.rmtree(work)


class WorkFolder:
    """A checkpoint in the making; the engine's sink on disk. Use it as a context manager while the lock is held."""

    def __init__(self, work: Path, plan: Plan, version: str) -> None:
        self.checkpoint = work / "checkpoint"
        self.warnings: set[str] = set()
        self._work = work
        self._plan = plan
        self._head = {"format": _FORMAT, "plan": plan.digest, "version": version}
        self._shards = (*plan.shards, *(() if plan.side_shard is None else (plan.side_shard,)))
        self._shard_of: dict[str, Shard] = {name: shard for shard in self._shards for name in shard.offsets}
        self._descriptors: dict[str, int] = {}
        self._flusher = Flusher()
        self._journal = -1
        self._lock = threading.Lock()
        self._claims: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Open what an earlier run of the same plan left, or begin anew; space for every shard is set aside.

        Raises:
            DiskFullError, ReadOnlyError, DeviceError: it could not be written.
        """
        try:
            with translated_os_errors(self.checkpoint):
                self._open_journal()
                self.checkpoint.mkdir(exist_ok=True)
                for shard in self._shards:
                    self._open_shard(shard)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close every file; what was written stays."""
        self.close()

    def close(self) -> None:
        """Close every file."""
        self._flusher.close()
        for descriptor in (*self._descriptors.values(), self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptors, self._journal = {}, -1

    def check_finished(self) -> dict[int, Leaves]:
        """The tensors that the journal calls finished and whose bytes hash to the root it names, by index of task."""
        found: dict[int, Leaves] = {}
        if self._plan.side_shard is not None:  # what was written beside a tensor is in no claim, so all is made again
            return found
        buffer = aligned_buffer(LEAF_BYTES)
        for index, task in enumerate(self._plan.tasks):
            root = self._claims.get(task.name)
            if root is None:
                continue
            copies = [self._hash(name, task, buffer) for name in task.names]
            if all(leaves is not None and merkle_root(leaves) == root for leaves in copies):
                assert copies[0] is not None
                found[index] = copies[0]
        return found

    def write(self, name: str, offset_bytes: int, data: memoryview) -> None:
        """See `Sink`."""
        shard = self._shard_of[name]
        with translated_os_errors(self.checkpoint / shard.name):
            _write_at(self._descriptors[shard.name], data, shard.offsets[name] + offset_bytes)
            self._flusher.wrote(self._descriptors[shard.name], len(data))

    def finish(self, task: Task, leaves: Leaves) -> None:
        """See `Sink`."""
        self._note({"root": merkle_root(leaves), "tensor": task.name})

    def warn(self, text: str) -> None:
        """See `Sink`."""
        if text not in self.warnings:
            self.warnings.add(text)
            self._note({"warning": text})

    def digest_of(self, shard: Shard) -> Digest:
        """SHA-256 of a whole file as it is on disk now."""
        path = self.checkpoint / shard.name
        with translated_os_errors(path), path.open("rb") as file:
            return Digest(hashlib.file_digest(file, "sha256").hexdigest())

    def add_file(self, name: str, data: bytes) -> None:
        """Write one small file of the checkpoint, durably."""
        path = self.checkpoint / name
        with translated_os_errors(path):
            path.parent.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _CLOEXEC, 0o666)
            try:
                _write_at(descriptor, memoryview(data), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def publish(self, out: Path) -> None:
        """Make everything durable, then let the checkpoint appear at `out`.

        Raises:
            OutputExistsError: something has appeared there meanwhile.
        """
        with translated_os_errors(out):
            self._flusher.finish()
            for descriptor in self._descriptors.values():
                os.fsync(descriptor)
            self.close()
            for folder in (self.checkpoint / SIDE_FOLDER, self.checkpoint):
                if folder.is_dir():
                    sync_directory(folder)
            require_absent(out)
            os.rename(self.checkpoint, out)
            sync_directory(out.parent)

    def _open_journal(self) -> None:
        """Take up the journal of this plan, or remove what another plan left and begin one."""
        path = self._work / "journal"
        kept = self._read_journal(path)
        if not kept:
            if self.checkpoint.exists():
                shutil.rmtree(self.checkpoint)
            with suppress(FileNotFoundError):
                os.unlink(path)
        self._journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _CLOEXEC, 0o666)
        os.ftruncate(self._journal, kept)  # a line cut short by a kill must not run into the next one
        if not kept:
            self._note(self._head)

    def _read_journal(self, path: Path) -> int:
        """Read claims and warnings; returns the length of the part that is whole, 0 for another plan's journal."""
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
            entries = [json.loads(line) for line in lines]
        except (FileNotFoundError, ValueError):
            return 0
        if not entries or entries[0] != self._head:
            return 0
        for entry in entries[1:]:
            if "warning" in entry:
                self.warnings.add(entry["warning"])
            else:
                self._claims[entry["tensor"]] = entry["root"]
        return sum(len(line) + 1 for line in lines)

    def _note(self, entry: dict[str, Any]) -> None:
        with self._lock, translated_os_errors(self._work / "journal"):
            line = memoryview(canonical.encode(entry) + b"\n")
            while line:
                line = line[os.write(self._journal, line) :]

    def _open_shard(self, shard: Shard) -> None:
        """Open a shard at its full size, with its header."""
        flags = os.O_RDWR | os.O_CREAT | _CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        (self.checkpoint / shard.name).parent.mkdir(exist_ok=True)
        descriptor = os.open(self.checkpoint / shard.name, flags, 0o666)
        self._descriptors[shard.name] = descriptor
        if os.fstat(descriptor).st_size != shard.size_bytes:
            _allocate(descriptor, shard.size_bytes)
        _write_at(descriptor, memoryview(shard.head), 0)

    def _hash(self, name: str, task: Task, buffer: memoryview) -> Leaves | None:
        """The leaves of a tensor as it is on disk, None where the file ends before it."""
        shard = self._shard_of[name]
        position = shard.offsets[name]
        leaves: list[Any] = []
        for size in leaf_sizes(task.elements * task.out_item_bytes):
            view = buffer[:size]
            with translated_os_errors(self.checkpoint / shard.name):
                if read_at(self._descriptors[shard.name], view, position) != size:
                    return None
            leaves.append(leaf_digest(view))
            position += size
        return tuple(leaves)


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def _allocate(descriptor: int, size_bytes: int) -> None:
    """Set a file's size and its space on disk aside, where the file system can."""
    os.ftruncate(descriptor, size_bytes)
    if not hasattr(os, "posix_fallocate"):  # pragma: no cover - macOS
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as cause:
        if cause.errno not in _NO_FALLOCATE:
            raise
