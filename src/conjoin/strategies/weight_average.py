"""Weight average: the mean of the contributions; needs no base."""

from conjoin.errors import BadWeightError
from conjoin.kernels import Coefficients, coefficients, linear
from conjoin.strategies.base import Block, Params, RawArray, Scope, WeightedSum, strategy


def _terms(x: Block) -> Coefficients:
    total = sum(x.weights)
    if not total:
        raise BadWeightError("the weights of the average add up to 0", where=f"tensor `{x.name}`")
    return coefficients([weight / total for weight in x.weights])


def _sum(x: Block, _: Params) -> WeightedSum:
    terms = _terms(x)
    return WeightedSum(terms.numerators, terms.denominator)


@strategy(
    scope=Scope.ELEMENTWISE,
    normalises=True,
    running=_sum,
    source="Wortsman et al., ICML 2022, arXiv:2203.05482; weights nᵢ: McMahan et al., AISTATS 2017, arXiv:1602.05629",
)
def weight_average(x: Block) -> RawArray:
    """Average the contributions, each counted with its weight.

    θ = Σᵢ nᵢ θᵢ / Σᵢ nᵢ

    Shapes: x.tensors (k, n), x.weights (k,) → (n,).
    Defaults: nᵢ = 1, the plain mean.
    Edge cases: the mean of equal values is that value, bit for bit. Weights that add up to 0 are an error.
    Differs: nothing; the greedy soup of the same paper is a search and is not offered under this name.
    """
    return linear(x.tensors, _terms(x), x.format, x.out_format)
