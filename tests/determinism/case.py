"""One process of the matrix: digests under the settings given as JSON on the command line, as JSON on stdout.

The environment variables that matter (NUMBA_CPU_NAME, NUMBA_OPT, OPENBLAS_CORETYPE, NUMBA_CACHE_DIR …) are read by the
libraries at their import, so they are set by whoever starts this process.
"""

import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numba.core.caching import NullCache

from conjoin import kernels
from conjoin.executor import engine, execute, workers
from conjoin.kernels import FORMATS
from conjoin.plan import Recipe
from conjoin.store.memory import MemoryStore
from conjoin.testing import fingerprint, machine_code
from conjoin.testing.strategy_suite import backend
from tests.unit.models import noisy, plan_of

VECTORS = Path(__file__).parents[1] / "vectors"
FLUSHING = 0x9FC0
"""x86: subnormals flushed to zero (FTZ and DAZ), as libraries built with -ffast-math leave a thread."""
SHAPES = {"large": (2 * kernels.BLOCK_ELEMENTS + 5001,), "matrix": (96, 65), "vector": (7,), "scalar": ()}


def flush() -> None:
    """Leave this thread, and those it starts, in a state in which subnormals are flushed."""
    import numba

    from conjoin.kernels import jit

    @numba.njit
    def set_state(state: int) -> None:
        jit.enter()
        jit.leave(state)

    set_state(FLUSHING)
    tiny, half = 2.0**-1022, 0.5
    assert tiny * half == 0.0


class Disordered(ThreadPoolExecutor):
    """Workers that begin each job after a pause of its own, so that jobs end in another order."""

    pauses = random.Random(0)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        pause = self.pauses.random() * 0.004

        def late() -> Any:
            time.sleep(pause)
            return fn(*args, **kwargs)

        return super().submit(late)


@contextmanager
def disorder(seed: int) -> Iterator[None]:
    """Let the executor begin tensors in another order and finish jobs in another; 0 leaves it alone."""
    if not seed:
        yield
        return
    ordered = workers.run_all

    def shuffled(executor: Any, count: int, starts: Iterable[Any], *others: Any) -> None:
        begun = list(starts)
        random.Random(seed).shuffle(begun)
        ordered(executor, count, begun, *others)

    Disordered.pauses = random.Random(seed)
    with (
        patch.object(workers, "ThreadPoolExecutor", Disordered),
        patch.object(engine, "run_all", shuffled),
    ):
        yield


def executed(name: str, threads: int) -> tuple[str, str]:
    """A whole resolve of files: the digest of the output."""
    base, *models = [noisy(SHAPES, seed) for seed in range(4)]
    store = MemoryStore()
    plan = plan_of(store, base, models, Recipe.of(name, fingerprint.bare_settings(name)[0]))
    with tempfile.TemporaryDirectory() as folder:
        return f"executed {name}", execute(plan, store, Path(folder) / "out", threads=threads).output


def digests(given: dict[str, Any], setting: dict[str, Any], *, applies: bool, operates: bool) -> dict[str, str]:
    """What one setting gives; to be called in a thread of its own, whose floating point state is then its own.

    What executes no plan, so that threads and shuffling cannot change it, is computed where that is asked for.
    """
    if setting["flush"]:
        flush()
    told: dict[str, str] = {}
    with backend(given["arithmetic"]), disorder(setting["shuffle"]):
        if applies:
            forms = tuple(FORMATS) if operates else ("F32",)
            told |= fingerprint.applied(slice_elements=setting["slice"], names=given["strategies"], forms=forms)
        if operates:
            told |= fingerprint.operations(given["arithmetic"], given["operations"])
            told |= fingerprint.vectors(VECTORS, [n for n in given["strategies"] if not fingerprint.bare_settings(n)])
        told |= fingerprint.resolved(names=given["strategies"])
        bare = [name for name in given["strategies"] if fingerprint.bare_settings(name)]
        told |= (executed(name, setting["threads"]) for name in bare)
    return told


def firsts(settings: list[dict[str, Any]], *factors: str) -> list[bool]:
    """For each setting, whether it is the first with its values of these factors."""
    values = [[setting[factor] for factor in factors] for setting in settings]
    return [value not in values[:at] for at, value in enumerate(values)]


def compiled_here() -> dict[str, Any]:
    """Every kernel that was called, compiled in this process: what came from the disk, once more, and nothing is kept.

    Code from the disk cannot be scanned, and has in it what the kernels it calls would be compiled to.
    """
    found = machine_code.kernels()
    for kernel in found.values():
        kernel._cache = NullCache()
    for kernel in found.values():
        if kernel.stats.cache_hits:
            kernel.recompile()
    return {".".join(place): kernel for place, kernel in found.items() if kernel.signatures}


def main() -> None:
    """Run the case."""
    np.seterr(all="ignore")
    given = json.loads(sys.argv[1])
    told: dict[str, Any] = {"digests": [], "scans": {}, "widths": {}}
    settings = given["settings"]
    news = (firsts(settings, "slice", "flush"), firsts(settings, "flush"))
    for number, (setting, new, operates) in enumerate(zip(settings, *news, strict=True)):
        turn = given | {"strategies": given["strategies"][number % given["turns"] :: given["turns"]]}
        with ThreadPoolExecutor(1) as alone:
            found = alone.submit(digests, turn, setting, applies=new and given["applies"], operates=operates)
            told["digests"].append(found.result())
    for name, kernel in compiled_here().items() if given["arithmetic"] == "compiled" else ():
        told["scans"][name] = machine_code.scan(kernel)
        told["widths"][name] = machine_code.widths(kernel)
    json.dump(told, sys.stdout)


def covering(factors: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Few settings in which every pair of values of two factors occurs; greedy, and the same every time."""
    names = sorted(factors)
    pairs = {((a, x), (b, y)) for a, b in itertools.combinations(names, 2) for x in factors[a] for y in factors[b]}
    every = [dict(zip(names, values, strict=True)) for values in itertools.product(*(factors[name] for name in names))]
    rows: list[dict[str, Any]] = []
    while pairs:
        best = max(every, key=lambda row: len(pairs & set(itertools.combinations(row.items(), 2))))
        pairs -= set(itertools.combinations(best.items(), 2))
        rows.append(best)
    return rows


if __name__ == "__main__":
    main()
