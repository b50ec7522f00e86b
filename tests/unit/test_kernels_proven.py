"""Float32 in place of float64: ordinary data take it, and what it would get wrong does not."""

import numpy as np
import pytest
from tests.unit.test_kernels_elementwise import every_pattern
from tests.unit.test_kernels_operations import both

from conjoin import kernels
from conjoin.kernels import FORMATS, Coefficients, Trim, jit
from conjoin.kernels.compiled.handover import addresses
from conjoin.kernels.native import proven
from conjoin.kernels.native.proven import filled, fits, larger, patterns, smaller
from conjoin.kernels.native.vectors import WIDTH
from conjoin.kernels.reference.order import magnitude_keys, task_vector

SHORT = ["BF16", "F16"]


@jit.kernel
def let_in(sources, n, spans):
    """In how many vectors float32 is taken."""
    count = 0
    for at in range(0, n, WIDTH):
        most, least = filled(0), filled(0xFFFF)
        for source in sources:
            found = patterns(source, at)
            most, least = larger(most, found), smaller(least, found)
        count += fits(most, least, spans[0], spans[1], spans[2])
    return count


def share(tensors, spans):
    n = len(tensors[0])
    assert n % WIDTH == 0
    return let_in(addresses(tensors), n, spans) * WIDTH / n


def tunes(form, count=4, n=1 << 18):
    """A base and fine-tunes, as `benchmarks/checkpoints.py` makes them."""
    rng = np.random.default_rng(3)
    base = rng.normal(0, 0.02, n)
    steps = [rng.normal(0, 0.0005, n) for _ in range(count)]
    return [kernels.encode(base + step, form) for step in [0 * base, *steps]]


@pytest.mark.parametrize("form", SHORT)
@pytest.mark.parametrize("weights", [(0.25,) * 4, (1.0, 2.0, 3.0, 4.0), (0.5, -1.0, 1.5, 0.125)])
def test_averages_of_fine_tunes_are_proven(form, weights):
    for denominator in (1.0, 3.0, 10.0):
        spans = proven.linear_spans(weights, denominator, form, form)
        assert share(tunes(form)[1:], spans) > 0.99


def test_zeros_are_proven():
    zeros = [np.zeros(64, np.uint16), np.full(64, 0x8000, np.uint16)]
    assert share(zeros, proven.linear_spans((1.0, 1.0), 1.0, "BF16", "BF16")) == 1
    some = [np.where(np.arange(64) % 3, 0x3F80, 0).astype(np.uint16), zeros[1]]
    assert share(some, proven.linear_spans((1.0, 1.0), 1.0, "BF16", "BF16")) == 1
    both(lambda: kernels.linear(zeros, Coefficients((1.0, 1.0), 1.0), "BF16", "BF16"))


@pytest.mark.parametrize("form", SHORT)
def test_what_is_not_finite_is_not_proven(form):
    spans = proven.linear_spans((1.0,), 1.0, form, form)
    for bad in (FORMATS[form].infinity, FORMATS[form].nan):
        assert share([np.full(32, bad, np.uint16)], spans) == 0


@pytest.mark.parametrize("numerators", [(0.1,), (2.0**25,), (2.0**-25,), (float(2**24 - 1),) * 3])
def test_coefficients_of_many_bits_are_not_proven(numerators):
    assert (proven.linear_spans(numerators, 1.0, "BF16", "BF16") == proven.NEVER).all()


def test_long_formats_are_not_proven():
    for form, out_form in (("F32", "BF16"), ("BF16", "F32"), ("F64", "F64")):
        assert (proven.linear_spans((1.0,), 1.0, form, out_form) == proven.NEVER).all()


@pytest.mark.parametrize("form", SHORT)
def test_ties_beside_small_terms(form):
    """6 h is halfway between two patterns; two small terms leave one unit of theirs, which float32 loses from a gap on.

    The first gap of them is the first that is not let in.
    """
    bits = FORMATS[form].fraction_bits
    n, rng = 1 << 10, np.random.default_rng(4)
    tie = 97 * 2.0 ** (1 - bits) * 2 ** (bits - 7)
    lost = []
    for gap in range(24):
        unit = 2.0 ** (-gap - bits)
        first = rng.integers(7 << (bits - 2), (2 << bits) - 1, n) * unit
        sources = [kernels.encode(values, form) for values in (np.full(n, tie), first, unit - first)]
        if np.abs(kernels.decode(sources[1], form) - first).any():
            continue  # below what the format has
        both(lambda sources=sources: kernels.linear(sources, Coefficients((6.0, 1.0, 1.0), 1.0), form, form))
        high, low, back = (kernels.decode(raw, form).astype(np.float32) for raw in sources)
        single, exact = (np.float32(6) * high + low) + back, 6 * tie + unit
        lost.append(bool((single != exact).any()))
        inside = share(sources, proven.linear_spans((6.0, 1.0, 1.0), 1.0, form, form))
        assert inside == (0 if any(lost) else 1)
    assert any(lost)
    assert not all(lost)


