"""What each strategy's published definition gives as a raw operation, and why the paper differs; runs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conjoin.apps.audit.paper import PROPERTIES

_COMMUTATIVE, _ASSOCIATIVE, _IDEMPOTENT = range(len(PROPERTIES))

_NAMED_DRAWS = "every draw is named by tensor and contribution, so the order of the arguments changes none of them"
_SEARCH = (
    "every draw of the search is named by the set of contents and every score is a count, so the search does not see "
    "the order of the arguments"
)
_GENOME = (
    "the searched recipe is DARE-TIES, which drops of two equal task vectors too; with inner=linear it is idempotent, "
    "and resolve of the set {a} gives a. The paper's appendix F says that the method fails all three"
)


@dataclass(frozen=True, slots=True)
class Expected:
    """One strategy with its default parameters.

    Attributes:
        letters: what follows from its definition, in exact arithmetic.
        why: by property, why that is not what the paper prints.
        at_scale: by property, why the paper's letter at production scale is not that of its own 4×4 table.
        degenerate: by property, why 4×4 is too small for the definition to show.
    """

    letters: str
    why: Mapping[int, str] = field(default_factory=dict[int, str])
    at_scale: Mapping[int, str] = field(default_factory=dict[int, str])
    degenerate: Mapping[int, str] = field(default_factory=dict[int, str])


EXPECTED: dict[str, Expected] = {
    "ada_merging": Expected(
        "PFF",
        {_IDEMPOTENT: "f(a, a) = θ₀ + (λ₁ + λ₂) τ with the λ that were learned; the paper's package takes an average"},
        {
            _ASSOCIATIVE: "the paper saw it pass on slices of 128×128 and fail on 512×512: its violation is about as "
            "small as its tolerance"
        },
    ),
    "adarank": Expected("PFF"),
    "dam": Expected("PFP"),
    "dare": Expected("PFF", {_COMMUTATIVE: _NAMED_DRAWS}),
    "dare_ties": Expected("PFF", {_COMMUTATIVE: _NAMED_DRAWS}),
    "della": Expected("PFF", {_COMMUTATIVE: _NAMED_DRAWS}),
    "dual_projection": Expected("PFP"),
    "emr": Expected(
        "PPP",
        {
            _ASSOCIATIVE: "of two task vectors the unified one takes the larger magnitude, element by element: a total "
            "order; only pairwise, for the elected sign of three is not that of two and one",
            _IDEMPOTENT: "of equal task vectors the unified one is that vector; the paper's package trims and averages",
        },
    ),
    "evolutionary_merge": Expected("PFF", {_COMMUTATIVE: _SEARCH}),
    "fisher_merge": Expected("PFP"),
    "genetic_merge": Expected(
        "PFF",
        {_IDEMPOTENT: _GENOME},
        {
            _ASSOCIATIVE: "the paper's package searches for the smallest variance of weights, which moves these less "
            "than the tolerance"
        },
    ),
    "led_merge": Expected(
        "PFF",
        {_IDEMPOTENT: "equal inputs elect the same elements, which disjoint masks then exclude: the base remains"},
        {
            _ASSOCIATIVE: "the paper's package takes the value nearest to the mean, of two the smaller one: min(a, b) "
            "is associative, and 16-bit weights leave no rounding that would hide it"
        },
    ),
    "linear": Expected("PFP"),
    "model_breadcrumbs": Expected(
        "PFF",
        degenerate={_ASSOCIATIVE: "a row of 4 keeps ⌊0.15 · 4⌋ = 0 elements, as in the authors' code: f is always θ₀"},
    ),
    "negative_merge": Expected("PFF"),
    "regression_mean": Expected("PFP"),
    "representation_surgery": Expected("PFP"),
    "safe_merge": Expected("PFP"),
    "slerp": Expected("PFP"),
    "split_unlearn_merge": Expected("PFF"),
    "star": Expected("PFF"),
    "svd_knot_tying": Expected(
        "PFF",
        {
            _COMMUTATIVE: "one singular value decomposition of all task vectors does not depend on their order; the "
            "paper's package aligns all of them to the first",
            _IDEMPOTENT: "TIES with density 0.2 trims inside; with density 1 it is idempotent",
        },
    ),
    "task_arithmetic": Expected(
        "PFF",
        {_ASSOCIATIVE: "λ (λ (τ_a + τ_b) + τ_c) needs λ = 1; the default is the literature's 0.3"},
    ),
    "ties": Expected("PFF"),
    "weight_average": Expected("PFP"),
    "weight_scope_alignment": Expected("PFP"),
}
"""By strategy, ascending."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Other parameters of a strategy, and what they should give.

    Attributes:
        strategy: its name.
        params: parameters; a list has one entry per operand, in the order of the call.
        letters: what should come out.
        why: in a few words.
    """

    strategy: str
    params: Mapping[str, Any]
    letters: str
    why: str


SETTINGS: tuple[Setting, ...] = (
    Setting("task_arithmetic", {"scale": "1"}, "PPF", "the paper's cell, the only associative one of its 4×4 table"),
    Setting("ties", {"density": "1"}, "PFP", "nothing is trimmed"),
    Setting("dare", {"density": "1", "scale": "1"}, "PPF", "nothing is dropped: task arithmetic"),
    Setting("slerp", {"t": [None, "0.3"]}, "FFP", "t belongs to the position, not to the contribution"),
    Setting("model_breadcrumbs", {"density": "0.5"}, "PFF", "enough of a row of 4 is kept"),
    Setting("evolutionary_merge", {"inner": "linear"}, "PFP", "shares that add up to 1, nothing dropped"),
    Setting("genetic_merge", {"inner": "linear"}, "PFP", "the same"),
    Setting("svd_knot_tying", {"density": "1", "scale": "1"}, "PFP", "nothing is trimmed inside, nothing scaled"),
    Setting("dual_projection", {"variant": "sequential"}, "FFP", "as published: one after the other"),
)
"""Where a parameter decides a letter; run on 4×4."""


def reason(strategy: str, property_index: int, ours: str, printed: str, controlled: str) -> str:
    """Why our letter is not the paper's, "" where it is.

    Args:
        strategy: its name.
        property_index: which property.
        ours: the letter measured.
        printed: the paper's letter for these shapes.
        controlled: the paper's letter for 4×4.
    """
    if ours == printed:
        return ""
    known = EXPECTED[strategy]
    parts: list[str] = []
    if ours != known.letters[property_index]:
        small = known.degenerate.get(property_index, "not explained")
        parts.append(f"the definition gives {known.letters[property_index]}, but {small}")
    elif controlled != known.letters[property_index]:
        parts.append(known.why.get(property_index, "not explained"))
    if printed != controlled:
        parts.append(known.at_scale.get(property_index, "not explained"))
    return "; ".join(parts)
