"""What each strategy costs: whole commands on one generated model, and in memory beside crdt-merge."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import outfit
from benchmarks.context import Context
from benchmarks.measure import RUN_COLUMNS, Run, conjoin, medians, models, module, run
from benchmarks.report import Part, Plot, Series, Table, at_least
from conjoin.strategies.base import Scope, find_strategy, strategies

COSTS = Path(__file__).parent.parent / "src" / "conjoin" / "apps" / "cli" / "costs.json"
"""What the pages of the strategies quote; written by a whole run only."""

SCRIPT = """
import json, statistics, sys, time
import numpy as np
who, name, side, rounds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5])
options = json.loads(sys.argv[5])
rng = np.random.default_rng(0)
base = rng.normal(0, 0.02, (side, side)).astype(np.float32)
arrays = [base + rng.normal(0, 0.002, (side, side)).astype(np.float32) for _ in range(3)]
if who == 'conjoin':
    from conjoin.memory import CRDTMergeState
else:
    from crdt_merge.model import CRDTMergeState
state = CRDTMergeState(name, base=base, **options)
for array in arrays:
    state.add(array)
taken = []
for _ in range(rounds + 1):
    start = time.process_time()
    state.resolve()
    taken.append(time.process_time() - start)
print(json.dumps(statistics.median(taken[1:])))
"""
"""Both libraries name the class and its methods as the paper does; the first resolve is not counted."""

COMPARABLE: dict[str, dict[str, str]] = {
    "weight_average": {},
    "linear": {},
    "slerp": {"reduce": "fold", "variant": "norm_lerp"},
    "task_arithmetic": {"scale": "1"},
    "ties": {"trim_scope": "tensor"},
    "dare": {"density": "0.5"},
    "dare_ties": {"density": "0.5"},
    "della": {},
    "model_breadcrumbs": {},
    "fisher_merge": {"variant": "magnitude_proxy"},
    "emr": {},
    "star": {},
    "svd_knot_tying": {},
    "adarank": {"variant": "energy"},
    "dual_projection": {},
    "negative_merge": {},
    "split_unlearn_merge": {},
    "weight_scope_alignment": {},
}
"""What crdt-merge computes under the same name is of the same kind as ours, with the parameters nearest to it.

Not among them: what takes data there is none of (Grams, importance, roles, assets), for which it has stand-ins of θ.
"""


def measure(context: Context) -> Part:
    """CPU and memory of every strategy on one base and three fine-tunes, and in memory beside crdt-merge."""
    shape = "2M" if context.quick else "16M"
    base, *tunes = models(context.scratch, shape, 3)
    replica = context.scratch / "replica"
    run(conjoin("init", replica, "--base", base))
    digests = [_add(context, replica, seed, tune) for seed, tune in enumerate(tunes)]
    figures = {name: _cost(context, replica, base, name, digests) for name in strategies()}
    start = medians([run(conjoin("strategies", "--json")) for _ in range(3)])
    parameters = (base / "model.safetensors").stat().st_size / 2
    rows = {name: (*figure.cells, (figure.cpu_s - start.cpu_s) / parameters * 1e9) for name, figure in figures.items()}
    title = f"resolve, {shape} parameters, base + 3, every input verified, medians of {context.runs}"
    columns = ("strategy", *RUN_COLUMNS, "ns per parameter, start left out")
    part = Part([Table(title, columns, [[name, *row] for name, row in rows.items()])])
    dots = [Series(name, [0.0], [row[-1]]) for name, row in rows.items()]
    part.plots = [Plot("strategies", f"cost of a strategy ({shape}, base + 3)", "", "ns per parameter", dots)]
    if not context.quick:
        costs = {name: [round(row[-1], 1), round(row[-2])] for name, row in rows.items()}
        COSTS.write_text(json.dumps(costs, indent=1, sort_keys=True) + "\n")
    if context.tools:
        _beside(context, context.tools, part)
    return part


def _told(command: list[str | Path]) -> Any:
    """The JSON that a command prints."""
    return json.loads(subprocess.run([str(w) for w in command], check=True, capture_output=True).stdout)


def _add(context: Context, replica: Path, seed: int, tune: Path) -> str:
    """Add a fine-tune with every kind of side-car; its digest."""
    options: list[str | Path] = []
    for kind in outfit.EXTRAS.values():
        file = context.scratch / f"{kind}-{seed}.safetensors"
        run(module("outfit", kind, tune, str(seed), file))
        options += ["--extra", f"{kind}={file}"]
    return _told(conjoin("-C", replica, "add", tune, *options, "--json"))["contribution"]


def _cost(context: Context, replica: Path, base: Path, name: str, digests: Sequence[str]) -> Run:
    """Medians of a resolve."""
    options: list[str | Path] = []
    for digest, role in outfit.roles_of(name, digests).items():
        options += ["-p", f"role.{digest}={role}"]
    if name in outfit.LEARNED:
        content = _told(conjoin("-C", replica, "status", "--json"))["base"]
        asset = outfit.asset_for(name, content, digests, outfit.read_shapes(base))
        (context.scratch / "asset.json").write_bytes(asset.encode())
        options += ["--asset", context.scratch / "asset.json"]
    runs: list[Run] = []
    slow = find_strategy(name).scope is Scope.MATRIX  # so slow that compiling in the first run does not show
    for turn in range(1 if slow else context.runs + 1):
        out = context.scratch / "out"
        figure = run(conjoin("-C", replica, "resolve", name, *options, "-o", out))
        if turn or slow:  # the first one compiles
            runs.append(figure)
        shutil.rmtree(out)
    return medians(runs)


def _beside(context: Context, tools: Path, part: Part) -> None:
    """One matrix, three contributions, in memory: CPU-seconds of a resolve by either library."""
    side, rounds = (128, 3) if context.quick else (512, 5)
    rows: list[list[Any]] = []
    for name, options in COMPARABLE.items():
        ours = _taken(Path(sys.executable), "conjoin", name, side, rounds, options)
        theirs = _taken(tools / "python", "crdt-merge", name, side, rounds, {})
        rows.append([name, ours * 1e3, theirs * 1e3, theirs / ours])
        part.goals.append(at_least(f"{name} in memory against crdt-merge: times less CPU", theirs / ours, 10))
    title = f"3 contributions of {side}×{side} float32 in memory, CPU ms of one resolve, median of {rounds}"
    part.tables.append(Table(title, ("strategy", "conjoin", "crdt-merge", "times less"), rows))


def _taken(interpreter: Path, who: str, name: str, side: int, rounds: int, options: Mapping[str, str]) -> float:
    words = [str(interpreter), "-c", SCRIPT, who, name, str(side), str(rounds), json.dumps(dict(options))]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