@pytest.mark.parametrize(
    ("form", "denominators"), [("BF16", (32767, 65791, 66003, 78063)), ("F16", (4095, 8195, 8263))]
)
def test_quotients_that_float32_takes_for_ties(form, denominators):
    """They begin at twice the greatest denominator let in."""
    raw = every_pattern(form)
    for denominator in denominators:
        both(lambda d=denominator: kernels.linear([raw], Coefficients((1.0,), float(d)), form, form))


@pytest.mark.parametrize("denominator", [1.0, 3.0, 5.0, 1000.0])
@pytest.mark.parametrize("out_form", SHORT)
@pytest.mark.parametrize("form", SHORT)
def test_all_sizes(form, out_form, denominator):
    """Neighbouring patterns of every exponent, so that only the limits of size decide; also what F16 cannot hold."""
    raw = every_pattern(form)
    n = len(raw)
    for other in (raw, np.roll(raw, 1), np.roll(raw, n // 2), np.roll(raw, n // 2 + 3)):
        both(lambda y=other: kernels.linear([raw, y], Coefficients((3.0, 1.0), denominator), form, out_form))
        small = Coefficients((2.0**-20, 3 * 2.0**-20), denominator)
        both(lambda y=other, small=small: kernels.linear([raw, y], small, form, out_form))
        both(lambda y=other: kernels.linear([raw, y], Coefficients((2.0**20, 2.0**20), 1.0), form, out_form))


def test_products_that_vanish_beside_ties():
    """The least normal numbers of BF16 times small coefficients: float32 has not all of them, but they decide a tie."""
    left, right = (side.ravel().astype(np.uint16) for side in np.meshgrid(np.arange(128, 256), np.arange(128, 160)))
    for scale in (1.0, 2.0**-10, 2.0**-20):
        terms = Coefficients((scale, 4095 * scale), 1.0)
        both(lambda terms=terms: kernels.linear([left, right], terms, "BF16", "BF16"))


SCALES = [(1.0, 1.0), (0.5, 1.0), (3.0, 10.0)]


def all_of_ties(form, base, tensors, trim, numerators=(1.0, 1.0, 1.0), scales=SCALES):
    """Every way to combine, by both arithmetics; the result of the plain mean."""
    terms = Coefficients(numerators, 2.0)
    both(lambda: kernels.elected_signs(tensors, base, form, terms, trim, 0))
    results = [
        both(
            lambda how=how, scale=scale: kernels.ties(
                tensors, base, form, form, terms=terms, trim=trim, start=0,
                aggregate=how, zero_sign=1, scale=Coefficients(scale[:1], scale[1]),
            )
        )
        for how in ("mean", "sum", "max") for scale in scales
    ]  # fmt: skip
    return results[0]


@pytest.mark.parametrize("density", [0.2, 0.5, 1])
@pytest.mark.parametrize("form", SHORT)
def test_ties_of_fine_tunes_are_proven(form, density):
    base, *tensors = tunes(form, 3)
    keys = [np.sort(magnitude_keys(task_vector(tensor, base, form))) for tensor in tensors]
    cutoffs = (1 << 60, len(base) // 2, 12_345)
    trim = Trim(tuple(int(key[-int(density * len(base))]) for key in keys), cutoffs)
    made = all_of_ties(form, base, tensors, trim, scales=SCALES[:1])
    limit, least = proven.update_spans((1.0,) * 3, 2.0, SCALES[0], form, form)
    assert share([base, *tensors], limit) > 0.98
    assert share([base, *tensors], proven.mass_spans((1.0,) * 3, form)) > 0.99
    sizes = np.abs([kernels.decode(raw, form) for raw in (made, base, *tensors)])
    steady = (sizes[0] >= least * sizes[1:].max(axis=0)) | (made == base)
    assert steady.reshape(-1, WIDTH).all(axis=1).mean() > 0.95


@pytest.mark.parametrize("numerators", [(1.0, 1.0, 1.0), (1.0, 2.0, 4.0), (3.0, -1.0, 0.5)])
@pytest.mark.parametrize("form", SHORT)
def test_updates_that_cancel_the_base(form, numerators):
    """Small numbers beside a large base: quotients are wrong by its last places, and results are of their size."""
    bits, rng, n = FORMATS[form].fraction_bits, np.random.default_rng(6), 1 << 12
    for gap in range(20):
        unit = 2.0 ** (-gap - bits)
        small = rng.integers(1 << bits, 2 << bits, (3, n)) * rng.choice([-2.0, -1.0, 1.0, 2.0], (3, n)) * unit
        base = kernels.encode(rng.choice([-1.0, 1.0], n) * rng.integers(1 << bits, 2 << bits, n) * 2.0**-bits, form)
        tensors = [kernels.encode(row, form) for row in small]
        all_of_ties(form, base, tensors, Trim.nothing(3), numerators)
        mixed = [np.where(rng.random(n) < 0.3, base, tensor) for tensor in tensors]
        all_of_ties(form, base, mixed, Trim.nothing(3), numerators, SCALES[:1])


@pytest.mark.parametrize("form", SHORT)
def test_signs_of_masses_that_nearly_cancel(form):
    """15 τ₁ + τ₂ − τ₃ − 15 τ₁ is one unit of the least number, of either sign, or 0."""
    bits, rng, n = FORMATS[form].fraction_bits, np.random.default_rng(7), 1 << 10
    terms = Coefficients((15.0, 1.0, -1.0, -15.0), 1.0)
    big = np.full(n, 1.75)
    for gap in range(16):
        first = rng.integers(7 << (bits - 2), (2 << bits) - 2, n)
        rows = (big, first * 2.0 ** (-gap - bits), (first + rng.integers(-1, 2, n)) * 2.0 ** (-gap - bits), big)
        tensors, base = [kernels.encode(row, form) for row in rows], kernels.encode(-big, form)
        both(lambda x=tensors, base=base: kernels.elected_signs(x, base, form, terms, Trim.nothing(4), 0))


def delta_sum(tensors, base, terms, form, out_form, drop_below=0):
    keys = [(i, 1, 2, 3) for i in range(len(tensors))]
    return both(lambda: kernels.delta_sum(tensors, base, form, out_form, terms=terms, drop_below=drop_below, keys=keys))


@pytest.mark.parametrize("form", SHORT)
@pytest.mark.parametrize("weights", [(1.0,) * 4, (1.0, 2.0, 3.0, 4.0), (0.5, -1.0, 1.5, 0.125)])
def test_sums_of_task_vectors_are_proven(form, weights):
    for denominator in (1.0, 3.0, 8.0, 10.0):
        spans = proven.delta_spans(weights, denominator, form, form)
        assert share(tunes(form), spans) > 0.9


@pytest.mark.parametrize(
    ("numerators", "denominator"), [((0.1,), 1.0), ((1.0,), 0.5), ((1.0,), 2.0**25), ((1.0,), 4097.0), ((), 1.0)]
)
def test_sums_of_task_vectors_that_are_not_proven(numerators, denominator):
    assert (proven.delta_spans(numerators, denominator, "BF16", "BF16") == proven.NEVER).all()
    assert (proven.delta_spans((1.0,), 1.0, "BF16", "F32") == proven.NEVER).all()


@pytest.mark.parametrize("denominator", [1.0, 2.0, 3.0, 1000.0])
@pytest.mark.parametrize("out_form", SHORT)
@pytest.mark.parametrize("form", SHORT)
def test_task_vectors_of_all_sizes(form, out_form, denominator):
    """Neighbouring patterns of every exponent, so that only the limits of size decide; some are dropped."""
    base = every_pattern(form)
    n = len(base)
    for shift in (1, 3, n // 2, n // 2 + 3):
        tensors = [np.roll(base, shift), np.roll(base, -2 * shift)]
        for numerators in ((1.0, 1.0), (3.0, -1.0), (2.0**-20, 3 * 2.0**-20)):
            terms = Coefficients(numerators, denominator)
            delta_sum(tensors, base, terms, form, out_form)
            delta_sum(tensors, base, terms, form, out_form, 1 << 31)


def test_updates_that_all_but_cancel_the_base():
    """Three small numbers leave a few units, so θ₀ + S/3 is what float32 gets wrong in the quotient S/3."""
    rng, n = np.random.default_rng(5), 1 << 12
    first, last, rest = rng.integers(128, 160, n), rng.integers(128, 150, n), rng.integers(-8, 8, n) / 2
    tunes = [first * 2.0**-17, last * 2.0**-18, -np.ceil(first + last / 2 + rest) * 2.0**-17]
    base = rng.integers(128, 256, n) / 128
    raw, terms = kernels.encode(base, "BF16"), Coefficients((1.0,) * 3, 3.0)
    tensors = [kernels.encode(tune, "BF16") for tune in tunes]
    assert share([raw, *tensors], proven.delta_spans(terms.numerators, 3.0, "BF16", "BF16")) > 0.9
    exact = delta_sum(tensors, raw, terms, "BF16", "BF16")
    origin, total = base.astype(np.float32), (sum(tunes) - 3 * base).astype(np.float32)
    single = origin + total / np.float32(3)
    assert (kernels.encode(single.astype(np.float64), "BF16") != exact).any()


@pytest.mark.parametrize("form", SHORT)
def test_means_beside_ties(form):
    """The mean of four is halfway between two patterns and a quarter of the least number's unit more."""
    bits, rng, n = FORMATS[form].fraction_bits, np.random.default_rng(8), 1 << 10
    for gap in range(20):
        unit, first = 2.0 ** (-gap - bits), rng.integers(7 << (bits - 2), (2 << bits) - 2, n)
        rows = (np.full(n, 1.875), np.full(n, 1.875 + 2.0**-bits), first * unit, (1 - first) * unit)
        tensors, base = [kernels.encode(row, form) for row in rows], kernels.encode(np.full(n, -1.875), form)
        all_of_ties(form, base, tensors, Trim.nothing(4), (1.0,) * 4)
