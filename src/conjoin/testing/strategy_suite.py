"""What every strategy must hold, as one pytest class to subclass; its driver is independent of the executor.

    class TestTies(StrategySuite):
        strategy = "ties"

The driver reads everything into memory and is written to be obvious: it knows passes, scopes and blocks, no files.
"""

import functools
import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest

from conjoin import kernels
from conjoin.errors import BadWeightError, MissingBaseError, UnknownParameterError
from conjoin.kernels import FORMATS, selftest
from conjoin.kernels.backend import Backend
from conjoin.strategies.base import (
    BLOCK_ELEMENTS,
    Block,
    Extent,
    Extra,
    Made,
    Params,
    Pass,
    RawArray,
    Scope,
    SideCar,
    Strategy,
    canonical_decimal,
    find_strategy,
)

Tensors = Mapping[str, RawArray]
"""Bit patterns (n,) by tensor name."""


def _no_warning(text: str) -> None:
    """Take a warning and forget it."""


@dataclass(frozen=True)
class Model:
    """What is merged: a base, contributions by digest with their weights, and the seeds.

    Attributes:
        form: format of every tensor.
        base: tensors by name, or None.
        contributions: tensors by name, by contribution digest, in any order.
        weights: exact weight by digest; 1 where none is given.
        seeds: 32 bytes by mask scope.
        shapes: shape by tensor name; (n,) where none is given.
        extras: F32 patterns (flat) by SideCar name, digest and tensor name.
        fitted: values of an asset, or None.
    """

    form: str
    base: Tensors | None
    contributions: Mapping[str, Tensors]
    weights: Mapping[str, Fraction] = field(default_factory=dict)
    seeds: Mapping[str, bytes] = field(default_factory=lambda: {"root": bytes(32), "contribution": bytes(range(32))})
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    extras: Mapping[str, Mapping[str, Tensors]] = field(default_factory=dict)
    fitted: Mapping[str, Any] | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """Canonical order."""
        return tuple(sorted(self.contributions))

    @property
    def names(self) -> tuple[str, ...]:
        """Tensor names, ascending."""
        return tuple(sorted(next(iter(self.contributions.values()))))

    def elements(self, name: str) -> int:
        """Length of a tensor."""
        return len(self.contributions[self.digests[0]][name])

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self.shapes.get(name, (self.elements(name),))


def run(
    strategy: Strategy,
    model: Model,
    given: Mapping[str, object] | None = None,
    *,
    out_form: str | None = None,
    slice_elements: int = 1 << 20,
    warn: Callable[[str], None] = _no_warning,
) -> dict[str, RawArray]:
    """Apply a strategy to a whole model in memory.

    Args:
        strategy: what to apply.
        model: what it is applied to.
        given: parameters as a user gives them.
        out_form: format of the result; that of the model if None.
        slice_elements: elements handed over at once, a multiple of BLOCK_ELEMENTS.
        warn: takes the strategy's warnings.

    Returns:
        Bit patterns by tensor name; what is written beside a tensor as `NAME|SIDE`, rows one after the other.
    """
    params = {
        name: tuple(value.get(digest) for digest in model.digests) if isinstance(value, Mapping) else value
        for name, value in strategy.parse(given or {}).items()
    }
    weights = tuple(model.weights.get(digest, Fraction(1)) for digest in model.digests)
    strategy.check(params, weights)
    measured: dict[str, dict[str, Any]] = {name: {} for name in model.names}

    def blocks(name: str) -> Iterator[Block]:
        whole = strategy.scope is Scope.MATRIX
        together = max(1, model.elements(name)) if whole else strategy.together(params, model.shape(name))
        size = math.lcm(slice_elements, together)
        for block in _slices(strategy, params, model, name, weights, out_form or model.form, size):
            yield replace(block, measured=dict(measured[name]), warn=warn)

    for step in strategy.passes:
        if not step.needed(params):
            continue
        groups = [[name] for name in model.names] if step.scope(params) == "tensor" else [list(model.names)]
        for group in groups:
            if step.settled(measured[group[0]]):
                continue
            partials = [step.measure(block, params) for name in group for block in blocks(name)]
            elements = sum(model.elements(name) for name in group)
            extent = Extent(len(weights), elements, weights, measured[group[0]], warn)
            result = step.finish(_combined(step, partials), params, extent)
            for name in group:
                measured[name][step.name] = result
    result: dict[str, RawArray] = {}
    for name in model.names:
        made = [strategy.function(block, **params) for block in blocks(name)]
        result[name] = np.concatenate([one.tensor if isinstance(one, Made) else one for one in made])
        sides = [one.side for one in made if isinstance(one, Made)]
        for side in strategy.side_tensors(params):
            rows = [one[side.name] for one in sides]
            together = np.concatenate(rows, axis=1) if side.is_mask else rows[0]
            result[f"{name}|{side.name}"] = np.ascontiguousarray(together).view(np.uint8).ravel()
    return result


