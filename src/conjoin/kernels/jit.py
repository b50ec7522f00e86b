"""How kernels are compiled: numba's options, keeping machine code, the floating point state; holds no arithmetic."""

import functools
import hashlib
from collections.abc import Callable
from importlib import resources
from typing import Any

from llvmlite import binding, ir
from numba import config, extending, njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.runtime.nrt import rtsys

if config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("NUMBA_DISABLE_JIT is set, so it compiles nothing")

intrinsic: Any = extending.intrinsic
"""Marks a function that writes LLVM code; typed here because numba is not."""

CACHE = {"enabled": True}
"""Whether machine code is kept on disk between processes; `backend` turns it off where the disk refuses."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile without interpreter lock, fast-math or Python's division; keep the code on disk where possible."""
    dispatcher: Any = njit(nogil=True, fastmath=False, error_model="numpy")(function)
    dispatcher._compiler.compile = _in_ieee(dispatcher._compiler.compile)  # noqa: SLF001
    if CACHE["enabled"]:
        try:
            dispatcher._cache = _Kept(function)  # noqa: SLF001
        except RuntimeError:  # numba found no directory it may write to
            CACHE["enabled"] = False
    return dispatcher


def part(function: Callable[..., Any]) -> Any:
    """Compile as a piece of the kernels that call it: a call counts references, which costs as much as a vector."""
    return njit(nogil=True, fastmath=False, error_model="numpy", inline="always")(function)


def _in_ieee(compile_kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Compile in IEEE arithmetic: a thread that rounds otherwise would round the constants, and keep them on disk."""

    def compiled(*arguments: Any) -> Any:
        enter_here, leave_here = state_changers()
        before = enter_here()
        try:
            return compile_kernel(*arguments)
        finally:
            leave_here(before)

    return compiled


@functools.cache
def state_changers() -> tuple[Callable[[], int], Callable[[int], None]]:
    """`enter` and `leave`, callable from Python."""

    def enter_here() -> Any:
        return enter()

    def leave_here(before: int) -> None:
        leave(before)

    return njit()(enter_here), njit()(leave_here)


class _Kept(FunctionCache):
    """A kernel's machine code on disk, valid as long as no file of the room changes: kernels call those of other files.

    Numba itself looks at the kernel's own file only. And before it looks it loads everything that compiling may need,
    a fifth of a CPU-second; here only what runs is loaded, and a kernel that must be compiled loads the rest then.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(self.cache_path, self._impl.filename_base, _room_digest())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel for these types, or None where it is not on disk or damaged there."""
        rtsys.initialize(target_context)
        try:
            return self._load_overload(sig, target_context)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - what reading damaged pickles may raise has no end
            self.flush()
            return None


@functools.cache
def _room_digest() -> str:
    """SHA-256 over every source file that machine code may come from."""
    state = hashlib.sha256()
    room = resources.files("conjoin.kernels")
    sources = [room / "jit.py", room / "layout.py", room / "spectrum.py", *(room / "native").iterdir()]
    for source in sorted((s for s in sources if s.name.endswith(".py")), key=lambda s: s.name):
        state.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return state.hexdigest()


IS_X86 = binding.get_process_triple().startswith(("x86_64", "i686", "i386", "amd64"))
IS_ARM = binding.get_process_triple().startswith(("aarch64", "arm64"))
PLAIN_MXCSR = 0x1F80
"""x86: round to nearest even, subnormals kept, exceptions masked."""


@intrinsic
def enter(typingctx: Any) -> Any:  # noqa: ARG001
    """Set the thread to IEEE arithmetic (nearest even, subnormals kept) and return the state it had."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        i32, i64 = ir.IntType(32), ir.IntType(64)
        if IS_X86:
            slot = builder.alloca(i32)
            store, load = _x86(builder, "stmxcsr"), _x86(builder, "ldmxcsr")
            raw = builder.bitcast(slot, ir.IntType(8).as_pointer())
            builder.call(store, [raw])
            before = builder.load(slot)
            builder.store(ir.Constant(i32, PLAIN_MXCSR), slot)
            builder.call(load, [raw])
            return builder.zext(before, i64)
        if IS_ARM:
            before = builder.call(_arm(builder, "get", i64, []), [])
            builder.call(_arm(builder, "set", ir.VoidType(), [i64]), [ir.Constant(i64, 0)])
            return before
        return ir.Constant(i64, 0)

    return types.int64(), codegen


@intrinsic
def leave(typingctx: Any, before: Any) -> Any:  # noqa: ARG001
    """Give the thread back the state that `enter` returned."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        i32, i64 = ir.IntType(32), ir.IntType(64)
        if IS_X86:
            slot = builder.alloca(i32)
            builder.store(builder.trunc(args[0], i32), slot)
            builder.call(_x86(builder, "ldmxcsr"), [builder.bitcast(slot, ir.IntType(8).as_pointer())])
        elif IS_ARM:
            builder.call(_arm(builder, "set", ir.VoidType(), [i64]), [args[0]])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _x86(builder: Any, name: str) -> Any:
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    return _declared(builder, kind, f"llvm.x86.sse.{name}")


def _arm(builder: Any, verb: str, result: Any, arguments: list[Any]) -> Any:
    return _declared(builder, ir.FunctionType(result, arguments), f"llvm.aarch64.{verb}.fpcr")


def _declared(builder: Any, kind: Any, name: str) -> Any:
    known = builder.module.globals.get(name)
    return known if known is not None else ir.Function(builder.module, kind, name)
