"""DAM: an average whose shares differ from column to column of each matrix, as they were learned beforehand."""

import math
from fractions import Fraction

import numpy as np

from conjoin import kernels
from conjoin.errors import BadWeightError
from conjoin.kernels import FORMATS
from conjoin.strategies.base import Asset, Block, RawArray, Scope, strategy
from conjoin.strategies.learned import floats


def columns_of(shape: tuple[int, ...]) -> int:
    """How many input columns a tensor has: all dimensions but the first one, those of a vector as they are."""
    return math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)


@strategy(
    scope=Scope.ELEMENTWISE,
    normalises=True,
    needs_asset=lambda _: True,
    source="Gauthier-Caron et al., 2024, arXiv:2410.08371; authors' code arcee-ai/DAM",
)
def dam(x: Block, *, asset: Asset = "") -> RawArray:  # noqa: ARG001
    """Add up the contributions, each scaled per input column by what distils them best into one.

    W = Σᵢ pᵢ Wᵢ · diag(cᵢ),   pᵢ = wᵢ / Σⱼ wⱼ

    The asset holds c: `coefficient`, by tensor and contribution, as multiples of pᵢ: c = 1 is the mean. `conjoin fit
    dam` learns it on every contribution's data, by Σ KL(contribution ‖ merged) at temperature 2 and a share of the
    cosines between the contributions' coefficients.
    Shapes: x.tensors (k, n), x.weights (k,), cᵢ (columns,) or (1,) → (n,). Columns are all dimensions but the first.
    Defaults: w = 1.
    asset: what was learned, for just these contributions. A bias has one number, a norm or an embedding one per
    dimension; where the asset names `*` instead of a tensor, that holds for every tensor not named.
    Edge cases: c = 1 everywhere is the mean, bit for bit. Weights that add up to 0 are an error. There is no base: the
    method acts on θᵢ and not on τᵢ.
    Differs: the paper has no weights; ours scale the shares that its coefficients start from. Learning is apart from
    applying: the same asset gives the same bytes everywhere.
    """
    total, n, columns = sum(x.weights, Fraction(0)), len(x.tensors[0]), columns_of(x.shape)
    if not total:
        raise BadWeightError("the weights of the average add up to 0", where=f"tensor `{x.name}`")
    if not n:
        return np.zeros(0, FORMATS[x.out_format].raw)
    terms = kernels.coefficients([weight / total for weight in x.weights])
    column = (x.offset + np.arange(n)) % columns
    found = None
    with np.errstate(all="ignore"):
        for tensor, row, share in zip(x.tensors, floats(x, "coefficient", columns), terms.numerators, strict=True):
            factor = share * row  # of two float32 numbers, so exact
            term = kernels.decode(tensor, x.format) * (factor if len(row) == 1 else factor[column])
            if share:
                found = term if found is None else found + term
        assert found is not None
        return kernels.encode(found / terms.denominator, x.out_format)
