"""`make bench`: measures every part side by side in one run, prints tables, writes JSON and plots; asserts nothing."""

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import peers, plots
from benchmarks.context import Context, run_part
from benchmarks.measure import USER, machine
from benchmarks.report import Part, show

PARTS = (
    "kernels", "linear_algebra", "eigen", "commands", "strategies", "accuracy", "load", "contributions", "scaling",
    "places", "log", "reconciliation", "gossip", "live",
)  # fmt: skip
WITH_PEERS = ("commands", "strategies", "accuracy", "contributions", "gossip")
OUT = Path(__file__).parent / "out"


def main() -> None:
    """Measure, print, write benchmarks/out/results.json and a plot per part."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}, large")
    options.add_argument("--large", action="store_true", help="the 7 B model too: about 25 GB of scratch files")
    options.add_argument("--quick", action="store_true", help="small models, few repetitions: about 3 minutes")
    options.add_argument("--no-peers", action="store_true", help="leave out mergekit and crdt-merge")
    options.add_argument("--runs", type=int, default=None, help="counted runs of each command (default 3; quick 1)")
    options.add_argument("--peer-runs", type=int, default=1, help="counted runs of each command of a peer (default 1)")
    options.add_argument("--where", type=Path, default=None, help="folder for about 15 GB of scratch files")
    given = options.parse_args()
    chosen = [*given.only.split(","), *["large"] * given.large]
    unknown = set(chosen) - {*PARTS, "large"}
    if unknown:
        options.error(f"no part is called {', '.join(sorted(unknown))}")
    OUT.mkdir(exist_ok=True)
    tools = None if given.no_peers or not set(chosen) & set(WITH_PEERS) else peers.install(OUT / "peers")
    print("installing conjoin as users have it …", flush=True)
    root = str(Path(__file__).parent.parent)
    peers.environment(USER, root)
    peers.environment(USER, "--force-reinstall", "--no-deps", root)  # the version number says nothing of changes
    scratch = Path(tempfile.mkdtemp(prefix="conjoin-bench-", dir=given.where))
    context = Context(scratch, given.quick, given.runs or (1 if given.quick else 3), given.peer_runs, tools)
    print(machine(), flush=True)
    if given.quick:
        print("quick: small models, so starting a process weighs more than the goals allow for", flush=True)
    found: dict[str, Part] = {}
    try:
        for name in dict.fromkeys(chosen):
            found[name] = _measured(name, context)
            show(found[name])
            _write(found, context)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _measured(name: str, context: Context) -> Part:
    """One part in a process of its own, so that what it keeps in memory is not counted with the next one's children."""
    print(f"\nmeasuring {name} …", flush=True)
    start = time.perf_counter()
    place = context.scratch / name
    place.mkdir()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        part = pool.submit(run_part, name, replace(context, scratch=place)).result()
    shutil.rmtree(place)
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return part


def _write(found: dict[str, Part], context: Context) -> None:
    """What has been found so far, so that nothing is lost when a later part fails."""
    document = {
        "machine": machine(),
        "quick": context.quick,
        "runs": context.runs,
        "parts": {name: asdict(part) for name, part in found.items()},
        "goals": [{**asdict(goal), "reached": goal.reached} for part in found.values() for goal in part.goals],
    }
    (OUT / "results.json").write_text(json.dumps(document, indent=2, ensure_ascii=False))
    written = [OUT / "results.json", *(path for part in found.values() for path in plots.draw(part.plots, OUT))]
    print("written:", ", ".join(str(path) for path in written), flush=True)


if __name__ == "__main__":
    main()
