"""Sums per canonical block, and their fold."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.backend import operation
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Float64, Raw
from conjoin.kernels.layout import BLOCK_ELEMENTS
from conjoin.kernels.ops.arguments import all_centred, all_plain, element_count, require, require_each

Int64 = npt.NDArray[np.int64]


def block_gram(tensors: Sequence[Raw], base: Raw | None, form: str) -> Float64:
    """Inner products of k tensors, or of their task vectors where there is a base, one matrix per canonical block.

    The slice starts at a multiple of BLOCK_ELEMENTS. Fold the rows of all slices with `fold_blocks`.

    Returns:
        (blocks, k, k) float64.
    """
    origin, arrays = all_centred(tensors, base, form)
    return operation("reductions.block_gram", element_count(tensors))(arrays, origin, form)


def block_moments(
    tensors: Sequence[Raw], base: Raw | None, form: str, centres: Sequence[float] | None = None
) -> Float64:
    """Sums from which means, norms and variances come, of k tensors or of their task vectors where there is a base.

    The slice starts at a multiple of BLOCK_ELEMENTS. Fold the rows of all slices with `fold_blocks`; the mean of n
    elements is then Σv / n, and a second look with it as the centre gives the variance, Σ(v − c)² / n.

    Args:
        tensors: k arrays (n,).
        base: (n,) or None.
        form: format of all.
        centres: k values cᵢ; None for zeros.

    Returns:
        (blocks, k, 3) float64: Σv, Σ|v|, Σ(v − cᵢ)².
    """
    origin, arrays = all_centred(tensors, base, form)
    values = [0.0] * len(tensors) if centres is None else list(centres)
    require_each(tensors, centres=values)
    return operation("reductions.block_moments", element_count(tensors))(arrays, origin, form, values)


def block_l1(
    tensors: Sequence[Raw], base: Raw, form: str, *, drop_below: int, keys: Sequence[DrawKey], start: int
) -> Float64:
    """Σ|τ| over all elements and over the kept ones, per canonical block and contribution. (blocks, k, 2) float64."""
    require(start % BLOCK_ELEMENTS == 0, f"a slice starts at {start}, inside a canonical block")
    require_each(tensors, draws=keys)
    origin, *arrays = all_plain([base, *tensors], form)
    run = operation("reductions.block_l1", element_count(tensors))
    return run(arrays, origin, form, drop_below, list(keys), start)


def fold_blocks(rows: Float64) -> Float64:
    """Add up the rows of all blocks of a tensor: padded with +0 to a power of two, then halves onto each other.

    Args:
        rows: (blocks, …) float64, in the order of the blocks.

    Returns:
        (…) float64; zeros where there is no block.
    """
    count = len(rows)
    size = 1 << (count - 1).bit_length() if count else 1
    total = np.zeros((size, *rows.shape[1:]))
    total[:count] = rows
    with np.errstate(all="ignore"):
        while len(total) > 1:
            half = len(total) // 2
            total = total[:half] + total[half:]
    return total[0]


def block_count(n: int) -> int:
    """How many canonical blocks n elements fill."""
    return -(-n // BLOCK_ELEMENTS)
