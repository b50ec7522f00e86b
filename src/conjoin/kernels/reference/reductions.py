"""Sums of the reference: 32 lanes per canonical block."""

from collections.abc import Sequence

import numpy as np

from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Float64, Raw, decode
from conjoin.kernels.layout import BLOCK_ELEMENTS, LANES
from conjoin.kernels.reference.order import task_vector
from conjoin.kernels.reference.streams import draws


def _lanes(values: Float64) -> Float64:
    """Sum one row per canonical block: 32 lanes, index ascending, then halves of lanes onto each other. (n,) → (b,).

    Where one block is not full, the zeros behind its end are not visited: they would add nothing.
    """
    blocks = -(-len(values) // BLOCK_ELEMENTS)
    padded = np.zeros(blocks * BLOCK_ELEMENTS)
    padded[: len(values)] = values
    rows = padded.reshape(blocks, BLOCK_ELEMENTS // LANES, LANES)
    lanes = np.zeros((blocks, LANES))
    for step in range(min(BLOCK_ELEMENTS, len(values) + LANES - 1) // LANES):
        lanes = lanes + rows[:, step, :]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def _vectors(tensors: Sequence[Raw], base: Raw | None, form: str) -> list[Float64]:
    """The tensors, or their task vectors where there is a base."""
    return [decode(t, form) if base is None else task_vector(t, base, form) for t in tensors]


def block_gram(tensors: Sequence[Raw], base: Raw | None, form: str) -> Float64:
    """(blocks, k, k): inner products of the tensors, or of the task vectors where there is a base."""
    with np.errstate(all="ignore"):
        vectors = _vectors(tensors, base, form)
        n = len(vectors[0])
        gram = np.zeros((-(-n // BLOCK_ELEMENTS), len(vectors), len(vectors)))
        for i, left in enumerate(vectors):
            for j, right in enumerate(vectors[: i + 1]):
                gram[:, i, j] = gram[:, j, i] = _lanes(left * right)
    return gram


def block_moments(tensors: Sequence[Raw], base: Raw | None, form: str, centres: Sequence[float]) -> Float64:
    """(blocks, k, 3): Σv, Σ|v| and Σ(v − cᵢ)² of the tensors, or of the task vectors where there is a base."""
    with np.errstate(all="ignore"):
        moments = np.zeros((-(-len(tensors[0]) // BLOCK_ELEMENTS), len(tensors), 3))
        for i, values in enumerate(_vectors(tensors, base, form)):
            moments[:, i, 0] = _lanes(values)
            moments[:, i, 1] = _lanes(_sizes(values))
            spread = values - np.float64(centres[i])
            moments[:, i, 2] = _lanes(spread * spread)
    return moments


def _sizes(values: Float64) -> Float64:
    """|v|, without a sign on zeros."""
    return np.where(values < 0, -values, values) + 0.0


def block_l1(
    tensors: Sequence[Raw], base: Raw, form: str, drop_below: int, keys: Sequence[DrawKey], start: int
) -> Float64:
    """(blocks, k, 2): Σ|τ| over all elements and over those that are kept."""
    with np.errstate(all="ignore"):
        norms = np.zeros((-(-len(base) // BLOCK_ELEMENTS), len(tensors), 2))
        for i, tensor in enumerate(tensors):
            delta = task_vector(tensor, base, form)
            size = _sizes(delta)
            norms[:, i, :] = _lanes(size)[:, None]
            if drop_below:
                norms[:, i, 1] = _lanes(np.where(draws(keys[i], start, len(base)) < drop_below, 0.0, size))
    return norms
