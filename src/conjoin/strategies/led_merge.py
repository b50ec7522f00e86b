"""LED-Merging: locate important elements, elect those that matter before and after tuning, keep them disjoint."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from conjoin import kernels
from conjoin.errors import BadSidecarError
from conjoin.kernels.counting import KEYS_STOP, Found, Narrowed, narrowed, select_from_bottom
from conjoin.kernels.layout import INDEX_SHIFT, NO_CUTOFF, Bracket
from conjoin.strategies.base import (
    Block,
    ByContribution,
    Domain,
    Extent,
    Extra,
    Number,
    Params,
    Pass,
    RawArray,
    Scope,
    SideCar,
    Unit,
    strategy,
)
from conjoin.strategies.scores import Values, derived, scores

Counts = npt.NDArray[np.int64]
Densities = Annotated[
    tuple[Fraction | None, ...] | None, ByContribution(Domain(above=Fraction(0), maximum=Fraction(1)))
]

EVERYTHING = Bracket(0, KEYS_STOP, 0)


class Located(NamedTuple):
    """Where the thresholds are, of k rows of scores before tuning and k after."""

    narrowed: Narrowed
    held: tuple[int, ...]
    """How many scores are at the threshold, where it is found."""

    @property
    def cut(self) -> list[int]:
        """The rows in which of some equal scores only the first ones are located."""
        pairs = zip(self.narrowed.ranks, self.held, strict=True)
        return [row for row, (rank, held) in enumerate(pairs) if rank < held]


def _scores(x: Block, variant: str) -> Extra:
    """Iᵢ(θ₀) of every contribution, then Iᵢ(θᵢ); those of side-cars are looked at in the first pass."""
    if variant == "delta_proxy":
        pairs = [(tensor, formula) for formula in (_of_base, _of_tuned) for tensor in x.tensors]
        made = tuple(derived(tensor, x.origin, x.format, formula) for tensor, formula in pairs)
        return Extra(made, "F64", x.shape)
    before, after = x.extras["base"], x.extras["tuned"]
    if "bracket" not in x.measured:
        before, after = scores(x, "base", "the importance"), scores(x, "tuned", "the importance")
        if before.format != after.format:
            raise BadSidecarError(
                f"the importance is {before.format} before tuning and {after.format} after", where=f"tensor `{x.name}`"
            )
    return Extra((*before.tensors, *after.tensors), before.format, x.shape)


def _of_base(values: Values, base: Values) -> Values:
    return np.abs(base * (values - base))


def _of_tuned(values: Values, base: Values) -> Values:
    return np.abs(values * (values - base))


def _zeros(found: Extra) -> RawArray:
    """A base for scores, which are task vectors of nothing."""
    return np.zeros_like(found.tensors[0])


def _latest(measured: Mapping[str, Any]) -> Located:
    return measured["narrower"] if "narrower" in measured else measured["bracket"]


def _ranks(params: Params, extent: Extent) -> list[int]:
    """Which score, counted from the largest, is the threshold, of each row."""
    given = params["density_of"] or (None,) * extent.count
    densities = [params["density"] if density is None else density for density in given]
    return [max(1, (density * extent.elements).__floor__()) for density in densities] * 2


def _brackets(measured: Mapping[str, Any], count: int) -> tuple[Bracket, ...]:
    """Where the thresholds are before the pass that is done now."""
    return measured["bracket"].narrowed.brackets if "bracket" in measured else (EVERYTHING,) * (2 * count)


def _measure_bracket(x: Block, params: Params) -> Counts:
    found = _scores(x, params["variant"])
    return kernels.bracket_counts(found.tensors, _zeros(found), found.format, _brackets(x.measured, x.count))


def _finish_bracket(total: Counts, params: Params, extent: Extent) -> Located:
    ranks = _ranks(params, extent)
    before = _brackets(extent.measured, extent.count)
    after = [
        narrowed(Narrowed((bracket,), (0,)), row[np.newaxis], rank)
        for bracket, row, rank in zip(before, total, ranks, strict=True)
    ]
    brackets = tuple(one.brackets[0] for one in after)
    held = [int(row[(b.low - a.low) >> a.shift]) for a, b, row in zip(before, brackets, total, strict=True)]
    return Located(Narrowed(brackets, tuple(one.ranks[0] for one in after)), tuple(held))


def _thresholds(measured: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(bracket.low for bracket in _latest(measured).narrowed.brackets)


def _measure_tie(x: Block, params: Params) -> Counts:
    found, rows = _scores(x, params["variant"]), _latest(x.measured).cut
    tensors, thresholds = [found.tensors[row] for row in rows], _thresholds(x.measured)
    bins = x.measured["tie"].bins if "tie" in x.measured else None
    return kernels.tie_histograms(
        tensors, _zeros(found), found.format, [thresholds[row] for row in rows], x.offset, bins
    )


def _finish_tie(total: Counts, params: Params, extent: Extent) -> Found:  # noqa: ARG001
    if "tie" in extent.measured:
        return select_from_bottom(total, extent.measured["tie"].ranks)
    located = _latest(extent.measured)
    return select_from_bottom(total, tuple(located.narrowed.ranks[row] for row in located.cut))


def _elected(x: Block, variant: str) -> kernels.Masks:
    """(k, ⌈n/8⌉): what is among the largest scores both before and after tuning."""
    cutoffs = [NO_CUTOFF] * (2 * x.count)
    if "last tie" in x.measured:
        rows = zip(_latest(x.measured).cut, x.measured["tie"].bins, x.measured["last tie"].bins, strict=True)
        for row, high, low in rows:
            cutoffs[row] = (high << INDEX_SHIFT | low) + 1
    found, trim = _scores(x, variant), kernels.Trim(_thresholds(x.measured), tuple(cutoffs))
    located = kernels.surviving(found.tensors, None, found.format, trim, start=x.offset)
    return located[: x.count] & located[x.count :]


def disjoint(elected: kernels.Masks, weights: Sequence[Fraction]) -> kernels.Masks:
    """(k, ⌈n/8⌉): what one contribution alone elected, of those whose weight is not 0."""
    once = np.zeros(elected.shape[1:], np.uint8)
    twice = np.zeros(elected.shape[1:], np.uint8)
    for mask, weight in zip(elected, weights, strict=True):
        if weight:
            twice |= once & mask
            once |= mask
    return elected & ~twice


def _settled(measured: Mapping[str, Any]) -> bool:
    return not _latest(measured).cut


def _side_cars(params: Params) -> tuple[SideCar, ...]:
    if params["variant"] != "snip":
        return ()
    return tuple(
        SideCar(name, "importance", lambda tensor, name=name: f"{name}.{tensor}") for name in ("base", "tuned")
    )


@strategy(
    scope=Scope.TWO_PASS,
    needs_base=True,
    side_cars=_side_cars,
    passes=(
        Pass("bracket", _measure_bracket, _finish_bracket),
        Pass(
            "narrower",
            _measure_bracket,
            _finish_bracket,
            settled=lambda measured: measured["bracket"].narrowed.is_exact,
        ),
        Pass("tie", _measure_tie, _finish_tie, settled=_settled),
        Pass("last tie", _measure_tie, _finish_tie, settled=_settled),
    ),
    source="Ma et al., ACL 2025, arXiv:2502.16770; authors' code MqLeet/LED-Merging",
)
def led_merge(
    x: Block,
    *,
    density: Unit = Fraction("0.4"),  # noqa: ARG001
    density_of: Densities = None,  # noqa: ARG001
    scale: Number = Fraction(1),
    variant: Literal["snip", "delta_proxy"] = "snip",
) -> RawArray:
    """Add to the base what is important for one contribution alone, before and after tuning.

    Eᵢ = Top_r(Iᵢ(θ₀)) ∩ Top_r(Iᵢ(θᵢ));   mᵢ = Eᵢ ∖ ∪_{j≠i} Eⱼ;   θ = θ₀ + scale · Σᵢ wᵢ mᵢ ⊙ τᵢ

    Location takes, per tensor, the m = max(1, ⌊r · n⌋) elements of greatest score (as float32, of equals the first);
    election keeps those located in both; what two elected goes to none (disjoint).
    Iᵢ(θ) = E|θ ⊙ ∇L| on contribution i's location set are the SNIP scores of the base and of the contribution, from its
    side-car `importance` with tensors `base.NAME` and `tuned.NAME` (`conjoin stats importance` makes it).
    Shapes: x.tensors (k, n), x.base (n,), x.weights (k,), scores (k, n) twice → (n,).
    Defaults: density 0.4, scale 1, w = 1, which are the factors λᵢ. The authors take r = 0.1, 0.4, 0.5 for safety,
    mathematics and code, and scale 0.9.
    density: r, the share located, for every contribution that `density_of` does not name.
    density_of: r of one contribution, `-p density_of.7f3a91c2=0.1`.
    variant: `snip` needs the side-cars. `delta_proxy` is an approximation without data: the scores are |θ₀ ⊙ τᵢ| and
    |θᵢ ⊙ τᵢ|.
    Edge cases: contributions that elect the same elements cancel out, so identical ones give the base; one of weight 0
    elects nothing. k = 1 keeps E₁; with density 1 too, θ₁.
    Differs: ties are decided by index; nothing else from the paper.
    """
    return kernels.masked_sum(
        x.tensors,
        x.origin,
        x.format,
        x.out_format,
        terms=kernels.coefficients([scale * weight for weight in x.weights]),
        masks=disjoint(_elected(x, variant), x.weights),
    )
