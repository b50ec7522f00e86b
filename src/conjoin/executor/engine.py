"""Engine: runs a plan slice by slice over a store into a sink; its result depends on the plan alone.

Work is grouped into stages. A pass that covers the whole model ends a stage; inside a stage every tensor goes through
its remaining passes, and in its last stage through the strategy itself, without waiting for other tensors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin.executor.held import HeldTensors
from conjoin.executor.jobs import Job, Jobs, Limits, Step
from conjoin.executor.reader import Reader
from conjoin.executor.running import EXTRA_BYTES, RunningJobs, RunningSums
from conjoin.executor.sinks import Sink
from conjoin.executor.slices import PIECE_BYTES, Slice, cost_bytes, cut, read_bytes, scope_of, together_of
from conjoin.executor.workers import MEMORY_BYTES, Item, pool, run_all, worker_count
from conjoin.hashing import expect
from conjoin.kernels import fold_blocks
from conjoin.plan import Plan
from conjoin.plan.tasks import Group, Leaves, Task
from conjoin.progress import SILENT, Progress
from conjoin.store.base import Store
from conjoin.strategies.base import Extent, Pass, Scope
from conjoin.wire.digest import Digest


@dataclass
class _Open:
    """One tensor on its way through the steps of a stage; touched by the coordinating thread only."""

    index: int
    task: Task
    steps: list[Step]
    waiting: int = 0
    parts: dict[int, Any] = field(default_factory=dict[int, Any])
    total: npt.NDArray[np.int64] | None = None


class Engine:
    """One run of a plan."""

    def __init__(
        self,
        plan: Plan,
        inputs: Store | HeldTensors,
        sink: Sink,
        *,
        trusted: bool = False,
        progress: Progress = SILENT,
        done: Mapping[int, Leaves] | None = None,
        running: RunningSums | None = None,
    ) -> None:
        """Begin with what is `done`. Inputs that are held are not verified, and what is made of them is not hashed."""
        self._plan = plan
        self._sink = sink
        self._progress = progress
        self._inputs = inputs
        self._reader = inputs if isinstance(inputs, HeldTensors) else Reader(inputs, trusted=trusted)
        self._trusted = trusted
        self._limits = Limits(0, 0)
        self._running = running
        self._leaves = dict(done or {})
        self._segments = [_segments(group) for group in plan.groups]
        self._measured: dict[int, dict[str, Any]] = {}
        self._group_measured: list[dict[str, Any]] = [{} for _ in plan.groups]
        self._group_totals: dict[int, npt.NDArray[np.int64]] = {}

    def run(self, *, threads: int | None = None, memory_bytes: int | None = None) -> dict[int, Leaves]:
        """Make every tensor that is not done yet, and return the leaves of all by index of task.

        Raises:
            MemoryBudgetError: before any work, when the budget is below what one slice takes.
            MissingObjectError, DamagedObjectError, ChangedFileError: an input is not what the plan says.
        """
        kinds = _by_kind(self._plan)
        workers = _workers(self._plan, kinds, threads, memory_bytes, running=self._running is not None)
        if not isinstance(self._inputs, HeldTensors):
            expect(sum(self._hash_bytes(task) for task in self._plan.tasks))
        for stage in range(max([1, *map(len, self._segments)])):
            opened = self._open(stage)
            if not opened:
                continue
            last = stage == max(map(len, self._segments), default=1) - 1
            self._progress.start("merge" if last else "measure", sum(map(_work_bytes, opened.values())))
            for indices, most in zip(kinds, workers, strict=True):
                mine = [opened[index] for index in indices if index in opened]
                if not mine:
                    continue
                count = most if threads is not None else min(most, self._worthwhile(mine))
                self._limits = Limits.of((memory_bytes or MEMORY_BYTES) // count)
                jobs = self._new_jobs()
                total = sum(self._cost(one) for one in mine) if count > 1 else inf
                with pool(count) as executor:
                    run_all(executor, count, (self._begin(one) for one in mine), jobs.run, total)
            self._finish_model_passes(stage)
        return self._leaves

    def _new_jobs(self) -> Jobs:
        plain = self._plan, self._reader, self._sink, self._limits
        if isinstance(self._inputs, HeldTensors):
            return Jobs(*plain, trusted=True, hashed=False)
        if self._running is None:
            return Jobs(*plain, trusted=self._trusted)
        return RunningJobs(*plain, trusted=self._trusted, store=self._inputs, sums=self._running)

    def _worthwhile(self, mine: Sequence[_Open]) -> int:
        """How many workers have enough to do: as many as there are slices, and for what is little one is cheaper."""
        if scope_of(self._plan, mine[0].task) is Scope.MATRIX:
            return len(mine)
        enough = sum(map(_work_bytes, mine)) // PIECE_BYTES
        if enough <= 1:
            return 1
        return max(min(enough, sum(len(self._jobs_of(one, one.steps[0])) for one in mine)), 1)

    def _open(self, stage: int) -> dict[int, _Open]:
        """The tensors that have something to do in a stage, by index."""
        opened: dict[int, _Open] = {}
        for index, task in enumerate(self._plan.tasks):
            steps = self._due(index, task, self._steps(stage, index, task))
            if steps:
                opened[index] = _Open(index, task, steps)
        return opened

    def _steps(self, stage: int, index: int, task: Task) -> list[Step]:
        if task.group is None:
            choose: list[Step] = ["choose"] if task.action == "choose" else []
            return [] if stage or index in self._leaves else [*choose, "make"]
        segments = self._segments[task.group]
        if stage >= len(segments):
            return []
        if stage == len(segments) - 1:
            return [] if index in self._leaves else segments[stage]
        # What a model-wide pass measures needs every tensor of the group, finished ones too.
        return [] if all(i in self._leaves for i in self._plan.groups[task.group].tasks) else segments[stage]

    def _due(self, index: int, task: Task, steps: list[Step]) -> list[Step]:
        """The steps from the first one on that has something left to find."""
        measured = self._measured_of(index, task)
        settled = takewhile(lambda step: isinstance(step, Pass) and step.settled(measured), steps)
        return steps[len(list(settled)) :]

    def _begin(self, one: _Open) -> list[Item]:
        """The items of a tensor's next step; without one the tensor is through."""
        one.steps = self._due(one.index, one.task, one.steps)
        if not one.steps:
            return []
        step = one.steps[0]
        jobs = self._jobs_of(one, step)
        one.waiting, one.parts, one.total = max(len(jobs), 1), {}, None
        if not jobs:
            return list(self._collect(one, step, Slice(0, 0), ()))
        then = partial(self._chosen, one) if step == "choose" else None
        return [Item(job, self._limits.cost(job), then or partial(self._collect, one, step, job.part)) for job in jobs]

    def _jobs_of(self, one: _Open, step: Step) -> list[Job]:
        task = one.task
        parts = (
            [Slice(0, task.elements)]
            if step == "choose"
            else cut(task, scope_of(self._plan, task), together_of(self._plan, task))
        )
        measured, every = self._measured_of(one.index, task), None
        if isinstance(step, Pass) and step.sample is not None and task.group is not None:
            every = step.sample(self._plan.groups[task.group].params, task.elements)
        return [Job(task, part, step, measured, every) for part in parts]

    def _cost(self, one: _Open) -> float:
        return sum(self._limits.cost(job) for step in one.steps for job in self._jobs_of(one, step))

    def _hash_bytes(self, task: Task) -> int:
        """About how much is hashed for a task."""
        read = 0 if self._trusted else read_bytes(task, Slice(0, task.elements))
        return read + task.elements * task.out_item_bytes

    def _chosen(self, one: _Open, task: Task) -> list[Item]:
        self._progress.advance(read_bytes(one.task, Slice(0, one.task.elements)))
        one.task = task
        one.steps = one.steps[1:]
        return self._begin(one)

    def _collect(self, one: _Open, step: Step, part: Slice, result: Any) -> list[Item]:
        """Take the result of one slice; after the last one, finish the step and begin the next."""
        self._progress.advance(read_bytes(one.task, part))
        if isinstance(step, Pass) and self._covers_model(step, one.task):
            self._add_to_model(one.task, result)
        elif isinstance(step, Pass) and step.combine == "sum":
            one.total = result if one.total is None else one.total + result
        else:
            one.parts[part.start] = result
        one.waiting -= 1
        if one.waiting:
            return []
        if step == "make":
            self._finish_tensor(one)
        elif step != "choose":
            self._finish_pass(one, step)
        one.steps = one.steps[1:]
        return self._begin(one)

    def _finish_tensor(self, one: _Open) -> None:
        leaves: list[Digest] = []
        for start in sorted(one.parts):
            leaves += one.parts[start]
        self._leaves[one.index] = tuple(leaves)
        self._measured.pop(one.index, None)
        self._sink.finish(self._plan.tasks[one.index], tuple(leaves))

    def _finish_pass(self, one: _Open, step: Pass) -> None:
        number = one.task.group
        assert number is not None
        group = self._plan.groups[number]
        if self._covers_model(step, one.task):
            return
        if step.combine == "sum":
            total: npt.NDArray[Any] | None = one.total
        else:
            total = fold_blocks(np.concatenate([one.parts[start] for start in sorted(one.parts)]))
        assert total is not None
        extent = self._extent(group, one.task.elements, self._measured_of(one.index, one.task))
        self._measured.setdefault(one.index, {})[step.name] = step.finish(total, group.params, extent)

    def _covers_model(self, step: Pass, task: Task) -> bool:
        return task.group is not None and step.scope(self._plan.groups[task.group].params) == "model"

    def _add_to_model(self, task: Task, result: npt.NDArray[np.int64]) -> None:
        """Add what was measured on one slice to the total of its group, in place: there may be thousands of slices."""
        assert task.group is not None
        known = self._group_totals.get(task.group)
        if known is None:
            self._group_totals[task.group] = result.copy()
        else:
            np.add(known, result, out=known)

    def _finish_model_passes(self, stage: int) -> None:
        """Finish the pass that ended a stage, for every group."""
        for number, total in sorted(self._group_totals.items()):
            group, measured = self._plan.groups[number], self._group_measured[number]
            step = self._segments[number][stage][-1]
            assert isinstance(step, Pass)
            measured[step.name] = step.finish(total, group.params, self._extent(group, group.elements, dict(measured)))
        self._group_totals.clear()

    def _extent(self, group: Group, elements: int, measured: Mapping[str, Any]) -> Extent:
        return Extent(len(group.contributions), elements, group.weights, measured, self._sink.warn)

    def _measured_of(self, index: int, task: Task) -> dict[str, Any]:
        """Everything measured so far that a tensor may see."""
        whole = {} if task.group is None else self._group_measured[task.group]
        return {**whole, **self._measured.get(index, {})}


