"""Runs a command as its own process and reads what the operating system accounted for it; times nothing inside."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Run:
    """One finished process: CPU-seconds (user + system), wall seconds, peak resident memory in bytes."""

    cpu_s: float
    wall_s: float
    memory_bytes_max: int


def run(command: Sequence[str]) -> Run:
    """Run `command` and account for it; its output goes nowhere."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors.decode()[-2000:]}")
    return Run(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss * 1024)


def medians(runs: Sequence[Run]) -> Run:
    """The median of each figure; the largest memory."""
    return Run(median(r.cpu_s for r in runs), median(r.wall_s for r in runs), max(r.memory_bytes_max for r in runs))


def python(code: str, *arguments: str) -> list[str]:
    """A command line that runs `code` in a bare interpreter."""
    return [sys.executable, "-I", "-c", code, *arguments]


def conjoin(*arguments: str) -> list[str]:
    """A command line that runs conjoin."""
    return [sys.executable, "-m", "conjoin", *arguments]
