"""Masks: reference and compiled agree, and both with the definition and worked examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kernel_worlds import FORMS, both, matrices

from conjoin import kernels
from conjoin.errors import BadArrayError
from conjoin.kernels import Coefficients, Trim, decode, encode, pack, unpack
from conjoin.kernels.reference.order import magnitude_keys, task_vector

TAUS = [[8, -6, 1, 0, 5, -4, 2, 6], [7, 6, -2, 0, -3, -6, 7, -5], [-8, 5, 3, 0, 1, -2, -8, 4]]
SHARES = st.lists(st.floats(-8, 8, width=32), min_size=5, max_size=5)


def world_of(taus):
    return [encode(np.array(tau, float), "F32") for tau in taus], encode(np.zeros(len(taus[0])), "F32")


VOTES = st.lists(st.sampled_from([0.0, 1.0, 1.0, 2.5, 0.1]), min_size=5, max_size=5)


@given(matrices(), FORMS, st.sampled_from(["sum", "largest"]), st.sampled_from([-1, 0, 1]), st.booleans(), VOTES)
@settings(deadline=None)
def test_unified(world, out_form, elect, zero_sign, added, votes):
    form, tensors, base, _ = world
    votes = votes[: len(tensors)]
    terms = None if votes == [1.0] * len(tensors) else Coefficients(tuple(votes), 1.0)
    scale = Coefficients((3.0,), 10.0) if added else None
    _, masks = both(
        lambda: kernels.unified(
            tensors, base, form, out_form, elect=elect, zero_sign=zero_sign, terms=terms, scale=scale, masks=True
        )
    )
    plain, none = kernels.unified(tensors, base, form, "F64", elect=elect, zero_sign=zero_sign, terms=terms)
    assert none.shape == (0, masks.shape[1])
    values = plain.view(np.float64)
    with np.errstate(all="ignore"):
        taus = np.array([task_vector(t, base, form) for t in tensors])
        mass = np.zeros(len(base))
        for tau, vote in zip(taus, votes, strict=True):
            mass = mass + vote * tau if vote else mass
    flags = unpack(masks, len(base))
    assert (flags == (np.sign(taus) == np.sign(values)) & (values != 0)).all()
    taus = taus[np.array(votes) > 0]
    for j in range(0, len(base), 11):
        sign = np.sign(mass[j]) if mass[j] else zero_sign
        agreeing = [t for t in taus[:, j] if t * sign > 0] if elect == "sum" else list(taus[:, j])
        assert values[j] == max(agreeing, key=lambda t: (abs(t), t), default=0.0) or np.isnan(mass[j])


def test_emr_by_example():
    tensors, base = world_of(TAUS)
    out, masks = kernels.unified(tensors, base, "F32", "F32", elect="sum", masks=True)
    assert decode(out, "F32").tolist() == [8, 6, 3, 0, 5, -6, 7, 6]
    expected = [[1, 0, 1, 0, 1, 1, 1, 1], [1, 1, 0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1, 0, 1]]
    assert unpack(masks, 8).astype(int).tolist() == expected
    sums = kernels.fold_blocks(kernels.block_moments(tensors, base, "F32"))[:, 1]
    kept = [kernels.masked(out, "F32", mask) for mask in masks]
    shares = kernels.fold_blocks(kernels.block_moments(kept, None, "F32"))[:, 1]
    assert [*zip(sums.tolist(), shares.tolist(), strict=True)] == [(32, 35), (36, 27), (31, 26)]


def test_a_tie_of_two_is_negative_by_sum_and_positive_by_size():
    tensors, base = world_of([[4.0, -4.0, 0.0], [-4.0, 4.0, -0.0]])
    by_sum, _ = kernels.unified(tensors, base, "F32", "F32", elect="sum")
    largest, _ = kernels.unified(tensors, base, "F32", "F32", elect="largest")
    assert decode(by_sum, "F32").tolist() == [-4, -4, 0]
    assert decode(largest, "F32").tolist() == [4, 4, 0]
    assert by_sum[2] == largest[2] == 0


@given(matrices())
@settings(deadline=None, max_examples=30)
def test_largest_is_a_semilattice(world):
    form, tensors, base, _ = world

    def join(*parts):
        return kernels.unified(list(parts), np.zeros(len(base), np.uint64), "F64", "F64", elect="largest")[0]

    with np.errstate(all="ignore"):
        a, b, c = ((task_vector(t, base, form) + 0.0).view(np.uint64) for t in (tensors * 3)[:3])
    assert (join(a, b) == join(b, a)).all()
    assert (join(join(a, b), c) == join(a, join(b, c))).all()
    assert (join(join(a, b), c) == join(a, b, c)).all()
    assert (join(a, a) == a).all()


@given(matrices(), st.booleans(), st.data())
@settings(deadline=None)
def test_surviving(world, centred, data):
    form, tensors, base, _ = world
    n = len(base)
    with np.errstate(all="ignore"):
        keys = [magnitude_keys(task_vector(t, base, form) if centred else decode(t, form)) for t in tensors]
    thresholds = tuple(int(key[data.draw(st.integers(0, n - 1))]) for key in keys)
    cutoffs = tuple(data.draw(st.sampled_from([500, 500 + n // 2, 2**63 - 1])) for _ in keys)
    masks = both(
        lambda: kernels.surviving(tensors, base if centred else None, form, Trim(thresholds, cutoffs), start=500)
    )
    index = np.arange(500, 500 + n)
    for mask, key, threshold, cutoff in zip(masks, keys, thresholds, cutoffs, strict=True):
        assert (unpack(mask, n) == (key > threshold) | ((key == threshold) & (index < cutoff))).all()


@given(matrices())
@settings(deadline=None)
def test_unanimous(world):
    form, tensors, base, _ = world
    mask = both(lambda: kernels.unanimous(tensors, base, form))
    with np.errstate(all="ignore"):
        signs = np.array([np.sign(task_vector(t, base, form)) for t in tensors])
    assert (unpack(mask, len(base)) == (np.abs(signs.sum(axis=0)) == len(tensors))).all()


def test_negation_by_agreement_by_example():
    """STRATEGIES' NegMerge example: one element agrees, −6, −1, −4, and the base gains 11/3 there."""
    tensors, base = world_of([[-6, 3, 0, 1], [-1, -3, 0, 2], [-4, 3, 1, -1]])
    mask = kernels.unanimous(tensors, base, "F32")
    assert unpack(mask, 4).tolist() == [True, False, False, False]
    out = kernels.masked_sum(tensors, base, "F32", "F32", terms=Coefficients((-1.0,) * 3, 3.0), masks=mask)
    assert decode(out, "F32").tolist() == [float(np.float32(11 / 3)), 0, 0, 0]


