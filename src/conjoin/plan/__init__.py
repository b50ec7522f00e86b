"""Recipes and plans: what a resolve will do, checked before any tensor is read. Knows shapes, never values."""

from conjoin.plan.fit import Difference, compare_manifests, compare_tensors
from conjoin.plan.plan import NOTHING, Plan, make_plan, seeds_of
from conjoin.plan.recipe import Recipe, Rule, Step, read_recipe

__all__ = [
    "NOTHING",
    "Difference",
    "Plan",
    "Recipe",
    "Rule",
    "Step",
    "compare_manifests",
    "compare_tensors",
    "make_plan",
    "read_recipe",
    "seeds_of",
]
