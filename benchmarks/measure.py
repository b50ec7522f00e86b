"""Runs a command as its own process and reads what the operating system accounted for it; times nothing inside."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Run:
    """One finished process: CPU-seconds (user + system), wall seconds, peak resident memory in bytes."""

    cpu_s: float
    wall_s: float
    memory_bytes_max: int

    @property
    def cells(self) -> list[float]:
        """The figures as a table shows them: CPU s, wall s, peak MB."""
        return [round(self.cpu_s, 3), round(self.wall_s, 3), round(self.memory_bytes_max / 1e6)]


RUN_COLUMNS = ("CPU s", "wall s", "peak MB")


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Run:
    """Run `command` and account for it, its children that it waited for included; its output goes nowhere.

    What earlier commands have written is on disk before it starts.
    """
    os.sync()
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        words = " ".join(map(str, command))
        raise RuntimeError(f"{words} ended with {process.returncode}: {errors.decode()[-2000:]}")
    return Run(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss * 1024)


def medians(runs: Sequence[Run]) -> Run:
    """The median of each figure; the largest memory."""
    return Run(median(r.cpu_s for r in runs), median(r.wall_s for r in runs), max(r.memory_bytes_max for r in runs))


def cpu_seconds(work: Callable[[], object], least_s: float) -> float:
    """CPU-seconds of one call in this thread, from as many calls as take `least_s`."""
    calls, spent = 0, 0.0
    while spent < least_s:
        start = time.thread_time()
        work()
        spent += time.thread_time() - start
        calls += 1
    return spent / calls


def interleaved(cases: Mapping[str, Callable[[], object]], rounds: int, least_s: float) -> dict[str, float]:
    """Median CPU-seconds per call of each case; A B C A B C …, so that a drifting machine hits all alike."""
    for work in cases.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, work in cases.items():
            taken[name].append(cpu_seconds(work, least_s))
    return {name: median(seconds) for name, seconds in taken.items()}


def python(code: str, *arguments: str) -> list[str]:
    """A command line that runs `code` in a bare interpreter."""
    return [sys.executable, "-I", "-c", code, *arguments]


def module(name: str, *arguments: str | Path) -> list[str | Path]:
    """A command line that runs a module of this folder."""
    return [sys.executable, "-m", f"benchmarks.{name}", *arguments]


USER = Path(__file__).parent / "out" / "user"
"""An environment like a user's: conjoin as it stands here and what it needs, no tools of developers."""


def conjoin(*arguments: str | Path) -> list[str | Path]:
    """A command line that runs conjoin as users have it."""
    return [USER / "bin" / "python", "-m", "conjoin", *arguments]


def models(
    folder: Path, shape: str, tunes: int, *, first: int = 0, every: int = 1, step: float | None = None
) -> list[Path]:
    """Checkpoints `first` to `tunes` of a shape (0 is the base) below `folder`, made by other processes.

    A child counts as much memory as its parent had when it was started, so whoever measures children stays small.
    """
    paths = [folder / f"{shape}-{seed}" for seed in range(first, tunes + 1)]
    for seed, path in enumerate(paths, first):
        run(module("checkpoints", path, shape, str(seed), str(every), *([str(step)] if step else [])))
    return paths


def machine() -> str:
    """Processor, cores, Python, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or "unknown processor"
    return f"{processor} ({platform.machine()}), {os.cpu_count()} cores, Python {platform.python_version()}"
