"""The input gate: from a path to a Checkpoint whose headers are checked; opens only regular safetensors and JSON files.

Refused before anything else sees them: pickles and archives under any name, symlinks, devices, pipes, paths that leave
the folder, headers with two readings.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from conjoin.errors import (
    InputError,
    MalformedCheckpointError,
    MissingFileError,
    NotACheckpointError,
    RefusedFormatError,
    UnsafePathError,
)
from conjoin.store.files import NotRegularError, open_regular, read_at, reason
from conjoin.store.folder_index import INDEX, read_index
from conjoin.store.formats import format_of_bytes, format_of_name
from conjoin.wire.beside import goes_beside
from conjoin.wire.manifest import TENSORS_MAX
from conjoin.wire.safetensors import LENGTH_BYTES, Header, TensorSlot, header_length, parse_header

SIDE_FILE_BYTES_MAX = 64 * 1024 * 1024
SIDE_FILES_MAX = 1000
_SNIFF_BYTES = 512
_COPY_HINT = "copy the folder's real files first: `cp -rL FOLDER COPY`, then give COPY"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What a file looked like when it was first opened; a later difference means that it was changed."""

    size_bytes: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileIdentity":
        """The identity in a stat result."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A regular file of a checkpoint: its name in the folder, its path without symlinks, and its identity."""

    name: str
    path: Path
    identity: FileIdentity

    @property
    def size_bytes(self) -> int:
        """The file's size when it was opened."""
        return self.identity.size_bytes


@dataclass(frozen=True, slots=True)
class CheckpointTensor:
    """One tensor of a checkpoint: name, dtype name, shape, its file, and the absolute offset of its bytes there."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: SourceFile
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that passed the gate. Tensors are in ascending order of name; no tensor data has been read."""

    path: Path
    tensors: tuple[CheckpointTensor, ...]
    shards: tuple[SourceFile, ...]

    @property
    def size_bytes(self) -> int:
        """Size of all tensors' data in bytes."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @cached_property
    def files(self) -> tuple[SourceFile, ...]:
        """The folder's files that go with the weights (config, tokenizer, …), ascending; none for a single file.

        Raises:
            UnsafePathError: one of them is a symlink, device or pipe.
            MalformedCheckpointError: one is over 64 MiB, or there are over 1000.
        """
        if not self.path.is_dir():
            return ()
        names = sorted(filter(goes_beside, _listing(self.path)))
        if len(names) > SIDE_FILES_MAX:
            raise MalformedCheckpointError(
                f"{len(names)} files beside the weights are over the limit of {SIDE_FILES_MAX}",
                where=str(self.path),
                hint="move what does not belong to the model elsewhere",
            )
        return tuple(_side_file(self.path, name) for name in names)


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a safetensors file or a Hugging Face folder and check every header, reading no tensor.

    Args:
        path: the file, or a folder with model.safetensors, with model.safetensors.index.json and its shards, or with
            exactly one *.safetensors file. The path itself may be a symlink; the files in a folder may not.

    Raises:
        InputError: it is none of these; the error names file, tensor and next step.
    """
    given = Path(path)
    try:
        kind = os.stat(given).st_mode
    except OSError as cause:
        raise _unreadable(given, cause) from cause
    real = Path(os.path.realpath(given))
    if stat.S_ISDIR(kind):
        return _open_folder(given, real)
    if refused := format_of_name(given.name):
        raise _refused(refused, given)
    return _checkpoint(given, [_open_shard(real.parent, real.name, given)])


def _open_folder(given: Path, real: Path) -> Checkpoint:
    names = _listing(real)
    if "adapter_config.json" in names:
        raise NotACheckpointError(
            "this is a PEFT adapter folder; adapters cannot be given as checkpoints yet",
            where=str(given),
            hint="merge it into its base first: PeftModel.merge_and_unload(), then save_pretrained()",
        )
    shards = sorted(name for name in names if name.endswith(".safetensors") and not name.startswith("."))
    if INDEX in names:
        weight_map = read_index(real, given)
        used = sorted(set(weight_map.values()))
        if "model.safetensors" in shards and "model.safetensors" not in used:
            raise NotACheckpointError(
                f"the folder holds model.safetensors and also {INDEX}, which names other files",
                where=str(given),
                hint="remove the one that does not belong to this model, or name the file itself",
            )
        opened = [_open_shard(real, name, given / name) for name in used]
        _check_index(weight_map, opened, given)
        return _checkpoint(given, opened)
    if "model.safetensors" in shards:
        shards = ["model.safetensors"]
    if len(shards) > 1:
        raise NotACheckpointError(
            f"the folder holds {len(shards)} safetensors files and no {INDEX}: {', '.join(shards[:10])}",
            where=str(given),
            hint="name the one that is meant, or add the index that belongs to the shards",
        )
    if not shards:
        raise _no_weights(names, given)
    return _checkpoint(given, [_open_shard(real, shards[0], given / shards[0])])


