"""Jobs: what a worker does with one slice: read it, measure it or make it, write it, hash it; remembers nothing."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin.errors import BrokenStrategyError
from conjoin.executor.sinks import Sink
from conjoin.executor.slices import Bytes, Reader, Slice, cut
from conjoin.kernels import FORMATS, block_count, coefficients, linear
from conjoin.plan import Plan
from conjoin.plan.tasks import Group, Leaves, Task
from conjoin.strategies.base import Block, Pass, Strategy
from conjoin.wire.digest import LEAF_BYTES, leaf_digest

_ONE = coefficients([Fraction(1)])


class Jobs:
    """The jobs of one run; any thread may call them."""

    def __init__(self, plan: Plan, reader: Reader, sink: Sink, *, trusted: bool) -> None:
        self._plan = plan
        self._reader = reader
        self._sink = sink
        self._trusted = trusted

    def measure(self, task: Task, part: Slice, one: Pass, measured: Mapping[str, Any]) -> npt.NDArray[Any]:
        """What a pass measures on one slice: int64 to be added, or float64 with a row per canonical block."""
        group = self._group(task)
        partial = one.measure(self._block(task, group, part, measured), group.params)
        rows = block_count(part.elements)
        if one.combine == "sum":
            _require(group.strategy, partial, np.int64, partial.shape, f"pass `{one.name}`")
        else:
            _require(group.strategy, partial, np.float64, (rows, *partial.shape[1:]), f"pass `{one.name}`")
        return partial

    def make(self, task: Task, part: Slice, measured: Mapping[str, Any]) -> Leaves:
        """Make one slice of the output, write it under every name of the task, and return the digests of its leaves."""
        out_size = part.elements * task.out_item_bytes
        if task.action == "strategy":
            group = self._group(task)
            block = self._block(task, group, part, measured)
            made = group.strategy.function(block, **group.params)
            _require(group.strategy, made, FORMATS[task.out_dtype].raw, (part.elements,), "it")
            data: Bytes = np.ascontiguousarray(made).view(np.uint8)
        else:
            data = self._copied(task, part)
        assert len(data) == out_size
        view = data.data
        for name in task.names:
            self._sink.write(name, part.start * task.out_item_bytes, view)
        first = part.start * task.out_item_bytes // LEAF_BYTES
        if task.action != "strategy" and task.dtype == task.out_dtype and not self._trusted:
            return task.sources[0][first : first + -(-out_size // LEAF_BYTES)]  # verified as it was read
        return tuple(leaf_digest(view[at : at + LEAF_BYTES]) for at in range(0, out_size, LEAF_BYTES))

    def choose(self, task: Task) -> Task:
        """The task as a copy of the source whose bytes are lexicographically smallest."""
        left = list(range(len(task.sources)))
        for part in cut(task, None):
            pieces = [bytes(array) for array in self._reader.read(task, part)]
            smallest = min(pieces[index] for index in left)
            left = [index for index in left if pieces[index] == smallest]
            if len(left) == 1:
                break
        return task.chosen(left[0])

    def _group(self, task: Task) -> Group:
        assert task.group is not None
        return self._plan.groups[task.group]

    def _copied(self, task: Task, part: Slice) -> Bytes:
        data = self._reader.read(task, part)[0]
        if task.dtype == task.out_dtype:
            return data
        values = data.view(FORMATS[task.dtype].raw)
        return linear([values], _ONE, task.dtype, task.out_dtype).view(np.uint8)

    def _block(self, task: Task, group: Group, part: Slice, measured: Mapping[str, Any]) -> Block:
        arrays = [data.view(FORMATS[task.dtype].raw) for data in self._reader.read(task, part)]
        base = None if task.base is None else arrays.pop(0)
        return Block(
            tensors=tuple(arrays),
            base=base,
            weights=group.weights,
            contributions=group.contributions,
            format=task.dtype,
            out_format=task.out_dtype,
            name=task.name,
            shape=task.shape,
            offset=part.start,
            flat_offset=task.flat_offset,
            seeds=self._plan.seeds,
            strategy=group.strategy.name,
            measured=measured,
        )


def _require(strategy: Strategy, array: object, dtype: Any, shape: tuple[int, ...], what: str) -> None:
    """Refuse a result of another type, format or shape than promised."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BrokenStrategyError(
            f"strategy {strategy.name}: {what} returned {got}, not {np.dtype(dtype)} {shape}",
            hint="report it to the author of the strategy",
        )
