"""Vectors: WIDTH elements at once as LLVM sees them, so that a kernel holds them in registers from load to store.

LLVM turns loops into vectors of 256 bits at best, and only where it can prove that arrays do not overlap. A step here
says which instructions are meant: it is a Python function that runs once, when a kernel is compiled, and every operator
on its `Lanes` writes one instruction without flags, so nothing is fused or reordered. Kernels are plain numba code that
calls steps and may add, subtract, multiply and divide vectors of float64.
"""

import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing import templates
from numba.extending import lower_builtin, models, register_model

from conjoin.kernels import jit

WIDTH = 32
"""Elements of a vector. In float64 four registers of 512 bits, in BF16 a line of cache."""

BIT, U8, U16, U32, U64 = (ir.IntType(size) for size in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()


def _undefined(kind: Any, count: int) -> Any:
    return ir.Constant(ir.VectorType(kind, count), ir.Undefined)


class Lanes:
    """A vector or scalar while a step is written.

    Integers are unsigned. Comparisons with NaN are false, but for `differs`.
    """

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    @property
    def kind(self) -> Any:
        """LLVM's type of one lane."""
        return self.value.type.element if self.many else self.value.type

    @property
    def many(self) -> bool:
        """Whether it is a vector."""
        return isinstance(self.value.type, ir.VectorType)

    @property
    def _floats(self) -> bool:
        return self.kind in (F32, F64)

    def _typed(self, kind: Any) -> Any:
        return ir.VectorType(kind, self.value.type.count) if self.many else kind

    def like(self, other: "Lanes | float") -> Any:
        """A number, a scalar or a vector as LLVM's value in every lane of a vector of this one's type."""
        if not isinstance(other, Lanes):
            number = ir.Constant(self.kind, other)
            return ir.Constant(self.value.type, [number] * self.value.type.count) if self.many else number
        if self._floats and other.kind in (F32, F64) and not other.many:
            other = other.to(self.kind)
        if self.many and not other.many:
            one = ir.Constant(ir.VectorType(other.kind, 1), ir.Undefined)
            one = self.builder.insert_element(one, other.value, ir.Constant(U32, 0))
            every = ir.Constant(
                ir.VectorType(U32, self.value.type.count), [ir.Constant(U32, 0)] * self.value.type.count
            )
            return self.builder.shuffle_vector(one, ir.Constant(one.type, ir.Undefined), every)
        return other.value

    def splat(self, number: "Lanes | float") -> "Lanes":
        """A number in every lane of a vector of this one's type."""
        return Lanes(self.builder, self.like(number))

    def _operation(self, other: "Lanes | float", integer: str, floating: str = "") -> "Lanes":
        name = floating if self._floats else integer
        return Lanes(self.builder, getattr(self.builder, name)(self.value, self.like(other)))

    def _comparison(self, other: "Lanes | float", sign: str) -> "Lanes":
        if self._floats:
            compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        else:
            compare = self.builder.icmp_unsigned
        return Lanes(self.builder, compare(sign, self.value, self.like(other)))

    def __add__(self, other: "Lanes | float") -> "Lanes":
        return self._operation(other, "add", "fadd")

    def __sub__(self, other: "Lanes | float") -> "Lanes":
        return self._operation(other, "sub", "fsub")

    def __mul__(self, other: "Lanes | float") -> "Lanes":
        return self._operation(other, "mul", "fmul")

    def __truediv__(self, other: "Lanes | float") -> "Lanes":
        return self._operation(other, "", "fdiv")

    def __and__(self, other: "Lanes | int") -> "Lanes":
        return self._operation(other, "and_")

    def __or__(self, other: "Lanes | int") -> "Lanes":
        return self._operation(other, "or_")

    def __xor__(self, other: "Lanes | int") -> "Lanes":
        return self._operation(other, "xor")

    def __lshift__(self, other: "Lanes | int") -> "Lanes":
        return self._operation(other, "shl")

    def __rshift__(self, other: "Lanes | int") -> "Lanes":
        return self._operation(other, "lshr")

    def __lt__(self, other: "Lanes | float") -> "Lanes":
        return self._comparison(other, "<")

    def __gt__(self, other: "Lanes | float") -> "Lanes":
        return self._comparison(other, ">")

    def __ge__(self, other: "Lanes | float") -> "Lanes":
        return self._comparison(other, ">=")

    def equals(self, other: "Lanes | float") -> "Lanes":
        """Where they are equal."""
        return self._comparison(other, "==")

    def differs(self, other: "Lanes | float") -> "Lanes":
        """Where they are not; also where one is NaN."""
        return self._comparison(other, "!=")

    def bits(self) -> "Lanes":
        """Floats as integers of their width."""
        return self._as(U32 if self.kind == F32 else U64)

    def floats(self) -> "Lanes":
        """Integers as floats of their width."""
        return self._as(F32 if self.kind == U32 else F64)

    def _as(self, kind: Any) -> "Lanes":
        return Lanes(self.builder, self.builder.bitcast(self.value, self._typed(kind)))

    def to(self, kind: Any) -> "Lanes":
        """Converted to a wider or narrower type of the same sort: integers without sign, floats rounded to nearest."""
        order = [U8, U16, U32, U64].index if not self._floats else [F32, F64].index
        if self.kind == kind:
            return self
        wider = kind == F64 if self._floats else self.kind == BIT or order(kind) > order(self.kind)
        change = {(True, True): "fpext", (True, False): "fptrunc", (False, True): "zext", (False, False): "trunc"}
        return Lanes(self.builder, getattr(self.builder, change[self._floats, wider])(self.value, self._typed(kind)))

    def whole_numbers(self) -> "Lanes":
        """32-bit integers as float64, exactly."""
        return Lanes(self.builder, self.builder.uitofp(self.value, self._typed(F64)))

    def choose(self, yes: "Lanes", no: "Lanes | float") -> "Lanes":
        """`yes` where this is true, else `no`."""
        return Lanes(self.builder, self.builder.select(self.value, yes.value, yes.like(no)))

    def interleaved(self, other: "Lanes") -> "Lanes":
        """The lanes of both, in turn."""
        count = self.value.type.count
        return self.shuffled(other, (i // 2 + i % 2 * count for i in range(2 * count)))

    def joined(self, other: "Lanes") -> "Lanes":
        """The lanes of both, one after the other."""
        return self.shuffled(other, range(2 * self.value.type.count))

    def halves(self) -> "tuple[Lanes, Lanes]":
        """The first half of the lanes, and the second."""
        count = self.value.type.count
        return self.shuffled(self, range(count // 2)), self.shuffled(self, range(count // 2, count))

    def shuffled(self, other: "Lanes", lanes: Iterable[int]) -> "Lanes":
        """The lanes of these numbers; the other's are counted on from these."""
        order = [ir.Constant(U32, lane) for lane in lanes]
        mask = ir.Constant(ir.VectorType(U32, len(order)), order)
        return Lanes(self.builder, self.builder.shuffle_vector(self.value, other.value, mask))

    def upper(self) -> "Lanes":
        """The upper half of each lane in its lower half; what is in the upper half is left open."""
        halves = self.split(U32)
        moved = halves.shuffled(halves, (i | 1 for i in range(halves.value.type.count)))
        return Lanes(self.builder, self.builder.bitcast(moved.value, self.value.type))

    def raised(self) -> "Lanes":
        """The lower half of each lane in its upper half, above zeros.

        Not a shift: of a product that is shifted LLVM makes one of 64 bits, which costs three.
        """
        halves = self.split(U32)
        count = halves.value.type.count
        moved = halves.splat(0).shuffled(halves, (count + i - 1 if i % 2 else i for i in range(count)))
        return Lanes(self.builder, self.builder.bitcast(moved.value, self.value.type))

    def split(self, kind: Any) -> "Lanes":
        """Integers as more and narrower ones, the lower part of each first."""
        narrow = ir.VectorType(kind, self.value.type.count * (self.kind.width // kind.width))
        return Lanes(self.builder, self.builder.bitcast(self.value, narrow))

    def signed(self, sign: str, number: int) -> "Lanes":
        """Comparison of integers that have a sign with a number."""
        return Lanes(self.builder, self.builder.icmp_signed(sign, self.value, self.like(number)))

    def packed(self) -> "Lanes":
        """True and false as the bits of one integer, the first lane lowest."""
        return Lanes(self.builder, self.builder.bitcast(self.value, ir.IntType(self.value.type.count)))

    def count(self) -> "Lanes":
        """How many lanes are true, as 64 bits."""
        return self.packed().ones()

    def ones(self) -> "Lanes":
        """How many bits of an integer are 1, as 64 bits."""
        return Lanes(self.builder, self.builder.ctpop(self.value)).to(U64)

    def zeros_below(self) -> "Lanes":
        """How many bits of an integer are 0 below its lowest 1, as 64 bits."""
        return Lanes(self.builder, self.builder.cttz(self.value, ir.Constant(BIT, 1))).to(U64)

    def any(self) -> Any:
        """Whether one of the lanes is true, as LLVM's value."""
        return self.packed().differs(0).value


class _Vector(types.Type):
    """A vector as numba sees it."""

    def __init__(self, name: str, lane: Any) -> None:
        super().__init__(name)
        self.lane = lane


VECTOR: Any = _Vector("vector of float64", F64)
KEYS: Any = _Vector("vector of uint32", U32)
SINGLES: Any = _Vector("vector of float32", F32)
"""The even elements come first, then the odd ones: so patterns of 16 bits become them without being moved."""
PATTERNS: Any = _Vector("vector of uint16", U16)


@register_model(_Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.VectorType(kind.lane, WIDTH))


PAIRS = [
    pair
    for kind, number in ((VECTOR, types.float64), (SINGLES, types.float32))
    for pair in ((kind, kind), (kind, number), (number, kind))
]


def _vector_of(pair: tuple[Any, Any]) -> Any:
    return next(kind for kind in pair if isinstance(kind, _Vector))


def _arithmetic(sign: Any, name: str) -> None:
    """Let numba code write a sign between vectors, and between a vector and a number."""

    class _Signatures(templates.ConcreteTemplate):  # pyright: ignore[reportUnusedClass]
        cases = [templates.signature(_vector_of(pair), *pair) for pair in PAIRS]  # noqa: RUF012

    register: Any = templates.infer_global
    register(sign)(_Signatures)

    for left, right in PAIRS:

        @lower_builtin(sign, left, right)
        def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            first, second = (Lanes(builder, value) for value in args)
            return getattr(builder, name)(second.like(first), first.like(second))


for _sign, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_sign, _name)


def _handed(context: Any, builder: Any, kind: Any, value: Any) -> Lanes:
    """An argument of a step; an array is the address of its first element."""
    if not isinstance(kind, types.Array):
        return Lanes(builder, value)
    return Lanes(builder, builder.ptrtoint(context.make_array(kind)(context, builder, value).data, U64))


def step(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a function on `Lanes` callable from kernels. Its arguments and result are of the numba types given.

    What takes VECTORs and is given SINGLES gives SINGLES; numbers beside them are float32 values in float64 then.
    Scratch arrays are handed over as arrays, not as addresses: numba frees an array after its last use.
    """

    def made(function: Callable[..., Any]) -> Any:
        def typed(typingctx: Any, *given: Any) -> Any:  # noqa: ARG001
            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                found = function(*map(partial(_handed, context, builder), signature.args, args))
                return context.get_dummy_value() if found is None else found.value

            single = SINGLES in given
            taken = [SINGLES if single and kind is VECTOR else kind for kind in (result, *arguments)]
            return taken[0](*taken[1:]), codegen

        names = ["typingctx", *inspect.signature(function).parameters]
        typed.__signature__ = inspect.Signature(
            [  # numba would pack what a star takes into a tuple
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names
            ]
        )
        typed.__name__ = function.__name__
        return jit.intrinsic(typed)

    return made


def numbered(count: int, like: Lanes) -> Lanes:
    """0, 1, 2, … in lanes of the same kind."""
    return Lanes(
        like.builder, ir.Constant(ir.VectorType(like.kind, count), [ir.Constant(like.kind, i) for i in range(count)])
    )


def scalars(address: Lanes, count: int) -> list[Lanes]:
    """The first integers of an array of 64 bits each."""
    builder = address.builder
    start = builder.inttoptr(address.value, U64.as_pointer())
    return [Lanes(builder, builder.load(builder.gep(start, [ir.Constant(U64, i)]))) for i in range(count)]


def by_case(case: Lanes, branches: Sequence[Callable[[], Lanes | None]]) -> Lanes | None:
    """What the branch of that number gives; numbers beyond the last branch take the last."""
    builder = case.builder
    ends = [builder.append_basic_block() for _ in branches]
    after = builder.append_basic_block()
    switch = builder.switch(case.value, ends[-1])
    results: list[tuple[Any, Any]] = []
    for number, (branch, start) in enumerate(zip(branches, ends, strict=True)):
        if number < len(branches) - 1:
            switch.add_case(ir.Constant(case.value.type, number), start)
        builder.position_at_end(start)
        found = branch()
        if found is not None:
            results.append((found.value, builder.block))
        builder.branch(after)
    builder.position_at_end(after)
    if not results:
        return None
    phi = builder.phi(results[0][0].type)
    for value, block in results:
        phi.add_incoming(value, block)
    return Lanes(builder, phi)


def place(address: Lanes, at: Lanes | None, kind: Any) -> Any:
    """Pointer to element `at` of an array of LLVM's type `kind`, or to a vector that begins there."""
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    size = {F32: 4, F64: 8}.get(element) or element.width // 8
    start = address if at is None else address + at * size
    return address.builder.inttoptr(start.value, kind.as_pointer()), size


def read(address: Lanes, at: Lanes, kind: Any, count: int = WIDTH) -> Lanes:
    """The vector of elements from `at` on; a scalar where the count is 1."""
    pointer, size = place(address, at, kind if count == 1 else ir.VectorType(kind, count))
    return Lanes(address.builder, address.builder.load(pointer, align=size))


AHEAD_BYTES = 2048
"""How far ahead arrays are fetched: processors foresee a few streams of memory well, but not five of them."""


def read_ahead(address: Lanes, at: Lanes, kind: Any) -> Lanes:
    """The vector of elements from `at` on; what will be needed soon is fetched, or nothing where there is no memory."""
    pointer, _ = place(address + AHEAD_BYTES, at, kind)
    pointer = address.builder.bitcast(pointer, U8.as_pointer())
    take = ir.FunctionType(ir.VoidType(), [pointer.type, U32, U32, U32])
    fetch = address.builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], take)
    address.builder.call(fetch, [pointer, U32(0), U32(3), U32(1)])
    return read(address, at, kind)


def write(address: Lanes, at: Lanes | None, value: Lanes) -> None:
    """Put a vector or scalar down from element `at` on."""
    pointer, size = place(address, at, value.value.type)
    address.builder.store(value.value, pointer, align=size)


@step(VECTOR, types.float64)
def every(number: Lanes) -> Lanes:
    """A number in every lane."""
    return Lanes(number.builder, _undefined(F64, WIDTH)).splat(number)


SCRATCH: Any = types.float64[::1]


@step(types.void, SCRATCH, types.int64, VECTOR)
def hold(scratch: Lanes, row: Lanes, values: Lanes) -> None:
    """Keep a vector in a row of a scratch array of float64."""
    write(scratch, row * WIDTH, values)


@step(VECTOR, SCRATCH, types.int64)
def recall(scratch: Lanes, row: Lanes) -> Lanes:
    """The vector kept in a row."""
    return read(scratch, row * WIDTH, F64)


@step(VECTOR, types.uint64, types.int64, VECTOR)
def recall_like(scratch: Lanes, row: Lanes, like: Lanes) -> Lanes:
    """The vector kept in a row of the array at an address, which was of the type of another."""
    return read(scratch, row * WIDTH, like.kind)


@step(types.float64, types.uint64, types.int64)
def number(address: Lanes, at: Lanes) -> Lanes:
    """One number of an array of float64."""
    return read(address, at, F64, 1)


@step(VECTOR, VECTOR, types.float64)
def alike(like: Lanes, number: Lanes) -> Lanes:
    """A number in every lane of a vector of the type of another."""
    return like.splat(number)
