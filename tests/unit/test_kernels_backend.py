"""The choice of arithmetic: self-tests, fall-back, the floating point state, and what the compiler made."""

import importlib
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import SelfTestError
from conjoin.kernels import backend, jit, selftest
from conjoin.kernels.backend import family
from conjoin.kernels.golden import GOLDEN

FIRST = 0x6627E8D5
"""The first word of Philox4x32-10 under key 0 (Random123's known answer)."""


def first_draw():
    return kernels.draws((0, 0, 0, 0), 0, 4)[0]


def wrong(key, start, count):
    return np.full(count, 8, np.uint32)


@pytest.fixture(autouse=True)
def fresh():
    kernels.use(None)
    yield
    kernels.use(None)


def module_of(arithmetic, operation):
    return family(arithmetic, operation.partition(".")[0])


@pytest.mark.parametrize("arithmetic", ["reference", "compiled"])
@pytest.mark.parametrize("operation", selftest.CASES)
def test_golden_digests(arithmetic, operation):
    assert selftest.passes(module_of(arithmetic, operation), operation)


def test_both_backends_have_every_operation():
    assert set(selftest.CASES) == set(GOLDEN)
    for operation in selftest.CASES:
        for arithmetic in ("reference", "compiled"):
            assert callable(getattr(module_of(arithmetic, operation), operation.partition(".")[2]))


def test_the_compiled_arithmetic_is_the_default():
    assert kernels.current() == "compiled"
    assert kernels.backend_note() is None


def test_a_backend_that_differs_is_refused(monkeypatch):
    monkeypatch.setattr(family("compiled", "streams"), "draws", wrong)
    assert first_draw() == FIRST
    assert kernels.current() == "reference"
    assert "draws" in kernels.backend_note()


def test_a_backend_that_was_insisted_on_and_differs_is_an_error(monkeypatch):
    monkeypatch.setattr(family("compiled", "streams"), "draws", wrong)
    kernels.use("compiled")
    with pytest.raises(SelfTestError, match="draws"):
        first_draw()


def test_a_reference_that_differs_is_an_error(monkeypatch):
    monkeypatch.setattr(family("reference", "streams"), "draws", wrong)
    kernels.use("reference")
    with pytest.raises(SelfTestError, match="reference"):
        first_draw()


def test_without_numba_the_reference_runs(monkeypatch):
    monkeypatch.setattr(backend, "SMALL_ELEMENTS", 0)
    monkeypatch.setitem(sys.modules, "conjoin.kernels.compiled.streams", None)
    assert first_draw() == FIRST
    assert "numba" in kernels.backend_note()


def run_python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_conjoin_does_not_import_numba():
    code = "import conjoin.kernels, conjoin.strategies, sys; print('numba' in sys.modules, 'mpmath' in sys.modules)"
    assert run_python(code) == "False False"


def test_little_work_loads_no_compiler_and_much_does():
    code = """
        import sys
        from conjoin import kernels
        from conjoin.kernels.backend import SMALL_ELEMENTS

        little = kernels.draws((1, 2, 3, 4), 0, 1000)
        print("numba" in sys.modules)
        much = kernels.draws((1, 2, 3, 4), 0, SMALL_ELEMENTS)
        print("numba" in sys.modules, (little == much[:1000]).all(), kernels.current())
    """
    assert run_python(code) == "False\nTrue True compiled"


