"""NegMerge: forget what fine-tunes on the same data agree about; what only some of them have learned stays."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

import numpy as np

from conjoin import kernels
from conjoin.errors import BadRoleError, BadWeightError
from conjoin.strategies.base import Block, ByContribution, Number, Params, RawArray, Scope, strategy

Roles = Annotated[tuple[str | None, ...] | None, ByContribution(choices=("forget", "keep"))]


def _forgets(role: Sequence[str | None] | None, count: int) -> list[bool]:
    """Which contributions are to be forgotten."""
    return [one != "keep" for one in role or (None,) * count]


def _check(params: Params, weights: tuple[Fraction, ...]) -> None:
    """Refuse to forget nothing."""
    forgets = _forgets(params["role"], len(weights))
    if not any(forgets):
        raise BadRoleError(
            "every contribution of negative_merge has the role keep", hint="`task_arithmetic` adds without forgetting"
        )
    if not any(weight for weight, forget in zip(weights, forgets, strict=True) if forget):
        raise BadWeightError("the weights of what negative_merge is to forget add up to 0")


@strategy(
    scope=Scope.ELEMENTWISE,
    needs_base=True,
    check=_check,
    source="Kim, Han and Choe, ICML 2025, arXiv:2410.05583; naver-ai/negmerge",
)
def negative_merge(
    x: Block,
    *,
    scale: Number = Fraction(1),
    consensus: bool = True,
    role: Roles = None,
    keep_scale: Number = Fraction("0.3"),
) -> RawArray:
    """Subtract the mean of task vectors where all of them have the same sign.

    θ = θ₀ − scale · [all τᵢ > 0 or all τᵢ < 0] · Σᵢ wᵢ τᵢ / Σᵢ wᵢ + keep_scale · Σⱼ wⱼ τⱼ,   i to forget, j to keep

    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: scale 1; w = 1; every contribution is fine-tuned on what is to be forgotten, and the signs of all count.
    consensus: false subtracts the mean everywhere, which is negation of the mean task vector (Ilharco et al. 2023).
    role: by contribution, `forget` or `keep`; what is kept is added by task arithmetic and has no say about signs.
    keep_scale: the factor of what is kept.
    Edge cases: a zero agrees with nothing. k = 1 gives θ₀ − scale · τ. A weight of 0 has no say.
    Differs: nothing from the paper, which finds `scale` by validation and knows no contributions to keep.
    """
    forgets, origin = _forgets(role, x.count), x.origin
    voting = [i for i in range(x.count) if forgets[i] and x.weights[i]]
    whole = sum((x.weights[i] for i in voting), Fraction(0))
    shares = [
        -scale * weight / whole if forget else keep_scale * weight
        for weight, forget in zip(x.weights, forgets, strict=True)
    ]
    terms = kernels.coefficients(shares)
    if not consensus:
        return kernels.delta_sum(x.tensors, origin, x.format, x.out_format, terms=terms)
    agreed = kernels.unanimous([x.tensors[i] for i in voting], origin, x.format)
    everywhere = kernels.pack(np.ones(len(origin), np.bool_))
    masks = np.stack([agreed if forget else everywhere for forget in forgets])
    return kernels.masked_sum(x.tensors, origin, x.format, x.out_format, terms=terms, masks=masks)