def test_disjoint_masks_by_example():
    """LED-Merging's example: elected {0, 1} and {1, 3} leave {0} and {3}."""
    tensors, base = world_of([[1, 2, 3, 4], [5, 6, 7, 8]])
    elected = pack(np.array([[1, 1, 0, 0], [0, 1, 0, 1]], bool))
    disjoint = elected & ~elected[::-1]
    out = kernels.masked_sum(tensors, base, "F32", "F32", terms=Coefficients((1.0, 1.0), 1.0), masks=disjoint)
    assert decode(out, "F32").tolist() == [1, 0, 0, 8]


@given(matrices(), FORMS, SHARES, st.sampled_from([1.0, 7.0]), st.integers(0, 2**32))
@settings(deadline=None)
def test_masked_sum(world, out_form, numerators, denominator, seed):
    form, tensors, base, _ = world
    flags = np.random.default_rng(seed).random((len(tensors), len(base))) < 0.5
    terms = Coefficients(tuple(n + 9 for n in numerators[: len(tensors)]), denominator)
    found = both(lambda: kernels.masked_sum(tensors, base, form, out_form, terms=terms, masks=pack(flags)))
    parts = [np.where(flag, tensor, base) for flag, tensor in zip(flags, tensors, strict=True)]
    assert (found == kernels.delta_sum(parts, base, form, out_form, terms=terms)).all()


@given(st.lists(st.booleans(), max_size=40))
def test_bits_are_in_ascending_order(flags):
    bits = pack(np.array(flags, bool))
    assert bits.tolist() == [
        sum(flag << bit for bit, flag in enumerate(flags[at : at + 8])) for at in range(0, len(flags), 8)
    ]
    assert unpack(bits, len(flags)).tolist() == flags
    raw = np.full(len(flags), 0xBF80, np.uint16)
    assert kernels.masked(raw, "BF16", bits).tolist() == [0xBF80 * flag for flag in flags]


def test_masks_of_another_length_are_refused():
    tensors, base = world_of([[1.0] * 9])
    with pytest.raises(BadArrayError):
        kernels.masked_sum(
            tensors, base, "F32", "F32", terms=Coefficients((1.0,), 1.0), masks=np.zeros((1, 1), np.uint8)
        )
