"""Genetic merge: apply the weights and densities that a genetic algorithm found; the search itself is `conjoin fit`."""

from conjoin.strategies.base import Asset, Block, RawArray, Scope, strategy
from conjoin.strategies.genome import PASSES, Inner, apply_genome


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    normalises=True,
    passes=PASSES,
    needs_asset=lambda _: True,
    source="Minut et al., ACL 2025 (demo), arXiv:2505.11427, Mergenetic; operators: Deb and Agrawal 1995, pymoo",
)
def genetic_merge(
    x: Block,
    *,
    inner: Inner = "dare_ties",
    normalize: bool = True,
    asset: Asset = "",  # noqa: ARG001
) -> RawArray:
    """Merge by a recipe whose weights and densities a genetic algorithm found on a task, by group of tensors.

    dare_ties:  τ̃ᵢ = mᵢ ⊙ τᵢ / qᵢ,  mᵢ ~ Bernoulli(qᵢ);  γ = sgn Σ vᵢ τ̃ᵢ;  A = {i : τ̃ᵢ γ > 0};
    θ = θ₀ + Σ_A vᵢ τ̃ᵢ / Σ_A vᵢ,   vᵢ = wᵢ gᵢ,   gᵢ and qᵢ the contribution's weight and density in the genome

    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,), x.learned the genome → (n,).
    Defaults: inner dare_ties, normalize true; w = 1.
    inner: `ties` keeps the largest ⌊qᵢ · n⌋ values of the tensor in place of the draw; `task_arithmetic` is
    θ₀ + Σ vᵢ τᵢ and `linear` Σ vᵢ θᵢ, without densities.
    normalize: divide by the sum of the weights (of those that agree). Without it dare_ties and ties add up, so that
    the genome says how far to go as well.
    asset: what `conjoin fit genetic_merge --evaluator COMMAND` made: the genome, the groups of tensors, the seed of
    the masks, and every candidate with its score. The same inner and normalize must be given as there.
    Edge cases: without an asset an error. With normalize, what alone has a weight is taken as it is, so k = 1 gives θ₁.
    Where the votes are equal, the sign of the tensor's majority counts. Masks are named by the seed in the asset: what
    was evaluated is what is made.
    Differs: one objective, so no NSGA-II; fitness is counted, not estimated by item response theory (MERGE³).
    """
    return apply_genome(x, {"inner": inner, "normalize": normalize})
