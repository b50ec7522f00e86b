"""Means whose weights differ from element to element, compiled."""

from collections.abc import Sequence

from conjoin.kernels.compiled.handover import address, addresses, code, empty, floats
from conjoin.kernels.formats import Raw
from conjoin.kernels.native import means as native


def weighted_mean(
    tensors: Sequence[Raw],
    scores: Sequence[Raw],
    form: str,
    score_form: str,
    out_form: str,
    numerators: Sequence[float],
    floors: Sequence[float],
) -> Raw:
    """See `reference.means.weighted_mean`."""
    out = empty(len(tensors[0]), out_form)
    native.weighted_mean(
        addresses(tensors),
        addresses(scores),
        len(out),
        code(form),
        code(score_form),
        code(out_form),
        floats(numerators),
        floats(floors),
        address(out),
    )
    return out
