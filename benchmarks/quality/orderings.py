"""Orderings that the literature reports, asked of every seed: is the one better than the other by so many points?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

Scores = Mapping[str, float]
"""Of one seed: percent by `NAME` (tuned where there is a grid, else default) and `NAME @default`."""


@dataclass(frozen=True)
class Ordering:
    """A claim: `better` is at least `points` above `worse`.

    Attributes:
        better: name of a score.
        worse: name of a score.
        points: by how much at least.
        source: where it is from.
    """

    better: str
    worse: str
    points: float
    source: str

    @property
    def text(self) -> str:
        """The claim in words."""
        if not self.points:
            return f"{self.better} ≥ {self.worse}"
        return f"{self.better} ≥ {self.worse} {'+' if self.points > 0 else '−'} {abs(self.points):g}"

    def differences(self, seeds: Sequence[Scores]) -> list[float]:
        """Per seed, without the points."""
        return [one[self.better] - one[self.worse] for one in seeds]

    def met(self, seeds: Sequence[Scores]) -> list[bool]:
        """Per seed."""
        return [difference >= self.points for difference in self.differences(seeds)]


_VIT = "CLIP ViT-B/32, 8 tasks"
ORDERINGS = (
    Ordering("individual", "multitask", 0, f"{_VIT}: 90.3, 88.6"),
    Ordering("multitask", "best single model", 0, f"{_VIT}: 88.6 against at most 84.5"),
    Ordering("worst single model", "base", -3, "no method should do harm when tuned"),
    Ordering("task_arithmetic", "weight_average", 0, f"{_VIT}: 68.0, 66.5"),
    Ordering("ties", "task_arithmetic", 0, f"{_VIT}: 72.2, 68.0"),
    Ordering("task_arithmetic", "dare", 0, "DARE drops 90 % without loss at best; it adds noise"),
    Ordering("model_breadcrumbs", "task_arithmetic", 0, "Davari and Belilovsky"),
    Ordering("della", "dare_ties", 0, "Deep et al.: drops by magnitude are better than equal ones"),
    Ordering("della", "task_arithmetic", 0, "Deep et al.: + 11.1 on language models"),
    Ordering("star", "ties", 0, "Lee et al.: + 4.2 on FLAN-T5, 12 tasks"),
    Ordering("svd_knot_tying", "ties", 0, "Stoica et al.: up to + 4.3, for LoRA"),
    Ordering("fisher_merge", "weight_average", 0, f"{_VIT}: 70.6, 66.5"),
    Ordering("fisher_merge", "task_arithmetic", 0, f"{_VIT}: 70.6, 68.0"),
    Ordering("regression_mean", "weight_average", 0, f"{_VIT}: 82.4, 66.5"),
    Ordering("regression_mean", "task_arithmetic", 1, f"{_VIT}: 82.4, 68.0"),
    Ordering("dual_projection", "task_arithmetic", 3, "Yang et al. 2025"),
    Ordering("ada_merging", "task_arithmetic", 0, f"{_VIT}: 82.6, 68.0"),
    Ordering("ada_merging", "regression_mean", 0, f"{_VIT}: 82.6, 82.4, the best with data"),
    Ordering("adarank", "ada_merging", 0, f"{_VIT}: 87.9, 82.6, after 10,000 steps; 500 here"),
    Ordering("dam", "weight_average", 0, "Gauthier-Caron et al."),
    Ordering("representation_surgery", "weight_average", 3, f"{_VIT}: 80.0, 65.8"),
    Ordering("representation_surgery task_arithmetic", "representation_surgery", 0, f"{_VIT}: 80.9, 80.0"),
    Ordering("emr masks", "best single model", 8, f"{_VIT}: 88.7 against 84.5 and less"),
    Ordering("multitask", "emr masks", -1, f"{_VIT}: 88.6, 88.7"),
    Ordering("emr masks", "emr unified alone", 8, "without masks it is not the method"),
    Ordering("evolutionary_merge", "dare_ties", 0, "a search finds what equal weights and density 0.1 do not"),
    Ordering("genetic_merge", "dare_ties", 0, "as above"),
)
"""On the eight tasks, mean test accuracy."""

ROLES = (
    Ordering("forget base", "forget negation of one fine-tune", 3, "Ilharco et al.: negation forgets"),
    Ordering("forget negation of one fine-tune", "forget negative_merge", 0, "Kim et al.: NegMerge forgets more"),
    Ordering("forget negation of the mean", "forget negative_merge", 0, "Kim et al.: the consensus is what helps"),
    Ordering("forget base", "forget split_unlearn_merge", 3, "Kadhe et al.: what was unlearned in parts is forgotten"),
    Ordering("forget negation of one fine-tune", "forget split_unlearn_merge", 0, "Kadhe et al.: better than at once"),
    Ordering("safety aligned", "safety fine-tuned", 3, "fine-tuning costs safety"),
    Ordering("safety safe_merge", "safety fine-tuned", 1, "Djuhera et al.: SafeMERGE gets some of it back"),
    Ordering("safety safe_merge threshold 0.5", "safety fine-tuned", 1, "the same, with more layers mixed"),
    Ordering("utility safe_merge", "utility fine-tuned", -3, "and costs little utility"),
    Ordering("utility safe_merge threshold 0.5", "utility fine-tuned", -3, "the same, with more layers mixed"),
)
"""Of the three strategies with roles: accuracy on what is to be forgotten should be low, safety and utility high."""


@dataclass(frozen=True)
class Verdict:
    """An ordering and what was found."""

    ordering: Ordering
    differences: list[float]
    met: list[bool]

    @property
    def word(self) -> str:
        """How often it holds."""
        if all(self.met):
            return "met"
        return "not met" if not any(self.met) else f"met by {sum(self.met)} of {len(self.met)}"

    @property
    def mean(self) -> float:
        """The mean difference."""
        return mean(self.differences)


def judge(seeds: Sequence[Scores]) -> list[Verdict]:
    """Every ordering whose scores are there, on every seed."""
    known = [one for one in (*ORDERINGS, *ROLES) if all({one.better, one.worse} <= set(seed) for seed in seeds)]
    return [Verdict(one, one.differences(seeds), one.met(seeds)) for one in known]
