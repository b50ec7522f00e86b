"""The rows of the results: every strategy with its own defaults, some with other choices, and how each is tuned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SUM = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Scales tried where task vectors are added up; 0.125 is their mean."""
MEAN = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5)
"""Scales tried where they are averaged."""


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        name: of the row; the strategy's, and what is not its default.
        strategy: of conjoin.
        params: of the strategy.
        needs: what it takes besides weights, for people.
        grid: scales that validation chooses from; empty for strategies without one.
        scale: `own` where the strategy has the parameter, `after` where its result is moved away from the base.
        asset: it applies one.
        bare: contributions are given without side-cars.
        by_task: it makes a model for each task, and that is what is measured.
    """

    name: str
    strategy: str
    params: Mapping[str, Any] = field(default_factory=dict)
    needs: str = "–"
    grid: Sequence[float] = ()
    scale: Literal["own", "after"] = "own"
    asset: bool = False
    bare: bool = False
    by_task: bool = False


def _of(strategy: str, other: str = "", /, **more: Any) -> Method:
    return Method(f"{strategy} {other}".strip(), strategy, **more)


INPUTS, LABELS = "inputs", "validation labels"
LEARNED: dict[str, Any] = {"needs": INPUTS, "asset": True}
SEARCHED: dict[str, Any] = {"needs": LABELS, "asset": True, "bare": True}
FREE = {"inner": "task_arithmetic", "normalize": False}

METHODS = (
    _of("weight_average"),
    _of("linear"),
    _of("task_arithmetic", grid=SUM),
    _of("ties", grid=MEAN),
    _of("ties", "per tensor", grid=MEAN, params={"trim_scope": "tensor"}),
    _of("dare", grid=SUM),
    _of("dare", "density 0.5", grid=SUM, params={"density": 0.5}),
    _of("dare_ties", grid=MEAN),
    _of("dare_ties", "density 0.5", grid=MEAN, params={"density": 0.5}),
    _of("della", grid=MEAN),
    _of("model_breadcrumbs", grid=SUM),
    _of("emr", "masks", by_task=True),
    _of("emr", "unified alone", grid=SUM),
    _of("fisher_merge", needs="fisher"),
    _of("regression_mean", needs="gram"),
    _of("regression_mean", "delta_gram", params={"variant": "delta_gram"}),
    _of("slerp"),
    _of("ada_merging", **LEARNED),
    _of("adarank", **LEARNED),
    _of("adarank", "energy", params={"variant": "energy"}, grid=SUM),
    _of("dam", **LEARNED),
    _of("dual_projection", grid=MEAN, scale="after"),
    _of("dual_projection", "sequential", params={"variant": "sequential"}),
    _of("evolutionary_merge", **SEARCHED),
    _of("evolutionary_merge", "sums", params=FREE, **SEARCHED),
    _of("genetic_merge", **SEARCHED),
    _of("genetic_merge", "sums", params=FREE, **SEARCHED),
    _of("led_merge", grid=MEAN, needs="importance"),
    _of("representation_surgery", by_task=True, **LEARNED),
    _of("representation_surgery", "task_arithmetic", by_task=True, params={"inner": "task_arithmetic"}, **LEARNED),
    _of("star", grid=MEAN, scale="after"),
    _of("svd_knot_tying", grid=MEAN),
    _of("svd_knot_tying", "density 1", grid=MEAN, params={"density": 1}),
    _of("weight_scope_alignment"),
)
"""What merges eight fine-tunes of eight tasks. The other three strategies have roles: see `roles`."""
