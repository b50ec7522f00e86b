"""`python -m benchmarks.device --device cuda`: golden digests on a device of torch, then its speed beside the CPU's."""

import argparse
import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from conjoin import kernels
from conjoin.kernels import Coefficients, Trim, selftest
from conjoin.kernels.backend import family

SOURCES = 4


def main() -> None:
    """Check, then measure wall time per call; the bytes are compared too."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="cpu", help="a device of torch: cpu, cuda, cuda:1 …")
    options.add_argument("--elements", type=int, default=1 << 23, help="elements of each source (default 8 Mi)")
    options.add_argument("--runs", type=int, default=5)
    given = options.parse_args()
    kernels.use_device(given.device)
    for name in selftest.CASES:
        group, _, function = name.partition(".")
        try:
            module = family("device", group)
        except ImportError:
            continue
        if hasattr(module, function):
            assert selftest.passes(module, name), f"{name} differs on {given.device}"
            print(f"golden digest reproduced: {name}")
    show(given.device, given.elements, given.runs)


def calls(n: int) -> dict[str, Callable[[], object]]:
    """The measured operations on n elements."""
    base = selftest.patterns("BF16", 0, n)
    tensors = [selftest.near("BF16", salt, n) for salt in range(1, SOURCES + 1)]
    terms, keys = Coefficients((1.0,) * SOURCES, 4.0), [(1, 2, 3, salt) for salt in range(SOURCES)]
    trim, scale = Trim((0x33000000,) * SOURCES, (0,) * SOURCES), Coefficients((1.0,), 1.0)
    return {
        "linear": lambda: kernels.linear(tensors, terms, "BF16", "BF16"),
        "ties": lambda: kernels.ties(
            tensors, base, "BF16", "BF16", terms=terms, trim=trim, start=0, aggregate="mean", zero_sign=1, scale=scale
        ),
        "dare": lambda: kernels.delta_sum(tensors, base, "BF16", "BF16", terms=terms, drop_below=1 << 31, keys=keys),
        "high_histograms": lambda: kernels.high_histograms(tensors, base, "BF16"),
    }


def show(device: str, n: int, runs: int) -> None:
    """A table of wall time and of bytes per second, both arithmetics in turn."""
    table = Table(
        "operation", f"{device} ms", f"{device} GB/s", "compiled ms", title=f"{n} elements, k = {SOURCES}, BF16"
    )
    for name, call in calls(n).items():
        times: dict[str, list[float]] = {"device": [], "compiled": []}
        results: dict[str, bytes] = {}
        for _ in range(runs + 1):
            for arithmetic, taken in times.items():
                kernels.use("device" if arithmetic == "device" else "compiled")
                start = time.perf_counter()
                result = call()
                taken.append(time.perf_counter() - start)
                results[arithmetic] = result.tobytes()  # type: ignore[attr-defined]
        assert results["device"] == results["compiled"], f"{name} differs on {device}"
        fast, slow = (statistics.median(times[arithmetic][1:]) for arithmetic in ("device", "compiled"))
        size = 2 * n * (SOURCES + 1)
        table.add_row(name, f"{fast * 1e3:.1f}", f"{size / fast / 1e9:.2f}", f"{slow * 1e3:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
