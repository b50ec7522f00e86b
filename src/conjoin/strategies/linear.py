"""Linear: a weighted sum of the contributions, normalised unless told otherwise; needs no base."""

from fractions import Fraction

from conjoin import kernels
from conjoin.errors import BadWeightError
from conjoin.strategies.base import Block, RawArray, Scope, strategy

SMALLEST_TOTAL = Fraction(1, 10**8)


@strategy(
    scope=Scope.ELEMENTWISE,
    normalises=True,
    source="Wortsman et al., ICML 2022, arXiv:2203.05482; the weighted form as in mergekit's `linear`",
)
def linear(x: Block, *, normalize: bool = True) -> RawArray:
    """Average the contributions by their weights; without `normalize`, add them up.

    θ = Σᵢ wᵢ θᵢ / (Σᵢ wᵢ if normalize else 1)

    Shapes: x.tensors (k, n), x.weights (k,) → (n,).
    Defaults: normalize true; wᵢ = 1.
    Edge cases: with normalize, |Σ wᵢ| < 10⁻⁸ is an error.
    Differs: weights belong to contributions, never to positions; there is no pairwise fold.
    """
    total = sum(x.weights, Fraction(0))
    if normalize and abs(total) < SMALLEST_TOTAL:
        raise BadWeightError(
            f"the weights of the normalised sum add up to {float(total):.3g}",
            where=f"tensor `{x.name}`",
            hint="give other weights, or `-p normalize=false`",
        )
    divisor = total if normalize else Fraction(1)
    return kernels.linear(x.tensors, kernels.coefficients([w / divisor for w in x.weights]), x.format, x.out_format)
