"""Task arithmetic: add the scaled sum of task vectors to the base."""

from fractions import Fraction

from conjoin.kernels import Coefficients, coefficients, linear
from conjoin.strategies.base import Block, Number, Params, RawArray, Scope, WeightedSum, strategy


def _terms(x: Block, scale: Fraction) -> Coefficients:
    """The coefficients of the base and of every contribution."""
    shares = [scale * weight for weight in x.weights]
    return coefficients([1 - sum(shares, Fraction(0)), *shares])


def _sum(x: Block, params: Params) -> WeightedSum:
    terms = _terms(x, params["scale"])
    return WeightedSum(terms.numerators[1:], terms.denominator, base_numerator=terms.numerators[0])


@strategy(scope=Scope.ELEMENTWISE, needs_base=True, running=_sum, source="Ilharco et al., ICLR 2023, arXiv:2212.04089")
def task_arithmetic(x: Block, *, scale: Number = Fraction("0.3")) -> RawArray:
    """Add a weighted sum of task vectors to the base.

    θ = θ₀ + scale · Σᵢ wᵢ τᵢ,   τᵢ = θᵢ − θ₀

    Computed as one linear form: (1 − scale · Σᵢ wᵢ) θ₀ + Σᵢ scale · wᵢ θᵢ.
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: scale 0.3; w = 1 each, not 1/k.
    Edge cases: scale 0 gives the base, scale 1/k the mean, a negative scale forgets.
    Differs: nothing; 0.3 is the paper's choice for eight tasks.
    """
    return linear((x.origin, *x.tensors), _terms(x, scale), x.format, x.out_format)
