"""DELLA: drop elements at random, small magnitudes more often than large ones, then elect a sign and merge."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.strategies.base import Block, Domain, Number, Params, RawArray, Scope, Unit, strategy
from conjoin.strategies.dropping import drop_below, keys_of
from conjoin.strategies.rows import columns_of, pieces

Window = Annotated[Fraction, Domain(minimum=Fraction(0), below=Fraction(1))]


def _check(params: Params, weights: tuple[Fraction, ...]) -> None:  # noqa: ARG001
    """Refuse probabilities that are not above 0 and at most 1."""
    density, half = params["density"], params["window"] / 2
    if density <= half or density + half > 1:
        low, high = float(density - half), float(density + half)
        raise BadParameterError(
            f"parameters `density` and `window` of della keep elements with probabilities from {low:.6g} to {high:.6g}",
            hint="density ± window / 2 lies above 0 and at most at 1; mergekit's `epsilon` is half of a window",
        )
    drop_below(density - half, "della")


def _columns(params: Params, shape: tuple[int, ...]) -> int:
    """How many elements are ranked together."""
    return columns_of(shape if params["scope"] == "row" else (math.prod(shape),))


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    stochastic=True,
    check=_check,
    together=_columns,
    source="Deep, Bhardwaj and Poria 2024, arXiv:2406.11617; authors' code declare-lab/della",
)
def della(
    x: Block,
    *,
    density: Unit = Fraction("0.7"),
    window: Window = Fraction("0.14"),
    scale: Number = Fraction(1),
    scope: Literal["row", "tensor"] = "row",
    agg: Literal["mean", "sum", "max", "all"] = "mean",
    zero_sign: Literal["none", "plus"] = "none",
    mask_scope: Literal["root", "contribution"] = "root",
) -> RawArray:
    """Drop the small elements of each task vector more often than the large ones, elect a sign, average what agrees.

    τ̃ᵢ = mᵢ ⊙ τᵢ / qᵢ,   mᵢ ~ Bernoulli(qᵢ),   q = density − window/2 + window · r / (n − 1),   r = 0 … n − 1
    γ = sgn Σᵢ wᵢ τ̃ᵢ;   A = {i : τ̃ᵢ γ > 0};   θ = θ₀ + scale · Σ_A wᵢ τ̃ᵢ / Σ_A wᵢ

    r is the rank of an element in its row by |τᵢ| (as float32), of equals the lower index first; n the row's length.
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,) → (n,). A row is all behind the first dimension, or a vector.
    Defaults: density 0.7, the mean share kept, and window 0.14, as in an example of the authors' code; scale 1; w = 1.
    window: how much likelier the largest element of a row is kept than the smallest.
    scope: `tensor` ranks a tensor as one row, and reads it whole.
    agg: `sum` does not divide; `max` takes the agreeing wᵢ τ̃ᵢ of largest magnitude; `all` elects nothing: Σᵢ wᵢ τ̃ᵢ.
    zero_sign: the sign where the sum is 0: `none` leaves θ₀ there, `plus` takes what is positive.
    mask_scope: `root` draws anew whenever the visible set changes, as the paper has it; `contribution` gives a
    contribution the same mask for ever.
    Edge cases: window 0 is `dare_ties` with the same `zero_sign`. n = 1 has q = density. k = 1 gives θ₀ + scale · τ̃.
    Differs: q is rounded to whole 2⁻³². mergekit's `epsilon` is half of the window; it rescales by the L1 norm of the
    tensor, not by q, which is biased; its `della` is `agg=sum`, `zero_sign=plus`, its `della_linear` `agg=all`.
    """
    origin, columns = x.origin, _columns({"scope": scope}, x.shape)
    used = [i for i, weight in enumerate(x.weights) if weight]
    table = kernels.drop_table(density, window, columns)
    names = keys_of(x, mask_scope)
    keys = [names[i] for i in used]
    terms = kernels.coefficients([x.weights[i] for i in used])
    factor = kernels.coefficients([scale])

    def merged(tensors: Sequence[RawArray], base: RawArray, start: int) -> RawArray:
        ranks = kernels.row_ranks(tensors, base, x.format, columns) if len(table) > 1 and used else None
        return kernels.dropped_ties(
            tensors,
            base,
            x.format,
            x.out_format,
            terms=terms,
            table=table if used else table[:1],
            ranks=ranks,
            keys=keys,
            start=start,
            aggregate=agg,
            zero_sign=1 if zero_sign == "plus" else 0,
            scale=factor,
        )

    made = [
        merged([x.tensors[i][part] for i in used], origin[part], x.offset + part.start)
        for part in pieces(len(origin), columns)
    ]
    return np.concatenate([merged([x.tensors[i][:0] for i in used], origin[:0], 0), *made])
