"""Task arithmetic: add the scaled sum of task vectors to the base."""

from fractions import Fraction

from conjoin.kernels import coefficients, linear
from conjoin.strategies.base import Block, Number, RawArray, Scope, strategy


@strategy(scope=Scope.ELEMENTWISE, needs_base=True, source="Ilharco et al., ICLR 2023, arXiv:2212.04089")
def task_arithmetic(x: Block, *, scale: Number = Fraction("0.3")) -> RawArray:
    """Add a weighted sum of task vectors to the base.

    θ = θ₀ + scale · Σᵢ wᵢ τᵢ,   τᵢ = θᵢ − θ₀

    Computed as one linear form: (1 − scale · Σᵢ wᵢ) θ₀ + Σᵢ scale · wᵢ θᵢ.
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,).
    Defaults: scale 0.3; w = 1 each, not 1/k.
    Edge cases: scale 0 gives the base, scale 1/k the mean, a negative scale forgets.
    Differs: nothing; 0.3 is the paper's choice for eight tasks.
    """
    shares = [scale * weight for weight in x.weights]
    terms = coefficients([1 - sum(shares, Fraction(0)), *shares])
    return linear((x.origin, *x.tensors), terms, x.format, x.out_format)
