"""Kernels of draws: Philox4x32-10."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

from typing import Any

import numpy as np
from numba import types

from conjoin.kernels import jit
from conjoin.kernels.native.bits import LOW32, U64
from conjoin.kernels.native.vectors import U32, VECTOR, Lanes, numbered, read, scalars, step, write

MULTIPLIER0, MULTIPLIER1 = 0xD2511F53, 0xCD9E8D57
WEYL0, WEYL1 = U64(0x9E3779B9), U64(0xBB67AE85)
UPPER, ROW = 4, 24
"""Where the upper half of the counter stands in the row of a stream, and how long a row is: its key, that half, and
for each round what is added to its two words by exclusive or."""
DRAWN = 128
"""Words drawn together: four registers of 512 bits per word of a counter, as one product waits for another."""
COUNTERS = DRAWN // 4
WORDS: Any = types.uint32[:, ::1]
STREAMS: Any = types.uint64[:, ::1]


@jit.kernel
def streams(keys):
    """A row for each key, of counters whose upper half is not known yet."""
    rows = np.empty((len(keys), ROW), np.uint64)
    for i in range(len(keys)):
        for word in range(UPPER):
            rows[i, word] = keys[i, word]
        rows[i, UPPER] = ~U64(0)
    return rows


@jit.kernel
def prepare(row, upper):
    """Fill a row with what draws of counters with this upper half share.

    The lower half meets but one product in each of the first two rounds; the other one is made here.
    """
    key0, key1, p1 = row[0], row[1], U64(MULTIPLIER1) * row[2]
    row[UPPER] = upper
    p0 = U64(MULTIPLIER0) * ((p1 >> U64(32)) ^ upper ^ key0)
    row[UPPER + 1] = row[3] ^ key1
    for number in range(1, 10):
        key0, key1 = (key0 + WEYL0) & LOW32, (key1 + WEYL1) & LOW32
        row[UPPER + 2 * number], row[UPPER + 2 * number + 1] = key0, key1
    row[UPPER + 2] ^= p1 & LOW32
    row[UPPER + 3] ^= p0 >> U64(32)
    row[UPPER + 5] ^= p0 & LOW32
    row[UPPER + 18], row[UPPER + 19] = key0 << U64(32), key1 << U64(32)


@step(types.void, WORDS, types.int64, STREAMS, types.int64, types.uint64)
def draw_words(words: Lanes, at: Lanes, rows: Lanes, i: Lanes, counter: Lanes) -> None:
    """Put the words of COUNTERS counters that share the upper half, of the i-th stream, down from `at` on.

    Each has a lane of 64 bits of which only the lower half counts: LLVM knows that a product of two halves does not
    look at the others. First and second half of the counters take turns, so that words are in place when the four of
    each are brought together.
    """
    rounds, low = scalars(rows + i * (8 * ROW), ROW)[UPPER:], 0xFFFF_FFFF
    lanes = numbered(COUNTERS, counter)
    w0 = lanes.shuffled(lanes, [i // 2 + i % 2 * (COUNTERS // 2) for i in range(COUNTERS)]) + counter
    p0 = (w0 & low) * MULTIPLIER0
    p1 = ((p0.upper() ^ rounds[1]) & low) * MULTIPLIER1
    w0, w1, w2, w3 = p1.upper() ^ rounds[2], p1, p0 ^ rounds[3], w0.splat(0)
    for number in range(2, 9):
        p0, p1 = (w0 & low) * MULTIPLIER0, (w2 & low) * MULTIPLIER1
        w0, w1 = p1.upper() ^ w1 ^ rounds[2 * number], p1
        w2, w3 = p0.upper() ^ w3 ^ rounds[2 * number + 1], p0
    p0, p1 = (w0 & low) * MULTIPLIER0, (w2 & low) * MULTIPLIER1
    first, second = (p1 ^ w1.raised() ^ rounds[18]).split(U32), (p0 ^ w3.raised() ^ rounds[19]).split(U32)
    halves = (range(start, 2 * COUNTERS, 4) for start in (0, 2))
    fours = (place for half in halves for i in half for place in (i + 1, i, 2 * COUNTERS + i + 1, 2 * COUNTERS + i))
    write(words, at, first.shuffled(second, fours))


@jit.kernel
def draw(rows, counter, count, words):
    """words[i] = the first `count` words of the i-th stream from a counter on; DRAWN more behind may be spoilt."""
    for i in range(len(rows)):
        at = 0
        while at < count:
            here = counter + (U64(at) >> U64(2))
            if rows[i, UPPER] != here >> U64(32):
                prepare(rows[i], here >> U64(32))
            draw_words(words, i * words.shape[1] + at, rows, i, here)
            at += min(DRAWN, 4 * np.int64(U64(1 << 32) - (here & LOW32)))


@jit.kernel
def draws(keys, first, words):
    """words[i] = words of the i-th stream from `first` on, a multiple of 4; the last DRAWN may be wrong."""
    draw(streams(keys), U64(first) >> U64(2), words.shape[1] - DRAWN, words)


@step(VECTOR, VECTOR, WORDS, types.int64, types.uint64)
def dropped(values: Lanes, words: Lanes, at: Lanes, drop_below: Lanes) -> Lanes:
    """Zero where the word is below a limit; `at` counts through all rows of words."""
    return (read(words, at, U32) < drop_below.to(U32)).choose(values.splat(0.0), values)
