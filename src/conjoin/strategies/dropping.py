"""What DARE drops: the names of draws, thresholds, and the L1 norm of what is kept; merges nothing."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadParameterError
from conjoin.strategies.base import Block, Extent, Params, Pass


def keys_of(x: Block, mask_scope: str) -> list[kernels.DrawKey]:
    """The names of the contributions' draws in this tensor."""
    return [kernels.draw_key(x.seeds[mask_scope], x.strategy, x.name, digest) for digest in x.contributions]


def drop_below(density: Fraction, strategy: str) -> int:
    """Below which draw an element is dropped.

    Raises:
        BadParameterError: a draw never keeps anything.
    """
    threshold = kernels.drop_threshold(density)
    if threshold >= 2**32:
        raise BadParameterError(
            f"parameter `density` of {strategy} is {float(density):.3g}: a draw of 32 bits never keeps an element",
            hint="give at least 0.000000001",
        )
    return threshold


def _measure_l1(x: Block, params: Params) -> npt.NDArray[np.float64]:
    keys, threshold = keys_of(x, params["mask_scope"]), drop_below(params["density"], x.strategy)
    return kernels.block_l1(x.tensors, x.origin, x.format, drop_below=threshold, keys=keys, start=x.offset)


def _finish_l1(total: npt.NDArray[Any], params: Params, extent: Extent) -> tuple[Fraction, ...]:  # noqa: ARG001
    """Per contribution ‖τ‖₁ / ‖m ⊙ τ‖₁, 0 where nothing but zeros is kept."""
    if not np.isfinite(total).all():
        raise BadParameterError(
            "the L1 norm of a task vector overflows float64", hint="`-p rescale=inverse_prob` needs none"
        )
    return tuple(Fraction(float(whole)) / Fraction(float(kept)) if kept else Fraction(0) for whole, kept in total)


L1 = Pass("l1", _measure_l1, _finish_l1, combine="tree", needed=lambda params: params["rescale"] == "l1")
"""For parameters `density`, `mask_scope` and `rescale`."""
