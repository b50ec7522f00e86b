"""Task models: one contribution's own model from a merged checkpoint and what was written beside it; merges nothing."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin.errors import MismatchedTensorsError, OutputExistsError, UnknownDigestError, UsageError, WrongBaseError
from conjoin.executor import Receipt
from conjoin.fitting.surgery import Adapter
from conjoin.kernels import FORMATS, decode
from conjoin.plan.layout import METADATA, SIDE_NAME
from conjoin.plan.sides import side_name
from conjoin.replica import Replica
from conjoin.store.assets import assets_beside
from conjoin.store.base import read_tensor
from conjoin.store.checkpoint import Checkpoint, CheckpointTensor, open_checkpoint
from conjoin.store.files import open_regular, read_at, translated_os_errors
from conjoin.strategies.base import RawArray, TaskBlock
from conjoin.wire.manifest import Manifest
from conjoin.wire.safetensors import encode_header

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TaskModel:
    """One contribution's own model.

    Attributes:
        contribution: its digest.
        strategy: what made the merged checkpoint.
        folder: the merged checkpoint.
        adapter: what moves the model's last features to those of the task, for representation_surgery; else None.
    """

    contribution: str
    strategy: str
    folder: Path
    adapter: Adapter | None
    _held: Mapping[str, tuple[str, tuple[int, ...], Bytes]] = field(repr=False)

    @property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Its tensors: floats below 64 bits as float32, which holds each of them exactly; others as they are."""
        return {name: _array(*held) for name, held in self._held.items()}

    def save(self, out: str | os.PathLike[str]) -> None:
        """Write it as a checkpoint folder at `out`, in its own dtypes, with the merged checkpoint's config and files.

        Raises:
            OutputExistsError: something is at `out`.
            DiskFullError, ReadOnlyError, DeviceError: it could not be written; nothing is left behind.
        """
        target = Path(out)
        if os.path.lexists(target):
            raise OutputExistsError("the output exists, and conjoin never overwrites", where=str(target))
        head, offsets, size_bytes = encode_header([(n, t, s) for n, (t, s, _) in self._held.items()], METADATA)
        unfinished = target.with_name(f".{target.name}.unfinished")
        with translated_os_errors(target), ExitStack() as stack:
            stack.callback(shutil.rmtree, unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True, exist_ok=True)
            with (unfinished / "model.safetensors").open("wb") as file:
                file.truncate(size_bytes)
                file.write(head)
                for name, offset in offsets.items():
                    file.seek(offset)
                    file.write(self._held[name][2].data)
            for name in Receipt.read(self.folder).side_files:
                if "/" not in name:
                    (unfinished / name).write_bytes((self.folder / name).read_bytes())
            os.rename(unfinished, target)


def load_task(
    out: str | os.PathLike[str], contribution: str, base: "Replica | str | os.PathLike[str] | None" = None
) -> TaskModel:
    """Make one contribution's own model from a merged checkpoint, as EMR's masks and rescalers say, for example.

    Args:
        out: the folder that `resolve` made.
        contribution: the contribution's digest, or the first 8 characters or more of it.
        base: a replica of the space, or the base checkpoint; not needed where the strategy changes no tensor for a
            task (representation_surgery).

    Raises:
        UnknownDigestError: no or several merged contributions have such a digest.
        UsageError: the strategy makes one model for all tasks; or the base is needed and was not given.
        MismatchedTensorsError, WrongBaseError: it is another base.
    """
    folder = Path(out)
    receipt = Receipt.read(folder)
    digest = _find(receipt, contribution)
    recipe = receipt.recipe
    asset = next(iter(assets_beside(folder, [recipe.step.asset] if recipe.step.asset else [])), None)
    learned = None if asset is None else asset.values.get("adapters", {}).get(digest)
    adapter = None if learned is None else Adapter.of(learned)
    if adapter is None and not any(step.traits.one_task for step in recipe.steps):
        raise UsageError(
            f"{recipe.strategy} makes one model for all tasks", hint="load the merged checkpoint itself, or use `emr`"
        )
    held: dict[str, tuple[str, tuple[int, ...], Bytes]] = {}
    with ExitStack() as stack:
        merged, origin = _Opened(open_checkpoint(folder), stack), _Base(base, receipt, stack)
        beside = _Opened(open_checkpoint(folder / SIDE_NAME), stack) if (folder / SIDE_NAME).is_file() else None
        for name, tensor in merged.tensors.items():
            data = merged.read(name)
            step = recipe.step_for(name)
            sides = {} if beside is None else dict(_sides(step, beside, digest, name))
            if step.traits.one_task is not None and sides:
                dtype, values = origin.read(name, tensor)
                params = step.parsed([c["digest"] for c in receipt.contributions])
                block = TaskBlock(data.view(FORMATS[tensor.dtype].raw), values, dtype, tensor.dtype, sides)
                data = np.ascontiguousarray(step.traits.one_task(block, params)).view(np.uint8)
            held[name] = (tensor.dtype, tensor.shape, data)
    return TaskModel(digest, recipe.strategy, folder, adapter, held)


