"""One digest per case in processes of their own, whatever the processor, compiler, libraries, threads and order.

Compiling every kernel takes minutes, so CI does it once, for the processor at hand, and for others what runs over every
element. `make test-determinism` lets every environment do everything, in every combination.
"""

import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import pytest

from conjoin.kernels import BLOCK_ELEMENTS, jit
from conjoin.kernels.selftest import CASES
from conjoin.strategies.base import strategies
from conjoin.testing import machine_code
from tests.determinism.case import covering

FULL = os.environ.get("CONJOIN_DETERMINISM") == "full"

pytestmark = pytest.mark.skipif(not jit.IS_X86, reason="names processors of x86")

PROCESSORS = {
    "generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "nehalem": {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""},
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "skylake-avx512": {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""},
    "native": {},
    "native without features": {"NUMBA_CPU_FEATURES": ""},
}
LIBRARIES = ["Prescott", "Nehalem", "Haswell", "SkylakeX"]
"""Kernels that OpenBLAS is told to use: four that give four results for one product of matrices."""

FACTORS: dict[str, list[Any]] = {
    "threads": [1, 2, 3, 8],
    "slice": [BLOCK_ELEMENTS, 2 * BLOCK_ELEMENTS, 1 << 20],
    "flush": [False, True],
    "shuffle": [0, 1, 2],
}
TURNS = 4
"""In CI the strategies take turns: each is in one setting of so many."""
PLAIN = {"threads": 2, "slice": 1 << 20, "flush": False, "shuffle": 0}
EVERY = list(CASES)
BASIC = ["elementwise.linear", "streams.draws", "reductions.block_gram", "matrix.gemm"]
VECTORISED = [
    "elementwise.linear",
    "elementwise.ties",
    "elementary.exp",
    "elementary.softmax",
    "matrix.gemm",
    "matrix.solve_lower",
    "reductions.block_l1",
    "selection.dropped_signs",
    "streams.draws",
]
"""Operations whose kernels of the same name run over every element."""

SHARES: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    "native": ({}, EVERY, list(strategies())),
    "generic, O0": ({**PROCESSORS["generic"], "NUMBA_OPT": "0"}, BASIC, ["weight_average"]),
    "haswell": (PROCESSORS["haswell"], VECTORISED, []),
}
"""In CI: settings, operations and strategies of each environment; what is compiled is scanned.

The first compiles everything for the processor at hand, which has fused instructions where it is of the last decade.
"""

if FULL:
    SHARES = {
        f"{processor}, O{opt}": ({**PROCESSORS[processor], "NUMBA_OPT": opt}, EVERY, list(strategies()))
        for processor, opt in itertools.product(PROCESSORS, ("0", "3"))
    }


def in_a_process(given: dict[str, Any], settings: dict[str, str]) -> dict[str, Any]:
    """What one process tells."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "COV_"))}
    with tempfile.TemporaryDirectory() as folder:
        cache = {"NUMBA_CACHE_DIR": folder} if settings else {}
        done = subprocess.run(
            [sys.executable, "-m", "tests.determinism.case", json.dumps(given)],
            env={**environment, **cache, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@functools.cache
def told(share: str) -> dict[str, Any]:
    """What the process of one environment tells; each takes other kernels of OpenBLAS."""
    settings, operations, names = SHARES[share]
    number = list(SHARES).index(share)
    if FULL:
        chosen = [dict(zip(FACTORS, values, strict=True)) for values in itertools.product(*FACTORS.values())]
    else:
        chosen = covering(FACTORS) if not settings else [PLAIN, {**PLAIN, "flush": True}]
    turns = 1 if FULL else min(TURNS, len(chosen))
    given = {
        "arithmetic": "compiled",
        "operations": operations,
        "strategies": names,
        "settings": chosen,
        "applies": FULL or not settings,
        "turns": turns,
    }
    blas = {"OPENBLAS_CORETYPE": LIBRARIES[number % 4], "OPENBLAS_NUM_THREADS": str(1 + number % 2)}
    return in_a_process(given, {**settings, **blas})


@functools.cache
def expected() -> dict[str, str]:
    """What the reference gives in one thread."""
    names = list(strategies())
    given = {"arithmetic": "reference", "operations": EVERY, "strategies": names, "applies": True, "turns": 1}
    (found,) = in_a_process({**given, "settings": [{**PLAIN, "threads": 1}]}, {})["digests"]
    return found


@pytest.mark.parametrize("share", SHARES)
def test_the_bytes_are_the_same(share: str) -> None:
    found = told(share)["digests"]
    assert found
    for digests in found:
        assert digests
        assert digests == {what: expected()[what] for what in digests}


def test_nothing_is_contracted_or_reassociated_or_left_to_the_c_library() -> None:
    """In what LLVM made of every kernel, for processors that have fused instructions and for one that has not."""
    scanned: set[str] = set()
    for share in SHARES:
        for kernel, problems in told(share)["scans"].items():
            assert not problems, f"{kernel} for {share}: {problems}"
            scanned.add(kernel)
    assert scanned == {".".join(place) for place in machine_code.kernels()}, "no self-test reaches these kernels"


@pytest.mark.parametrize("name", VECTORISED)
def test_what_runs_over_every_element_is_vectorised(name: str) -> None:
    found = [
        told(share)["widths"][kernel]
        for share in SHARES
        if not share.endswith("O0") and (kernel := f"conjoin.kernels.native.{name}") in told(share)["widths"]
    ]
    assert found
    assert all(packed > single for packed, single in found), found
