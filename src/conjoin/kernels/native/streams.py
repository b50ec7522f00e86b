"""Kernels of draws: Philox4x32-10."""
# ruff: noqa: ANN001, ANN201
# pyright: reportMissingParameterType=false

import numpy as np

from conjoin.kernels import jit
from conjoin.kernels.native.bits import LOW32, PIECE, U64


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
