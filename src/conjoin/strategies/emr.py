"""EMR-Merging: one unified task vector, and for each contribution a mask and a rescaler beside it."""

import functools
import math
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.strategies.base import (
    BLOCK_ELEMENTS,
    Block,
    Extent,
    Made,
    Number,
    Params,
    Pass,
    RawArray,
    Scope,
    SideTensor,
    TaskBlock,
    strategy,
)

Words = npt.NDArray[np.int64]
F64_MAX = Fraction(sys.float_info.max)


def _sizes(x: Block, part: slice) -> Words:
    """(2k, words): Σ|τᵢ| and Σ|maskᵢ ⊙ τ_uni| of a part of the slice."""
    tensors, origin, votes = [tensor[part] for tensor in x.tensors], x.origin[part], kernels.coefficients(x.weights)
    unified, masks = kernels.unified(tensors, origin, x.format, "F64", elect="sum", terms=votes, masks=True)
    kept = [kernels.masked(unified, "F64", mask) for mask in masks]
    whole = kernels.exact_sums(tensors, origin, x.format, "sizes")
    return np.concatenate([whole, kernels.exact_sums(kept, None, "F64", "sizes")])


def _measure_sizes(x: Block, params: Params) -> Words:
    """The sums; for the official rescaler each canonical block's share in its tensor's mean, rounded to float64."""
    starts = range(0, max(len(x.origin), 1), BLOCK_ELEMENTS)
    blocks = [_sizes(x, slice(start, start + BLOCK_ELEMENTS)) for start in starts]
    if params["rescale_scope"] != "official":
        return functools.reduce(np.add, blocks)
    elements = max(math.prod(x.shape), 1)
    shares = [[_nearest(kernels.total(words) / elements) for words in block] for block in blocks]
    rows = [kernels.encode(np.array(row), "F64") for row in zip(*shares, strict=True)]
    return kernels.exact_sums(rows, None, "F64", "values")


def _finish_sizes(total: Words, params: Params, extent: Extent) -> npt.NDArray[np.float64]:
    """λᵢ / scale."""
    whole, kept = ([kernels.total(words) for words in rows] for rows in np.split(total, 2))
    factors = [size / part if part else Fraction(1) for size, part in zip(whole, kept, strict=True)]
    assert len(factors) == extent.count
    return np.array([_nearest(factor / params["scale"]) for factor in factors])


def _nearest(value: Fraction) -> float:
    """The float64 nearest to a number; the largest one beyond the range."""
    return float(max(min(value, F64_MAX), -F64_MAX))


def _check(params: Params, weights: Sequence[Fraction]) -> None:  # noqa: ARG001
    if not params["scale"]:
        raise BadParameterError(
            "parameter `scale` of emr is 0: the base alone holds no unified task vector", hint="1 is the published one"
        )


def own_model(x: TaskBlock, params: Params) -> RawArray:  # noqa: ARG001
    """θ₀ + rescale · mask ⊙ (θ − θ₀), rounded once; θ itself where the rescaler is 1."""
    mask, factor = kernels.unpack(x.side["mask"], len(x.merged)), x.side["rescale"][0]
    start, unified = kernels.decode(x.base, x.format), kernels.decode(x.merged, x.out_format)
    own = unified if factor == 1 else start + factor * (unified - start)
    return kernels.encode(np.where(mask, own, start), x.out_format)


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    passes=(
        Pass(
            "sizes",
            _measure_sizes,
            _finish_sizes,
            lambda params: "tensor" if params["rescale_scope"] == "tensor" else "model",
        ),
    ),
    one_task=own_model,
    side_tensors=lambda _: (SideTensor("mask", is_mask=True), SideTensor("rescale", is_mask=False)),
    check=_check,
    source="Huang et al., NeurIPS 2024, arXiv:2405.17461; authors' code harveyhuang18/EMR_Merging",
)
def emr(
    x: Block,
    *,
    scale: Number = Fraction(1),
    rescale_scope: Literal["official", "model", "tensor"] = "official",  # noqa: ARG001
) -> Made:
    """Elect one unified task vector; beside it, a mask and a rescaler per contribution give each task its own model.

    γ = sgn Σᵢ wᵢ τᵢ;  τ_uni = γ ⊙ max {|τᵢ| : sgn τᵢ = γ};  maskᵢ = [τᵢ ⊙ τ_uni > 0];  λᵢ = ‖τᵢ‖ / ‖maskᵢ ⊙ τ_uni‖

    The tensor made is θ = θ₀ + scale · τ_uni. The model for task i is θ₀ + rescaleᵢ · maskᵢ ⊙ (θ − θ₀), where the side
    tensors are `mask`, a bit per element and contribution, and `rescale` = λᵢ / scale (`conjoin.load_task`).
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,), masks (k, ⌈n/8⌉), rescalers (k,).
    Defaults: scale 1; w = 1. The method has no parameters.
    rescale_scope: what ‖·‖ adds up. `official` adds the mean of |·| over each tensor, one tensor counting as much as
    another; `model` adds |·| over all elements; `tensor` does so per tensor, with a λᵢ for each.
    Weights are votes: they count in the election and not in magnitudes. With weight 0 a contribution neither votes nor
    lends its values, and has its mask and rescaler all the same.
    Edge cases: where Σ wᵢ τᵢ = 0 the sign is −, as in the authors' code; no magnitude to divide by gives λᵢ = 1. k = 1
    gives θ₁, a full mask and λ₁ = 1.
    Differs: nothing. θ alone, without masks, is not the published method and much worse.
    """
    made, masks = kernels.unified(
        x.tensors,
        x.origin,
        x.format,
        x.out_format,
        elect="sum",
        terms=kernels.coefficients(x.weights),
        scale=kernels.coefficients([scale]),
        masks=True,
    )
    return Made(made, {"mask": masks, "rescale": x.measured["sizes"]})
