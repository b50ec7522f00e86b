"""What a strategy is: a function on blocks, declared by a decorator; knows nothing of files, replicas or CRDTs."""

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import numpy.typing as npt

from conjoin.errors import (
    BadParameterError,
    MissingAssetError,
    MissingBaseError,
    UnknownParameterError,
    UnknownStrategyError,
)
from conjoin.kernels.backend import in_ieee

RawArray = npt.NDArray[Any]
"""Bit patterns of a float format: uint16 (BF16, F16), uint32 (F32) or uint64 (F64)."""

Params = Mapping[str, Any]
"""Parsed parameters: Fraction for numbers, str for choices, bool for flags, a tuple for ByContribution."""

BLOCK_ELEMENTS = 65_536
"""Elements of a canonical block (NUMERICS section 11.6). Every slice given to a strategy starts at a multiple of it."""


class Scope(Enum):
    """How much of the input a strategy must see at once."""

    ELEMENTWISE = "elementwise"
    TWO_PASS = "two-pass"
    MATRIX = "matrix"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Domain:
    """The range of a number parameter; `above` and `below` are exclusive bounds, `whole` asks for an integer."""

    minimum: Fraction | None = None
    maximum: Fraction | None = None
    above: Fraction | None = None
    below: Fraction | None = None
    whole: bool = False

    def problem(self, value: Fraction) -> str | None:
        """Why `value` is outside the domain, or None."""
        if self.minimum is not None and value < self.minimum:
            return f"must be at least {self.minimum}"
        if self.maximum is not None and value > self.maximum:
            return f"must be at most {self.maximum}"
        if self.above is not None and value <= self.above:
            return f"must be above {self.above}"
        if self.below is not None and value >= self.below:
            return f"must be below {self.below}"
        if self.whole and value.denominator != 1:
            return "must be a whole number"
        return None


Number = Annotated[Fraction, Domain()]
"""Any decimal number."""
Share = Annotated[Fraction, Domain(minimum=Fraction(0), maximum=Fraction(1))]
"""A share between 0 and 1, both included."""
Unit = Annotated[Fraction, Domain(above=Fraction(0), maximum=Fraction(1))]
"""A share above 0, at most 1."""


@dataclass(frozen=True, slots=True)
class ByContribution:
    """Marks a parameter given per contribution, keyed by digest: `-p t.7f3a91c2=0.3`. Parsed to a tuple or None.

    With `choices` the values are names, such as roles (`-p role.7f3a91c2=safe`), else numbers.
    """

    domain: Domain = Domain()
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fitted:
    """Marks the parameter that takes an asset: `asset: Asset`. Its value is the asset's digest."""


Asset = Annotated[str, Fitted()]
"""What `conjoin fit` learned, by digest; `Block.learned` holds its values."""


@dataclass(frozen=True, slots=True)
class SideCar:
    """A tensor that goes with each contribution's tensor, from a side-car that the contribution carries.

    Attributes:
        name: its key in `Block.extras`.
        extra: the side-car that holds it, such as `fisher`.
        key: name of the tensor → name in the side-car.
        shape: shape of the tensor → shape in the side-car; None where tensors of such a shape have none.
        required: refuse a side-car without it; otherwise all contributions have it or none has.
        elementwise: has the shape of the tensor and is cut with it; otherwise it is given whole.
    """

    name: str
    extra: str
    key: Callable[[str], str] = lambda name: name
    shape: Callable[[tuple[int, ...]], tuple[int, ...] | None] = lambda shape: shape
    required: bool = True
    elementwise: bool = True


@dataclass(frozen=True, slots=True)
class Extra:
    """What a SideCar names, of every contribution in canonical order.

    Attributes:
        tensors: k arrays of bit patterns in `format`, of the slice or of the whole, flat.
        format: one of BF16, F16, F32, F64, the same for all.
        shape: of the whole.
    """

    tensors: tuple[RawArray, ...]
    format: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SideTensor:
    """A tensor that a strategy writes beside each tensor it makes, one for each contribution.

    Attributes:
        name: what it is, such as `mask`.
        is_mask: one bit per element of the tensor made, in `kernels.pack` order (U8); else one number per tensor (F64).
    """

    name: str
    is_mask: bool

    @property
    def dtype(self) -> Literal["U8", "F64"]:
        """Dtype in the file, by safetensors name."""
        return "U8" if self.is_mask else "F64"


