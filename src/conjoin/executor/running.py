"""Running: makes slices from sums that an earlier resolve kept, where these prove that the bytes are the same.

A contribution that is new is read and added to the sum, one that is gone is read and taken out; everything else is left
unread. Where there is no sum, where it is of other weights, or where a bound does not hold, the slice is made from all
contributions, and its sum is begun anew. A sum is kept anew when what was read beside it is larger than the sum.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from conjoin.executor.jobs import Inputs, Job, Jobs, Limits, SliceReader, head_of
from conjoin.executor.kept import Kept, KeptSums, Term
from conjoin.executor.reader import Bytes
from conjoin.executor.sinks import Sink
from conjoin.executor.slices import Slice, cut, scope_of
from conjoin.kernels import FORMATS, RunningSum, Way, running_delta_sum, running_linear, running_sum, way
from conjoin.plan import Plan
from conjoin.plan.recipe import NUMERICS
from conjoin.plan.tasks import Task
from conjoin.store.base import Store
from conjoin.strategies.base import RawArray, WeightedSum
from conjoin.wire import canonical
from conjoin.wire.digest import LEAF_BYTES, Digest, tagged
from conjoin.wire.objects import leaf_name

EXTRA_BYTES = 16
"""What an element of a slice costs in buffers beside its input and output: the sum before and after."""


@dataclass(frozen=True, slots=True)
class RunningReport:
    """What a run did with running sums.

    Attributes:
        added: contributions that were read because the sum that was kept is without them.
        taken_out: contributions that were read because they are gone but were in it.
        slices: slices whose bytes follow from a sum.
        from_sums: of these, the ones that were made from a sum that was kept.
        begun: made from all contributions because there was no sum of these weights.
        unproven: made from all contributions because a bound did not hold.
        not_kept: whose sum could not be kept: it is not exact, or the disk refused.
        size_bytes: what is kept now.
    """

    added: tuple[Digest, ...]
    taken_out: tuple[Digest, ...]
    slices: int
    from_sums: int
    begun: int
    unproven: int
    not_kept: int
    size_bytes: int


class RunningSums:
    """The running sums of a replica, and what one run does with them; any thread may note what it did."""

    def __init__(self, folder: Path) -> None:
        self.kept = KeptSums(folder)
        self._lock = threading.Lock()
        self._added: set[Digest] = set()
        self._taken: set[Digest] = set()
        self._counts = {"from_sums": 0, "begun": 0, "unproven": 0, "not_kept": 0}
        self._size_bytes = 0

    @property
    def report(self) -> RunningReport:
        """What has been done so far."""
        counts = self._counts
        slices = counts["from_sums"] + counts["begun"] + counts["unproven"]
        return RunningReport(
            tuple(sorted(self._added)), tuple(sorted(self._taken)), slices, **counts, size_bytes=self._size_bytes
        )

    def note(self, what: str, added: Sequence[Term] = (), taken: Sequence[Term] = ()) -> None:
        """Count a slice, and name what was read for it."""
        with self._lock:
            self._counts[what] += 1
            self._added.update(term.contribution for term in added)
            self._taken.update(term.contribution for term in taken)

    def prune(self, plan: Plan) -> None:
        """Keep nothing but what belongs to the plan; everything where nothing of it follows from a sum."""
        places: set[Digest] = set()
        for task in plan.tasks:
            for part in cut(task, scope_of(plan, task)) if task.group is not None else ():
                statistic = _statistic(plan, task, part)
                if statistic is not None:
                    places.add(_place(task, part, statistic))
        if places:
            self._size_bytes = self.kept.prune(places)


@dataclass(frozen=True, slots=True)
class _Move:
    """How the sum of a slice becomes the one that is wanted.

    Attributes:
        place: where it is kept.
        statistic: what the strategy makes of it.
        wanted: every term with its numerator.
        way: how to get there.
        kept: the sum there is; None to begin anew.
        failed: whether a bound did not hold before.
    """

    place: Digest
    statistic: WeightedSum
    wanted: Mapping[Term, float]
    way: Way[Term]
    kept: Kept | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Moved(Job):
    """A job that is done by moving a sum."""

    move: _Move


class RunningJobs(Jobs):
    """Jobs that make what they can from running sums."""

    def __init__(
        self,
        plan: Plan,
        reader: SliceReader,
        sink: Sink,
        limits: Limits,
        *,
        trusted: bool,
        store: Store,
        sums: RunningSums,
    ) -> None:
        super().__init__(plan, reader, sink, limits, trusted=trusted)
        self._store = store
        self._sums = sums

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        """See `Jobs.run`."""
        moved = [self._moved(job) if job.step == "make" and job.task.group is not None else job for job in jobs]
        results = super().run(moved)
        failed = [index for index, result in enumerate(results) if isinstance(moved[index], _Moved) and result == ()]
        again = super().run([_begun(jobs[index], moved[index]) for index in failed]) if failed else []
        for index, result in zip(failed, again, strict=True):
            results[index] = result
        return results

    def _moved(self, job: Job) -> Job:
        """The job as a move of what is kept, or as one that begins a sum; itself where it follows from no sum."""
        statistic = _statistic(self._plan, job.task, job.part)
        wanted = {} if statistic is None else _terms(self._plan, job.task, job.part, statistic)
        start = way({}, wanted) if wanted else None
        if statistic is None or start is None:
            return job
        place = _place(job.task, job.part, statistic)
        kept = self._sums.kept.find(place)
        fits = kept is not None and kept.elements == job.part.elements
        onward = self._onward(kept, wanted) if kept is not None and fits else None
        if onward is None:
            return _Moved(job.task, job.part, job.step, job.measured, None, _Move(place, statistic, wanted, start))
        first = job.part.start * job.task.item_bytes // LEAF_BYTES
        base = job.task.base if statistic.of_deltas or statistic.base_numerator else None
        sources = tuple((Digest(""),) * first + term.leaves for term in (*onward.added, *onward.taken))
        task = replace(job.task, base=base, sources=sources)
        return _Moved(task, job.part, job.step, job.measured, None, _Move(place, statistic, wanted, onward, kept))

    def _onward(self, kept: Kept, wanted: Mapping[Term, float]) -> Way[Term] | None:
        """The way from the sum there is to the one that is wanted; None where it is better begun anew."""
        onward = way(kept.factors, wanted)
        if onward is None or len(onward.added) + len(onward.taken) >= len(wanted):
            return None
        here = all(self._store.has(leaf_name(leaf)) for term in onward.taken for leaf in term.leaves)
        return onward if here else None

    def _pieces(self, job: Job) -> list[Slice]:
        return [job.part] if isinstance(job, _Moved) else super()._pieces(job)

    def _made(self, job: Job, inputs: Inputs) -> Bytes | None:
        if not isinstance(job, _Moved):
            return super()._made(job, inputs)
        arrays: list[RawArray] = [data.view(FORMATS[job.task.dtype].raw) for data in inputs.sources]
        base = None if job.task.base is None else arrays.pop(0)
        move = job.move
        if move.kept is None:
            made = super()._made(job, inputs)
            self._keep(job, _advance(job, None, self._with_terms(job, arrays), base))
            self._sums.note("unproven" if move.failed else "begun")
            return made
        total = self._sums.kept.load(move.place, move.kept)
        if total is not None and arrays:
            total = _advance(job, total, [*zip(arrays, (*move.way.added, *move.way.taken), strict=True)], base)
        made = None if total is None else _result(job, total, base)
        if made is None:
            return None
        if total is not None and sum(array.nbytes for array in arrays) > total.packed.words.nbytes:
            self._keep(job, total)  # sooner, to write it would cost more than to read what has changed again
        self._sums.note("from_sums", move.way.added, move.way.taken)
        return made.view(np.uint8)

    def _with_terms(self, job: _Moved, arrays: Sequence[RawArray]) -> list[tuple[RawArray, Term]]:
        """The contributions that have a term, with it."""
        terms = {term.contribution: term for term in job.move.wanted}
        contributions = self._group(job.task).contributions
        return [(array, terms[name]) for array, name in zip(arrays, contributions, strict=True) if name in terms]

    def _keep(self, job: _Moved, total: RunningSum | None) -> None:
        if total is None:
            self._sums.kept.drop(job.move.place)
        if total is None or not self._sums.kept.save(job.move.place, job.move.way.factors, total):
            self._sums.note("not_kept")


def _begun(job: Job, failed: Job) -> Job:
    """The job again, made from all contributions."""
    assert isinstance(failed, _Moved)
    start = way({}, failed.move.wanted)
    assert start is not None
    move = replace(failed.move, way=start, kept=None, failed=True)
    return _Moved(job.task, job.part, job.step, job.measured, None, move)


def _statistic(plan: Plan, task: Task, part: Slice) -> WeightedSum | None:
    """The sum that a slice follows from, or None."""
    assert task.group is not None
    group = plan.groups[task.group]
    if group.strategy.running is None:
        return None
    return group.strategy.running(head_of(plan, task, part), group.params)


def _place(task: Task, part: Slice, statistic: WeightedSum) -> Digest:
    """Names what is summed where, whatever the contributions and their weights."""
    first, last = (at * task.item_bytes for at in (part.start, part.stop))
    base = task.base[first // LEAF_BYTES : -(-last // LEAF_BYTES)] if statistic.of_deltas and task.base else ()
    value = {
        "base": list(base),
        "deltas": statistic.of_deltas,
        "drop_below": statistic.drop_below,
        "dtype": task.dtype,
        "name": task.name,
        "numerics": NUMERICS,
        "start": part.start,
        "stop": part.stop,
    }
    return tagged("conjoin/running/1", canonical.encode(value))


def _terms(plan: Plan, task: Task, part: Slice, statistic: WeightedSum) -> dict[Term, float]:
    """The terms of a slice's sum with their numerators, those without one left out."""
    assert task.group is not None
    first, last = (at * task.item_bytes for at in (part.start, part.stop))
    keys = statistic.keys or (None,) * len(task.sources)
    rows = zip(plan.groups[task.group].contributions, task.sources, keys, statistic.numerators, strict=True)
    return {
        Term(contribution, leaves[first // LEAF_BYTES : -(-last // LEAF_BYTES)], key): numerator
        for contribution, leaves, key, numerator in rows
        if numerator
    }


def _advance(
    job: _Moved, total: RunningSum | None, changed: Sequence[tuple[RawArray, Term]], base: RawArray | None
) -> RunningSum | None:
    """The sum with contributions added and others taken out; `changed` has them in this order."""
    move, way = job.move, job.move.way
    old: Mapping[Term, float] = {} if move.kept is None else move.kept.factors
    count = len(way.added)
    return running_sum(
        total,
        [(array, way.factors[term]) for array, term in changed[:count]],
        job.task.dtype,
        taken=[(array, way.scale * old[term]) for array, term in changed[count:]],
        base=base if move.statistic.of_deltas else None,
        scale=way.scale,
        drop_below=move.statistic.drop_below,
        keys=[term.key for _, term in changed if term.key is not None],
        start=job.part.start,
    )


def _result(job: _Moved, total: RunningSum, base: RawArray | None) -> RawArray | None:
    """What the strategy makes of the sum."""
    statistic, task = job.move.statistic, job.task
    if statistic.of_deltas:
        assert base is not None
        return running_delta_sum(
            total, job.move.way.ratio, base, task.dtype, task.out_dtype, denominator=statistic.denominator
        )
    return running_linear(
        total,
        job.move.way.ratio,
        task.dtype,
        task.out_dtype,
        base=base,
        base_numerator=statistic.base_numerator,
        denominator=statistic.denominator,
    )
