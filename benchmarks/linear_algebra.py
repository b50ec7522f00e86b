"""Dense linear algebra beside NumPy's LAPACK on one thread: CPU-seconds, GF per CPU-second, residuals.

`python -m benchmarks.linear_algebra [--n 512 1024 …]` prints the table alone. To add rows, add a function to ROWS.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from benchmarks.context import Context
from benchmarks.measure import interleaved
from benchmarks.report import Goal, Part, Table, at_most, show
from conjoin.kernels import use
from conjoin.kernels.ops import eigen, matrix, svd

Float64 = npt.NDArray[np.float64]

KEY = (1, 2, 3, 4)
LONG = 3.5
"""Columns of the matrices of `svd`, as a multiple of their rows."""


@dataclass(frozen=True)
class Row:
    """One operation: what it is called, our form, LAPACK's if it has one, its multiply-adds × 2, and what is off."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any] | None
    operations: float
    residual: Callable[[Any], float]


def numbers(seed: int, rows: int, columns: int) -> Float64:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32).astype(np.float64)


def product(n: int) -> Row:
    a, b = numbers(0, n, n), numbers(1, n, n)
    scale = np.abs(a[:50]) @ np.abs(b)
    return Row(
        f"product {n}", lambda: matrix.gemm(a, b), lambda: a @ b, 2.0 * n**3,
        lambda c: float(np.max(np.abs(c[:50] - a[:50] @ b) / scale)),
    )  # fmt: skip


def gram(n: int) -> Row:
    a = numbers(0, n, n)
    return Row(
        f"Gram {n}", lambda: matrix.gram(a), lambda: a @ a.T, 1.0 * n**3,
        lambda c: float(np.abs(c - a @ a.T).max() / np.abs(c).max()),
    )  # fmt: skip


def positive(n: int) -> Float64:
    a = numbers(0, n, n)
    return a @ a.T / n + np.eye(n)


def cholesky(n: int) -> Row:
    a = positive(n)
    return Row(
        f"Cholesky {n}", lambda: matrix.cholesky(a), lambda: np.linalg.cholesky(a), n**3 / 3,
        lambda lower: float(np.abs(lower @ lower.T - a).max() / np.abs(a).max()),
    )  # fmt: skip


def solve(n: int) -> Row:
    a, b = positive(n), numbers(1, n, n)
    return Row(
        f"solve {n}, {n} right sides", lambda: matrix.solve(a, b), lambda: np.linalg.solve(a, b), n**3 * (1 / 3 + 2),
        lambda x: float(np.abs(a @ x - b).max() / np.abs(x).max()),
    )  # fmt: skip


def eigenvalues(n: int) -> Row:
    a = positive(n)
    a = np.where(np.tri(n, dtype=bool), a, a.T)
    return Row(
        f"eigh {n}", lambda: eigen.eigh(a), lambda: np.linalg.eigh(a), 0.0,
        lambda found: float(np.abs(a @ found[1] - found[1] * found[0]).max() / found[0][-1]),
    )  # fmt: skip


def off(found: svd.Singular, a: Float64, best: float) -> float:
    return float(np.linalg.norm((found.left * found.values) @ found.right.T - a) / best)


def singular_values(n: int) -> Row:
    a = numbers(0, n, int(LONG * n))
    return Row(
        f"svd {n}×{a.shape[1]}", lambda: svd.svd(a), lambda: np.linalg.svd(a, full_matrices=False), 0.0,
        lambda found: off(found, a, float(np.linalg.norm(a))),
    )  # fmt: skip


def subspace(n: int) -> Row:
    a = numbers(0, n, int(LONG * n))
    rank = min(64, n)
    best = float(np.sqrt(np.sum(np.linalg.svd(a, compute_uv=False)[rank:] ** 2))) if n <= 1024 else 0.0
    return Row(
        f"subspace {n}×{a.shape[1]}, rank {rank} (residual / best)", lambda: svd.subspace_svd(a, rank, KEY), None, 0.0,
        lambda found: off(found, a, best) if best else float("nan"),
    )  # fmt: skip


def rotations(n: int) -> Row:
    a = numbers(0, n, n)
    return Row(
        f"rotations {n}", lambda: svd.jacobi_svd(a), lambda: np.linalg.svd(a), 0.0,
        lambda found: off(found, a, float(np.linalg.norm(a))),
    )  # fmt: skip


ROWS: dict[Callable[[int], Row], int] = {
    product: 4096,
    gram: 4096,
    cholesky: 4096,
    solve: 2048,
    eigenvalues: 4096,
    singular_values: 1024,
    subspace: 2048,
    rotations: 256,
}
"""What is measured, and up to which size."""


def table_of(sizes: Sequence[int], rounds: int) -> tuple[Table, list[Goal]]:
    """Measure every row at every size it is meant for; ours and LAPACK's in turn."""
    columns = (
        "what",
        "ours, CPU-s",
        "LAPACK, CPU-s",
        "ours / LAPACK",
        "ours, GF/CPU-s",
        "LAPACK, GF/CPU-s",
        "residual",
    )
    table, goals = Table("linear algebra in float64, one thread", columns), list[Goal]()
    use("compiled")
    with threadpool_limits(1):
        for make, largest in ROWS.items():
            for n in (size for size in sizes if size <= largest):
                row = make(n)
                residual = row.residual(row.ours())
                cases = {"ours": row.ours} | ({"theirs": row.theirs} if row.theirs else {})
                found = interleaved(cases, rounds, 0.05)
                ours, theirs = found["ours"], found.get("theirs")
                speeds = [row.operations / s / 1e9 if row.operations and s else None for s in (ours, theirs)]
                table.rows.append([row.name, ours, theirs, ours / theirs if theirs else None, *speeds, residual])
                if make is eigenvalues and n == largest and theirs:
                    goals.append(at_most(f"{row.name}: CPU-s beside LAPACK's", ours / theirs, 3.0))
    use(None)
    return table, goals


def measure(context: Context) -> Part:
    """The part of `make bench`."""
    table, goals = table_of((256, 1024) if context.quick else (256, 512, 1024, 2048, 4096), 1 if context.quick else 3)
    return Part([table], goals)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.linear_algebra", description=__doc__)
    options.add_argument("--n", type=int, nargs="+", default=[256, 512, 1024], help="sizes (default 256 512 1024)")
    options.add_argument("--rounds", type=int, default=3, help="times each is measured; the median counts")
    given = options.parse_args()
    table, goals = table_of(given.n, given.rounds)
    show(Part([table], goals))


if __name__ == "__main__":
    main()
