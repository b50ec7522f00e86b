"""Draws on the device: Philox4x32-10 in 64-bit integers."""

import numpy as np
import numpy.typing as npt

from conjoin.kernels.device.tensors import Tensor, indices, torch
from conjoin.kernels.draws import DrawKey

MASK = 0xFFFF_FFFF


def words(key: DrawKey, start: int, count: int) -> Tensor:
    """Words `start` to `start + count` of a stream. (count,) int64.

    The product of two words may pass 2⁶³; its bits are right all the same, and the masks take off the sign.
    """
    first, last = start // 4, (start + count + 3) // 4
    counter = indices(first, last)
    c0, c1 = counter & MASK, counter >> 32
    c2, c3 = torch.full_like(counter, key[2]), torch.full_like(counter, key[3])
    k0, k1 = key[0], key[1]
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            ((p1 >> 32) & MASK) ^ c1 ^ k0,
            p1 & MASK,
            ((p0 >> 32) & MASK) ^ c3 ^ k1,
            p0 & MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    drawn = torch.stack([c0, c1, c2, c3], dim=1).reshape(-1)
    return drawn[start - 4 * first : start - 4 * first + count]


def draws(key: DrawKey, start: int, count: int) -> npt.NDArray[np.uint32]:
    """See `reference.streams.draws`."""
    return words(key, start, count).cpu().numpy().astype(np.uint32)
