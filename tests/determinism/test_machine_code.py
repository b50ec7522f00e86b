"""The scan of machine code finds what it looks for; products of float32 values survive what it forbids."""

import math
import subprocess
import sys
import textwrap

import numba
import pytest

from conjoin.kernels import jit
from conjoin.testing import machine_code

ARRAYS = "(f8[::1], f8[::1], f8[::1])"


def multiply_add(a, b, out):
    for i in range(len(out)):
        out[i] += a[i] * b[i]


def exponential(a, b, out):
    for i in range(len(out)):
        out[i] = math.exp(a[i]) + b[i]


def chained(a, b, out):
    for i in range(len(a)):
        out[0] = out[0] * a[i] + b[i]


def total(a, b, out):
    for i in range(len(a)):
        out[0] += a[i] + b[i]


@pytest.mark.parametrize(
    ("function", "options", "finding"),
    [
        (multiply_add, {"fastmath": {"contract"}}, "contract"),
        (total, {"fastmath": {"reassoc"}}, "reassoc"),
        (total, {"fastmath": {"nsz"}}, "nsz"),
        (exponential, {}, "call of "),
    ],
)
def test_the_scan_finds(function, options, finding):
    kernel = numba.njit(error_model="numpy", **options)(function)
    kernel.compile(ARRAYS)
    assert any(finding in problem for problem in machine_code.scan(kernel))


def test_the_scan_passes_what_is_plain():
    for function in (multiply_add, total):
        kernel = numba.njit(error_model="numpy")(function)
        kernel.compile(ARRAYS)
        assert machine_code.scan(kernel) == []


@pytest.mark.skipif(not jit.IS_X86, reason="knows the instructions of x86")
def test_widths_tell_vectors_from_single_floats():
    """Elements that do not depend on each other are worked on side by side; a chain is not."""
    found = []
    for function in (multiply_add, chained):
        kernel = numba.njit(error_model="numpy")(function)
        kernel.compile(ARRAYS)
        found.append(machine_code.widths(kernel))
    (beside, _), (in_turn, single) = found
    assert beside > 0
    assert single > in_turn


@pytest.mark.parametrize(
    ("triple", "processor", "instruction"),
    [("x86_64-unknown-linux-gnu", "haswell", "vfmadd"), ("aarch64-unknown-linux-gnu", "generic", "fmla")],
)
def test_the_scan_finds_fused_instructions(triple, processor, instruction):
    """For processors of both kinds, whichever this one is; and not where contraction is forbidden."""
    code = f"""
        from conjoin.testing import machine_code
        machine_code.aim("{triple}")
        import numba
        from tests.determinism.test_machine_code import ARRAYS, multiply_add

        for options in ({{"fastmath": {{"contract"}}}}, {{}}):
            kernel = numba.njit(error_model="numpy", **options)(multiply_add)
            kernel.compile(ARRAYS)
            print([problem for problem in machine_code.scan(kernel) if "instruction {instruction}" in problem] != [])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\nFalse\n", done.stderr