def _slices(
    strategy: Strategy,
    params: Params,
    model: Model,
    name: str,
    weights: tuple[Fraction, ...],
    out_form: str,
    size: int,
) -> Iterator[Block]:
    """The tensor in slices, with nothing measured yet."""
    before = sum(model.elements(other) for other in model.names if other < name)
    for start in range(0, max(1, model.elements(name)), size):
        part = slice(start, start + size)
        yield Block(
            tensors=tuple(model.contributions[digest][name][part] for digest in model.digests),
            base=None if model.base is None else model.base[name][part],
            weights=weights,
            contributions=model.digests,
            format=model.form,
            out_format=out_form,
            name=name,
            shape=model.shape(name),
            offset=start,
            flat_offset=before,
            seeds=model.seeds,
            strategy=strategy.name,
            extras=_extras(strategy.side_cars(params), model, name, part),
            fitted=model.fitted,
        )


def _extras(sides: Iterable[SideCar], model: Model, name: str, part: slice) -> dict[str, Extra]:
    """What the side-cars hold for a slice of a tensor."""
    found: dict[str, Extra] = {}
    for side in sides:
        shape, held = side.shape(model.shape(name)), model.extras.get(side.name, {})
        if shape is None or not all(name in held.get(digest, {}) for digest in model.digests):
            continue
        whole = [held[digest][name] for digest in model.digests]
        found[side.name] = Extra(tuple(one[part] if side.elementwise else one for one in whole), "F32", shape)
    return found


def _combined(step: Pass, partials: list[Any]) -> Any:
    if step.combine == "tree":
        return kernels.fold_blocks(np.concatenate(partials))
    return functools.reduce(np.add, partials)


@contextmanager
def backend(name: Backend) -> Generator[None]:
    """Insist on one arithmetic for a while."""
    kernels.use(name)
    try:
        yield
    finally:
        kernels.use(None)


def digest_number(index: int) -> str:
    """A digest to call the index-th contribution by; ascending in no particular way."""
    return f"{(index * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64:016x}" * 4


def wild_model(form: str, count: int, sizes: Mapping[str, int | tuple[int, ...]]) -> Model:
    """A model of patterns of every kind: subnormal, both zeros, extreme; half of the contributions near the base."""
    shapes = {name: (size,) if isinstance(size, int) else size for name, size in sizes.items()}

    def tensors(index: int) -> dict[str, RawArray]:
        make = selftest.patterns if index % 2 == 0 else selftest.near
        return {name: _squarable(make(form, index, math.prod(shape))) for name, shape in shapes.items()}

    return Model(form, tensors(0), {digest_number(i): tensors(i + 1) for i in range(count)}, shapes=shapes)


def _squarable(raw: RawArray) -> RawArray:
    """F64 numbers with their exponents drawn together to 2^±256, so that squares stay finite; others as they are."""
    if raw.dtype != np.uint64:
        return raw
    exponent, mask = raw >> np.uint64(52) & np.uint64(0x7FF), np.uint64(0x7FF << 52)
    moved = (raw & ~mask) | ((exponent >> np.uint64(2)) + np.uint64(768)) << np.uint64(52)
    return np.where(exponent == 0, raw, moved)


def choices_of(strategy: Strategy) -> list[dict[str, str]]:
    """Settings of the parameters: the default, and every choice and flag by itself."""
    single = [
        {p.name: value}
        for p in strategy.parameters
        for value in (p.choices if p.kind == "choice" else ("true", "false") if p.kind == "flag" else ())
    ]
    return [{}, *single]


def assert_same(left: Mapping[str, RawArray], right: Mapping[str, RawArray]) -> None:
    """Both hold the same tensors, byte for byte."""
    assert sorted(left) == sorted(right)
    for name in left:
        assert left[name].dtype == right[name].dtype
        differs = np.flatnonzero(left[name] != right[name])
        assert not len(differs), f"`{name}` differs in {len(differs)} elements, first {differs[0]}"