def _no_weights(names: Sequence[str], given: Path) -> InputError:
    for name in names:
        refused = format_of_name(name)
        if refused:
            return _refused(refused, given / name)
    return NotACheckpointError(
        "the folder holds no safetensors file",
        where=str(given),
        hint="give a *.safetensors file or the folder that save_pretrained() wrote",
    )


def _open_shard(folder: Path, name: str, shown: Path) -> tuple[SourceFile, Header]:
    """Open one safetensors file of `folder` and read its header through the gate; `shown` is its name in errors."""
    if refused := format_of_name(name):
        raise _refused(refused, shown)
    try:
        descriptor = open_regular(folder / name)
    except NotRegularError as cause:
        hint = _COPY_HINT if str(cause) == "a symlink" else "replace it by the real file"
        raise UnsafePathError(f"the file is {cause} and not a regular file", where=str(shown), hint=hint) from cause
    except OSError as cause:
        raise _unreadable(shown, cause) from cause
    try:
        status = os.fstat(descriptor)
        return SourceFile(name, folder / name, FileIdentity.of(status)), _read_header(descriptor, status.st_size, shown)
    except OSError as cause:
        raise _unreadable(shown, cause) from cause
    finally:
        os.close(descriptor)


def _read_header(descriptor: int, size: int, shown: Path) -> Header:
    start = _read(descriptor, min(size, _SNIFF_BYTES))
    if refused := format_of_bytes(start):
        raise _refused(refused, shown)
    length = header_length(start[:LENGTH_BYTES], size, str(shown))
    return parse_header(_read(descriptor, LENGTH_BYTES + length), size, str(shown))


def _read(descriptor: int, size_bytes: int) -> bytes:
    buffer = bytearray(size_bytes)
    return bytes(buffer[: read_at(descriptor, memoryview(buffer), 0)])


def _check_index(weight_map: dict[str, str], opened: Sequence[tuple[SourceFile, Header]], given: Path) -> None:
    """Refuse an index that does not say exactly which tensors the shards hold; all differences are listed."""
    held = {(slot.name, file.name) for file, header in opened for slot in header.slots}
    said = set(weight_map.items())
    problems = [f"{name} is not in {shard}" for name, shard in said - held]
    problems += [f"{name} is in {shard} and not in the index" for name, shard in held - said]
    if problems:
        shown = sorted(problems)
        more = [f"… and {len(shown) - 20} more"] if len(shown) > 20 else []
        raise MalformedCheckpointError(
            "the index does not match its shards:\n" + "\n".join(f"  {line}" for line in shown[:20] + more),
            where=str(given / INDEX),
            hint="get index and shards from the same place again",
        )


def _checkpoint(given: Path, opened: Sequence[tuple[SourceFile, Header]]) -> Checkpoint:
    tensors = sorted(
        (_tensor(file, slot) for file, header in opened for slot in header.slots), key=lambda tensor: tensor.name
    )
    if len(tensors) > TENSORS_MAX:
        raise MalformedCheckpointError(
            f"{len(tensors)} tensors in all shards are over the limit of {TENSORS_MAX}", where=str(given)
        )
    if not tensors:
        raise NotACheckpointError(
            "the checkpoint holds no tensor", where=str(given), hint="give the file that holds the model's weights"
        )
    return Checkpoint(given, tuple(tensors), tuple(file for file, _ in opened))


def _tensor(file: SourceFile, slot: TensorSlot) -> CheckpointTensor:
    return CheckpointTensor(slot.name, slot.dtype, slot.shape, file, slot.start, slot.size_bytes)


def _side_file(folder: Path, name: str) -> SourceFile:
    where = folder / name
    try:
        status = os.lstat(where)
    except OSError as cause:
        raise _unreadable(where, cause) from cause
    if not stat.S_ISREG(status.st_mode):
        kind = "a symlink" if stat.S_ISLNK(status.st_mode) else "a folder, device or pipe"
        raise UnsafePathError(f"the file is {kind} and not a regular file", where=str(where), hint=_COPY_HINT)
    if status.st_size > SIDE_FILE_BYTES_MAX:
        raise MalformedCheckpointError(
            f"{status.st_size} bytes are over the limit of {SIDE_FILE_BYTES_MAX} for a file beside the weights",
            where=str(where),
            hint="move it out of the folder if it does not belong to the model",
        )
    return SourceFile(name, Path(os.path.realpath(folder)) / name, FileIdentity.of(status))


def _listing(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as cause:
        raise _unreadable(folder, cause) from cause


def _refused(what: str, shown: Path) -> RefusedFormatError:
    return RefusedFormatError(
        f"the file is {what}; conjoin never opens those, whatever their name",
        where=str(shown),
        hint="give the model's safetensors files; most hubs offer them beside this one",
    )


def _unreadable(path: Path, cause: OSError) -> InputError:
    if isinstance(cause, FileNotFoundError | NotADirectoryError):
        return MissingFileError("there is no such file", where=str(path), hint="check the path, or get the file again")
    return NotACheckpointError(
        f"the file cannot be read: {reason(cause)}",
        where=str(path),
        hint="check its owner and permissions",
    )
