"""AdaMerging: task arithmetic whose coefficients, one per tensor and contribution, were learned beforehand."""

from fractions import Fraction
from typing import Any

import numpy as np

from conjoin import kernels
from conjoin.strategies.base import (
    BLOCK_ELEMENTS,
    Asset,
    Block,
    Params,
    RawArray,
    Scope,
    Unit,
    canonical_decimal,
    strategy,
)
from conjoin.strategies.learned import numbers, require_same
from conjoin.strategies.trimming import NOTHING, passes_for, start_of, trim_of


def trimming(params: Params) -> dict[str, Any]:
    """How ++ trims and elects, as parameters of `trimming`."""
    if not params["plus_plus"]:
        return dict(NOTHING)
    return {**NOTHING, "density": params["density"], "trim_scope": "model", "zero_sign": "majority"}


def agreeing(x: Block, params: Params) -> kernels.Masks:
    """Where a trimmed task vector carries the elected sign, γ = sgn Σ wᵢ τ̂ᵢ. (k, ⌈n/8⌉)."""
    survives = kernels.surviving(x.tensors, x.origin, x.format, trim_of(x), start_of(x, trimming(params)))
    weights, majority = kernels.coefficients(x.weights).numerators, float(x.measured["majority"])
    found = np.empty_like(survives)
    for start in range(0, len(x.origin), BLOCK_ELEMENTS):  # in pieces that stay in the cache
        part = slice(start, start + BLOCK_ELEMENTS)
        whole = slice(start // 8, start // 8 + BLOCK_ELEMENTS // 8)
        origin = kernels.decode(x.origin[part], x.format)
        flags, mass = kernels.unpack(survives[:, whole], len(origin)), np.zeros(len(origin))
        with np.errstate(all="ignore"):
            deltas = [kernels.decode(tensor[part], x.format) - origin for tensor in x.tensors]
            for delta, kept, weight in zip(deltas, flags, weights, strict=True):
                mass += np.where(kept, weight * delta, 0.0)
            elected = np.where(mass == 0, majority, np.sign(mass))
            for row, (delta, kept) in enumerate(zip(deltas, flags, strict=True)):
                found[row, whole] = kernels.pack(kept & (elected * delta > 0))
    return found


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    passes=passes_for(trimming),
    needs_asset=lambda _: True,
    source="Yang et al., ICLR 2024, arXiv:2310.02575; authors' code EnnengYang/AdaMerging",
)
def ada_merging(
    x: Block,
    *,
    asset: Asset = "",  # noqa: ARG001
    plus_plus: bool = False,
    density: Unit = Fraction("0.2"),
) -> RawArray:
    """Add task vectors to the base, each scaled per tensor by what minimises the entropy of predictions.

    θˡ = θ₀ˡ + Σᵢ λᵢˡ wᵢ τᵢˡ

    The asset holds λ: `scale`, by tensor and contribution. `conjoin fit ada_merging` learns it on unlabelled inputs of
    every task, by Σ over tasks of the mean entropy of softmax, from 0.3 on, between 0 and 1 (Adam, rate 0.001).
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: w = 1.
    asset: what was learned, for just these contributions. Where it names `*` instead of a tensor, that holds for every
    tensor not named (task-wise coefficients).
    plus_plus: AdaMerging++; τᵢ keeps only what survives the trim of TIES and carries the elected sign. What was learned
    with it is applied with it, at the same density, and the other way round.
    density: the share that trim keeps, of the whole model.
    Edge cases: k = 1 gives θ₀ + λτ. λ = 0.3 everywhere is task arithmetic. Equal contributions count twice. Task
    vectors of zeros give the base.
    Differs: nothing from the paper. Learning is apart from applying: the same asset gives the same bytes everywhere.
    """
    require_same(x, "trim", {"density": canonical_decimal(density)} if plus_plus else None)
    scales = numbers(x, "scale")
    terms = kernels.coefficients([scale * weight for scale, weight in zip(scales, x.weights, strict=True)])
    if not plus_plus:
        return kernels.delta_sum(x.tensors, x.origin, x.format, x.out_format, terms=terms)
    masks = agreeing(x, {"plus_plus": plus_plus, "density": density})
    return kernels.masked_sum(x.tensors, x.origin, x.format, x.out_format, terms=terms, masks=masks)
