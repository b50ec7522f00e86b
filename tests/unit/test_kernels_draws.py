"""Draws: Philox against its published answers and against plain Python, thresholds against exact shares."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conjoin.kernels import draw_key, draws, drop_threshold, effective_keep
from conjoin.kernels.draws import words_of
from conjoin.testing.strategy_suite import backend

WORD = st.integers(0, 2**32 - 1)
ANSWERS = [
    ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
"""Known answers of Random123 for philox4x32-10: counter, key, words."""


def plain(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b % 2**32, (a >> 32) ^ c[3] ^ k[1], a % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@pytest.mark.parametrize(("counter", "key", "words"), ANSWERS)
def test_known_answers(counter, key, words):
    from conjoin.kernels.native import streams as native

    expected = [int(word, 16) for word in words.split()]
    assert plain(counter, key) == expected
    out = np.zeros((1, 4 + native.DRAWN), np.uint32)
    rows = native.streams(np.array([[*key, counter[2], counter[3]]], np.uint64))
    native.draw(rows, np.uint64(counter[0] | counter[1] << 32), 4, out)
    assert out[0, :4].tolist() == expected


@pytest.mark.parametrize("arithmetic", ["reference", "compiled"])
def test_zero_vector_through_the_operation(arithmetic):
    with backend(arithmetic):
        assert " ".join(f"{word:08x}" for word in draws((0, 0, 0, 0), 0, 4)) == ANSWERS[0][2]


@given(
    st.tuples(WORD, WORD, WORD, WORD),
    st.integers(0, 2**40) | st.integers(2**34 - 300, 2**34) | st.integers(2**36 - 300, 2**36),
    st.integers(0, 40) | st.integers(0, 400),
)
def test_words_are_those_of_their_counter(key, start, count):
    expected = [
        plain([i // 4 % 2**32, i // 4 >> 32, key[2], key[3]], key[:2])[i % 4] for i in range(start, start + count)
    ]
    for arithmetic in ("reference", "compiled"):
        with backend(arithmetic):
            assert draws(key, start, count).tolist() == expected


def test_a_long_stream_is_the_same_in_pieces():
    key = (1, 2, 3, 4)
    whole = draws(key, 0, 70_000)
    assert (np.concatenate([draws(key, start, 7_000) for start in range(0, 70_000, 7_000)]) == whole).all()


def test_layout_of_key_and_counter():
    """Golden numbers of an earlier layout of the name: same Philox, same order of words."""
    named = hashlib.sha256(b"cmm-rng-v1\0" + (32).to_bytes(4, "big") + bytes(32) + b"dare\0w\0" + b"\x01" * 32)
    stream = draws(words_of(named.digest()), 0, 8).tolist()
    assert stream[:4] == [575083775, 1231209162, 690704745, 2043564556]
    assert stream[5:7] == [1157873140, 2175632017]


def test_a_draw_is_named_by_everything_it_depends_on():
    names = [
        (bytes(32), "dare", "w", "01" * 32),
        (bytes(31) + b"\x01", "dare", "w", "01" * 32),
        (bytes(32), "della", "w", "01" * 32),
        (bytes(32), "dare", "v", "01" * 32),
        (bytes(32), "dare", "w", "02" * 32),
    ]
    assert len({draw_key(*name) for name in names}) == len(names)
    digest = hashlib.sha256(b"conjoin/draw/1" + bytes(32) + b"dare\0w\0" + b"\x01" * 32).digest()
    assert draw_key(*names[0]) == tuple(int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8, 12))


@given(st.fractions(0, 1, max_denominator=10**12))
def test_thresholds_are_the_nearest_whole_number(keep):
    threshold = drop_threshold(keep)
    assert abs(threshold - (1 - keep) * 2**32) <= Fraction(1, 2)
    assert effective_keep(threshold) == 1 - Fraction(threshold, 2**32)


def test_thresholds_at_the_ends():
    assert drop_threshold(Fraction(1)) == 0
    assert drop_threshold(Fraction(0)) == 2**32
    assert drop_threshold(Fraction(1, 10)) == 3865470566
