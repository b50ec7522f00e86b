"""Table 6's gossip, conjoin and crdt-merge turn by turn: 100 replicas, all pairs in random orders; no network.

In crdt-merge, as in the paper, a merge hands over a reference to the other's state. Ours is measured so too, and as
frames of signed operations that are made and read anew, verified once in the process or by every replica.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

from benchmarks.context import Context
from benchmarks.report import Cell, Part, Table, at_most

REFERENCES = """
import json, random, sys, time
import numpy as np
who, count, side, ordering = sys.argv[1], *map(int, sys.argv[2:5])
if who == 'conjoin':
    from conjoin.memory import CRDTMergeState
    root = lambda state: state.root
else:
    from crdt_merge.model import CRDTMergeState
    root = lambda state: state.state_hash
rng = np.random.default_rng(0)
states = []
for _ in range(count):
    state = CRDTMergeState('slerp')
    state.add(rng.standard_normal((side, side), np.float32))
    states.append(state)
pairs = [(source, target) for source in range(count) for target in range(count) if source != target]
random.Random(ordering).shuffle(pairs)
start = time.process_time()
for source, target in pairs:
    states[target].merge(states[source])
taken = time.process_time() - start
print(json.dumps([taken, len({root(state) for state in states})]))
"""
"""Both libraries name the class and its methods as the paper does."""

FRAMES = """
import json, random, sys, time
from conjoin.apps.simulate.gossip import all_pairs, found, roots
from conjoin.wire.digest import sha256
count, ordering, alone = map(int, sys.argv[1:4])
replicas = found(count, alone=bool(alone))
for number, replica in enumerate(replicas):
    replica.add(sha256(number.to_bytes(4)))
pairs = [(source, target) for source in range(count) for target in range(count) if source != target]
random.Random(ordering).shuffle(pairs)
start = time.process_time()
all_pairs(replicas, pairs)
taken = time.process_time() - start
print(json.dumps([taken, len(roots(replicas))]))
"""

OURS, THEIRS = "conjoin, frames of signed operations", "crdt-merge, references"
PAPER_MS = 492.8
"""Mean of the paper's Table 6, wall-clock time on its machine."""


def measure(context: Context) -> Part:
    """CPU of the gossip alone, one process for each ordering; in one run, the kinds in turn."""
    count, side = (20, 64) if context.quick else (100, 512)
    orderings = 3 if context.quick else 10
    python = Path(sys.executable)
    kinds: dict[str, tuple[Path, str, list[str]]] = {
        OURS: (python, FRAMES, [str(count), "{}", "0"]),
        "the same, every replica verifies every operation": (python, FRAMES, [str(count), "{}", "1"]),
        "conjoin, references": (python, REFERENCES, ["conjoin", str(count), str(side), "{}"]),
    }
    if context.tools:
        kinds[THEIRS] = (context.tools / "python", REFERENCES, ["crdt-merge", str(count), str(side), "{}"])
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    roots = dict.fromkeys(kinds, 0)
    for ordering in range(orderings):
        for name, (interpreter, script, words) in kinds.items():
            cpu_s, different = _told(interpreter, script, [word.format(ordering) for word in words])
            taken[name].append(cpu_s * 1e3)
            roots[name] = max(roots[name], different)
    rows: list[list[Cell]] = [[name, mean(ms), min(ms), max(ms), roots[name]] for name, ms in taken.items()]
    title = f"gossip of all pairs of {count} replicas, {orderings} orderings, CPU ms"
    part = Part([Table(title, ("what", "mean", "least", "most", "different roots"), rows)])
    if not context.quick:
        part.goals.append(at_most("gossip of 100: CPU ms, against the paper's", mean(taken[OURS]), PAPER_MS))
    if context.tools and not context.quick:
        part.goals.append(
            at_most("gossip of 100: CPU ms, against crdt-merge's", mean(taken[OURS]), mean(taken[THEIRS]))
        )
    return part


def _told(interpreter: Path, script: str, words: list[str]) -> tuple[float, int]:
    """CPU seconds, and how many different roots there are afterwards."""
    ran = subprocess.run([str(interpreter), "-c", script, *words], check=True, capture_output=True, text=True)
    cpu_s, different = json.loads(ran.stdout)
    return cpu_s, different
