"""Which arithmetic runs: the compiled one where it proves itself, else the reference; never a third answer.

While a process has little to do the reference does it, so that a small model loads no compiler. That this cannot
be seen in the result is what the vectors and the golden digests prove.

Each operation is tested against its committed golden vector the first time it is used in a process, so that a command
pays only for what it uses. A compiled operation that fails sends the whole process to the reference, which is slow but
never different; a reference operation that fails stops the work.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

from conjoin.errors import SelfTestError
from conjoin.kernels.selftest import passes

Backend = Literal["compiled", "reference"]

_HINT = (
    "a library in this process may have changed the floating point state, as `torch.set_flush_denormal(True)` does; "
    "run `conjoin` in a process of its own"
)
_TINY, _HALF = 2.0**-1022, 0.5

SMALL_ELEMENTS = 2_000_000
"""Elements read in a process before the compiled arithmetic is worth loading (about a tenth of a second)."""

_state: dict[str, str | None] = {"forced": None, "note": None}
_small: dict[str, int] = {"elements": 0}
_proven: set[object] = set()
"""The functions that passed their self-test; one that is replaced is another function and is tested again."""


def current() -> Backend:
    """The arithmetic in use. Imports numba where it is installed."""
    return "reference" if _module("elementwise") is family("reference", "elementwise") else "compiled"


def use(backend: Backend | None) -> None:
    """Insist on one arithmetic, for tests; None chooses again."""
    _state["forced"], _state["note"] = backend, None


def backend_note() -> str | None:
    """Why the reference runs in place of the compiled arithmetic, in words for a user; None where it does not."""
    return _state["note"]


def family(backend: Backend, name: str) -> ModuleType:
    """The operations of one family in one arithmetic.

    Raises:
        ImportError: numba is not installed.
    """
    return importlib.import_module(f"conjoin.kernels.{backend}.{name}")


def operation(name: str, elements: int) -> Callable[..., Any]:
    """The function of an operation, named `family.function`, that may be called on that many elements.

    Its self-test has passed. The compiled kernels set the floating point state themselves; NumPy cannot, so the
    reference looks at every call.

    Raises:
        SelfTestError: the reference itself, or a backend that was insisted on, does not give the golden bytes.
    """
    group, _, function = name.partition(".")
    reference = family("reference", group)
    module = reference if _is_small(elements) else _module(group)
    if module is reference and not _TINY * _HALF:
        raise SelfTestError("this thread flushes subnormal numbers to zero", hint=_HINT)
    if (found := getattr(module, function)) in _proven:
        return found
    problem = _problem(module, name)
    if problem and module is not reference and _state["forced"] is None:
        _state["note"] = f"the compiled arithmetic {problem}; the slower reference is used"
        return operation(name, elements)
    if problem:
        arithmetic = "reference" if module is reference else "compiled"
        raise SelfTestError(f"the {arithmetic} arithmetic {problem}", hint=_HINT)
    _proven.add(found := getattr(module, function))
    return found


def _is_small(elements: int) -> bool:
    """Whether the reference may do this much more before the compiled arithmetic is loaded."""
    flushes = not _TINY * _HALF  # which only the compiled kernels can switch off
    if _state["forced"] or _state["note"] or flushes or sys.modules.get("conjoin.kernels.compiled.handover"):
        return False
    _small["elements"] += elements
    return _small["elements"] <= SMALL_ELEMENTS


def _module(group: str) -> ModuleType:
    if _state["forced"] == "reference" or _state["note"]:
        return family("reference", group)
    try:
        return family("compiled", group)
    except ImportError as error:
        if _state["forced"] == "compiled":
            raise
        _state["note"] = f"numba cannot be imported ({error}); the slower reference arithmetic is used"
        return family("reference", group)


def _problem(module: ModuleType, name: str) -> str | None:
    """What is wrong with an operation, or None."""
    try:
        right = passes(module, name)
    except OSError:  # the directory for machine code is full or read-only
        _forget_machine_code()
        right = passes(module, name)
    return None if right else f"does not reproduce the golden vector of `{name}` on this machine"


def _forget_machine_code() -> None:
    """Load the compiled arithmetic again so that it keeps no machine code on disk."""
    jit = importlib.import_module("conjoin.kernels.jit")
    jit.CACHE["enabled"] = False
    loaded = [name for name in sys.modules if name.startswith("conjoin.kernels.native.")]
    again = [name for name in sys.modules if name.startswith("conjoin.kernels.compiled.")]
    for name in loaded + again:  # in the order of their first import, so that each finds what it needs made anew
        importlib.reload(sys.modules[name])
