"""Workers: a bounded pool that stops at the first failure, and the memory budget that bounds it; knows no tensor."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from conjoin.errors import MemoryBudgetError, UsageError
from conjoin.store.files import cores

MEMORY_BYTES = 512 * 1024 * 1024
"""Default budget for buffers."""


@dataclass(frozen=True, slots=True)
class Item:
    """A job for a worker, and what to do with its result in the thread that coordinates: more items may follow.

    Attributes:
        job: what the worker's function understands.
        cost: the share of a bundle that the job fills.
        then: result → items that have become possible.
    """

    job: Any
    cost: float
    then: Callable[[Any], Iterable["Item"]]


Work = Callable[[Sequence[Any]], Sequence[Any]]
"""Jobs → their results, in a worker's thread."""


def worker_count(threads: int | None, memory_bytes: int | None, cost_bytes: int, what: str) -> int:
    """How many workers may run at once.

    Args:
        threads: the most that are wanted; None takes the cores this process may use.
        memory_bytes: the budget for all workers' buffers; None takes 512 MiB, or what the most expensive item takes.
        cost_bytes: what the most expensive item takes.
        what: that item, for the error.

    Raises:
        UsageError: fewer than one thread is wanted.
        MemoryBudgetError: not even one worker fits; the least budget that works is named.
    """
    wanted = cores() if threads is None else threads
    if wanted < 1:
        raise UsageError(f"{wanted} threads are wanted", hint="give 1 or more")
    budget = MEMORY_BYTES if memory_bytes is None else memory_bytes
    if cost_bytes > budget and memory_bytes is None:
        return 1  # a matrix is worked on whole
    if cost_bytes > budget:
        raise MemoryBudgetError(
            f"the memory budget of {budget} bytes is too small: {what} needs {cost_bytes} bytes",
            hint=f"give a budget of {cost_bytes} bytes or more",
        )
    return min(wanted, budget // cost_bytes) if cost_bytes else wanted


@contextmanager
def pool(workers: int) -> Generator[Executor | None]:
    """Threads for `workers` jobs at once; on the way out, however that is, jobs that have not begun are dropped.

    None for one worker, which is the thread that asks.
    """
    if workers == 1:
        yield None
        return
    threads = ThreadPoolExecutor(workers, thread_name_prefix="conjoin")
    try:
        yield threads
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def run_all(
    executor: Executor | None, workers: int, starts: Iterable[Iterable[Item]], work: Work, total: float
) -> None:
    """Run every item and what follows from it; items of an earlier start go first, and few starts are open at once.

    Items go to workers in bundles, full ones at first and small ones near the end, so that no worker waits for another
    for long. The first failure is raised once; jobs that run then finish, and no other begins.

    Args:
        executor: from `pool`.
        workers: how many run at once.
        starts: the items that can begin, tensor by tensor.
        work: does a bundle of jobs.
        total: the cost of all items; infinite where bundles may be full to the end.
    """
    opened = iter(starts)
    ready: deque[Item] = deque()
    running: dict[Future[Sequence[Any]], list[Item]] = {}
    while True:
        while len(running) < 2 * workers and (bundle := _bundle(opened, ready, min(1.0, total / (3 * workers)))):
            total -= sum(item.cost for item in bundle)
            if executor is None:
                _follow(bundle, work([item.job for item in bundle]), ready)
                continue
            running[executor.submit(work, [item.job for item in bundle])] = bundle
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            _follow(running.pop(future), future.result(), ready)


def _follow(bundle: Sequence[Item], results: Sequence[Any], ready: deque[Item]) -> None:
    """Put what the results of a bundle have made possible before everything else."""
    follow = [item for done, result in zip(bundle, results, strict=True) for item in done.then(result)]
    ready.extendleft(reversed(follow))


def _bundle(opened: Iterator[Iterable[Item]], ready: deque[Item], size: float) -> list[Item]:
    """Items that fill a bundle, or the one that is larger; none where none can begin."""
    bundle: list[Item] = []
    while size > 0 or not bundle:
        if not ready:
            start = next(opened, None)
            if start is None:
                break
            ready.extend(start)
            continue
        if bundle and ready[0].cost > size:
            break
        bundle.append(ready.popleft())
        size -= bundle[-1].cost
    return bundle
