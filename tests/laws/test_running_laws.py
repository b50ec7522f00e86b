"""Running sums: whatever was added and taken out in whatever order, the bytes are those of a full resolve, or none."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin import kernels
from conjoin.errors import BadArrayError
from conjoin.kernels import FORMATS, RunningSum
from conjoin.kernels.ops.running import span_of
from conjoin.testing.strategy_suite import backend

FORMS = st.sampled_from(sorted(FORMATS))
OUT_FORMS = st.sampled_from(["F64", "F64", *sorted(FORMATS)])  # F64 shows every rounding of the sum
KINDS = ("plain", "tuned", "whole", "wild", "zeros", "minus", "opposite", "subnormal", "odd", "high", "low")
SPREAD = {"odd": 0, "high": 1, "low": -1}
WEIGHTS = ("1", "1", "1", "2", "3", "0.5", "0.7", "1.3", "12")
KEY = (1, 2, 3, 4)


def values(kind, form, n, seed, base):
    """(n,) finite patterns of a kind."""
    rng = np.random.default_rng(seed)
    known = FORMATS[form]
    sign = known.raw.type(1 << (8 * known.item_bytes - 1))
    if kind == "tuned":
        return kernels.encode(kernels.decode(base, form) + rng.normal(0, 1e-3, n), form)
    if kind == "plain":
        return kernels.encode(rng.normal(0, 0.02, n), form)
    if kind == "whole":
        return kernels.encode(rng.integers(-9, 10, n).astype(np.float64), form)
    if kind in SPREAD:  # together they lie at the edge of what a float64 holds
        scale = 2.0 ** (SPREAD[kind] * (52 - known.fraction_bits) // 2 + rng.integers(-3, 4, n))
        return kernels.encode(rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1, n) * scale, form)
    if kind == "minus":
        return np.full(n, sign)
    if kind == "opposite":
        return base ^ sign
    raw = rng.integers(0, 2**64, n, dtype=np.uint64).astype(known.raw)
    if kind == "zeros":
        return raw & sign
    if kind == "subnormal":
        return raw & (sign | known.raw.type((1 << known.fraction_bits) - 1))
    exponent = known.raw.type(known.infinity)
    raw[(raw & exponent) == exponent] ^= known.raw.type(1 << (known.fraction_bits + 1))
    return raw


@st.composite
def stories(draw):
    """A format, a base, contributions with weights, and which of them are visible after each step."""
    form = draw(FORMS)
    n = draw(st.sampled_from([1, 2, 7, 1500]))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    k, seed = draw(st.sampled_from([2, 3, 4, 9, 20])), draw(st.integers(0, 2**32))
    base = values(draw(st.sampled_from(("plain", "whole", "zeros", "minus", "high"))), form, n, seed, None)
    tensors = [values(kinds[i % len(kinds)], form, n, seed + 1 + i // len(kinds), base) for i in range(k)]
    weights = [Fraction(draw(st.sampled_from(WEIGHTS))) for _ in range(k)]
    visible, steps = draw(st.sets(st.integers(0, k - 1), min_size=1)), []
    for _ in range(draw(st.integers(1, 5))):
        steps.append(frozenset(visible))
        changed = draw(st.sets(st.integers(0, k - 1), min_size=1, max_size=3))
        visible = (visible ^ changed) or {draw(st.integers(0, k - 1))}
    return form, base, tensors, weights, [*steps, frozenset(visible)]


class Kept:
    """A running sum over numbered contributions, brought to each set in turn as a resolve does it."""

    def __init__(self, form, tensors, keys, **options):
        self.form, self.tensors, self.keys, self.options = form, tensors, keys, options
        self.total: RunningSum | None = None
        self.factors: dict[int, float] = {}

    def move(self, wanted: dict[int, float]) -> Fraction | None:
        """Bring the sum to `wanted` (numerators by number); returns their ratio to the factors, None without a sum."""
        for start in (self.factors, {}):
            way = kernels.way(start, wanted)
            if way is not None and self.advance(way, begin=not start):
                return way.ratio
        self.total, self.factors = None, {}
        return None

    def advance(self, way, *, begin):
        if not way.added and not way.taken:
            assert way.scale == 1
            return True
        before = None if begin else self.total
        added = [(self.tensors[i], way.factors[i]) for i in way.added]
        taken = [(self.tensors[i], way.scale * self.factors[i]) for i in way.taken]
        keys = [self.keys[i] for i in (*way.added, *way.taken)] if self.options.get("drop_below") else []
        found = both(
            lambda: kernels.running_sum(
                before, added, self.form, taken=taken, scale=way.scale, keys=keys, **self.options
            )
        )
        if found is not None:
            assert found.is_whole()
            self.total, self.factors = found, dict(way.factors)
        return found is not None


def both(function):
    """What the compiled arithmetic gives, and the reference with it."""
    with backend("reference"):
        expected = function()
    with backend("compiled"):
        found = function()
    if isinstance(found, RunningSum):
        assert (found.packed.bounds == expected.packed.bounds).all()
        assert (found.packed.words == expected.packed.words).all()
    else:
        assert (found is None) == (expected is None)
        assert found is None or (found == expected).all()
    return found


@given(stories(), OUT_FORMS, st.sampled_from(["average", "sum", "0.3", "0.25", "-1", "1"]))
@settings(max_examples=120, deadline=None)
def test_linear_forms(story, out_form, rule):
    form, base, tensors, weights, steps = story
    kept = Kept(form, tensors, ())
    for visible in steps:
        order = sorted(visible)
        shares = [weights[i] for i in order]
        own, sources = 0.0, [tensors[i] for i in order]
        if rule in ("average", "sum"):
            total = sum(shares) if rule == "average" else 1
            terms = kernels.coefficients([share / total for share in shares])
        else:
            shares = [Fraction(rule) * share for share in shares]
            terms = kernels.coefficients([1 - sum(shares), *shares])
            own, sources = terms.numerators[0], [base, *sources]
        ratio = kept.move(dict(zip(order, terms.numerators[-len(order) :], strict=True)))
        if ratio is None:
            continue
        found = both(
            lambda r=ratio, o=own, d=terms.denominator: kernels.running_linear(
                kept.total, r, form, out_form, base=base, base_numerator=o, denominator=d
            )
        )
        assert found is None or (found == kernels.linear(sources, terms, form, out_form)).all()


@given(stories(), OUT_FORMS, st.sampled_from(["0.3", "1", "-2"]), st.sampled_from([0, 2**31, 3_865_470_566]))
@settings(max_examples=120, deadline=None)
def test_sums_of_task_vectors(story, out_form, scale, drop_below):
    form, base, tensors, weights, steps = story
    keys = [(7, 11, i, 13) for i in range(len(tensors))]
    kept = Kept(form, tensors, keys, base=base, drop_below=drop_below, start=1 << 20)
    keep = kernels.effective_keep(drop_below)
    for visible in steps:
        order = sorted(visible)
        terms = kernels.coefficients([Fraction(scale) * weights[i] / keep for i in order])
        ratio = kept.move(dict(zip(order, terms.numerators, strict=True)))
        if ratio is None:
            continue
        full = kernels.delta_sum(
            [tensors[i] for i in order], base, form, out_form,
            terms=terms, drop_below=drop_below, keys=[keys[i] for i in order], start=1 << 20,
        )  # fmt: skip
        found = both(
            lambda r=ratio, d=terms.denominator: kernels.running_delta_sum(
                kept.total, r, base, form, out_form, denominator=d
            )
        )
        assert found is None or (found == full).all()


@pytest.mark.parametrize("form", ["BF16", "F16"])
@pytest.mark.parametrize("kind", ["plain", "tuned", "zeros", "whole"])
def test_numbers_like_those_of_models_are_always_proven(form, kind):
    base = values("plain", form, 3000, 1, None)
    tensors = [values(kind, form, 3000, seed, base) for seed in range(2, 22)]
    kept = Kept(form, tensors, ())
    for step in [*range(1, 21), *range(20, 10, -1)]:
        terms = kernels.coefficients([Fraction(1, step)] * step)
        ratio = kept.move(dict(enumerate(terms.numerators)))
        assert ratio is not None
        found = kernels.running_linear(kept.total, ratio, form, form, denominator=terms.denominator)
        assert found is not None
        assert (found == kernels.linear(tensors[:step], terms, form, form)).all()


def test_the_edge_of_what_a_float64_holds():
    """Sums added up backwards, of numbers whose bits span about 53: answers are right, and some are refused."""
    rng, proven, rounded = np.random.default_rng(5), 0, 0
    for _ in range(600):
        k, form = int(rng.integers(2, 6)), str(rng.choice(["F32", "BF16"]))
        reach = 52 - FORMATS[form].fraction_bits
        exponents = rng.integers(reach - 8, reach + 4) * rng.integers(0, 2, k) + rng.integers(0, 3, k)
        raws = [kernels.encode(2.0**exponent * rng.uniform(-1, 1, 32), form) for exponent in exponents]
        base = [raws[0]] if rng.random() < 0.5 else []
        factors = [float(factor) for factor in rng.choice([1, 1, 3, 12], k - len(base))]
        terms = kernels.Coefficients((*([-5.0] * len(base)), *factors), 7.0)
        full = kernels.linear(raws, terms, form, "F64")
        total = kernels.running_sum(None, [*zip(raws[len(base) :], factors, strict=True)][::-1], form)
        found = None
        if total is not None:
            own = {"base": raws[0], "base_numerator": -5.0} if base else {}
            found = kernels.running_linear(total, Fraction(1), form, "F64", denominator=7.0, **own)
        if found is not None:
            assert (found == full).all()
            proven += 1
        backwards = kernels.Coefficients(terms.numerators[::-1], 7.0)
        rounded += bool((kernels.linear(raws[::-1], backwards, form, "F64") != full).any())
    assert proven > 100
    assert rounded > 100


def test_a_chain_that_rounds_is_never_answered_by_the_exact_sum():
    raws = [kernels.encode(np.array([value]), "F32") for value in (2.0**60, 1.0, -(2.0**60))]
    assert kernels.running_sum(None, [(raw, 1.0) for raw in raws], "F32") is None
    sums = kernels.running_sum(None, [(raws[1], 1.0), (raws[1], 1.0)], "F32")
    assert sums is not None
    third = kernels.coefficients([Fraction(1), Fraction(1, 2), Fraction(1, 2)])
    assert kernels.linear([raws[0], raws[1], raws[1]], third, "F32", "F32") == raws[0]
    assert kernels.running_linear(sums, Fraction(1, 2), "F32", "F32", base=raws[0], base_numerator=1.0) is None


def test_the_sign_of_zero():
    """A sum of −0 alone is −0; where a −0 was in and what is left is a zero, only a full resolve knows its sign."""
    minus, plus, one = (kernels.encode(np.array([value]), "BF16") for value in (-0.0, 0.0, 1.0))
    both_minus = kernels.running_sum(None, [(minus, 1.0), (minus, 1.0)], "BF16")
    assert both_minus is not None
    assert kernels.running_linear(both_minus, Fraction(1), "BF16", "BF16") == minus
    assert kernels.running_linear(both_minus, Fraction(-1), "BF16", "BF16") is None
    left = kernels.running_sum(both_minus, [], "BF16", taken=[(minus, 1.0)])
    assert left is not None
    assert kernels.running_linear(left, Fraction(1), "BF16", "BF16") == minus
    mixed = kernels.running_sum(both_minus, [(one, 1.0)], "BF16")
    assert kernels.running_sum(mixed, [], "BF16", taken=[(one, 1.0)]) is None
    none_minus = kernels.running_sum(None, [(plus, 1.0), (one, 1.0)], "BF16")
    left = kernels.running_sum(none_minus, [], "BF16", taken=[(one, 1.0)])
    assert left is not None
    assert kernels.running_linear(left, Fraction(1), "BF16", "BF16") == plus


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False).filter(bool), min_size=1, max_size=6))
def test_spans(factors):
    low, top = span_of(factors)
    exact = [abs(Fraction(factor)) for factor in factors]
    assert all((factor / Fraction(2) ** low).denominator == 1 for factor in exact)
    assert any((factor / Fraction(2) ** (low + 1)).denominator == 2 for factor in exact)
    assert Fraction(2) ** (top - 1) < sum(exact) <= Fraction(2) ** top


def test_what_was_never_in_cannot_be_taken_out():
    one, two = (kernels.encode(np.array([value]), "BF16") for value in (1.0, 2.0))
    total = kernels.running_sum(None, [(one, 1.0)], "BF16")
    with pytest.raises(BadArrayError):
        kernels.running_sum(total, [(one, 1.0)], "BF16", taken=[(two, 3.0)])
    with pytest.raises(BadArrayError):
        kernels.running_sum(total, [], "BF16", taken=[(one, 1.0)])


@given(st.dictionaries(st.integers(0, 9), st.sampled_from([1, 2, 3, 0.5, 0.75, 7]), min_size=1), st.data())
def test_ways(wanted, data):
    begun = kernels.way({}, wanted)
    assert begun is not None
    assert math.gcd(*(int(factor) for factor in begun.factors.values())) == 1
    assert all(Fraction(n) == begun.ratio * Fraction(begun.factors[term]) for term, n in wanted.items())
    after = {term: n * 3 for term, n in wanted.items() if data.draw(st.booleans())} | {10: 5}
    way = kernels.way(begun.factors, after)
    if after.keys() == {10}:
        assert way is None
    else:
        assert way is not None
        assert set(way.added) == after.keys() - wanted.keys()
        assert set(way.taken) == wanted.keys() - after.keys()
        assert all(Fraction(n) == way.ratio * Fraction(way.factors[term]) for term, n in after.items())
        assert all(way.scale * begun.factors[t] == way.factors[t] for t in wanted.keys() & after.keys())
    assert kernels.way({1: 1.0, 2: 2.0}, {1: 1.0, 2: 3.0}) is None
