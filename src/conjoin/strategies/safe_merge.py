"""SafeMERGE: where a fine-tuned layer leaves the directions in which the model was aligned, mix in the safe one."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any

from conjoin import kernels
from conjoin.errors import BadRoleError, BadWeightError
from conjoin.kernels import scalars
from conjoin.strategies import matrices
from conjoin.strategies.base import Block, ByContribution, Number, Params, RawArray, Scope, Share, strategy
from conjoin.strategies.matrices import Matrix

ROLES = ("finetuned", "safe", "aligned", "unaligned")
Roles = Annotated[tuple[Any, ...] | None, ByContribution(choices=ROLES)]

SMALLEST_NORM = Fraction(1, 10**9)
"""Norm of the alignment below which there is none, as in the authors' code."""
MARGIN = Fraction(1, 10**6)
"""Distance of the cosine from the threshold below which the choice is said in the receipt."""


def _by_role(role: Sequence[str | None] | None, count: int) -> dict[str, list[int]]:
    """The indices of the contributions in each role."""
    held = role or [None] * count
    return {name: [i for i, one in enumerate(held) if (one or "finetuned") == name] for name in ROLES}


def _check(params: Params, weights: tuple[Fraction, ...]) -> None:
    held = _by_role(params["role"], len(weights))
    for name, fewest, most in (("safe", 1, 1), ("unaligned", 1, 1), ("aligned", 0, 1), ("finetuned", 1, len(weights))):
        count = len(held[name])
        if not fewest <= count <= most:
            wanted = "one" if most == 1 else "at least one"
            raise BadRoleError(
                f"safe_merge takes {wanted} contribution in the role `{name}`, and {count} of {len(weights)} have it",
                hint=f"write `-p role.DIGEST={name}`; a contribution without a role is `finetuned`",
            )
    if not any(weights[i] for i in held["finetuned"]):
        raise BadWeightError("the weights of the contributions that safe_merge merges add up to 0")


def _cosine(aligned: Matrix, update: Matrix) -> Fraction:
    """The cosine between ΔW and VVᵀΔW; 0 where either is 0."""
    if not update.any() or matrices.frobenius(aligned) < SMALLEST_NORM:
        return Fraction(0)
    (v,), (delta,) = (matrices.scaled([matrix])[0] for matrix in (aligned, update))
    if v.shape[0] <= v.shape[1]:
        seen = kernels.gemm(kernels.gram(v, wide=True), delta, wide=True)
    else:
        seen = kernels.gemm(v, kernels.gemm(v.T, delta, wide=True), wide=True)
    (seen,), _ = matrices.scaled([seen])
    squares = matrices.inner_products(seen, delta)
    size = scalars.sqrt(squares[0] * squares[2])
    return squares[1] / size if size else Fraction(0)


@strategy(
    scope=Scope.MATRIX,
    needs_base=True,
    normalises=True,
    check=_check,
    source="Djuhera et al., 2025, arXiv:2503.17239; authors' code aladinD/SafeMERGE",
)
def safe_merge(
    x: Block, *, role: Roles = None, threshold: Number = Fraction("0.35"), share: Share = Fraction("0.2")
) -> RawArray:
    """Mix a safe model into the layers in which fine-tuning left the subspace of the alignment.

    V = W_aligned − W_unaligned,   ρ = cos(V Vᵀ ΔW, ΔW),   ΔW = W_finetuned − θ₀
    W = W_finetuned where ρ ≥ threshold, elsewhere (1 − share) · W_finetuned + share · W_safe

    Shapes: x.tensors (k, n) as matrices (dim 0, the others), x.base (n,), x.weights (k,) → (n,).
    Defaults: threshold 0.35, share 0.2.
    role: by contribution, `finetuned` (where none is given), `safe`, `aligned` or `unaligned`. One is safe and one
    unaligned; without an aligned one the base is it. The last two are models to measure by and are not merged.
    threshold: at 0 and below every layer stays as it was fine-tuned, above 1 every layer is mixed. A cosine within 10⁻⁶
    of it stands in the receipt.
    share: of the safe model in a layer that is mixed; the paper's weights 0.8 and 0.2.
    Weights: several fine-tuned contributions are first averaged by theirs; those of the other roles do not count.
    Edge cases: ρ is 0 where ΔW is 0 or ‖V‖ < 10⁻⁹. Vectors and scalars stay as they were fine-tuned. A role that is
    missing or taken twice is an error before anything is read.
    Differs: materialised weights are mixed; the authors' code mixes the two factors of LoRA each for itself.
    """
    held = _by_role(role, x.count)
    weights = [x.weights[i] for i in held["finetuned"]]
    terms = [Fraction(0)] * x.count
    for i in held["finetuned"]:
        terms[i] = x.weights[i] / sum(weights, Fraction(0))
    origin = x.origin
    if matrices.is_matrix(x):
        merged = kernels.linear(x.tensors, kernels.coefficients(terms), x.format, "F64")
        update = matrices.difference(x, matrices.decoded(x, merged, "F64"), matrices.decoded(x, origin))
        first = x.tensors[held["aligned"][0]] if held["aligned"] else origin
        last = x.tensors[held["unaligned"][0]]
        aligned = matrices.difference(x, matrices.decoded(x, first), matrices.decoded(x, last))
        cosine = _cosine(aligned, update)
        if abs(cosine - threshold) < MARGIN:
            x.warn(f"the cosine of `{x.name}` is {float(cosine):.9f}, at the threshold {float(threshold):g}")
        if cosine < threshold:
            terms = [(1 - share) * term for term in terms]
            terms[held["safe"][0]] += share
    return kernels.linear(x.tensors, kernels.coefficients(terms), x.format, x.out_format)
