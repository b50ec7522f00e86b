"""Many small contributions in memory: 100 matrices of 512×512, added and resolved by SLERP; conjoin and crdt-merge."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.context import Context
from benchmarks.report import Part, Table, at_least

SCRIPT = """
import json, statistics, sys, time
import numpy as np
who, count, side, rounds, options = sys.argv[1], *map(int, sys.argv[2:5]), json.loads(sys.argv[5])
if who == 'conjoin':
    from conjoin.memory import CRDTMergeState
else:
    from crdt_merge.model import CRDTMergeState
rng = np.random.default_rng(0)
shared = rng.normal(0, 0.02, (side, side))
arrays = [(shared + rng.normal(0, 0.02, (side, side))).astype(np.float32) for _ in range(count)]
state = CRDTMergeState('slerp', **options)
start = time.process_time()
for array in arrays:
    state.add(array)
added = time.process_time() - start
taken = []
for _ in range(rounds + 1):
    start = time.process_time()
    state.resolve()
    taken.append(time.process_time() - start)
print(json.dumps([added, statistics.median(taken[1:])]))
"""
"""Both libraries name the class and its methods as the paper does; the first resolve is not counted."""


def measure(context: Context) -> Part:
    """CPU-seconds to add all and per resolve, each library in a process of its own."""
    count, side, rounds = (20, 128, 3) if context.quick else (100, 512, 5)
    rows: dict[str, list[float]] = {}
    for reduce in ("fold", "tree", "karcher"):
        rows[f"conjoin slerp reduce={reduce}"] = _taken(Path(sys.executable), "conjoin", count, side, rounds, reduce)
    if context.tools:
        rows["crdt-merge slerp"] = _taken(context.tools / "python", "crdt-merge", count, side, rounds)
    table = Table(
        f"{count} contributions of {side}×{side} float32 in memory, CPU s, median of {rounds}",
        ("what", "add all", "one resolve"),
        [[name, *figures] for name, figures in rows.items()],
    )
    part = Part([table])
    if context.tools:
        ratio = rows["crdt-merge slerp"][1] / rows["conjoin slerp reduce=fold"][1]
        part.goals.append(at_least(f"slerp fold of {count} against crdt-merge: times less CPU per resolve", ratio, 50))
    return part


def _taken(interpreter: Path, who: str, count: int, side: int, rounds: int, reduce: str | None = None) -> list[float]:
    options = json.dumps({"reduce": reduce} if reduce else {})
    words = [str(interpreter), "-c", SCRIPT, who, str(count), str(side), str(rounds), options]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
