"""STAR: cut the small singular values off each task vector, rescale the others to the same nuclear norm, average."""

from fractions import Fraction

from conjoin import kernels
from conjoin.strategies import matrices
from conjoin.strategies.base import Block, RawArray, Scope, Unit, strategy
from conjoin.strategies.matrices import Matrix


def _kept(values: Matrix, density: Fraction) -> tuple[int, float, float]:
    """How many singular values reach the share of the nuclear norm, the sum of all and the sum of those, exact sums."""
    whole = [Fraction(float(value)) for value in values]
    total, reached = sum(whole, Fraction(0)), Fraction(0)
    for count, value in enumerate(whole, start=1):
        reached += value
        if reached >= density * total:
            return count, float(total), float(reached)
    raise AssertionError("the sum of all reaches every share of itself")


def _truncated(x: Block, tau: Matrix, density: Fraction) -> Matrix:
    """Σ_{j ≤ r} f σⱼ uⱼ vⱼᵀ; τ itself where nothing is cut."""
    if density == 1 or not tau.any():
        return tau
    (part,), unit = matrices.scaled([tau])
    found = kernels.svd(part, wide=True)
    count, total, reached = _kept(found.values, density)
    if total == reached:
        return tau
    matrices.warn_of_clusters(found.values, x.warn, x.name, cut=count)
    weighted = found.left[:, :count] * (found.values[:count] * total / reached)
    return unit * kernels.gemm(weighted, found.right[:, :count].T, wide=True)


@strategy(
    scope=Scope.MATRIX,
    needs_base=True,
    normalises=True,
    source="Lee et al., NAACL 2025, arXiv:2502.10339; authors' code IBM/STAR",
)
def star(x: Block, *, density: Unit = Fraction("0.4")) -> RawArray:
    """Cut small singular values off each task vector, rescale the rest to the same nuclear norm, average.

    τᵢ = U Σ Vᵀ,   r = min {r : Σ_{j≤r} σⱼ ≥ density · Σⱼ σⱼ},   f = Σⱼ σⱼ / Σ_{j≤r} σⱼ

    θ = θ₀ + Σᵢ wᵢ (Σ_{j≤r} f σⱼ uⱼ vⱼᵀ) / Σᵢ wᵢ

    Shapes: x.tensors (k, n) as k matrices (dim 0, the others), x.base (n,), x.weights (k,) → (n,).
    Defaults: density 0.4 (the paper's η = 40 per cent); w = 1.
    density: the share of the nuclear norm that the singular values kept must reach. 0.2 to 0.6 are alike in the paper.
    Edge cases: vectors and scalars are averaged. Density 1 is the average. A matrix of rank 1 is not changed but by
    rounding. Where the cut goes between two equal singular values, the basis that the kernels found decides, and the
    receipt says so. k = 1 is cut too.
    Differs: nothing from the paper; its code takes a randomised decomposition for LoRA, ours is exact.
    """
    x, origin = matrices.present(x), x.origin
    if not matrices.is_matrix(x):
        return matrices.mean(x)
    parts = [_truncated(x, tau, density) for tau in matrices.task_vectors(x)]
    update = matrices.total(parts, matrices.shares(x))
    return matrices.encoded(x, matrices.moved(matrices.decoded(x, origin), update))
