"""The recipes of docs/spec/vectors: as people write them, their canonical form and digest; resolves none."""

from typing import Any

from conjoin.plan import Recipe

A, B = "aa" * 32, "bb" * 32

RECIPES = [
    {"strategy": "weight_average"},
    {"strategy": "ties", "params": {"density": "0.20", "scale": "01.50"}},
    {"strategy": "slerp", "params": {"t": {B: "0.30"}}, "out_dtype": "F32"},
    {
        "strategy": "task_arithmetic",
        "params": {"scale": "-0.50"},
        "weights": {B: "2.0", A: "0"},
        "missing": "exclude",
        "extra": "keep",
        "integers": "majority",
        "singleton": "identity",
    },
    {
        "strategy": "ties",
        "rules": [
            {"tensors": "*.bias", "strategy": "weight_average"},
            {"tensors": "embed.*", "strategy": "dare", "params": {"density": "0.1"}},
        ],
    },
]


def recipes() -> dict[str, Any]:
    """Everything in the file."""
    vectors = [
        {"recipe": recipe, "canonical": Recipe.from_json(recipe).to_json(), "digest": Recipe.from_json(recipe).digest}
        for recipe in RECIPES
    ]
    about = 'digest = SHA-256("conjoin/recipe/1" ‖ canonical JSON of `canonical`)'
    return {"about": about, "vectors": vectors}
