"""STAR: cut the small singular values off each task vector, rescale the others to the same nuclear norm, average."""

from fractions import Fraction

from conjoin import kernels
from conjoin.strategies import matrices
from conjoin.strategies.base import Block, RawArray, Scope, Unit, strategy
from conjoin.strategies.matrices import Matrix


def _truncated(x: Block, tau: Matrix, density: Fraction) -> Matrix:
    """Σ_{j ≤ r} f σⱼ uⱼ vⱼᵀ; τ itself where nothing is cut."""
    if density == 1 or not tau.any():
        return tau
    (part,), unit = matrices.scaled([tau])
    found = kernels.svd(part, wide=True)
    count, total, reached = matrices.leading(found.values, density)
    if total == reached:
        return tau
    matrices.warn_of_clusters(found.values, x.warn, x.name, cut=count)
    weighted = found.left[:, :count] * (found.values[:count] * float(total) / float(reached))
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