class _Opened:
    """A checkpoint whose tensors are read one by one."""

    def __init__(self, checkpoint: Checkpoint, stack: ExitStack) -> None:
        self.tensors: dict[str, CheckpointTensor] = {tensor.name: tensor for tensor in checkpoint.tensors}
        self._files = {file: open_regular(file.path) for file in checkpoint.shards}
        for descriptor in self._files.values():
            stack.callback(os.close, descriptor)

    def read(self, name: str) -> Bytes:
        """The bytes of a tensor."""
        tensor = self.tensors[name]
        data = np.empty(tensor.size_bytes, np.uint8)
        with translated_os_errors(tensor.file.path):
            read_at(self._files[tensor.file], data.data, tensor.offset)
        return data


def _find(receipt: Receipt, prefix: str) -> str:
    found = [c["digest"] for c in receipt.contributions if c["digest"].startswith(prefix)]
    if len(found) != 1:
        raise UnknownDigestError(
            f"{len(found)} of the merged contributions have a digest that starts with `{prefix}`",
            where="\n".join(c["digest"] for c in receipt.contributions),
            hint="give more characters of one of these",
        )
    return found[0]


def _sides(step: Any, beside: _Opened, digest: str, name: str) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The side tensors of one contribution for one tensor."""
    for side in step.traits.side_tensors(step.traits.parse({k: v for k, v in step.params.items() if v != {}})):
        full = side_name(side, digest, name)
        if full in beside.tensors:
            yield side.name, beside.read(full).view(np.uint8 if side.is_mask else "<f8")


class _Base:
    """The base of a merged checkpoint, opened when it is first needed."""

    def __init__(self, given: "Replica | str | os.PathLike[str] | None", receipt: Receipt, stack: ExitStack) -> None:
        self._given, self._receipt, self._stack = given, receipt, stack
        self._opened: _Opened | None = None
        self._manifest: Manifest | None = None

    def read(self, name: str, like: CheckpointTensor) -> tuple[str, RawArray]:
        """Dtype and patterns of a tensor."""
        if self._opened is None and self._manifest is None:
            self._open()
        if self._manifest is not None:
            entry = self._manifest.by_name[name]
            assert isinstance(self._given, Replica)
            dtype, shape = entry.dtype, entry.shape
            data = np.frombuffer(read_tensor(self._given.store, entry), np.uint8)
        else:
            assert self._opened is not None
            found = self._opened.tensors.get(name)
            dtype, shape = (found.dtype, found.shape) if found else ("", None)
            data = self._opened.read(name) if found else np.empty(0, np.uint8)
        if shape != like.shape or dtype not in FORMATS:
            raise MismatchedTensorsError(
                f"tensor `{name}` is {tuple(like.shape)} in the merged checkpoint and not so in the base",
                where=str(self._given),
                hint=f"the base it was made from has content digest {self._receipt.base}",
            )
        return dtype, data.view(FORMATS[dtype].raw)

    def _open(self) -> None:
        given, wanted = self._given, self._receipt.base
        if given is None:
            raise UsageError(
                f"{self._receipt.recipe.strategy} makes a task's model from the base {wanted[:12]}, and none was given",
                hint="give a replica of the space, or the base checkpoint",
            )
        if isinstance(given, Replica):
            if given.base != wanted:
                raise WrongBaseError(
                    f"the replica has base {given.base[:12]}, the checkpoint was made from {wanted[:12]}"
                )
            self._manifest = given.inventory.manifest(given.base)
        else:
            self._opened = _Opened(open_checkpoint(given), self._stack)


def _array(dtype: str, shape: tuple[int, ...], data: Bytes) -> npt.NDArray[Any]:
    if dtype in FORMATS:
        values = decode(data.view(FORMATS[dtype].raw), dtype)
        return (values if dtype == "F64" else values.astype(np.float32)).reshape(shape)
    kinds = {"BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4"}
    return data.view(kinds.get(dtype, "<u8" if dtype == "U64" else "<i8")).reshape(shape)
