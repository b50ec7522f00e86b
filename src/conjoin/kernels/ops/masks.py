"""Masks: one bit per element, element e in bit e mod 8 (the lowest is 0) of byte e // 8; unused bits are 0.

Masks of several slices are put one after the other, for slices start at multiples of eight. Unions, intersections and
complements are NumPy's `|`, `&` and `~`.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from conjoin.kernels.backend import operation
from conjoin.kernels.formats import FORMATS, Raw
from conjoin.kernels.layout import Trim
from conjoin.kernels.ops.arguments import (
    all_centred,
    all_plain,
    element_count,
    plain,
    require,
    require_each,
    writable,
)
from conjoin.kernels.scalars import Coefficients

Masks = npt.NDArray[np.uint8]
"""(k, ⌈n/8⌉) bytes, a row per contribution; (⌈n/8⌉,) where one mask is for all."""


def unified(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    *,
    elect: Literal["sum", "largest"],
    zero_sign: int = -1,
    terms: Coefficients | None = None,
    scale: Coefficients | None = None,
    masks: bool = False,
) -> tuple[Raw, Masks]:
    """Per element the value u, among the task vectors, of greatest magnitude that carries the elected sign.

    Sum elects the sign of Σ nᵢ τᵢ (added in order), or `zero_sign` where it is 0 (Huang et al. 2024, arXiv:2405.17461).
    Largest elects the sign of the greatest magnitude, of opposite ones the positive (Marczak et al. 2024,
    arXiv:2407.06322). Where no task vector carries the sign u is +0.

    Args:
        tensors: k arrays (n,).
        base: (n,).
        form: format of both.
        out_form: format of the result.
        elect: how the sign is found.
        zero_sign: −1, 0 or 1.
        terms: k coefficients, of which only the numerators nᵢ count; None for ones. A task vector whose coefficient is
            0 neither votes nor is chosen, and has a mask all the same.
        scale: one coefficient a / b; the result is then θ₀ + (a·u)/b, and θ₀ itself where that adds 0. None: u.
        masks: whether to return where τᵢ carries the sign of u.

    Returns:
        (n,) patterns of `out_form`; (k, ⌈n/8⌉) masks, or no rows.
    """
    origin, *arrays = all_plain([base, *tensors], form)
    factor = None if scale is None else (scale.numerators[0], scale.denominator)
    votes = [1.0] * len(tensors) if terms is None else list(terms.numerators)
    require_each(tensors, coefficients=votes)
    run = operation("masks.unified", element_count(tensors))
    return run(arrays, origin, form, out_form, elect == "sum", zero_sign, votes, factor, masks)


def surviving(tensors: Sequence[Raw], base: Raw | None, form: str, trim: Trim, start: int = 0) -> Masks:
    """What survives a trim, of the task vectors or, without a base, of the tensors themselves. (k, ⌈n/8⌉)."""
    require_each(tensors, thresholds=trim.thresholds, cutoffs=trim.cutoffs)
    origin, arrays = all_centred(tensors, base, form)
    return operation("masks.surviving", element_count(tensors))(arrays, origin, form, trim, start)


def unanimous(tensors: Sequence[Raw], base: Raw, form: str) -> Masks:
    """Where all task vectors are positive, or all are negative. (⌈n/8⌉,)."""
    origin, *arrays = all_plain([base, *tensors], form)
    return operation("masks.unanimous", element_count(tensors))(arrays, origin, form)


def masked_sum(
    tensors: Sequence[Raw], base: Raw, form: str, out_form: str, *, terms: Coefficients, masks: Masks
) -> Raw:
    """θ₀ + (Σ nᵢ τᵢ)/D, the sum over the elements of each mask. Where it is 0 the result is θ₀ itself.

    Args:
        tensors: k arrays (n,).
        base: (n,).
        form: format of both.
        out_form: format of the result.
        terms: k coefficients.
        masks: (k, ⌈n/8⌉), or (⌈n/8⌉,) for all alike.

    Returns:
        (n,) patterns of `out_form`.
    """
    require_each(tensors, coefficients=terms.numerators)
    origin, *arrays = all_plain([base, *tensors], form)
    shape = (len(tensors), (len(base) + 7) // 8)
    require(masks.dtype == np.uint8 and masks.shape in (shape, shape[1:]), f"masks are {masks.shape}, not {shape}")
    rows = writable(masks if masks.ndim == len(shape) else np.tile(masks, (len(tensors), 1)))
    run = operation("masks.masked_sum", element_count(tensors))
    return run(arrays, origin, form, out_form, list(terms.numerators), terms.denominator, rows)


def pack(flags: npt.NDArray[np.bool_]) -> Masks:
    """(…, n) flags as masks. Integers alone, so NumPy is exact on every machine."""
    return np.packbits(flags, axis=-1, bitorder="little")


def unpack(masks: Masks, n: int) -> npt.NDArray[np.bool_]:
    """The (…, n) flags of masks."""
    return np.unpackbits(masks, axis=-1, count=n, bitorder="little").view(np.bool_)


def masked(raw: Raw, form: str, mask: Masks) -> Raw:
    """(n,) patterns with +0 where the mask's bit is 0."""
    require(mask.shape == ((len(raw) + 7) // 8,), f"a mask of shape {mask.shape} for {len(raw)} elements")
    flags = unpack(mask, len(raw))
    return plain(raw, form) * flags.astype(FORMATS[form].raw)
