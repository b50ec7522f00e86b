"""`make bench`: the figures of the README, measured side by side in one run; prints a table and writes JSON."""

import argparse
import json
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Run, conjoin, medians, python, run

HASH = """
import hashlib, sys
buffer = bytearray(4 << 20); view = memoryview(buffer)
for path in sys.argv[1:]:
    digest = hashlib.sha256()
    with open(path, 'rb', buffering=0) as file:
        while n := file.readinto(buffer): digest.update(view[:n])
"""
READ_AND_WRITE = """
import os, sys
hashing = sys.argv[1] == 'hash'
import hashlib
buffer = bytearray(4 << 20); view = memoryview(buffer)
out = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
for i, path in enumerate(sys.argv[3:]):
    with open(path, 'rb', buffering=0) as file:
        while n := file.readinto(buffer):
            if hashing: hashlib.sha256(view[:n]).digest()
            if i == 0:
                if hashing: hashlib.sha256(view[:n]).digest()
                os.write(out, view[:n])
os.fsync(out)
"""


def main() -> None:
    """Generate, measure, print, write benchmarks/out/results.json."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3, help="counted runs of each command (default 3)")
    options.add_argument("--layers", type=int, default=24, help="layers of the generated model (24: 0.5 B parameters)")
    options.add_argument("--vocabulary", type=int, default=151_936, help="rows of the generated embedding")
    options.add_argument("--where", type=Path, default=None, help="folder for about 12 GB of scratch files")
    given = options.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="conjoin-bench-", dir=given.where))
    try:
        results = measure(scratch, given.runs, [str(given.layers), str(given.vocabulary)])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    show(results)
    out = Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=2))
    print(f"written: {out / 'results.json'}")


def measure(scratch: Path, runs: int, size: list[str]) -> dict[str, object]:
    """All figures of one run."""
    files = [scratch / f"model-{seed}.safetensors" for seed in range(5)]
    for seed, path in enumerate(files):
        run([sys.executable, "-m", "benchmarks.checkpoints", str(path), str(seed), *size])
    base, tunes = files[0], files[1:]
    size_gb = base.stat().st_size / 1e9
    figures: dict[str, Run] = {"conjoin --help": medians([run(conjoin("--help")) for _ in range(runs + 2)])}

    pairs: list[tuple[Run, Run, Run]] = []
    for turn in range(runs):  # A B A B, so that a drifting machine hits each alike
        replica = scratch / f"add-{turn}"
        run(conjoin("init", str(replica), "--base", str(base), "--in-place"))
        hashed = run(python(HASH, str(tunes[0])))
        copied = run(conjoin("-C", str(replica), "add", str(tunes[0])))
        placed = run(conjoin("-C", str(replica), "add", str(tunes[1]), "--in-place"))
        pairs.append((hashed, copied, placed))
        shutil.rmtree(replica)
    for index, name in enumerate(("hashlib SHA-256, one file", "add, copied", "add --in-place")):
        figures[name] = medians([pair[index] for pair in pairs])

    replica = scratch / "replica"
    run(conjoin("init", str(replica), "--base", str(base), "--in-place"))
    for tune in tunes:
        run(conjoin("-C", str(replica), "add", str(tune)))
    rows: dict[str, list[Run]] = {}
    for turn in range(runs):
        for name, command in resolve_commands(replica, scratch / f"out-{turn}", tunes).items():
            rows.setdefault(name, []).append(run(command))
            shutil.rmtree(scratch / f"out-{turn}", ignore_errors=True)
            (scratch / f"out-{turn}").unlink(missing_ok=True) if (scratch / f"out-{turn}").is_file() else None
    figures |= {name: medians(taken) for name, taken in rows.items()}
    return {
        "checkpoint_gb": size_gb,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "runs": runs,
        "figures": {name: vars(figure) for name, figure in figures.items()},
        "ratios": {
            "add: share of hashlib's bytes per CPU-second": figures["hashlib SHA-256, one file"].cpu_s
            / figures["add, copied"].cpu_s,
            "add --in-place: share of hashlib's bytes per CPU-second": figures["hashlib SHA-256, one file"].cpu_s
            / figures["add --in-place"].cpu_s,
            "resolve weight_average: CPU against read + hash + write": figures["resolve weight_average, k=4"].cpu_s
            / figures["read 4, hash all, write 1"].cpu_s,
            "resolve weight_average --trust-store: CPU against read + write": figures[
                "resolve weight_average, k=4, --trust-store"
            ].cpu_s
            / figures["read 4, write 1"].cpu_s,
        },
    }


def resolve_commands(replica: Path, out: Path, tunes: list[Path]) -> dict[str, list[str]]:
    """The commands compared on four contributions, each writing to `out`."""
    inputs = [str(tune) for tune in tunes]
    resolve = ("-C", str(replica), "resolve")
    return {
        "read 4, write 1": python(READ_AND_WRITE, "plain", str(out), *inputs),
        "read 4, hash all, write 1": python(READ_AND_WRITE, "hash", str(out), *inputs),
        "resolve weight_average, k=4": conjoin(*resolve, "weight_average", "-o", str(out)),
        "resolve weight_average, k=4, --trust-store": conjoin(
            *resolve, "weight_average", "-o", str(out), "--trust-store"
        ),
        "resolve ties, k=4": conjoin(*resolve, "ties", "-o", str(out)),
        "resolve dare, k=4": conjoin(*resolve, "dare", "-o", str(out)),
        "resolve slerp, k=4": conjoin(*resolve, "slerp", "-o", str(out)),
    }


def show(results: dict[str, object]) -> None:
    """Print the figures and ratios as tables."""
    console = Console()
    table = Table(title=f"checkpoints of {results['checkpoint_gb']:.2f} GB, medians of {results['runs']}")
    for column in ("command", "CPU s", "wall s", "peak MB"):
        table.add_column(column, justify="left" if column == "command" else "right")
    for name, figure in results["figures"].items():  # type: ignore[attr-defined]
        memory = figure["memory_bytes_max"] / 1e6
        table.add_row(name, f"{figure['cpu_s']:.2f}", f"{figure['wall_s']:.2f}", f"{memory:.0f}")
    console.print(table)
    ratios = Table(title="ratios")
    ratios.add_column("what")
    ratios.add_column("ratio", justify="right")
    for name, ratio in results["ratios"].items():  # type: ignore[attr-defined]
        ratios.add_row(name, f"{ratio:.2f}")
    console.print(ratios)


if __name__ == "__main__":
    main()
