"""Writes docs/spec/vectors/recipe.json: recipes as people write them, their canonical form and digest."""

import json
from pathlib import Path

from conjoin.plan import Recipe

A, B = "aa" * 32, "bb" * 32
TARGET = Path(__file__).parents[1] / "docs" / "spec" / "vectors" / "recipe.json"

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


def main() -> None:
    """Write the file."""
    vectors = [
        {"recipe": recipe, "canonical": Recipe.from_json(recipe).to_json(), "digest": Recipe.from_json(recipe).digest}
        for recipe in RECIPES
    ]
    about = 'digest = SHA-256("conjoin/recipe/1" ‖ canonical JSON of `canonical`)'
    text = json.dumps({"about": about, "vectors": vectors}, indent=1, ensure_ascii=False)
    TARGET.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
