"""Kernels of draws: Philox4x32-10."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from typing import Any

import numpy as np
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.native.bits import LOW32, PIECE, U64
from conjoin.kernels.native.vectors import U32, VECTOR, WIDTH, Lanes, numbered, read, scalars, step, write

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85


@jit.kernel
def philox(block, count, key, words):
    """The four words each of `count` counters from `block` on. Nothing but `words` is touched, so it vectorises."""
    key0, key1, c2, c3 = key[0], key[1], key[2], key[3]
    for at in range(count):
        counter = block + U64(at)
        w0, w1, w2, w3, k0, k1 = counter & LOW32, counter >> U64(32), c2, c3, key0, key1
        for _ in range(10):
            p0, p1 = U64(0xD2511F53) * w0, U64(0xCD9E8D57) * w2
            w0, w1, w2, w3 = (p1 >> U64(32)) ^ w1 ^ k0, p1 & LOW32, (p0 >> U64(32)) ^ w3 ^ k1, p0 & LOW32
            k0, k1 = (k0 + U64(0x9E3779B9)) & LOW32, (k1 + U64(0xBB67AE85)) & LOW32
        words[4 * at], words[4 * at + 1], words[4 * at + 2], words[4 * at + 3] = w0, w1, w2, w3


@jit.kernel
def draw_piece(key, first, count, words):
    """Words `first` to `first + count` at the front of `words`; first is a multiple of 4, words has room for 3 more."""
    philox(U64(first) >> U64(2), (count + 3) // 4, key, words)


@jit.kernel
def draws(key, first, count, out):
    """Words `first` to `first + count` of a stream, into a uint64 array."""
    words = np.empty(PIECE + 8, np.uint64)
    skip = first & 3
    for start in range(0, count, PIECE):
        part = min(PIECE, count - start)
        draw_piece(key, first - skip + start, part + skip, words)
        for j in range(part):  # assigning a slice would compile a message about shapes, with a logarithm in it
            out[start + j] = words[skip + j]


@jit.kernel
def round_keys(keys):
    """What does not depend on the counter, a row per key: two words for each round, then the upper counter."""
    rows = np.empty((len(keys), 2 * ROUNDS + 2), np.uint64)
    for i in range(len(keys)):
        for number in range(ROUNDS):
            rows[i, 2 * number] = (keys[i, 0] + U64(number * WEYL[0])) & LOW32
            rows[i, 2 * number + 1] = (keys[i, 1] + U64(number * WEYL[1])) & LOW32
        rows[i, 2 * ROUNDS], rows[i, 2 * ROUNDS + 1] = keys[i, 2], keys[i, 3]
    return rows


MASKS: Any = types.uint32[::1]
"""A bit for each of WIDTH elements."""
DRAWN = 2 * WIDTH
"""Elements whose draws are made together: two chains of dependent products, so that one does not wait for the other."""


def _words(rounds: Lanes, index: Lanes) -> Lanes:
    """The draws of DRAWN elements, of which `index`, a multiple of 4, is the first.

    A counter has a lane of 64 bits of which only the lower half counts; what is multiplied or put out is freed of the
    upper half, and LLVM knows that a multiplication does not look at it.
    """
    rows, low = scalars(rounds, 2 * ROUNDS + 2), 0xFFFF_FFFF
    counter = numbered(DRAWN // 4, index) + (index >> 2)
    w0, w1, w2, w3 = counter, counter >> 32, counter.splat(rows[-2]), counter.splat(rows[-1])
    for number in range(ROUNDS):
        p0, p1 = (w0 & low) * MULTIPLIERS[0], (w2 & low) * MULTIPLIERS[1]
        w0, w1 = p1.upper() ^ w1 ^ rows[2 * number], p1
        w2, w3 = p0.upper() ^ w3 ^ rows[2 * number + 1], p0
    return ((w0 & low) | (w1 << 32)).interleaved((w2 & low) | (w3 << 32)).split(U32)


@step(types.void, MASKS, types.int64, types.uint64[::1], types.int64, types.uint64)
def draw_masks(masks: Lanes, row: Lanes, rounds: Lanes, index: Lanes, drop_below: Lanes) -> None:
    """Put down a bit for each of DRAWN elements from `index` on, 1 where its draw is below a word."""
    write(masks, row, (_words(rounds, index) < drop_below.to(U32)).packed())


@step(types.void, MASKS, types.int64, types.uint64[::1], types.int64)
def draw_words(words: Lanes, at: Lanes, rounds: Lanes, index: Lanes) -> None:
    """Put the draws of DRAWN elements from `index` on down from `at` on."""
    write(words, at, _words(rounds, index))


@step(VECTOR, VECTOR, MASKS, types.int64)
def dropped(values: Lanes, masks: Lanes, row: Lanes) -> Lanes:
    """Zero where a bit of the mask in this row of WIDTH bits is 1."""
    return read(masks, row, U32, 1).unpacked().choose(values.splat(0.0), values)
