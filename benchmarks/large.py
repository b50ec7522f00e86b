"""A model of 7 billion parameters, base and three fine-tunes, beside one of 0.5 billion: memory and time per byte.

The large checkpoints are 13.5 GB each, in place; one layer in eight is written, the others are mostly holes, which take
no room on the disk and read as zeros. All leaves differ, so each is read and hashed.
"""

import shutil

from benchmarks.checkpoints import SHAPES
from benchmarks.context import Context
from benchmarks.measure import RUN_COLUMNS, Run, conjoin, models, run
from benchmarks.report import Part, Table, at_most

STRATEGIES = ("linear", "ties")
EVERY = 8
MEMORY_GB_MAX = 2.0


def measure(context: Context) -> Part:
    """One run each."""
    figures: dict[tuple[str, str], Run] = {}
    shapes = ("50M", "0.5B") if context.quick else ("0.5B", "7B")
    for shape in shapes:
        folder = context.scratch / shape
        folder.mkdir()
        base, *tunes = models(folder, shape, 3, every=EVERY)
        replica = folder / "replica"
        figures[shape, "init --in-place"] = run(conjoin("init", replica, "--base", base, "--in-place"))
        for tune in tunes:
            figures[shape, "add --in-place"] = run(conjoin("-C", replica, "add", tune, "--in-place"))
        for strategy in STRATEGIES:
            words = conjoin("-C", replica, "resolve", strategy, "-o", folder / "out")
            if shape == shapes[0]:
                run(words)
                shutil.rmtree(folder / "out")
            figures[shape, strategy] = run(words)
            shutil.rmtree(folder / "out")
        shutil.rmtree(folder)
    rows: list[list[str | float | int | None]] = []
    for (shape, name), figure in figures.items():
        read_gb = SHAPES[shape].parameters * 2 / 1e9
        rows.append([shape, name, *figure.cells, figure.cpu_s / read_gb, figure.wall_s / read_gb])
    columns = ("parameters", "command", *RUN_COLUMNS, "CPU s per GB of the model", "wall s per GB of the model")
    part = Part([Table("large models, base + 3, in place, every input leaf verified", columns, rows)])
    small, large = shapes
    ratio = SHAPES[large].parameters / SHAPES[small].parameters
    for name in STRATEGIES:
        grown = figures[large, name].cpu_s / figures[small, name].cpu_s / ratio
        part.goals.append(at_most(f"{name}, {large}: CPU per byte against {small}", grown, 1.0))
        peak_gb = figures[large, name].memory_bytes_max / 1e9
        part.goals.append(at_most(f"{name}, {large}: peak memory, GB", peak_gb, MEMORY_GB_MAX))
    return part
