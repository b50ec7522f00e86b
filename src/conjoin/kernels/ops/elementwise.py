"""Elementwise operations."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conjoin.kernels.backend import operation
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import FORMATS, Raw
from conjoin.kernels.layout import Aggregate, Trim
from conjoin.kernels.ops.arguments import all_plain, element_count, require, require_each
from conjoin.kernels.scalars import Coefficients

Int64 = npt.NDArray[np.int64]


def linear(sources: Sequence[Raw], terms: Coefficients, form: str, out_form: str) -> Raw:
    """A linear form (Σ nᵢ xᵢ) / D, in the order of the sources, from the first product on.

    Sources whose coefficient is 0 are left out; the division is done only where D is not 1.

    Args:
        sources: arrays (n,) of one format; at least one.
        terms: a coefficient for each source.
        form: their format.
        out_form: format of the result.

    Returns:
        (n,) patterns of `out_form`.
    """
    require_each(sources, coefficients=terms.numerators)
    used = [i for i, numerator in enumerate(terms.numerators) if numerator]
    arrays = all_plain(sources, form)
    if not used:
        return np.zeros(len(arrays[0]), FORMATS[out_form].raw)
    run = operation("elementwise.linear", element_count(arrays))
    numerators = [terms.numerators[i] for i in used]
    return run([arrays[i] for i in used], numerators, terms.denominator, form, out_form)


def elected_signs(tensors: Sequence[Raw], base: Raw, form: str, terms: Coefficients, trim: Trim, start: int) -> Int64:
    """Count the elements in which the mass Σ nᵢ τ̂ᵢ is positive, and negative. (2,); counts of several slices add up."""
    origin, *arrays = all_plain([base, *tensors], form)
    require_each(tensors, coefficients=terms.numerators, thresholds=trim.thresholds, cutoffs=trim.cutoffs)
    run = operation("elementwise.elected_signs", element_count(tensors))
    return run(arrays, origin, form, list(terms.numerators), trim, start)


def ties(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    *,
    terms: Coefficients,
    trim: Trim,
    start: int,
    aggregate: Aggregate,
    zero_sign: int,
    scale: Coefficients,
) -> Raw:
    """θ₀ + (a·S)/(b·W) over A, the trimmed values τ̂ᵢ that carry the elected sign γ.

    γ is the sign of Σ nᵢ τ̂ᵢ, or `zero_sign` where that is 0. Mean: S = Σ_A nᵢ τ̂ᵢ, W = Σ_A nᵢ. Sum: W = D. Max: S is the
    largest nᵢ τ̂ᵢ by magnitude, W = D. Where the update is 0 the result is θ₀ itself, sign of zero included.

    Args:
        tensors: k arrays (n,).
        base: (n,).
        form: format of both.
        out_form: format of the result.
        terms: k weights nᵢ / D, none of them 0.
        trim: what survives of each task vector.
        start: flat index of the first element, for the cut-offs of `trim`.
        aggregate: how the agreeing values combine.
        zero_sign: −1, 0 or 1.
        scale: one coefficient a / b.

    Returns:
        (n,) patterns of `out_form`.
    """
    origin, *arrays = all_plain([base, *tensors], form)
    require_each(tensors, coefficients=terms.numerators, thresholds=trim.thresholds, cutoffs=trim.cutoffs)
    run = operation("elementwise.ties", element_count(tensors))
    factor = (scale.numerators[0], scale.denominator)
    numerators = list(terms.numerators)
    return run(
        arrays,
        origin,
        form,
        out_form,
        numerators,
        terms.denominator,
        trim,
        start,
        aggregate,
        zero_sign,
        factor,
    )


def delta_sum(
    tensors: Sequence[Raw],
    base: Raw,
    form: str,
    out_form: str,
    *,
    terms: Coefficients,
    drop_below: int = 0,
    keys: Sequence[DrawKey] = (),
    start: int = 0,
) -> Raw:
    """θ₀ + (Σ nᵢ τᵢ)/D, the sum over the elements that are kept. Where it is 0 the result is θ₀ itself.

    Args:
        tensors: k arrays (n,).
        base: (n,).
        form: format of both.
        out_form: format of the result.
        terms: k coefficients.
        drop_below: an element is dropped where its 32-bit draw is below; 0 draws nothing.
        keys: k names of draws, where anything is drawn.
        start: index of the first element in the tensor, a multiple of 4.

    Returns:
        (n,) patterns of `out_form`.
    """
    require(start % 4 == 0, f"a slice starts at {start}, inside a draw of four")
    require_each(tensors, coefficients=terms.numerators, draws=keys if drop_below else tensors)
    used = [i for i, numerator in enumerate(terms.numerators) if numerator]
    origin, *arrays = all_plain([base, *tensors], form)
    return operation("elementwise.delta_sum", element_count(tensors))(
        [arrays[i] for i in used],
        origin,
        form,
        out_form,
        [terms.numerators[i] for i in used],
        terms.denominator,
        drop_below,
        [keys[i] for i in used] if drop_below else [],
        start,
    )
