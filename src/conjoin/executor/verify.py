"""Verify: is every byte of a merged checkpoint what its receipt says? Trusts no file there, repairs nothing."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from conjoin.errors import InputError, VerificationError
from conjoin.executor.receipt import Receipt
from conjoin.plan import Plan
from conjoin.plan.layout import INDEX_NAME, METADATA, SIDE_NAME, OutTensor, Shard, encode_index
from conjoin.progress import SILENT, Progress
from conjoin.store.checkpoint import Checkpoint, CheckpointTensor, SourceFile, open_checkpoint
from conjoin.store.files import NotRegularError, aligned_buffer, open_regular, read_at, read_whole, translated_os_errors
from conjoin.wire.digest import LEAF_BYTES, Digest, leaf_digest, leaf_sizes, merkle_root, sha256
from conjoin.wire.manifest import TENSORS_MAX, Manifest, TensorEntry
from conjoin.wire.safetensors import encode_header

_SIDE_BYTES_MAX = 64 * 1024 * 1024
_LISTED_MAX = 20


def check_output(
    out: str | os.PathLike[str], receipt: Receipt, plan: Plan | None = None, *, progress: Progress = SILENT
) -> None:
    """Read a merged checkpoint again and compare every byte of it with its receipt.

    Args:
        out: the folder.
        receipt: its receipt.
        plan: the plan the receipt should follow from; files of the base are then compared with the base's own.
        progress: told about bytes read.

    Raises:
        VerificationError: tensors, headers, the index or files differ; all that differ are named.
    """
    folder = Path(out)
    try:
        checkpoint = open_checkpoint(folder)
    except InputError as cause:
        raise VerificationError(
            f"the merged checkpoint cannot be read: {cause.what}",
            where=cause.where or str(folder),
            hint="resolve again",
        ) from cause
    problems = [
        *_check_layout(folder, checkpoint),
        *_check_files(folder, receipt, plan),
        *_check_tensors(checkpoint, receipt, plan, progress),
    ]
    if problems:
        differences = "1 difference" if len(problems) == 1 else f"{len(problems)} differences"
        more = [f"… and {len(problems) - _LISTED_MAX} more"] if len(problems) > _LISTED_MAX else []
        raise VerificationError(
            f"the merged checkpoint is not what its receipt says, {differences}:\n"
            + "\n".join(f"  {line}" for line in problems[:_LISTED_MAX] + more),
            where=str(folder),
            hint="the files were changed after the merge, or the disk damaged them; resolve again",
        )


def _check_layout(folder: Path, checkpoint: Checkpoint) -> Iterator[str]:
    """Whether headers and index are, byte for byte, what belongs to the tensors they describe."""
    held: dict[SourceFile, list[CheckpointTensor]] = {file: [] for file in checkpoint.shards}
    for tensor in checkpoint.tensors:
        held[tensor.file].append(tensor)
    shards: list[Shard] = []
    for file, tensors in sorted(held.items(), key=lambda item: item[0].name):
        head, offsets, size_bytes = encode_header([(t.name, t.dtype, t.shape) for t in tensors], METADATA)
        shards.append(Shard(file.name, head, offsets, size_bytes))
        if _read_start(file, len(head)) != head or size_bytes != file.size_bytes:
            yield f"the header of {file.name} is not the one that was written"
    expected = encode_index(shards, [OutTensor(t.name, t.dtype, t.shape) for t in checkpoint.tensors])
    if expected is not None and _read(folder / INDEX_NAME) != expected:
        yield f"{INDEX_NAME} is not the one that was written"


def _check_files(folder: Path, receipt: Receipt, plan: Plan | None) -> Iterator[str]:
    """Whether the files that came along are there and unchanged."""
    for name, digest in sorted(receipt.side_files.items()):
        if name == SIDE_NAME:
            found = _digest_of(folder / name)
            if found != digest:
                yield f"file {name} is missing" if found is None else f"file {name} has SHA-256 {found[:12]}"
            continue
        data = _read(folder / name)
        if data is None:
            yield f"file {name} is missing"
        elif sha256(data) != digest:
            yield f"file {name} has SHA-256 {sha256(data)[:12]}, the receipt says {digest[:12]}"
        elif plan is not None and not _is_copy(data, name, plan):
            yield f"file {name} is not the base's"


def _is_copy(data: bytes, name: str, plan: Plan) -> bool:
    """Whether a file is the base's; a config that names another dtype than the base's has no counterpart to compare."""
    for side in plan.side_files:
        if side.name == name and side.config_dtype is None:
            leaves = [leaf_digest(data[at : at + LEAF_BYTES]) for at in range(0, len(data), LEAF_BYTES)]
            return len(data) == side.entry.size_bytes and merkle_root(leaves) == side.entry.root
    return True


def _check_tensors(checkpoint: Checkpoint, receipt: Receipt, plan: Plan | None, progress: Progress) -> Iterator[str]:
    """Whether names, dtypes, shapes and every byte of the tensors are those of the receipt."""
    planned = {} if plan is None else {tensor.name: tensor for tensor in plan.tensors}
    found = {tensor.name for tensor in checkpoint.tensors}
    for name in sorted(receipt.tensors.keys() - found):
        yield f"tensor `{name}` is missing"
    entries: list[TensorEntry] = []
    progress.start("verify", checkpoint.size_bytes)
    for tensor, leaves in zip(checkpoint.tensors, _hash(checkpoint.tensors, progress), strict=True):
        entry = TensorEntry(tensor.name, tensor.dtype, tensor.shape, leaves)
        entries.append(entry)
        stated = receipt.tensors.get(tensor.name)
        want = planned.get(tensor.name)
        if stated is None:
            yield f"tensor `{tensor.name}` is not in the receipt"
        elif want is not None and (want.dtype, want.shape) != (tensor.dtype, tensor.shape):
            yield f"tensor `{tensor.name}` is {tensor.dtype} {tensor.shape}, not {want.dtype} {want.shape}"
        elif entry.root != stated:
            yield f"tensor `{tensor.name}` has root {entry.root[:12]}, the receipt says {stated[:12]}"
    digest = Manifest.of(entries).digest
    if digest != receipt.output:
        yield f"the content digest is {digest}, the receipt says {receipt.output}"


def _hash(tensors: Sequence[CheckpointTensor], progress: Progress) -> Iterator[tuple[Digest, ...]]:
    """The leaves of each tensor as it is on disk."""
    assert len(tensors) <= TENSORS_MAX
    buffer = aligned_buffer(LEAF_BYTES)
    descriptors: dict[str, int] = {}
    try:
        for tensor in tensors:
            with translated_os_errors(tensor.file.path):
                if tensor.file.name not in descriptors:
                    descriptors[tensor.file.name] = open_regular(tensor.file.path)
                leaves: list[Digest] = []
                position = tensor.offset
                for size in leaf_sizes(tensor.size_bytes):
                    count = read_at(descriptors[tensor.file.name], buffer[:size], position)
                    leaves.append(leaf_digest(buffer[:count]))
                    position += size
                    progress.advance(size)
            yield tuple(leaves)
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _read_start(file: SourceFile, size_bytes: int) -> bytes:
    with translated_os_errors(file.path):
        descriptor = open_regular(file.path)
        try:
            buffer = bytearray(size_bytes)
            return bytes(buffer[: read_at(descriptor, memoryview(buffer), 0)])
        finally:
            os.close(descriptor)


def _digest_of(path: Path) -> Digest | None:
    """SHA-256 of a file of any size; None where it is not there or no regular file."""
    try:
        descriptor = open_regular(path)
    except (OSError, NotRegularError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def _read(path: Path) -> bytes | None:
    """A small file's bytes; None where it is not there, is no regular file, or is too large to be one of ours."""
    try:
        return read_whole(path, _SIDE_BYTES_MAX)
    except (OSError, NotRegularError):
        return None
