"""Eigenvalues and eigenvectors beside LAPACK (`numpy.linalg.eigh`), both on one thread, and how far off both are.

`python -m benchmarks.eigen --n 512 1024 2048 4096` measures this part alone.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.context import Context
from benchmarks.report import Part, Plot, Series, Table, at_most, show
from conjoin import kernels
from conjoin.kernels.ops.eigen import eigh

Matrix = npt.NDArray[np.float64]

SIZES, QUICK_SIZES, SPECTRA_SIZE = (512, 1024, 2048, 4096), (256, 512), 1024
GOAL = 3.0
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
COLUMNS = ("spectrum", "n", "conjoin CPU-s", "LAPACK CPU-s", "×", "residual", "orthogonality", "of LAPACK", "of LAPACK")


def measure(context: Context) -> Part:
    """The sizes, and at one of them other spectra."""
    return _part(list(QUICK_SIZES if context.quick else SIZES), QUICK_SIZES[-1] if context.quick else SPECTRA_SIZE)


def _part(sizes: list[int], spectra_size: int) -> Part:
    """Measured in a process of its own, because LAPACK reads the number of its threads when it is loaded."""
    wanted = [("normal", n) for n in sizes] + [(name, spectra_size) for name in SPECTRA if name != "normal"]
    command = [sys.executable, "-m", "benchmarks.eigen", "--rows", json.dumps(wanted)]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, check=True, stdout=subprocess.PIPE, text=True)
    rows: list[Any] = json.loads(done.stdout)
    table = Table(
        "eigh on one thread; residual ‖AV − VΛ‖ / (n ‖A‖ ε), orthogonality ‖VᵀV − 1‖ / (n ε), both max", COLUMNS
    )
    table.rows.extend(rows)
    part, normal = Part([table]), [row for row in rows if row[0] == "normal"]
    part.goals.append(at_most(f"eigh of {normal[-1][1]} rows, × LAPACK's CPU-seconds", normal[-1][4], GOAL))
    lines = [
        Series(name, [row[1] for row in normal], [row[i] for row in normal])
        for name, i in (("conjoin", 2), ("LAPACK", 3))
    ]
    part.plots.append(Plot("eigen", "Eigenvalues and eigenvectors", "rows", "CPU-seconds", lines))
    return part


def _rotated(values: Matrix, rng: np.random.Generator) -> Matrix:
    q, _ = np.linalg.qr(rng.standard_normal((len(values), len(values))))
    a = (q * values) @ q.T
    return (a + a.T) / 2


def _normal(n: int, rng: np.random.Generator) -> Matrix:
    a = rng.standard_normal((n, n))
    return a + a.T


def _gram(n: int, rng: np.random.Generator) -> Matrix:
    x = rng.standard_normal((n, n // 8)).astype(np.float32).astype(np.float64)
    return x @ x.T


SPECTRA: dict[str, Callable[[int, np.random.Generator], Matrix]] = {
    "normal": _normal,
    "graded to 1e-16": lambda n, rng: _rotated(10.0 ** (-16 * np.arange(n) / n), rng),
    "rank n/8": _gram,
    "three values": lambda n, rng: _rotated(1.0 + np.arange(n) // (n // 3 + 1), rng),
    "evenly spaced": lambda n, rng: _rotated(np.arange(n) + 1.0, rng),
    "identity": lambda n, rng: np.eye(n) + 0.0 * rng.random(),
}


def _row(name: str, n: int) -> list[Any]:
    matrix = SPECTRA[name](n, np.random.default_rng(n))
    rounds = 3 if n <= 1024 else 1
    taken: dict[str, list[float]] = {"conjoin": [], "LAPACK": []}
    found: dict[str, tuple[Matrix, Matrix]] = {}
    for _ in range(rounds):
        for who, work in (("conjoin", eigh), ("LAPACK", np.linalg.eigh)):
            start = time.process_time()
            values, vectors = work(matrix)
            taken[who].append(time.process_time() - start)
            found[who] = values, vectors
    ours, theirs = median(taken["conjoin"]), median(taken["LAPACK"])
    return [
        name,
        n,
        ours,
        theirs,
        ours / theirs,
        *_errors(matrix, *found["conjoin"]),
        *_errors(matrix, *found["LAPACK"]),
    ]


def _errors(matrix: Matrix, values: Matrix, vectors: Matrix) -> tuple[float, float]:
    n, epsilon, norm = len(matrix), np.finfo(np.float64).eps, np.abs(values).max()
    residual = np.abs(matrix @ vectors - vectors * values).max() / (n * norm * epsilon)
    return float(residual), float(np.abs(vectors.T @ vectors - np.eye(n)).max() / (n * epsilon))


def main() -> None:
    """Print the table of the sizes given."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.eigen", description=__doc__)
    options.add_argument("--n", type=int, nargs="+", default=list(SIZES))
    options.add_argument("--rows", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.rows is None:
        show(_part(given.n, min(SPECTRA_SIZE, *given.n, SPECTRA_SIZE)))
        return
    kernels.use("compiled")
    eigh(_normal(70, np.random.default_rng(0)))
    print(json.dumps([_row(name, n) for name, n in json.loads(given.rows)]))


if __name__ == "__main__":
    main()
