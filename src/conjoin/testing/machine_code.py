"""Machine code: what the compiler makes of the kernels, here and for other processors; runs none that is foreign.

    python -m conjoin.testing.machine_code record FILE
    python -m conjoin.testing.machine_code compile FILE --triple aarch64-unknown-linux-gnu

The first notes the types that the self-tests call kernels with. The second compiles the kernels for those types and
scans the result; with NUMBA_CACHE_DIR, NUMBA_CPU_NAME and NUMBA_CPU_FEATURES set it leaves machine code that a process
on that processor takes from its cache under the same settings.
"""

import argparse
import importlib
import pickle
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llvmlite import binding

from conjoin.kernels import native, selftest
from conjoin.kernels.backend import family

Signatures = Mapping[tuple[str, str], Sequence[Any]]
"""The types a kernel is called with, by its module and name."""

FLAGGED = re.compile(
    r"= (?:tail |musttail |notail )?(?:f(?:add|sub|mul|div|neg|cmp|rem|ptrunc|pext)|call|select|phi)"
    r" (?:fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b"
)
"""LLVM's marks for arithmetic that may be changed."""

CALLED = re.compile(r"\bcall [^\n]*?@\"?([\w.$]+)\"?\(")
HARMLESS = re.compile(
    r"Py|_Py|NRT_|nrt_atomic_|numba_|_ZN|cpython\._ZN"  # Python's and numba's runtime, and other kernels
    r"|llvm\.(?:is\.fpclass|fabs|copysign|sqrt|floor|ceil|trunc)\."  # exact, or rounded once by IEEE 754
    r"|llvm\.(?:[su](?:min|max|add|sub|mul|cmp)|abs|ctlz|cttz|ctpop|bswap|fshl|fshr|bitreverse)\b"  # integers
    r"|llvm\.(?:mem|prefetch|lifetime|assume|masked|stack|trap|vector|experimental|expect|get\.active)"  # memory, lanes
    r"|llvm\.(?:x86\.atomic|aarch64\.(?:ld|st)a?l?xr)"  # counting references
    r"|llvm\.aarch64\.neon\.(?:ld|st)[1-4]"  # memory, lane by lane
    r"|llvm\.(?:x86\.sse\.(?:ld|st)mxcsr|aarch64\.[gs]et\.fpcr)"  # the floating point state
)
"""What a kernel may call."""

FUSED = re.compile(r"^\s+((?:vf\w*m(?:add|sub)|fn?m(?:add|sub|la|ls|ad|sb))\w*)\s", re.MULTILINE)
"""Instructions of x86 and ARM that multiply and add with one rounding."""

ROOT = re.compile(r"\bsqrt\b")
"""The C library's name where LLVM, which knows the function and writes an instruction for it, did not."""

PACKED = re.compile(r"^\s+v?(?:(?:add|sub|mul|div)p[sd]|p(?:add|sub|mul|cmp|and|x?or|s[lr][al])\w*)\s", re.MULTILINE)
SINGLE = re.compile(r"^\s+v?(?:add|sub|mul|div)s[sd]\s", re.MULTILINE)
"""Arithmetic of x86 on whole vectors, and on one float."""


def scan(kernel: Any) -> list[str]:
    """What in a kernel's code may give other bytes on another machine; compiled in this process, not from the cache."""
    found: set[str] = set()
    for text in kernel.inspect_llvm().values():
        assert "define" in text
        found |= {f"flag in `{match.group()}`" for match in FLAGGED.finditer(text)}
        found |= {f"call of {name}" for name in CALLED.findall(text) if name != "sqrt" and not HARMLESS.match(name)}
    for text in kernel.inspect_asm().values():
        assert "\n" in text
        found |= {f"instruction {name}" for name in FUSED.findall(text)}
        found |= {f"call of {name}" for name in ROOT.findall(text)}
    return sorted(found)


def widths(kernel: Any) -> tuple[int, int]:
    """How many instructions for x86 compute with whole vectors, and how many with one float."""
    text = "\n".join(kernel.inspect_asm().values())
    return len(PACKED.findall(text)), len(SINGLE.findall(text))


def kernels() -> dict[tuple[str, str], Any]:
    """Every kernel, by its module and name; what is written into those that call it (`jit.part`) is none."""
    found: dict[tuple[str, str], Any] = {}
    for module in pkgutil.iter_modules(native.__path__, f"{native.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            options = getattr(value, "targetoptions", {"inline": "always"})
            if options.get("inline") != "always" and value.py_func.__module__ == module.name:
                found[module.name, name] = value
    return found


def called() -> Signatures:
    """The types the self-tests of all operations call kernels with; those that only kernels call may have none."""
    for name in selftest.CASES:
        assert selftest.passes(family("compiled", name.partition(".")[0]), name)
    return {place: list(kernel.signatures) for place, kernel in kernels().items()}


def aim(triple: str) -> None:
    """Let this process compile for another kind of processor; what it compiles must then not be called.

    Numba asks LLVM for the processor it runs on. To be called before kernels are imported.
    """
    assert not any(name.startswith("conjoin.kernels.native.") for name in sys.modules)
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()

    def fixed() -> str:
        return triple

    target = binding.Target.from_triple(triple)
    binding.get_process_triple = binding.get_default_triple = fixed
    binding.Target.from_default_triple = staticmethod(lambda: target)

    from conjoin.kernels import jit  # what enters IEEE arithmetic is foreign code too; this thread has not left it

    jit.state_changers = lambda: (lambda: 0, lambda _: None)


def compile_all(signatures: Signatures) -> Iterator[tuple[str, list[str]]]:
    """Compile each kernel for its types, and give its name and what `scan` finds."""
    for (module, name), types in signatures.items():
        kernel = getattr(importlib.import_module(module), name)
        for signature in types:
            kernel.compile(signature)
        if types:
            yield f"{module.rpartition('.')[2]}.{name}", scan(kernel)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record or compile; 1 if the scan finds anything."""
    parser = argparse.ArgumentParser(prog="python -m conjoin.testing.machine_code", description=__doc__)
    parser.add_argument("action", choices=["record", "compile"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--triple", help="of the processor to compile for")
    given = parser.parse_args(arguments)
    if given.action == "record":
        given.file.write_bytes(pickle.dumps(called()))
        return 0
    if given.triple:
        aim(given.triple)
    problems = 0
    for name, found in compile_all(pickle.loads(given.file.read_bytes())):
        sys.stdout.write(f"{name}: {', '.join(found) or 'plain'}\n")
        problems += len(found)
    return min(problems, 1)


if __name__ == "__main__":
    sys.exit(main())