def workers_for(plan: Plan, threads: int | None, memory_bytes: int | None, *, running: bool = False) -> list[int]:
    """How many workers may run at once, for tensors that are cut into slices and for those that are taken whole.

    Raises:
        UsageError, MemoryBudgetError: see `worker_count`.
    """
    return _workers(plan, _by_kind(plan), threads, memory_bytes, running=running)


def _workers(
    plan: Plan, kinds: Sequence[Sequence[int]], threads: int | None, memory_bytes: int | None, *, running: bool
) -> list[int]:
    """How many workers may run at once, for tensors of each kind."""
    extra = EXTRA_BYTES if running else 0
    return [worker_count(threads, memory_bytes, *_dearest(plan, indices, extra)) for indices in kinds]


def _by_kind(plan: Plan) -> tuple[list[int], list[int]]:
    """Indices of the tasks that are cut into slices, and of those that are taken whole."""
    cut_up: list[int] = []
    whole: list[int] = []
    for index, task in enumerate(plan.tasks):
        (whole if scope_of(plan, task) is Scope.MATRIX else cut_up).append(index)
    return cut_up, whole


def _dearest(plan: Plan, indices: Iterable[int], extra: int) -> tuple[int, str]:
    """Cost of the most expensive slice, with so many bytes more per element, and what it is."""
    tasks = [plan.tasks[index] for index in indices]
    costs = ((cost_bytes(task, scope_of(plan, task), together_of(plan, task), extra), task.name) for task in tasks)
    cost, name = max(costs, default=(0, ""))
    return cost, f"one slice of tensor `{name}` across everything that is merged"


def _segments(group: Group) -> list[list[Step]]:
    """A group's steps by stage: a pass over the whole model is the last of its stage, the strategy the last of all."""
    segments: list[list[Step]] = [[]]
    for one in group.strategy.passes:
        if one.needed(group.params):
            segments[-1].append(one)
            if one.scope(group.params) == "model":
                segments.append([])
    segments[-1].append("make")
    return segments


def _work_bytes(one: _Open) -> int:
    """Bytes that are read for a tensor in a stage; a choice between sources reads all of them, and then one."""
    everything = read_bytes(one.task, Slice(0, one.task.elements))
    chosen = one.steps[0] == "choose"
    return everything + everything // len(one.task.sources) if chosen else everything * len(one.steps)
