"""One process in which BLAS, LAPACK and NumPy's own sums and transcendentals are traps; resolves with every strategy.

`python -m tests.determinism.trapped` has to end well, and each `… spring NAME` by the trap of that name.
"""

import ctypes
import ctypes.util
import mmap
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.linalg import _umath_linalg  # loads LAPACK, so that it can be mined

VECTORS = Path(__file__).parents[1] / "vectors"
INVALID = b"\x0f\x0b"
"""x86: an instruction that ends the process with SIGILL."""
ROUTINES = ("gemm", "gemv", "syrk", "dot", "axpy", "scal", "nrm2", "asum", "trsm", "ger")
FACTORISATIONS = ("gesdd", "gesv", "geqrf", "orgqr", "syevd", "potrf", "getrf", "gelsd", "geev")
FUNCTIONS = """
dot vdot inner matmul einsum tensordot convolve sum mean std var prod cumprod average median trace nansum exp expm1
exp2 log log1p log2 log10 power float_power sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh cbrt hypot
logaddexp interp polyfit percentile quantile cumsum
"""


class TrapError(Exception):
    """A library was asked to do arithmetic."""


def mine_blas() -> int:
    """Overwrite the first instruction of what NumPy's OpenBLAS exports; how many were found."""
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "openblas" in line or "libblas" in line or "liblapack" in line}
    libc = ctypes.CDLL(None, use_errno=True)
    names = [
        f"{prefix}{start}{letter}{routine}{end}{suffix}"
        for letter in "sdcz"
        for start, routines, end in (("cblas_", ROUTINES, ""), ("", FACTORISATIONS, "_"), ("", ROUTINES, "_"))
        for routine in routines
        for prefix in ("scipy_", "")
        for suffix in ("64_", "")
    ]
    mined = 0
    for path in paths:
        library = ctypes.CDLL(path)
        for name in names:
            found = getattr(library, name, None)
            if found is None:
                continue
            start = ctypes.cast(found, ctypes.c_void_p).value
            assert start is not None
            page = start & -mmap.PAGESIZE
            assert libc.mprotect(ctypes.c_void_p(page), 2 * mmap.PAGESIZE, 7) == 0
            ctypes.memmove(start, INVALID, len(INVALID))
            mined += 1
    return mined


def is_float(value: Any) -> bool:
    """Whether a float or complex array is among the values."""
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fc"


def trap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for integers, and an error for floats."""

    def guarded(*arguments: Any, **options: Any) -> Any:
        if any(map(is_float, arguments)):
            raise TrapError(name)
        return function(*arguments, **options)

    return guarded


def set_traps() -> None:
    """Put a trap in front of everything that a product path must not use; what is imported already uses it too."""
    assert _umath_linalg
    assert mine_blas() >= 20
    from numpy._core import _methods

    for name in ("umr_sum", "umr_prod"):  # behind ndarray.sum, mean, var and prod
        setattr(_methods, name, trap(f"ndarray.{name[4:]}", getattr(_methods, name)))
    for name in FUNCTIONS.split():
        if hasattr(np, name):
            setattr(np, name, trap(name, getattr(np, name)))
    for name in np.linalg.__all__:
        if not name.endswith("Error"):
            setattr(np.linalg, name, trap(f"linalg.{name}", getattr(np.linalg, name)))


def springs() -> dict[str, Callable[[], Any]]:
    """Ways into a trap."""
    x = np.linspace(0.1, 1.0, 64 * 64).reshape(64, 64)
    return {
        "matmul": lambda: x @ x,
        "dot": lambda: x.dot(x),
        "inner": lambda: x[0].dot(x[1]),
        "svd": lambda: _umath_linalg.svd_f(x),
        "sum": lambda: x.sum(),
        "mean": lambda: x.mean(),
        "exp": lambda: np.exp(x),
        "norm": lambda: np.linalg.norm(x),
    }


def lines() -> Iterator[tuple[str, str]]:
    """The fingerprint of everything, with both arithmetics; strategies in two formats with each."""
    from conjoin.strategies.base import strategies
    from conjoin.testing import fingerprint
    from conjoin.testing.strategy_suite import backend

    needy = [name for name in strategies() if not fingerprint.bare_settings(name)]
    for arithmetic, forms in (("reference", ("F16", "F64")), ("compiled", ("BF16", "F32"))):
        yield from fingerprint.lines(("operations", "resolve"), arithmetic, elements=3001)
        with backend(arithmetic):
            yield from fingerprint.applied(3001, forms=forms)
    with backend("compiled"):  # the files are many, and both call the same strategies
        yield from fingerprint.vectors(VECTORS, needy)


def main() -> None:
    """Set the traps; then resolve, or step into one."""
    np.seterr(all="ignore")
    if sys.argv[1:]:
        spring = springs()[sys.argv[2]]
        set_traps()
        spring()
        return
    from numba.core import registry

    from conjoin.kernels import selftest
    from conjoin.kernels.backend import family

    # numba looks at the functions of NumPy that it knows to compile when it is first used
    registry.cpu_target.target_context.refresh()
    registry.cpu_target.typing_context.refresh()
    for name in selftest.CASES:
        family("compiled", name.partition(".")[0])
    set_traps()
    sys.stdout.write(f"{len(list(lines()))}\n")


if __name__ == "__main__":
    main()
