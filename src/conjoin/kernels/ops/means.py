"""Means whose weights differ from element to element."""

from collections.abc import Sequence

from conjoin.kernels.backend import operation
from conjoin.kernels.formats import Raw
from conjoin.kernels.ops.arguments import all_plain, element_count, require, require_each


def weighted_mean(
    tensors: Sequence[Raw],
    scores: Sequence[Raw],
    form: str,
    score_form: str,
    out_form: str,
    *,
    numerators: Sequence[float],
    floors: Sequence[float],
) -> Raw:
    """(Σ sᵢ θᵢ) / Σ sᵢ with sᵢ = nᵢ · max(Fᵢ, floorᵢ), and never outside the range of the θᵢ whose sᵢ is above 0.

    So inputs that are equal, or the only one that counts, are the result, bit for bit. Where all sᵢ are equal they are
    taken as 1: the mean.

    Args:
        tensors: k arrays (n,) of θᵢ.
        scores: k arrays (n,) of Fᵢ, none negative.
        form: format of the tensors.
        score_form: format of the scores.
        out_form: format of the result.
        numerators: k factors nᵢ, none negative; any float64.
        floors: k least scores.

    Returns:
        (n,) patterns of `out_form`.
    """
    arrays, weights = all_plain(tensors, form), all_plain(scores, score_form)
    require_each(arrays, numerators=numerators, floors=floors, scores=weights)
    require(len(weights[0]) == len(arrays[0]), f"{len(weights[0])} scores for {len(arrays[0])} elements")
    run = operation("means.weighted_mean", element_count(arrays))
    return run(arrays, weights, form, score_form, out_form, list(numerators), list(floors))
