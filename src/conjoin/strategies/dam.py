"""DAM: an average whose shares differ from column to column of each matrix, as they were learned beforehand."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadWeightError
from conjoin.kernels import FORMATS
from conjoin.strategies.base import BLOCK_ELEMENTS, Asset, Block, RawArray, Scope, strategy
from conjoin.strategies.learned import floats

Row = npt.NDArray[np.float64]


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
    rows = floats(x, "coefficient", columns)
    with np.errstate(all="ignore"):  # of two float32 numbers, so these products are exact
        used = [(raw, share * row) for raw, share, row in zip(x.tensors, terms.numerators, rows, strict=True) if share]
    parts = [_part(x, used, columns, start) for start in range(0, n, BLOCK_ELEMENTS)]
    whole = np.concatenate(parts).view(np.uint64)
    return kernels.linear([whole], kernels.Coefficients((1.0,), terms.denominator), "F64", x.out_format)


def _part(x: Block, used: Sequence[tuple[RawArray, Row]], columns: int, start: int) -> Row:
    """Σᵢ Wᵢ · diag(fᵢ) for some elements, few enough to stay in the cache."""
    found = np.zeros(0)
    for number, (raw, factors) in enumerate(used):
        values = kernels.decode(raw[start : start + BLOCK_ELEMENTS], x.format)
        first = (x.offset + start) % columns
        with np.errstate(all="ignore"):
            term = values * (factors if len(factors) == 1 else np.resize(np.roll(factors, -first), len(values)))
            found = term if not number else found + term
    return found
