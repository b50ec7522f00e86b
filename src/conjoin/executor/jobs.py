"""Jobs: what a worker does with slices: read them, measure or make them, write them, hash them; remembers nothing."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from conjoin.errors import BrokenStrategyError
from conjoin.executor.reader import Bytes, OpenSlice, cut_leaves, leaves_of, parts_of, room_bytes
from conjoin.executor.sinks import Sink
from conjoin.executor.slices import Slice, cut, pieces, read_bytes, sampled, scope_of, sides_of, together_of
from conjoin.hashing import leaf_digests, width
from conjoin.kernels import FORMATS, block_count, coefficients, linear
from conjoin.plan import Plan
from conjoin.plan.sides import side_name
from conjoin.plan.tasks import Group, Leaves, Task
from conjoin.strategies.base import Block, Extra, Made, Pass, RawArray, Scope, Strategy
from conjoin.wire.digest import LEAF_BYTES

_ONE = coefficients([Fraction(1)])
_BATCH_BYTES = 72 * 1024 * 1024
"""Sixteen leaves, and short ones at the ends of tensors."""
_UNHASHED_BYTES = 64 * 1024 * 1024 + 8192
_SMALL_BYTES = 8 * 1024 * 1024
_MEASURED_MAX = 32
"""Slices measured in one go: what is measured of a small one may be counts of a megabyte."""


Read = Callable[[Sequence[Slice]], "Inputs"]
"""Some ranges of a slice, put together, from each source."""
Step = Pass | Literal["choose", "make"]
"""What is done with a tensor: measure it, find the source whose bytes are smallest, or make it."""


class Inputs(NamedTuple):
    """What was read for a block: an array per source, and for each side of the task an array per source."""

    sources: list[Bytes]
    sides: list[list[Bytes]]


@dataclass(frozen=True, slots=True)
class Job:
    """One step of one slice; a choice is made on the whole tensor.

    Attributes:
        task: the tensor.
        part: the slice.
        step: what is done.
        measured: results of the passes done so far.
        every: a sample takes the first of so many runs; None where it takes everything.
    """

    task: Task
    part: Slice
    step: Step
    measured: Mapping[str, Any]
    every: int | None

    @property
    def in_bytes(self) -> int:
        """Bytes that are read."""
        return read_bytes(self.task, self.part) // (self.every or 1)

    @property
    def out_bytes(self) -> int:
        """Bytes that are made."""
        return self.part.elements * self.task.out_item_bytes if self.step == "make" else 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may hold: inputs of slices it works on, and results that are not hashed yet."""

    batch_bytes: int
    unhashed_bytes: int

    @classmethod
    def of(cls, memory_bytes: int) -> "Limits":
        """The limits for a worker with so much memory; one slice is always let in."""
        if width() == 1:  # nothing is gained by waiting for more leaves
            return cls(min(_SMALL_BYTES, memory_bytes), min(_SMALL_BYTES, memory_bytes // 4))
        return cls(min(_BATCH_BYTES, memory_bytes * 5 // 8), min(_UNHASHED_BYTES, memory_bytes // 4))

    def cost(self, job: Job) -> float:
        """The job as a share of what is given to a worker at once."""
        share = max(job.out_bytes / max(self.unhashed_bytes, _SMALL_BYTES), job.in_bytes / (4 * self.batch_bytes))
        return share if job.step == "make" else max(share, 1 / _MEASURED_MAX)


class SliceReader(Protocol):
    """Where the bytes of slices come from; any thread reads."""

    def read(self, wanted: Sequence[tuple[Task, Slice]]) -> list[list[Bytes]]:
        """The bytes of slices from each of their tasks' `reads`, read-only; valid until this thread reads again."""
        ...

    def open(self, task: Task, part: Slice, *, unproven: bool = False) -> OpenSlice | None:
        """A slice to be read in pieces; None where it is better read whole."""
        ...


class Jobs:
    """The jobs of one run; any thread may call them. Where `hashed` is false, results have no leaves."""

    def __init__(
        self, plan: Plan, reader: SliceReader, sink: Sink, limits: Limits, *, trusted: bool, hashed: bool = True
    ) -> None:
        self._plan = plan
        self._reader = reader
        self._sink = sink
        self._limits = limits
        self._trusted = trusted
        self._hashed = hashed
        self._local = threading.local()

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        """Do jobs in order; for each what was measured, the chosen task, or the leaves of what was made and written.

        What needs no proof is read in pieces that stay in a core's cache; the rest in batches, hashed side by side.
        """
        results: list[Any] = [None] * len(jobs)
        made = _Unhashed(results, self._buffer)
        start = 0
        while start < len(jobs):
            job, stop = jobs[start], start + 1
            if job.step == "choose":
                results[start] = self._chosen(job.task)
            elif opened := self._open(job):
                with opened:
                    self._run(job, partial(_read_opened, opened), start, results, made)
            else:
                stop = self._batch_end(jobs, start)
                wanted = [[(job.task, job.part), *sides_of(job.task, job.part)] for job in jobs[start:stop]]
                arrays = iter(self._reader.read(list(chain(*wanted))))
                for index, parts in enumerate(wanted, start):
                    read = partial(_read_whole, jobs[index], list(islice(arrays, len(parts))))
                    self._run(jobs[index], read, index, results, made)
            start = stop
        made.hash()
        return results

    def _open(self, job: Job) -> OpenSlice | None:
        """The slice of a job to be read in pieces, where it can be; never with side tensors, read into one buffer."""
        return None if job.task.sides else self._reader.open(job.task, job.part, unproven=job.every is not None)

    def _run(self, job: Job, read: Read, index: int, results: list[Any], made: "_Unhashed") -> None:
        if job.step == "make":
            self._make(job, read, index, results, made)
            return
        assert job.step != "choose"
        parts = [job.part] if job.every in (None, 1) else sampled(job.part, job.every)
        results[index] = self._measured(job, job.step, read(parts), sum(part.elements for part in parts))

    def _make(self, job: Job, read: Read, index: int, results: list[Any], made: "_Unhashed") -> None:
        """Make a slice of the output and write it, piece by piece."""
        results[index] = leaves = self._known_leaves(job) if self._hashed else ()
        for piece in self._pieces(job):
            data = self._made(job if piece == job.part else replace(job, part=piece), read([piece]))
            if data is None:
                results[index] = ()
                return
            for name in job.task.names:
                self._sink.write(name, piece.start * job.task.out_item_bytes, data.data)
            if leaves is None:
                made.append(index, data, job.out_bytes)

    def _pieces(self, job: Job) -> list[Slice]:
        """The parts of a job's slice that are worked on one after the other."""
        large = room_bytes(job.out_bytes) > self._limits.unhashed_bytes
        whole = large or scope_of(self._plan, job.task) is Scope.MATRIX
        return [job.part] if whole else pieces(job.task, job.part, together_of(self._plan, job.task))

    def _buffer(self) -> Bytes:
        """For results of this thread that are not hashed yet. What strategies return is freed, and reused, at once."""
        kept: Bytes | None = getattr(self._local, "kept", None)
        if kept is None:
            self._local.kept = kept = np.empty(self._limits.unhashed_bytes, np.uint8)
        return kept

    def _batch_end(self, jobs: Sequence[Job], start: int) -> int:
        """Where the jobs end that are read together."""
        stop, left = start, self._limits.batch_bytes
        while stop < len(jobs):
            left -= read_bytes(jobs[stop].task, jobs[stop].part)  # of a sample as well
            if stop > start and (left < 0 or "choose" in (jobs[start].step, jobs[stop].step)):
                break
            stop += 1
        return stop

    def _measured(self, job: Job, step: Pass, inputs: Inputs, elements: int) -> npt.NDArray[Any]:
        """What a pass measures on one slice: int64 to be added, or float64 with a row per canonical block."""
        group = self._group(job.task)
        partial = step.measure(self._block(job, inputs), group.params)
        if step.combine == "sum":
            _require(group.strategy, partial, np.int64, partial.shape, f"pass `{step.name}`")
        else:
            shape = (block_count(elements), *partial.shape[1:])
            _require(group.strategy, partial, np.float64, shape, f"pass `{step.name}`")
        return partial

    def _made(self, job: Job, inputs: Inputs) -> Bytes | None:
        """Bytes of the output; None where they cannot be made in this way."""
        task, part = job.task, job.part
        if task.action == "strategy":
            group = self._group(task)
            made = group.strategy.function(self._block(job, inputs), **group.params)
            if isinstance(made, Made):
                self._write_sides(group, job, made)
                made = made.tensor
            _require(group.strategy, made, FORMATS[task.out_dtype].raw, (part.elements,), "it")
            return np.ascontiguousarray(made).view(np.uint8)
        if task.dtype == task.out_dtype:
            return inputs.sources[0]
        values = inputs.sources[0].view(FORMATS[task.dtype].raw)
        return linear([values], _ONE, task.dtype, task.out_dtype).view(np.uint8)

    def _write_sides(self, group: Group, job: Job, made: Made) -> None:
        """Write what goes beside a slice of a tensor: bits at their place, one number with the first slice."""
        start, count = job.part.start, len(group.contributions)
        for side in group.strategy.side_tensors(group.params):
            rows, what = made.side[side.name], f"side tensor `{side.name}`"
            if side.is_mask:
                _require(group.strategy, rows, np.uint8, (count, (job.part.elements + 7) // 8), what)
            else:
                _require(group.strategy, rows, np.float64, (count,), what)
                rows = rows.astype("<f8").reshape(-1, 1).view(np.uint8)
            for digest, row in zip(group.contributions, rows, strict=True):
                for name in job.task.names if side.is_mask or not start else ():
                    self._sink.write(side_name(side, digest, name), start // 8, np.ascontiguousarray(row).data)

    def _known_leaves(self, job: Job) -> Leaves | None:
        """The leaves of a slice that is a copy of what was verified as it was read."""
        task = job.task
        if self._trusted or task.action == "strategy" or task.dtype != task.out_dtype:
            return None
        return leaves_of(task.sources[0], task, job.part)

    def _chosen(self, task: Task) -> Task:
        """The task as a copy of the source whose bytes are lexicographically smallest."""
        left = list(range(len(task.sources)))
        for part in cut(task, None):
            pieces = [bytes(array) for array in self._reader.read([(task, part)])[0]]
            smallest = min(pieces[index] for index in left)
            left = [index for index in left if pieces[index] == smallest]
            if len(left) == 1:
                break
        return task.chosen(left[0])

    def _group(self, task: Task) -> Group:
        assert task.group is not None
        return self._plan.groups[task.group]

    def _block(self, job: Job, inputs: Inputs) -> Block:
        arrays = [data.view(FORMATS[job.task.dtype].raw) for data in inputs.sources]
        base = None if job.task.base is None else arrays.pop(0)
        extras = {
            side.name: Extra(
                tuple(data.view(FORMATS[side.task.dtype].raw) for data in read), side.task.dtype, side.task.shape
            )
            for side, read in zip(job.task.sides, inputs.sides, strict=True)
        }
        values = {"measured": job.measured, "extras": extras, "warn": self._sink.warn}
        return head_of(self._plan, job.task, job.part, tensors=tuple(arrays), base=base, **values)


def _read_opened(opened: OpenSlice, parts: Sequence[Slice]) -> Inputs:
    return Inputs(opened.read(parts), [])


def _read_whole(job: Job, arrays: list[list[Bytes]], parts: Sequence[Slice]) -> Inputs:
    """Some ranges of a slice that has been read whole, with the same ranges of its sides, or the whole of these."""
    if len(parts) == 1 and parts[0] == job.part:
        return Inputs(arrays[0], arrays[1:])
    sources = parts_of(arrays[0], job.task.item_bytes, job.part.start, parts)
    return Inputs(
        sources,
        [
            parts_of(read, side.task.item_bytes, job.part.start, parts) if side.elementwise else read
            for side, read in zip(job.task.sides, arrays[1:], strict=True)
        ],
    )


def head_of(
    plan: Plan,
    task: Task,
    part: Slice,
    *,
    tensors: tuple[RawArray, ...] = (),
    base: RawArray | None = None,
    **more: Any,
) -> Block:
    """The block of a slice; without `more`, as far as the plan knows it."""
    assert task.group is not None
    group = plan.groups[task.group]
    return Block(
        tensors=tensors,
        base=base,
        weights=group.weights,
        contributions=group.contributions,
        format=task.dtype,
        out_format=task.out_dtype,
        name=task.name,
        shape=task.shape,
        offset=part.start,
        flat_offset=task.flat_offset,
        seeds=plan.seeds,
        strategy=group.strategy.name,
        fitted=group.fitted,
        **more,
    )


class _Unhashed:
    """Copies of finished slices whose leaves are still to be hashed: many side by side."""

    def __init__(self, results: list[Any], buffer: Callable[[], Bytes]) -> None:
        self._results = results
        self._buffer_of_thread = buffer
        self._slices: list[tuple[int, Bytes]] = []
        self._used = 0
        self._filled = 0

    def append(self, index: int, data: Bytes, size: int) -> None:
        """Take the next bytes of the result `index`, which has so many; all at once where the buffer is too small."""
        if not self._slices or self._slices[-1][0] != index:
            room, buffer = room_bytes(size), self._buffer_of_thread()
            if self._used + room > len(buffer):
                self.hash()
            if room > len(buffer):
                self._results[index] = tuple(leaf_digests(cut_leaves(data.data)))
                return
            self._slices.append((index, buffer[self._used : self._used + size]))
            self._used += room
            self._filled = 0
        self._slices[-1][1][self._filled : self._filled + len(data)] = data
        self._filled += len(data)

    def hash(self) -> None:
        """Put the leaves of all slices into their results, and forget the slices."""
        if not self._slices:
            return
        leaves = iter(leaf_digests([view for _, data in self._slices for view in cut_leaves(data.data)]))
        for index, data in self._slices:
            self._results[index] = tuple(islice(leaves, -(-len(data) // LEAF_BYTES)))
        self._slices, self._used = [], 0


def _require(strategy: Strategy, array: object, dtype: Any, shape: tuple[int, ...], what: str) -> None:
    """Refuse a result of another type, format or shape than promised."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BrokenStrategyError(
            f"strategy {strategy.name}: {what} returned {got}, not {np.dtype(dtype)} {shape}",
            hint="report it to the author of the strategy",
        )
