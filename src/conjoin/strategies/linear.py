"""Linear: a weighted sum of the contributions, normalised unless told otherwise; needs no base."""

from fractions import Fraction

from conjoin import kernels
from conjoin.errors import BadWeightError
from conjoin.strategies.base import Block, Params, RawArray, Scope, WeightedSum, strategy

SMALLEST_TOTAL = Fraction(1, 10**8)


def _terms(x: Block, *, normalize: bool) -> kernels.Coefficients:
    total = sum(x.weights, Fraction(0))
    if normalize and abs(total) < SMALLEST_TOTAL:
        raise BadWeightError(
            f"the weights of the normalised sum add up to {float(total):.3g}",
            where=f"tensor `{x.name}`",
            hint="give other weights, or `-p normalize=false`",
        )
    divisor = total if normalize else Fraction(1)
    return kernels.coefficients([w / divisor for w in x.weights])


def _sum(x: Block, params: Params) -> WeightedSum:
    terms = _terms(x, normalize=params["normalize"])
    return WeightedSum(terms.numerators, terms.denominator)


@strategy(
    scope=Scope.ELEMENTWISE,
    normalises=True,
    running=_sum,
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
    return kernels.linear(x.tensors, _terms(x, normalize=normalize), x.format, x.out_format)
