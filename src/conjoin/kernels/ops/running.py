"""Running sums: exact weighted sums of contributions to which one is added, or from which it is taken out again.

A full resolve adds nᵢ·xᵢ in canonical order, each addition rounded. Where every term of an element is a multiple of 2^q
and their magnitudes add up to at most 2^(q + 53), no partial sum in any order is rounded: the chain is the exact sum,
and so is the running sum. That is checked with integers for every piece; where it does not hold the answer is None.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np

from conjoin.kernels.backend import operation
from conjoin.kernels.draws import DrawKey
from conjoin.kernels.formats import Raw
from conjoin.kernels.layout import SUM_PIECE, UNBOUNDED, Packed, Span
from conjoin.kernels.ops.arguments import all_plain, element_count, plain, require, require_each
from conjoin.kernels.scalars import WHOLE_MAX

_NOTHING = Span(UNBOUNDED, -UNBOUNDED)


@dataclass(frozen=True, slots=True)
class RunningSum:
    """Σ aᵢ xᵢ over some contributions, or over their task vectors: exact.

    Attributes:
        packed: the sums and the bounds that prove them.
        factors: the aᵢ, none of them 0, in any order.
        elements: n.
    """

    packed: Packed
    factors: tuple[float, ...]
    elements: int

    def is_whole(self) -> bool:
        """Whether the arrays have the sizes that they say they have; for sums that were kept somewhere."""
        pieces = -(-self.elements // SUM_PIECE)
        if self.packed.bounds.shape != (pieces, 3) or not self.factors:
            return False
        low, top, minus = (self.packed.bounds[:, field].astype(np.int64) for field in range(3))
        span = span_of(self.factors)
        unit, bits = low + span.low, top + span.top - low - span.low
        whole = np.where(bits <= 0, 0, np.where(np.abs(unit) > 1000, 8, np.where(bits <= 15, 2, 4)))
        width = np.where((minus != 0) | (bits > 31), 8, whole)
        counts = np.minimum(SUM_PIECE, self.elements - SUM_PIECE * np.arange(pieces))
        return len(self.packed.words) == int(((counts * width + 7) // 8).sum())


T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Way(Generic[T]):
    """How a running sum becomes another one.

    Attributes:
        ratio: numerators to factors of the sum that is wanted, the same for all of its terms.
        scale: a whole number that the sum is multiplied with first.
        added: terms to add.
        taken: terms to take out.
        factors: the terms of the sum that is wanted, with their factors.
    """

    ratio: Fraction
    scale: float
    added: tuple[T, ...]
    taken: tuple[T, ...]
    factors: Mapping[T, float]


def way(factors: Mapping[T, float], numerators: Mapping[T, float]) -> Way[T] | None:
    """How a sum of terms with these factors becomes one from which Σ nᵢ xᵢ follows; from no terms it is begun.

    Args:
        factors: the terms of the sum so far.
        numerators: the nᵢ of those wanted, none of them 0, at least one.

    Returns:
        None where the two have no term in common, or the terms in common not one ratio.
    """
    exact = {term: Fraction(numerator) for term, numerator in numerators.items()}
    ratios = {exact[term] / Fraction(factor) for term, factor in factors.items() if term in exact}
    if not factors:
        shared = math.lcm(*(n.denominator for n in exact.values()))
        ratios = {Fraction(math.gcd(*(int(n * shared) for n in exact.values())), shared)}
    if len(ratios) != 1:
        return None
    ratio = ratios.pop()
    parts = [(numerator / ratio).denominator for numerator in exact.values()]
    scale = math.lcm(*(part // (part & -part) for part in parts))
    result = {term: numerator * scale / ratio for term, numerator in exact.items()}
    if scale > WHOLE_MAX or any(Fraction(float(factor)) != factor for factor in result.values()):
        return None
    return Way(
        ratio / scale,
        float(scale),
        tuple(term for term in exact if term not in factors),
        tuple(term for term in factors if term not in exact),
        {term: float(factor) for term, factor in result.items()},
    )


def running_sum(
    before: RunningSum | None,
    added: Sequence[tuple[Raw, float]],
    form: str,
    *,
    taken: Sequence[tuple[Raw, float]] = (),
    base: Raw | None = None,
    scale: float = 1.0,
    drop_below: int = 0,
    keys: Sequence[DrawKey] = (),
    start: int = 0,
) -> RunningSum | None:
    """Add contributions to a running sum and take others out.

    Args:
        before: the sum so far, None for an empty one.
        added: (n,) patterns and their factor, not 0.
        form: format of all patterns.
        taken: patterns and factor, as they were added, times `scale`.
        base: (n,); then task vectors are summed.
        scale: a whole number, first of all multiplied with the sum so far and with its factors.
        drop_below: an element of a task vector is left out where its 32-bit draw is below; 0 draws nothing.
        keys: names of the draws of `added` and then of `taken`, where anything is drawn.
        start: index of the first element in the tensor, a multiple of 4.

    Returns:
        The sum, or None where it cannot be kept exactly.
    """
    require(start % 4 == 0, f"a slice starts at {start}, inside a draw of four")
    require(base is not None or not drop_below, "only task vectors are drawn from")
    factors = [factor for _, factor in (*added, *taken)]
    old = Counter(() if before is None else (scale * factor for factor in before.factors))
    new = Counter(factor for _, factor in added)
    left = old + new - Counter(factor for _, factor in taken)
    whole = left.total() == old.total() + len(added) - len(taken) > 0 and 0.0 not in factors
    require(whole, "what is taken was never in")
    everything, rest = span_of([*old.elements(), *new.elements()]), span_of([*left.elements()])
    arrays = all_plain([raw for raw, _ in (*added, *taken)], form)
    require_each(arrays, draws=keys if drop_below else arrays)
    require(before is None or before.elements == len(arrays[0]), f"a sum of other than {len(arrays[0])} elements")
    require(base is None or len(base) == len(arrays[0]), f"a base of other than {len(arrays[0])} elements")
    packed = operation("running.advance", element_count(arrays))(
        None if before is None else before.packed,
        _NOTHING if before is None else span_of(before.factors),
        scale,
        arrays,
        factors,
        len(added),
        None if base is None else plain(base, form),
        form,
        drop_below,
        list(keys),
        start,
        (everything, rest),
    )
    return None if packed is None else RunningSum(packed, tuple(left.elements()), len(arrays[0]))


def running_linear(
    total: RunningSum,
    ratio: Fraction,
    form: str,
    out_form: str,
    *,
    base: Raw | None = None,
    base_numerator: float = 0.0,
    denominator: float = 1.0,
) -> Raw | None:
    """The bytes of `linear` over the base and the contributions of a running sum.

    Args:
        total: Σ aᵢ xᵢ.
        ratio: nᵢ / aᵢ, the same for all i.
        form: format of the contributions and the base.
        out_form: format of the result.
        base: (n,) patterns with a coefficient of their own.
        base_numerator: that coefficient.
        denominator: D.

    Returns:
        (n,) patterns, or None where it is not proven that no partial sum of `linear` is rounded.
    """
    origin = None if base is None or not base_numerator else plain(base, form)
    return _result(total, ratio, form, out_form, origin, base_numerator, denominator, added_to=False)


def running_delta_sum(
    total: RunningSum, ratio: Fraction, base: Raw, form: str, out_form: str, *, denominator: float = 1.0
) -> Raw | None:
    """The bytes of `delta_sum` over the task vectors of a running sum; arguments and None as for `running_linear`."""
    return _result(total, ratio, form, out_form, plain(base, form), 1.0, denominator, added_to=True)


def span_of(factors: Sequence[float | Fraction]) -> Span:
    """What the bounds of a sum need to know of its factors, which are whole numbers times powers of two."""
    exact = [abs(Fraction(factor)) for factor in factors]
    lows = [(f.numerator & -f.numerator).bit_length() - f.denominator.bit_length() for f in exact]
    require(all(f.denominator & (f.denominator - 1) == 0 for f in exact), "a factor is no binary fraction")
    whole = sum(exact, Fraction(0))
    top = whole.numerator.bit_length() - whole.denominator.bit_length()
    return Span(min(lows), top + (whole > Fraction(2) ** top))


def _result(
    total: RunningSum,
    ratio: Fraction,
    form: str,
    out_form: str,
    base: Raw | None,
    base_numerator: float,
    denominator: float,
    *,
    added_to: bool,
) -> Raw | None:
    require(base is None or len(base) == total.elements, f"a base of other than {total.elements} elements")
    odd = ratio.denominator // (ratio.denominator & -ratio.denominator)
    scale = ratio * odd
    if not ratio or Fraction(float(scale)) != scale or float(odd) != odd:
        return None
    exact = [Fraction(factor) for factor in total.factors]
    terms, scaled = span_of([ratio * factor for factor in exact]), span_of([scale * factor for factor in exact])
    own = span_of([base_numerator]) if base is not None else _NOTHING
    return operation("running.result", total.elements)(
        total.packed,
        span_of(total.factors),
        (terms, own, scaled),
        float(scale),
        float(odd),
        base,
        base_numerator,
        denominator,
        added_to,
        total.elements,
        form,
        out_form,
    )
