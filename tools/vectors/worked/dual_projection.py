"""Dual projections by hand: 2×2 Sylvester equations; what is not a binary fraction is rounded to F32."""

from fractions import Fraction

from make_worked import BASE, example

SHAPE = {"w": [2, 2]}
ZERO = [Fraction(0)] * 4


def numbers(*texts: str) -> list[Fraction]:
    """Exact numbers."""
    return [Fraction(text) for text in texts]


# e₁e₁ᵀ and e₂e₂ᵀ share neither rows nor columns: their sum, not half of it
axes = [numbers("1", "0", "0", "0"), numbers("0", "0", "0", "1")]
identity = numbers("1", "0", "0", "1")
example("dual_projection", "no-dilution", {}, identity, base=ZERO, contributions=axes, shapes=SHAPE)
moved = [[b + t for b, t in zip(BASE, tau, strict=False)] for tau in axes]
both = [b + t for b, t in zip(BASE, identity, strict=False)]
example("dual_projection", "with-base", {}, both, base=BASE[:4], contributions=moved, shapes=SHAPE)

# 2e₁e₁ᵀ and uuᵀ, u = (.6, .8). A = B = ½ (4e₁e₁ᵀ + uuᵀ) = [[2.18, .24], [.24, .32]], C = 8e₁e₁ᵀ + uuᵀ.
# X = [[1.928, −.096], [−.096, 1.072]]: 2 (2.18·1.928 − .24·.096) = 8.36; .24·1.928 − 2.5·.096 + .24·1.072 = .48;
# 2 (−.24·.096 + .32·1.072) = .64
skew = [numbers("2", "0", "0", "0"), numbers("0.36", "0.48", "0.48", "0.64")]
merged = numbers("1.928", "-0.096", "-0.096", "1.072")
single = {"out_format": "F32", "shapes": SHAPE, "base": ZERO}
example("dual_projection", "skew", {}, merged, contributions=skew, **single)

# .8 and .2: A = B = [[3.272, .096], [.096, .128]], C = [[12.944, .192], [.192, .256]].
# 17 X = [[33.64, −.48], [−.48, 17.36]]: 2 (3.272·33.64 − .096·.48) = 220.048 = 17·12.944;
# .096·33.64 − 3.4·.48 + .096·17.36 = 3.264 = 17·.192; 2 (−.096·.48 + .128·17.36) = 4.352 = 17·.256
merged = [value / 17 for value in numbers("33.64", "-0.48", "-0.48", "17.36")]
example("dual_projection", "sequential", {"variant": "sequential"}, merged, contributions=skew, **single)

# a vector is averaged; in turn, it is halved with each next one: ((4 + 8)/2 + 2)/2 = 4
three = [numbers("4"), numbers("8"), numbers("2")]
example(
    "dual_projection", "vector-in-turn", {"variant": "sequential"}, numbers("4"), contributions=three, base=ZERO[:1]
)
