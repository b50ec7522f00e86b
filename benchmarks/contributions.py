"""Many contributions in memory, conjoin and crdt-merge: 100 matrices of 512×512 by SLERP, and what layer 1 costs.

What layer 1 costs is measured where there is next to no arithmetic: averages of 16 and of 100 matrices of 8×8.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.context import Context
from benchmarks.report import Cell, Part, Table, at_least, at_most

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

OVERHEAD = """
import json, statistics, sys, time
import numpy as np
who, count, rounds = sys.argv[1], *map(int, sys.argv[2:4])
if who == 'conjoin':
    from conjoin.memory import CRDTMergeState
else:
    from crdt_merge.model import CRDTMergeState
rng = np.random.default_rng(0)
state = CRDTMergeState('weight_average')
for _ in range(count):
    state.add(rng.normal(0, 0.02, (8, 8)).astype(np.float32))

def layer_1(known):
    recipe, kept = Recipe.of('weight_average'), state.payloads.kept
    chosen = [(digest, kept[digest][1].manifest, kept[digest][0].weight) for digest in known.visible()]
    return make_plan(space=NOTHING, base=None, files=None, contributions=chosen, recipe=recipe)

def timed(work, *given):
    start = time.process_time()
    work(*given)
    return (time.process_time() - start) * 1e3

found = {'resolve': [timed(state.resolve) for _ in range(rounds + 1)]}
if who == 'conjoin':
    from conjoin.crdt import MergeState
    from conjoin.plan import NOTHING, Recipe, make_plan
    found['layer 1'] = []
    for _ in range(rounds + 1):
        known = MergeState(state.state.adds, state.state.tombstones, state.state.context)  # one that knows no result
        found['layer 1'].append(timed(layer_1, known))
    assert layer_1(known).root == state.root
print(json.dumps({name: statistics.median(taken[1:]) for name, taken in found.items()}))
"""
"""Visible set, canonical order, recipe, and the plan with root and seeds; and a whole resolve."""
LAYER_1_MS_MAX = {16: 0.5, 100: 2.0}
"""What the paper allows it, by number of contributions."""


def measure(context: Context) -> Part:
    """CPU-seconds to add all and per resolve, and what layer 1 takes of it; each library in processes of its own."""
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
    _layer_1(context, part)
    return part


def _layer_1(context: Context, part: Part) -> None:
    """Milliseconds of everything about a resolve that is neither arithmetic nor hashing of tensors."""
    rounds = 20 if context.quick else 100
    title = f"averages of matrices of 8×8 in memory, CPU ms, median of {rounds}"
    columns = ("contributions", "conjoin: layer 1 and plan", "conjoin: resolve", "crdt-merge: resolve")
    table = Table(title, columns if context.tools else columns[:-1])
    for count, most in LAYER_1_MS_MAX.items():
        ours = _told(Path(sys.executable), OVERHEAD, "conjoin", count, rounds)
        row: list[Cell] = [str(count), ours["layer 1"], ours["resolve"]]
        if context.tools:
            row.append(_told(context.tools / "python", OVERHEAD, "crdt-merge", count, rounds)["resolve"])
        table.rows.append(row)
        part.goals.append(at_most(f"layer 1 and plan of {count} contributions, CPU ms", ours["layer 1"], most))
    part.tables.append(table)


def _taken(interpreter: Path, who: str, count: int, side: int, rounds: int, reduce: str | None = None) -> list[float]:
    options = json.dumps({"reduce": reduce} if reduce else {})
    return _told(interpreter, SCRIPT, who, count, side, rounds, options)


def _told(interpreter: Path, script: str, *arguments: str | int) -> Any:
    """The JSON that a script prints."""
    words = [str(interpreter), "-c", script, *map(str, arguments)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