def test_machine_code_that_cannot_be_kept_is_no_problem(tmp_path):
    """The directory for it is a file, so that nothing can be written; also for root."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    code = """
        from conjoin import kernels
        kernels.use("compiled")
        print(hex(kernels.draws((0, 0, 0, 0), 0, 4)[0]), kernels.current())
    """
    assert run_python(code, NUMBA_CACHE_DIR=str(blocked)) == f"{FIRST:#x} compiled"


def test_machine_code_is_kept_and_what_is_damaged_or_lost_is_made_again(tmp_path):
    """A process that finds all machine code loads nothing of what compiling needs."""
    kernels = """
        from conjoin.kernels.jit import kernel

        @kernel
        def half(x):
            return x * 0.5

        @kernel
        def quarter(x):
            return half(half(x))
    """
    (tmp_path / "added.py").write_text(textwrap.dedent(kernels))
    code = f"""
        import sys
        sys.path.append({str(tmp_path)!r})
        from added import half, quarter
        found = quarter(10.0)
        made = [kernel.__name__ for kernel in (half, quarter) if kernel.stats.cache_misses]
        print(found, made, "numba.np.linalg" in sys.modules)
    """
    kept, everything = tmp_path / "kept", ["half", "quarter"]

    def run():
        return run_python(code, NUMBA_CACHE_DIR=str(kept))

    assert [run(), run()] == [f"2.5 {everything} True", "2.5 [] False"]
    for name, kind, damaged in [("quarter", "nbi", b""), ("quarter", "nbc", b"no pickle"), ("*", "nbc", b"\x80\x05")]:
        for path in kept.rglob(f"*.{name}-*.{kind}"):
            path.write_bytes(damaged)
        made = everything if name == "*" else ["quarter"]
        assert [run(), run()] == [f"2.5 {made} True", "2.5 [] False"]


def test_a_full_disk_is_no_problem():
    """Where machine code cannot be written the kernels are compiled again, to be kept in memory alone."""
    code = """
        from conjoin import kernels
        from conjoin.kernels import jit
        from conjoin.kernels.compiled import streams

        def full(key, start, count):
            raise OSError(28, "No space left on device")

        streams.draws = full
        print(hex(kernels.draws((0, 0, 0, 0), 0, 4)[0]), kernels.current(), jit.CACHE)
    """
    assert run_python(code) == f"{FIRST:#x} compiled {{'enabled': False}}"


def test_many_threads_at_once():
    """Kernels of several threads do not disturb one another, the first calls included."""
    code = """
        from concurrent.futures import ThreadPoolExecutor
        from conjoin import kernels
        from conjoin.kernels import Coefficients, selftest

        sources = [selftest.patterns("F32", salt, 100_000) for salt in range(4)]
        terms = Coefficients((1.0, 0.5, 3.0, -1.0), 1.0)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: kernels.linear(sources, terms, "F32", "BF16").tobytes(), range(40)))
        print(len(set(found)))
    """
    assert run_python(code) == "1"


STATES = {"flushing": 0x9FC0, "down": 0x3F80, "up": 0x5F80, "to zero": 0x7F80}
"""x86: subnormals flushed to zero (FTZ and DAZ), and the three other ways to round."""


@pytest.mark.skipif(not jit.IS_X86, reason="sets the floating point state of x86")
@pytest.mark.parametrize("state", STATES)
def test_a_changed_floating_point_state_changes_nothing(state):
    """As libraries built with -ffast-math or a caller may leave it: compiled bytes stay, the reference refuses."""
    code = f"""
        import numba
        from conjoin import kernels
        from conjoin.errors import SelfTestError
        from conjoin.kernels import jit, selftest
        from conjoin.kernels.backend import family

        @numba.njit
        def set_state(state):
            before = jit.enter()
            jit.leave(state)
            return before

        assert selftest.passes(family("reference", "elementwise"), "elementwise.linear")  # proven before it changes
        before = set_state({STATES[state]})
        tiny, half, one, five = 2.0**-1022, 0.5, 1.0, 5.0
        seen = tiny * half, one / five, -one / five
        right = [selftest.passes(family("compiled", name.partition(".")[0]), name) for name in selftest.CASES]
        still = seen == (tiny * half, one / five, -one / five)
        kernels.use("reference")
        try:
            kernels.draws((0, 0, 0, 0), 0, 4)
            refused = False
        except SelfTestError:
            refused = True
        set_state(before)
        changed = seen != (tiny * half, one / five, -one / five)
        print(changed, still, all(right), refused)
    """
    assert run_python(code) == "True True True True"


@pytest.mark.skipif(not jit.IS_X86, reason="sets the floating point state of x86")
def test_constants_are_not_rounded_as_the_thread_that_compiles(tmp_path):
    code = f"""
        import os
        os.environ["NUMBA_CACHE_DIR"] = {str(tmp_path)!r}
        import numba
        from conjoin.kernels import jit, selftest
        from conjoin.kernels.backend import family

        @numba.njit
        def set_state(state):
            jit.leave(state)

        set_state({STATES["down"]})
        print(selftest.passes(family("compiled", "elementwise"), "elementwise.linear"))
    """
    assert run_python(code) == "True"


def test_the_interpreter_lock_is_released():
    groups = sorted({operation.partition(".")[0] for operation in selftest.CASES})
    modules = [importlib.import_module(f"conjoin.kernels.native.{group}") for group in groups]
    kernels_found = [k for module in modules for k in vars(module).values() if hasattr(k, "targetoptions")]
    assert kernels_found
    for kernel in kernels_found:
        assert kernel.targetoptions["nogil"], kernel
        assert not kernel.targetoptions.get("fastmath"), kernel
        assert not kernel.targetoptions.get("parallel"), kernel
