"""Which arithmetic runs: the compiled one where it proves itself, else the reference; never another answer.

While a process has little to do the reference does it, so that a small model loads no compiler. A device (a GPU, by
torch) is used for the operations it has where that is asked for. That none of this can be seen in the result is what
the vectors and the golden digests prove.

Each operation is tested against its committed golden vector the first time it is used in a process, so that a command
pays only for what it uses. An arithmetic that fails is refused for the rest of the process, which goes on with the next
one: slow, never different. A reference operation that fails stops the work.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal, ParamSpec, TypeVar

from conjoin.errors import SelfTestError, UnknownDeviceError
from conjoin.kernels.selftest import passes

Backend = Literal["compiled", "reference", "device"]
P = ParamSpec("P")
T = TypeVar("T")

_HINT = (
    "a library in this process may have changed the floating point state, as `torch.set_flush_denormal(True)` does; "
    "run `conjoin` in a process of its own"
)
_TINY, _HALF, _ONE, _TIE, _ABOVE_TIE = 2.0**-1022, 0.5, 1.0, 2.0**-53, 3 * 2.0**-54

SMALL_ELEMENTS = 2_000_000
"""Elements read in a process before the compiled arithmetic is worth loading (about a tenth of a second)."""

_state: dict[str, str | None] = {"forced": None, "device": None, "note": None}
_small: dict[str, int] = {"elements": 0}
_refused: set[Backend] = set()
_proven: set[object] = set()
"""The functions that passed their self-test; one that is replaced is another function and is tested again."""


def current() -> Backend:
    """The arithmetic in use for elementwise operations. Imports numba where it is installed."""
    return next(arithmetic for arithmetic in _order(False) if _family_or_none(arithmetic, "elementwise"))


def use(backend: Backend | None) -> None:
    """Insist on one arithmetic, for tests; None chooses again. What a device does not have is compiled."""
    _state["forced"], _state["note"] = backend, None
    _refused.clear()
    if backend == "device":
        use_device(_state["device"] or "cpu")


def use_device(name: str | None) -> None:
    """Prefer a device of torch, such as `cuda` or `cuda:1`, for the operations it has; None uses none.

    Raises:
        UnknownDeviceError: torch is not installed, knows no such device here, or the device has no float64.
    """
    if name is not None:
        try:
            tensors = importlib.import_module("conjoin.kernels.device.tensors")
        except ImportError as error:
            raise UnknownDeviceError(
                f"the device `{name}` needs torch, which cannot be imported ({error})",
                hint="`pip install 'conjoin[torch]'`, or leave the device out to compute on the CPU",
            ) from error
        tensors.place(name)
        _proven.difference_update({found for found in _proven if "device" in getattr(found, "__module__", "")})
    _state["device"] = name


@contextmanager
def computing_on(device: str | None) -> Generator[None]:
    """Prefer a device inside the block; see `use_device`. None changes nothing."""
    if device is None:
        yield
        return
    before = _state["device"]
    use_device(device)
    try:
        yield
    finally:
        use_device(before)


def backend_note() -> str | None:
    """Why another arithmetic runs than the one wanted, in words for a user; None where it does not."""
    return _state["note"]


def family(backend: Backend, name: str) -> ModuleType:
    """The operations of one family in one arithmetic.

    Raises:
        ImportError: what it is built on is not installed, or it has no such family.
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
    for arithmetic in _order(_is_small(elements)):
        module = _family_or_none(arithmetic, group)
        found = getattr(module, function, None)
        if module is None or found is None:
            continue
        if arithmetic == "reference" and not _is_ieee():
            raise SelfTestError("this thread flushes subnormal numbers to zero or rounds them otherwise", hint=_HINT)
        if found in _proven:
            return found
        problem = _problem(module, name)
        if not problem:
            found = getattr(module, function)
            _proven.add(found)
            return found
        if arithmetic in ("reference", _state["forced"]):
            raise SelfTestError(f"the {arithmetic} arithmetic {problem}", hint=_HINT)
        _refuse(arithmetic, f"the {arithmetic} arithmetic {problem}")
    raise SelfTestError(f"no arithmetic has the operation `{name}`")


def _order(small: bool) -> Iterator[Backend]:
    """The arithmetics to try, best first."""
    forced = _state["forced"]
    if forced in ("compiled", "reference"):
        yield forced
        return
    if _state["device"] and "device" not in _refused:
        yield "device"
    if not small and "compiled" not in _refused:
        yield "compiled"
    yield "reference"


def _is_small(elements: int) -> bool:
    """Whether the reference may do this much more before the compiled arithmetic is loaded."""
    if not _is_ieee():  # which only the compiled kernels can mend
        return False
    if _state["forced"] or _refused or sys.modules.get("conjoin.kernels.compiled.handover"):
        return False
    _small["elements"] += elements
    return _small["elements"] <= SMALL_ELEMENTS


def _is_ieee() -> bool:
    """Whether this thread rounds to nearest even and keeps subnormal numbers."""
    return _TINY * _HALF != 0 and _ONE + _TIE == _ONE and _ONE + _ABOVE_TIE > _ONE


def in_ieee(function: Callable[P, T]) -> Callable[P, T]:
    """The function, run with rounding to nearest even and subnormal numbers whatever state the thread is in.

    Kernels see to that themselves; this is for what strategies do with NumPy between them.
    """

    @functools.wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        if _is_ieee():
            return function(*arguments, **options)
        try:
            enter, leave = importlib.import_module("conjoin.kernels.jit").state_changers()
        except ImportError:
            return function(*arguments, **options)  # the reference refuses such a thread
        before = enter()
        try:
            return function(*arguments, **options)
        finally:
            leave(before)

    return run


def _family_or_none(arithmetic: Backend, group: str) -> ModuleType | None:
    try:
        return family(arithmetic, group)
    except Exception as error:
        if arithmetic == "device" and getattr(error, "name", None) == f"conjoin.kernels.device.{group}":
            return None  # a device has some families only
        if _state["forced"] == arithmetic:
            raise
        library = "torch" if arithmetic == "device" else "numba"
        _refuse(arithmetic, f"{library} cannot be imported ({error})")
        return None


def _refuse(arithmetic: Backend, why: str) -> None:
    """Go on without an arithmetic, and remember why."""
    _refused.add(arithmetic)
    instead = "the slower reference arithmetic is used" if arithmetic == "compiled" else "the processor is used"
    _state["note"] = f"{why}; {instead}"


def _problem(module: ModuleType, name: str) -> str | None:
    """What is wrong with an operation, or None."""
    try:
        try:
            right = passes(module, name)
        except OSError:  # the directory for machine code is full or read-only
            _forget_machine_code()
            right = passes(module, name)
    except Exception as error:  # noqa: BLE001 - a compiler that does not know this processor may raise anything
        return f"cannot run `{name}` on this machine ({type(error).__name__}: {error})"
    return None if right else f"does not reproduce the golden vector of `{name}` on this machine"


def _forget_machine_code() -> None:
    """Load the compiled arithmetic again so that it keeps no machine code on disk."""
    jit = importlib.import_module("conjoin.kernels.jit")
    jit.CACHE["enabled"] = False
    loaded = [name for name in sys.modules if name.startswith("conjoin.kernels.native.")]
    again = [name for name in sys.modules if name.startswith("conjoin.kernels.compiled.")]
    for name in loaded + again:  # in the order of their first import, so that each finds what it needs made anew
        importlib.reload(sys.modules[name])
