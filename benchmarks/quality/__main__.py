"""`python -m benchmarks.quality`: every strategy on eight small tasks; prints and writes benchmarks/out/quality."""

import argparse
import importlib.util
import resource
import time
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.quality import report
from benchmarks.quality.run import run

OUT = Path(__file__).parent.parent / "out" / "quality"


def main() -> None:
    """Train, merge, measure, write."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    options.add_argument("--seeds", type=int, default=3, help="number of seeds, each with tasks of its own (default 3)")
    options.add_argument("--quick", action="store_true", help="one seed, little training, learning and searching")
    options.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    options.add_argument("--out", type=Path, default=OUT, help="where everything is kept, models to be used again too")
    given = options.parse_args()
    if importlib.util.find_spec("torch") is None:
        options.error("the nets are trained with torch: pip install 'conjoin[torch]'")
    start = time.perf_counter()
    found = run(range(1 if given.quick else given.seeds), given.out, quick=given.quick, workers=given.workers)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = {
        "machine": machine(),
        "wall s": round(time.perf_counter() - start),
        "CPU s": round(used.ru_utime + used.ru_stime),
        "quick": given.quick,
    }
    written = report.write(found, given.out, facts)
    print((given.out / "results.md").read_text())
    print("written:", ", ".join(map(str, written)))


if __name__ == "__main__":
    main()