@dataclass(frozen=True, slots=True)
class Made:
    """What a strategy with side tensors returns for a slice.

    Attributes:
        tensor: (n,) patterns of the output's format.
        side: by SideTensor name an array with a row per contribution: (k, ⌈n/8⌉) uint8 of bits, or (k,) float64.
    """

    tensor: RawArray
    side: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TaskBlock:
    """A merged tensor, from which one contribution's own is made again.

    Attributes:
        merged: (n,) patterns of `out_format`, as the strategy made it.
        base: (n,) patterns of `format`.
        format: format of what was merged.
        out_format: format of the merged tensor.
        side: the contribution's side tensors by SideTensor name: (⌈n/8⌉,) uint8 of bits, or (1,) float64.
    """

    merged: RawArray
    base: RawArray
    format: str
    out_format: str
    side: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Block:
    """One slice of one tensor, across the base and every contribution in canonical order.

    Attributes:
        tensors: k arrays (n,) of bit patterns in `format`.
        base: (n,) bit patterns in `format`, or None where there is no base.
        weights: k exact non-negative weights.
        contributions: k contribution digests, ascending.
        format: input format, one of BF16, F16, F32, F64.
        out_format: format the strategy must return.
        name: tensor name.
        shape: shape of the whole tensor.
        offset: index of the slice's first element in the tensor (C order); a multiple of BLOCK_ELEMENTS.
        flat_offset: index of the tensor's first element in the concatenation, by name, of all tensors of the strategy.
        seeds: 32-byte seeds by mask scope: "root" and "contribution".
        strategy: name of the strategy, part of every draw's name.
        measured: results of the passes done so far, by pass name.
        extras: what the strategy's `side_cars` name, by SideCar name; one that no contribution has is not in it.
        fitted: the values of the asset that was given, None where none was.
        warn: takes what belongs into the receipt, such as a ridge that was added.
    """

    tensors: tuple[RawArray, ...]
    base: RawArray | None
    weights: tuple[Fraction, ...]
    contributions: tuple[str, ...]
    format: str
    out_format: str
    name: str
    shape: tuple[int, ...]
    offset: int
    flat_offset: int
    seeds: Mapping[str, bytes]
    strategy: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Extra] = field(default_factory=dict)
    fitted: Mapping[str, Any] | None = None
    warn: Callable[[str], None] = lambda _: None

    @property
    def count(self) -> int:
        """k, the number of contributions."""
        return len(self.tensors)

    @property
    def learned(self) -> Mapping[str, Any]:
        """The values of the asset, for strategies that apply what was learned or searched.

        Raises:
            MissingAssetError: none was given.
        """
        if self.fitted is None:
            raise MissingAssetError(
                f"{self.strategy} applies what was learned before, and no asset is given",
                hint=f"`conjoin fit {self.strategy}` makes one for `conjoin resolve {self.strategy} --asset FILE`",
            )
        return self.fitted

    @property
    def origin(self) -> RawArray:
        """The base, for strategies that work on task vectors.

        Raises:
            MissingBaseError: there is none.
        """
        if self.base is None:
            raise MissingBaseError(
                f"{self.strategy} works on task vectors and there is no base", where=f"tensor `{self.name}`"
            )
        return self.base


