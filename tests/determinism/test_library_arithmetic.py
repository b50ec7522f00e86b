"""Nothing between inputs and outputs asks a library for arithmetic whose bits it does not promise."""

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import conjoin
from conjoin.kernels import jit
from tests.determinism import trapped

SOURCE = Path(conjoin.__file__).parent
ROOMS = (
    "kernels",
    "strategies",
    "executor",
    "plan",
    "memory.py",
    "arrays.py",
    "fitting/search.py",
    "fitting/genomes.py",
)
FILES = sorted(path for room in ROOMS for path in [SOURCE / room, *(SOURCE / room).rglob("*.py")] if path.is_file())

_EXACT = """
abs add add.at all any arange argmax argsort argwhere array asarray ascontiguousarray bincount bitwise_or
bitwise_or.reduce bool_ concatenate copysign count_nonzero cumsum dtype empty empty_like errstate eye flatnonzero
fill_diagonal float16 float32 float64 floor format_float_positional frombuffer full full_like generic iinfo inf int16
int32 int64 int8 intp isfinite isnan ldexp logical_and logical_and.reduce may_share_memory maximum minimum multiply
multiply.outer nan ndarray negative newaxis ones packbits put_along_axis require resize roll searchsorted sign signbit
split sqrt stack take_along_axis tile tri uint16 uint32 uint64 uint8 unpackbits where zeros zeros_like
"""
EXACT = set(_EXACT.split())
"""What NumPy does without rounding, or rounded once by IEEE 754; cumsum, add.at and bincount on integers."""

_WHOLE = "ceil comb copysign factorial floor frexp gcd inf isfinite isinf isnan isqrt lcm ldexp nan prod sqrt"
WHOLE = set(_WHOLE.split())
"""The same of `math`; its `sqrt` is rounded once too, and `prod` is for shapes."""

SUMS = {"dot", "mean", "prod", "std", "var", "trace", "cumprod", "matmul"}
"""Methods of arrays that add floats in an order of their own, or multiply them."""
OWN = {"gram.dot", "self.dot", "native.dot", "matrices.mean"}
"""Our own functions of such names."""


def dotted(node: ast.AST) -> str | None:
    """`np.add.at` for the attribute of that name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def problems(tree: ast.AST) -> list[str]:
    """What a source file asks NumPy, `math` or an operator to do and should not."""
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return [found for node in ast.walk(tree) if node not in inner and (found := problem(node))]


def problem(node: ast.AST) -> str | None:
    """What one node asks for."""
    match node:
        case ast.Attribute() if (name := dotted(node)) and name.startswith("np."):
            return None if name[3:] in EXACT else name
        case ast.Attribute() if (name := dotted(node)) and name.startswith("math."):
            return None if name[5:] in WHOLE else name
        case ast.Attribute(attr=attr) if attr in SUMS:
            return None if dotted(node) in OWN else ast.unparse(node)
        case ast.BinOp(op=ast.MatMult()):
            return "@"
        case ast.BinOp(op=ast.Pow(), left=left):
            return None if is_scalar(left) else ast.unparse(node)
        case ast.ImportFrom(module="math", names=names):
            return None if {alias.name for alias in names} <= WHOLE else ast.unparse(node)
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in ("numpy", "scipy"):
            return ast.unparse(node)
    return None


def is_scalar(node: ast.AST) -> bool:
    """A number written out, a fraction, or a count called n."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "Fraction"
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id == "n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_exact_functions_are_used(path: Path) -> None:
    found = problems(ast.parse(path.read_text()))
    if path.name == "scalars.py":  # its powers are of fractions and whole numbers
        found = [problem for problem in found if " ** " not in problem]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "np.sum(x)", "np.exp(x)", "np.linalg.norm(x)", "a @ b", "x ** 2", "x.dot(y)", "x.mean()", "np.add.reduce(x)",
        "math.exp(1)", "from numpy import dot", "from math import exp", "np.random.default_rng()", "y = np.dot",
    ],
)  # fmt: skip
def test_the_lint_finds(text: str) -> None:
    assert problems(ast.parse(text))


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.determinism.trapped", *arguments], capture_output=True, text=True, check=False
    )


on_linux_on_x86 = pytest.mark.skipif(
    not (jit.IS_X86 and sys.platform == "linux"), reason="the traps are written for Linux on x86"
)


@on_linux_on_x86
def test_every_strategy_resolves_where_libraries_are_trapped() -> None:
    done = in_a_process()
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 50


@on_linux_on_x86
@pytest.mark.parametrize("name", trapped.springs())
def test_the_traps_spring(name: str) -> None:
    done = in_a_process("spring", name)
    assert done.returncode == -signal.SIGILL or "TrapError" in done.stderr, (done.returncode, done.stderr[-2000:])
