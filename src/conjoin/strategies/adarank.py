"""AdaRank: task arithmetic on the singular triplets that were found worth keeping, with coefficients learned beside."""

from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.strategies import matrices
from conjoin.strategies.base import Asset, Block, Number, RawArray, Scope, Unit, strategy
from conjoin.strategies.learned import bits, numbers, require_same
from conjoin.strategies.matrices import Matrix

Flags = npt.NDArray[np.bool_]


def triplets(tau: Matrix) -> tuple[kernels.Singular, float]:
    """The singular triplets, in the order of masks, of a task vector divided by a power of two; and that power."""
    (part,), unit = matrices.scaled([tau])
    return kernels.svd(part, wide=True), unit


def energetic(values: Matrix, density: Fraction) -> Flags:
    """The fewest leading triplets with a share of Σσ²."""
    squares = [Fraction(float(value)) ** 2 for value in values]
    wanted, reached, kept = density * sum(squares, Fraction(0)), Fraction(0), list[bool]()
    for square in squares:
        kept.append(reached < wanted)
        reached += square
    return np.array(kept, np.bool_)


def _part(x: Block, tau: Matrix, mask: Flags | None, density: Fraction) -> Matrix:
    """U diag(B ⊙ Σ) Vᵀ; τ itself where all is kept, and without a decomposition where the mask says so beforehand."""
    if not tau.any() or (mask is not None and mask.all()):
        return tau
    found, unit = triplets(tau)
    kept = energetic(found.values, density) if mask is None else mask
    if kept.all():
        return tau
    for cut in np.flatnonzero(kept[1:] != kept[:-1]):
        matrices.warn_of_clusters(found.values, x.warn, x.name, cut=int(cut) + 1)
    weighted = found.left[:, kept] * found.values[kept]
    return unit * kernels.gemm(weighted, found.right[:, kept].T, wide=True)


def around_mean(x: Block) -> Block:
    """The block in F64 with the mean of the contributions in place of the base; where all agree it is that element."""
    x = matrices.present(x)
    tensors = tuple(kernels.decode(raw, x.format).view(np.uint64) for raw in x.tensors)
    mean, same = kernels.linear(tensors, matrices.shares(x), "F64", "F64"), np.ones(len(tensors[0]), np.bool_)
    for raw in tensors[1:]:
        same &= raw == tensors[0]
    return replace(x, tensors=tensors, base=np.where(same, tensors[0], mean), format="F64")


@strategy(
    scope=Scope.MATRIX,
    needs_base=True,
    needs_asset=lambda params: params["variant"] == "asset",
    source="Lee et al., ICLR 2026, arXiv:2503.22178; authors' code david3684/AdaRank",
)
def adarank(
    x: Block,
    *,
    asset: Asset = "",  # noqa: ARG001
    variant: Literal["asset", "energy"] = "asset",
    density: Unit = Fraction("0.95"),
    scale: Number = Fraction("0.3"),
    origin: Literal["base", "mean"] = "base",
) -> RawArray:
    """Add task vectors to the base, of each only the singular triplets that help, scaled by learned coefficients.

    θˡ = θ₀ˡ + Σᵢ λᵢˡ wᵢ Uᵢ diag(Bᵢ ⊙ Σᵢ) Vᵢᵀ,   τᵢˡ = Uᵢ Σᵢ Vᵢᵀ

    The asset holds λ (`scale`) and B (`kept`, a string of bits over the triplets, the largest singular value first), by
    tensor and contribution. `conjoin fit adarank` learns both by the entropy of predictions on unlabelled inputs of
    every task, B through a straight-through gradient. A tensor without masks, such as a bias, gets λτ.
    Shapes: x.tensors (k, n) as k matrices (dim 0, the others), x.base (n,), x.weights (k,) → (n,).
    Defaults: variant asset; w = 1.
    asset: what was learned, for just these contributions.
    variant: `energy` is no AdaRank but truncation by energy of the singular values (svd energy truncation), an
    approximation without data: of each matrix the fewest leading triplets that reach `density` of Σσ², times `scale`.
    density: share of the energy that is kept, for `energy`.
    scale: factor on the summed task vectors, for `energy`.
    origin: `mean` takes the contributions' mean, Σ wᵢθᵢ / Σ wᵢ, in place of θ₀, as the paper's combination with CART
    does; what was learned with it is applied with it. Weights that add up to 0 are then an error.
    Edge cases: all triplets kept is the task vector itself, bit for bit; none is θ₀. Equal contributions count twice.
    Where a mask parts two equal singular values, the basis that the kernels found decides, and the receipt says so.
    Differs: nothing from the paper by `asset`; other code has only the truncation under this name.
    """
    if origin == "mean":
        x = around_mean(x)
    masks: tuple[Flags | None, ...] | None = (None,) * x.count
    if variant == "energy":
        scales = (scale,) * x.count
    else:
        require_same(x, "origin", None if origin == "base" else origin)
        scales = numbers(x, "scale")
        masks = bits(x, "kept", min(matrices.dimensions(x.shape))) if matrices.is_matrix(x) else None
    terms = kernels.coefficients([factor * weight for factor, weight in zip(scales, x.weights, strict=True)])
    if masks is None or not matrices.is_matrix(x):
        return kernels.delta_sum(x.tensors, x.origin, x.format, x.out_format, terms=terms)
    start = matrices.decoded(x, x.origin)
    update = np.zeros_like(start)
    for tau, mask, numerator in zip(matrices.task_vectors(x), masks, terms.numerators, strict=True):
        if numerator:
            update += numerator * _part(x, tau, mask, density)
    return matrices.encoded(x, matrices.moved(start, update / terms.denominator))