@dataclass(frozen=True, slots=True)
class Extent:
    """What a pass covered when it is finished: k, elements per contribution, contribution weights, earlier results."""

    count: int
    elements: int
    weights: tuple[Fraction, ...]
    measured: Mapping[str, Any]
    warn: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """The one sum that a strategy's result follows from, so that contributions can be added to it and taken out of it.

    The result is (n₀ θ₀ + Σ nᵢ θᵢ) / D by `kernels.linear`; of deltas, θ₀ + (Σ nᵢ mᵢ ⊙ τᵢ) / D by `kernels.delta_sum`.

    Attributes:
        numerators: nᵢ, one per contribution.
        denominator: D.
        base_numerator: n₀; 0 where the base has no term of its own.
        of_deltas: whether task vectors are summed.
        drop_below: an element of a task vector is dropped where its draw is below; 0 draws nothing.
        keys: the names of the draws, one per contribution, where anything is drawn.
    """

    numerators: tuple[float, ...]
    denominator: float
    base_numerator: float = 0.0
    of_deltas: bool = False
    drop_below: int = 0
    keys: tuple[tuple[int, int, int, int], ...] = ()


Combine = Literal["sum", "tree"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading of the input that measures something before the strategy is applied.

    Attributes:
        name: key of the result in `Block.measured`.
        measure: (block, params) → partial. For "sum": an int64 array, added exactly in any order. For "tree": a float64
            array with one row per canonical block of the slice; rows are folded by the block tree of NUMERICS 11.6.
        finish: (total, params, extent) → result.
        scope: params → "tensor" or "model": what one result covers. "tree" passes are per tensor.
        combine: how partials combine.
        needed: params → whether the pass runs at all.
        settled: what was measured so far → whether there is nothing left to find; the pass then has no result.
        sample: (params, elements of the tensor) → of how many runs of neighbours one is measured, put together in one
            block whose offset means nothing; None measures everything. Nothing that is read is verified: what a sample
            finds may save work and never show in the result. Only for "sum".
    """

    name: str
    measure: Callable[[Block, Params], npt.NDArray[Any]]
    finish: Callable[[npt.NDArray[Any], Params, Extent], Any]
    scope: Callable[[Params], Literal["tensor", "model"]] = lambda _: "tensor"
    combine: Combine = "sum"
    needed: Callable[[Params], bool] = lambda _: True
    settled: Callable[[Mapping[str, Any]], bool] = lambda _: False
    sample: Callable[[Params, int], int] | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter: name, kind and default."""

    name: str
    kind: Literal["number", "choice", "flag", "by-contribution", "asset"]
    default: Any
    domain: Domain = Domain()
    choices: tuple[str, ...] = ()

    def parse(self, value: object, strategy: str) -> Fraction | str | bool:
        """Read one value given as a decimal string, choice or flag.

        Raises:
            BadParameterError: wrong type, outside the domain, or not one of the choices.
        """
        where = f"parameter `{self.name}` of {strategy}"
        if self.kind == "flag":
            if isinstance(value, bool):
                return value
            if value in ("true", "false"):
                return value == "true"
            raise BadParameterError(f"{where} is {value!r}, not true or false")
        if self.kind == "asset":
            if isinstance(value, str) and (value == "" or _DIGEST.fullmatch(value)):
                return value
            raise BadParameterError(f"{where} is {value!r:.80}, not the digest of an asset", hint="give `--asset FILE`")
        if self.kind == "choice" or self.choices:
            if isinstance(value, str) and value in self.choices:
                return value
            near = difflib.get_close_matches(str(value), self.choices, 1)
            hint = f"did you mean `{near[0]}`?" if near else None
            raise BadParameterError(f"{where} is {value!r}, not one of {', '.join(self.choices)}", hint=hint)
        number = parse_decimal(value, where)
        problem = self.domain.problem(number)
        if problem:
            raise BadParameterError(f"{where} is {value}: it {problem}")
        return number


_DIGEST = re.compile(r"[0-9a-f]{64}")
_DECIMAL = re.compile(r"[+-]?(\d{1,30})(\.\d{1,30})?")


def parse_decimal(value: object, where: str) -> Fraction:
    """Read a decimal string such as `-0.25` exactly; floats and ints from Python are read as they print.

    Raises:
        BadParameterError: it is not a plain decimal number of at most 30 digits on either side of the point.
    """
    if isinstance(value, Fraction):
        text = canonical_decimal(value)
    elif isinstance(value, bool):
        text = ""
    elif isinstance(value, float):
        text = np.format_float_positional(value, trim="-")
    else:
        text = str(value).strip()
    if not _DECIMAL.fullmatch(text):
        raise BadParameterError(f"{where} is {value!r}, not a decimal number", hint="write it plainly, like 0.25")
    return Fraction(text)


def canonical_decimal(value: Fraction) -> str:
    """The one spelling of a decimal number: no exponent, no plus sign, no superfluous zeros.

    Raises:
        BadParameterError: the number has no finite decimal form.
    """
    scale, denominator = 0, value.denominator
    while denominator % 10 == 0:
        denominator, scale = denominator // 10, scale + 1
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator, scale = denominator // prime, scale + 1
    if denominator != 1:
        raise BadParameterError(f"{value} has no finite decimal form", hint="write it as a decimal, for example 0.333")
    digits = str(abs(value.numerator) * 10**scale // value.denominator).rjust(scale + 1, "0")
    whole, part = (digits[:-scale], digits[-scale:].rstrip("0")) if scale else (digits, "")
    return ("-" if value < 0 else "") + whole + ("." + part if part else "")


StrategyFunction = Callable[..., RawArray | Made]


@dataclass(frozen=True)
class Strategy:
    """A registered strategy: its function and its traits."""

    name: str
    function: StrategyFunction
    scope: Scope
    needs_base: bool
    passes: tuple[Pass, ...]
    stochastic: bool
    normalises: bool
    source: str
    version: int
    parameters: tuple[Parameter, ...]
    uses_base: Callable[[Params], bool] = lambda _: False
    running: Callable[[Block, Params], WeightedSum | None] | None = None
    side_cars: Callable[[Params], tuple[SideCar, ...]] = lambda _: ()
    side_tensors: Callable[[Params], tuple[SideTensor, ...]] = lambda _: ()
    check: Callable[[Params, tuple[Fraction, ...]], None] = lambda _params, _weights: None
    needs_asset: Callable[[Params], bool] = lambda _: False
    together: Callable[[Params, tuple[int, ...]], int] = lambda _params, _shape: 1
    one_task: Callable[[TaskBlock, Params], RawArray] | None = None

    def reads_base(self, params: Params) -> bool:
        """Whether blocks hold the base with these parameters; where they do not, it is not read at all."""
        return self.needs_base or self.uses_base(params)

    @property
    def doc(self) -> str:
        """The docstring: formula, shapes, defaults, edge cases."""
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.doc.split("\n", 1)[0]

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name.

        Raises:
            UnknownParameterError: there is none; the nearest name is given.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        names = [p.name for p in self.parameters]
        near = difflib.get_close_matches(name, names, 1)
        takes = ", ".join(f"`{known}`" for known in names) or "no parameters"
        hint = f"did you mean `{near[0]}`?" if near else f"it takes {takes}"
        raise UnknownParameterError(f"{self.name} has no parameter `{name}`", hint=hint)

    def parse(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Parameters with defaults filled in. A by-contribution value is a mapping digest → value; it stays a mapping.

        Raises:
            UnknownParameterError, BadParameterError: see there.
        """
        parsed: dict[str, Any] = {p.name: p.default for p in self.parameters}
        for name, value in given.items():
            parameter = self.parameter(name)
            if parameter.kind == "by-contribution":
                if not isinstance(value, Mapping):
                    raise BadParameterError(
                        f"parameter `{name}` of {self.name} is given per contribution",
                        hint=f"write `-p {name}.DIGEST=VALUE`",
                    )
                parsed[name] = {str(key): parameter.parse(item, self.name) for key, item in value.items()}
            else:
                parsed[name] = parameter.parse(value, self.name)
        return parsed


_REGISTRY: dict[str, Strategy] = {}


def strategy(
    *,
    scope: Scope,
    source: str,
    needs_base: bool = False,
    passes: Sequence[Pass] = (),
    stochastic: bool = False,
    normalises: bool = False,
    uses_base: Callable[[Params], bool] = lambda _: False,
    running: Callable[[Block, Params], WeightedSum | None] | None = None,
    side_cars: Callable[[Params], tuple[SideCar, ...]] = lambda _: (),
    side_tensors: Callable[[Params], tuple[SideTensor, ...]] = lambda _: (),
    check: Callable[[Params, tuple[Fraction, ...]], None] = lambda _params, _weights: None,
    needs_asset: Callable[[Params], bool] = lambda _: False,
    together: Callable[[Params, tuple[int, ...]], int] = lambda _params, _shape: 1,
    one_task: Callable[[TaskBlock, Params], RawArray] | None = None,
    version: int = 1,
) -> Callable[[StrategyFunction], StrategyFunction]:
    """Declare a strategy. Its keyword parameters, their annotations and defaults become its declared parameters.

    Args:
        scope: how much it sees at once.
        source: where the method is published.
        needs_base: whether it works on task vectors.
        passes: readings that measure before it is applied, in order.
        stochastic: whether it draws.
        normalises: whether it divides by the sum of weights, so that they may not add up to zero.
        uses_base: params → whether it works on task vectors with these parameters only; where neither this nor
            `needs_base` says so, `Block.base` is None.
        running: (block without tensors and base, params) → the sum that the result follows from, None where with these
            parameters there is none. It promises that the function gives just what the sum's formula gives.
        side_cars: params → what every contribution must carry for it.
        side_tensors: params → what it writes beside each tensor; its function then returns `Made`.
        check: (params, weights), both in canonical order → raises where they cannot be used together, such as a role
            that is missing; called before anything is read.
        needs_asset: params → whether it does nothing without an asset, which its parameter `asset: Asset = ""` takes.
        together: (params, shape) → how many neighbours, such as a row, no slice may part: slices of a tensor of that
            shape are whole multiples of it, but for the last. Not for samples, and not for MATRIX.
        one_task: (merged tensor with one contribution's side tensors, params) → that contribution's own tensor, (n,)
            patterns of the output's format; for strategies whose result is one model per task.
        version: goes up whenever the output bytes change.
    """

    def register(function: StrategyFunction) -> StrategyFunction:
        name = function.__name__
        assert name not in _REGISTRY, f"strategy {name} is declared twice"
        _REGISTRY[name] = Strategy(
            name,
            in_ieee(function),
            scope,
            needs_base,
            tuple(replace(one, measure=in_ieee(one.measure), finish=in_ieee(one.finish)) for one in passes),
            stochastic,
            normalises,
            source,
            version,
            tuple(_parameter(p) for p in list(inspect.signature(function).parameters.values())[1:]),
            uses_base,
            running,
            side_cars,
            side_tensors,
            check,
            needs_asset,
            together,
            one_task,
        )
        return function

    return register


def _parameter(declared: inspect.Parameter) -> Parameter:
    """Read a parameter's kind from its annotation."""
    annotation, name, default = declared.annotation, declared.name, declared.default
    if annotation is bool:
        return Parameter(name, "flag", default)
    if get_origin(annotation) is Literal:
        return Parameter(name, "choice", default, choices=get_args(annotation))
    for mark in get_args(annotation)[1:]:
        if isinstance(mark, Domain):
            return Parameter(name, "number", Fraction(default), mark)
        if isinstance(mark, ByContribution):
            return Parameter(name, "by-contribution", None, mark.domain, mark.choices)
        if isinstance(mark, Fitted):
            return Parameter(name, "asset", default)
    raise AssertionError(f"parameter {name} has an annotation that declares no kind: {annotation}")


@functools.cache
def _load_installed() -> None:
    """Import the strategies of installed packages, once per process."""
    for point in entry_points(group="conjoin.strategies"):
        point.load()


def strategies() -> dict[str, Strategy]:
    """Every registered strategy by name, those of installed packages (entry point `conjoin.strategies`) included."""
    _load_installed()
    return dict(sorted(_REGISTRY.items()))


def find_strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        UnknownStrategyError: there is none; the nearest name is given.
    """
    known = strategies()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean `{near[0]}`?" if near else "`conjoin strategies` lists them"
    raise UnknownStrategyError(f"no strategy is called `{name}`", hint=hint)
