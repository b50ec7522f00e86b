"""What a resolve costs while the machine is busy: CPU-seconds with eight spinning processes beside it, and without."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.context import Context
from benchmarks.measure import RUN_COLUMNS, Run, conjoin, medians, models, run
from benchmarks.report import Part, Table, at_most

BUSY = 8
COMMANDS = {"linear": ("linear",), "ties density=0.2": ("ties", "-p", "density=0.2")}


def measure(context: Context) -> Part:
    """Idle and busy in turn."""
    shape = "50M" if context.quick else "0.5B"
    base, *tunes = models(context.scratch, shape, 3)
    replica, out = context.scratch / "replica", context.scratch / "out"
    run(conjoin("init", replica, "--base", base, "--in-place"))
    for tune in tunes:
        run(conjoin("-C", replica, "add", tune, "--in-place"))

    def resolve(name: str) -> Run:
        figure = run(conjoin("-C", replica, "resolve", *COMMANDS[name], "-o", out))
        run(["rm", "-r", out])
        return figure

    taken: dict[tuple[str, str], list[Run]] = {}
    for name in COMMANDS:
        resolve(name)
        for _ in range(context.runs):
            taken.setdefault((name, "nothing"), []).append(resolve(name))
            with busy(BUSY):
                taken.setdefault((name, f"{BUSY} busy processes"), []).append(resolve(name))
    figures = {name: medians(runs) for name, runs in taken.items()}
    table = Table(
        f"resolve under load, {shape}, base + 3, verified, medians of {context.runs}",
        ("strategy", "beside it", *RUN_COLUMNS),
        [[*name, *figure.cells] for name, figure in figures.items()],
    )
    ratios = {name: figures[name, f"{BUSY} busy processes"].cpu_s / figures[name, "nothing"].cpu_s for name in COMMANDS}
    return Part([table], [at_most(f"{name}: CPU under load against idle", r, 1.2) for name, r in ratios.items()])


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processes spinning; each ends by itself after ten minutes at the latest."""
    spin = "import time\nend = time.monotonic() + 600\nwhile time.monotonic() < end: pass"
    running = [subprocess.Popen([sys.executable, "-I", "-S", "-c", spin]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()
