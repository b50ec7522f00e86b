"""AdaMerging by hand: θ₀ + Σ λᵢ τᵢ with given λ, in eighths."""

from fractions import Fraction

from make_worked import BASE, DIGESTS, SUM, example, plus


def scales(*values: str) -> dict[str, dict[str, dict[str, str]]]:
    """An asset's values: λ of the tensor `w` per contribution."""
    return {"scale": {"w": dict(zip(DIGESTS, values, strict=True))}}


# ½ τ₁ =  4   −2   ½   0   1   −3   1.5   2.5
# ¼ τ₂ =  1   1.5  −½   0  −¾   −¼   1.75 −1.25
#   τ₃ = −1   2    3    0   5   −4   −8    6
update = ["4", "1.5", "3", "0", "5.25", "-7.25", "-4.75", "7.25"]
example("ada_merging", "layer", {}, plus(update), fitted=scales("0.5", "0.25", "1"))

# the first step of Adam from 0.3 with a negative slope: λ = 0.301 everywhere. The update is rounded, then the sum
moved = [b + Fraction(float(Fraction(301 * s, 8000))) for b, s in zip(BASE, SUM, strict=True)]
task = {"scale": {"*": dict.fromkeys(DIGESTS, "0.301")}}
example("ada_merging", "task", {}, moved, fitted=task)

# ++ at density ½: the trim and the signs of TIES, + + . . | + − − +, and what disagrees goes:
# τ₁ = 8 . . . | . −6 . 5     τ₂ = 4 6 . . | . . . .     τ₃ = . . . . | 5 −4 −8 6
elected = ["5", "1.5", "0", "0", "5", "-7", "-8", "8.5"]
plus_plus = {"plus_plus": "true", "density": "0.5"}
trimmed = {**scales("0.5", "0.25", "1"), "trim": {"density": "0.5"}}
example("ada_merging", "plus-plus", plus_plus, plus(elected), fitted=trimmed)