class StrategySuite:
    """Every property, for one strategy. Set `strategy`; its traits decide what applies."""

    strategy: ClassVar[str]
    variants: ClassVar[list[dict[str, str]]] = []
    """Further settings of the parameters to try, besides the default and each choice and flag by itself."""
    vectors: ClassVar[list[dict[str, Any]]] = [{}]
    """Settings that vector files pin; `tools/vectors/make_vectors.py` writes them."""

    shapes: ClassVar[Mapping[str, int | tuple[int, ...]]] = {
        "b.weight": (28, 25),
        "a.bias": 1,
        "c.weight": (25, 41),
        "d.norm": 1025,
    }
    """What the backends are compared on; smaller where the reference takes its time, as with matrices."""

    @property
    def subject(self) -> Strategy:
        """The strategy under test."""
        return find_strategy(self.strategy)

    def side_car(self, side: SideCar, salt: int, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:  # noqa: ARG002
        """Values (shape) for one side-car tensor; positive numbers around 1 unless a suite needs others."""
        return 0.5 + (selftest.patterns("F32", salt, math.prod(shape)) % np.uint32(1021)).reshape(shape) / 1024

    def fit(self, model: Model, setting: Mapping[str, str]) -> Mapping[str, Any] | None:  # noqa: ARG002
        """Values of an asset for `model`; None for strategies that take none."""
        return None

    def given(self, model: Model, setting: Mapping[str, str]) -> Mapping[str, Any]:  # noqa: ARG002
        """The setting with what belongs to single contributions, such as roles."""
        return setting

    def equipped(self, model: Model, setting: Mapping[str, str]) -> Model:
        """The model with the side-cars and the asset that the strategy needs with these parameters."""
        extras: dict[str, dict[str, dict[str, RawArray]]] = {}
        for side in self.subject.side_cars(self.subject.parse(dict(setting))):
            for index, digest in enumerate(sorted(model.contributions)):
                rows = extras.setdefault(side.name, {}).setdefault(digest, {})
                for at, name in enumerate(model.names):
                    shape = side.shape(model.shape(name))
                    if shape is not None:
                        values = self.side_car(side, 100 * index + at, shape)
                        rows[name] = kernels.encode(np.ascontiguousarray(values).ravel(), "F32")
        return replace(model, extras=extras, fitted=self.fit(model, setting))

    def run(self, model: Model, setting: Mapping[str, str] | None = None, **options: Any) -> dict[str, RawArray]:
        """Apply the strategy to the model, with everything it needs."""
        chosen = setting or {}
        return run(self.subject, self.equipped(model, chosen), self.given(model, chosen), **options)

    def settings(self) -> list[dict[str, str]]:
        """The default, every choice and flag by itself, and `variants`."""
        return [*self.choices(), *self.variants]

    def choices(self) -> list[dict[str, str]]:
        """The default, and every choice and flag by itself."""
        return choices_of(self.subject)

    def test_traits_are_complete(self) -> None:
        """It names its source, documents every parameter, and its defaults are within their domains."""
        assert self.subject.source
        assert self.subject.summary.endswith(".")
        for parameter in self.subject.parameters:
            assert parameter.name in self.subject.doc, f"`{parameter.name}` is not in the docstring"
            if isinstance(parameter.default, Fraction):
                assert parameter.parse(canonical_decimal(parameter.default), self.strategy) == parameter.default
        with pytest.raises(UnknownParameterError):
            self.subject.parse({"no_such_parameter": "1"})

    @pytest.mark.parametrize("form", FORMATS)
    def test_backends_agree(self, form: str) -> None:
        """The reference and the compiled arithmetic give the same bytes, for every setting and output format."""
        model = wild_model(form, 4, self.shapes)
        others = zip(self.settings()[1:], itertools.cycle(FORMATS), strict=False)
        for setting, out_form in [*(({}, out_form) for out_form in FORMATS), *others]:
            with backend("reference"):
                expected = self.run(model, setting, out_form=out_form)
            with backend("compiled"):
                assert_same(self.run(model, setting, out_form=out_form), expected)
            assert all(expected[name].dtype == FORMATS[out_form].raw for name in model.names)

    @pytest.mark.parametrize("form", ["BF16", "F32"])
    def test_slices_do_not_matter(self, form: str) -> None:
        """Any split of a tensor at canonical blocks gives the same bytes, in both backends."""
        model = wild_model(form, 3, {"w": 3 * BLOCK_ELEMENTS + 77, "v": 100})
        for setting in self.settings():
            whole = self.run(model, setting)
            for blocks in (1, 2, 3):
                assert_same(self.run(model, setting, slice_elements=blocks * BLOCK_ELEMENTS), whole)
        with backend("reference"):
            assert_same(self.run(model, slice_elements=BLOCK_ELEMENTS), self.run(model))

    def test_order_of_arrival_does_not_matter(self) -> None:
        """Contributions are taken in canonical order, however they were added; nothing stays from earlier calls."""
        model = wild_model("BF16", 4, {"w": (15, 20), "v": 33})
        digests = list(model.digests)
        for setting in self.settings():
            expected = self.run(model, setting)
            for order in (digests[::-1], digests[2:] + digests[:2]):
                shuffled = {digest: model.contributions[digest] for digest in order}
                assert_same(self.run(replace(model, contributions=shuffled), setting), expected)

    @pytest.mark.parametrize("form", FORMATS)
    def test_one_contribution_runs_the_formula(self, form: str) -> None:
        """One contribution works; a strategy that normalises gives the contribution itself, sign of zero included."""
        model = wild_model(form, 1, {"w": (20, 25), "scalar": 1})
        result = self.run(model)
        assert all(result[name].dtype == FORMATS[form].raw for name in model.names)
        if self.subject.normalises:
            assert_same(result, model.contributions[model.digests[0]])

    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_contributions_equal_to_the_base_give_the_base(self, form: str, count: int) -> None:
        """With all task vectors zero the result is the base; with all inputs equal it is that input.

        F64 tensors hold float32 values here: a sum of full float64 numbers rounds.
        """
        values = "F32" if form == "F64" else form
        base = {
            name: kernels.encode(kernels.decode(selftest.patterns(values, salt, n), values), form)
            for name, salt, n in (("w", 5, 333), ("v", 6, 3))
        }
        model = Model(form, base, {digest_number(i): base for i in range(count)})
        for setting in self.choices():
            if setting.get("normalize") == "false":
                continue
            result = self.run(model, setting)
            for name, tensor in base.items():
                assert (kernels.decode(result[name], form) == kernels.decode(tensor, form)).all(), setting

    @pytest.mark.parametrize("form", FORMATS)
    def test_zeros_stay_finite(self, form: str) -> None:
        """Zero tensors and zero task vectors divide nothing by zero."""
        zeros = {"w": np.zeros(100, FORMATS[form].raw)}
        some = {"w": kernels.encode(np.arange(-50, 50) / 7, form)}
        for base in (zeros, some):
            for contributions in ((zeros, zeros), (zeros, some), (some, zeros, zeros)):
                model = Model(form, base, {digest_number(i): t for i, t in enumerate(contributions)})
                for setting in self.settings():
                    result = self.run(model, setting)
                    assert kernels.count_nonfinite(result["w"], form) == 0, setting

    def test_every_bf16_pattern(self) -> None:
        """All finite BF16 numbers, against each other: both backends give the same bytes."""
        every = np.arange(1 << 16, dtype=np.uint16)
        finite = every[(every & 0x7F80) != 0x7F80]
        shifted = [np.roll(finite, step) for step in (0, 1, 12_345, 40_000)]
        model = Model("BF16", {"w": shifted[0]}, {digest_number(i): {"w": t} for i, t in enumerate(shifted[1:])})
        with backend("reference"):
            expected = self.run(model)
        with backend("compiled"):
            assert_same(self.run(model), expected)

    def test_empty_tensor(self) -> None:
        """A tensor without elements gives one without elements."""
        model = wild_model("F32", 3, {"w": 0})
        assert len(self.run(model)["w"]) == 0

    def test_base_is_asked_for_where_it_is_needed(self) -> None:
        """Without a base a strategy on task vectors refuses; the others do not look at it."""
        model = wild_model("F32", 3, {"w": 50})
        alone = replace(model, base=None)
        if self.subject.needs_base:
            with pytest.raises(MissingBaseError):
                self.run(alone)
        else:
            assert_same(self.run(alone), self.run(model))

    def test_weights_that_add_up_to_zero(self) -> None:
        """A strategy that normalises refuses weights whose sum is zero; the others give finite bytes."""
        model = wild_model("BF16", 2, {"w": 50})
        weightless = replace(model, weights=dict.fromkeys(model.digests, Fraction(0)))
        if self.subject.normalises:
            with pytest.raises(BadWeightError):
                self.run(weightless)
        else:
            assert model.base is not None
            result = kernels.decode(self.run(weightless)["w"], "BF16")
            assert (result == kernels.decode(model.base["w"], "BF16")).all()

    def test_weights_count(self) -> None:
        """Other weights give other bytes, and awkward ones are the same in both backends."""
        model = wild_model("F32", 3, {"w": (20, 25)})
        heavy = replace(
            model, weights={model.digests[0]: Fraction("2.5"), model.digests[2]: Fraction("0.1234567890123")}
        )
        with backend("reference"):
            expected = self.run(heavy)
        with backend("compiled"):
            assert_same(self.run(heavy), expected)
        assert (expected["w"] != self.run(model)["w"]).any()

    def test_draws_depend_on_the_seed_alone(self) -> None:
        """A stochastic strategy changes with its seed and is otherwise fixed; any other strategy ignores seeds."""
        model = wild_model("F32", 3, {"w": (20, 25)})
        scopes = [s for s in self.settings() if "mask_scope" in s] or [{}]
        for setting in scopes:
            scope = setting.get("mask_scope", "root")
            other = replace(model, seeds={**model.seeds, scope: b"\xff" * 32})
            same = (self.run(other, setting)["w"] == self.run(model, setting)["w"]).all()
            assert same != self.subject.stochastic
            assert_same(self.run(model, setting), self.run(model, setting))
