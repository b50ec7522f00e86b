"""Draws of the reference: Philox4x32-10."""

import numpy as np
import numpy.typing as npt

from conjoin.kernels.draws import DrawKey


def draws(key: DrawKey, start: int, count: int) -> npt.NDArray[np.uint32]:
    """Words `start` to `start + count` of a draw: Philox4x32-10, word i is lane i mod 4 of counter i // 4."""
    first, last = start // 4, (start + count + 3) // 4
    counter = np.arange(first, last, dtype=np.uint64)
    low, high, mask = counter & np.uint64(0xFFFF_FFFF), counter >> np.uint64(32), np.uint64(0xFFFF_FFFF)
    c0, c1 = low, high
    c2, c3 = np.full_like(low, key[2]), np.full_like(low, key[3])
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ k0,
            p1 & mask,
            (p0 >> np.uint64(32)) ^ c3 ^ k1,
            p0 & mask,
        )
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    words = np.stack([c0, c1, c2, c3], axis=1).reshape(-1).astype(np.uint32)
    return words[start - 4 * first : start - 4 * first + count].copy()
