"""EMR-Merging by hand: the unified task vector of the three, their masks and rescalers."""

from fractions import Fraction

from make_worked import BASE, example, hexed, plus

# Στ = 11 4 2 0 | 4 −11 2 6: + + + . | + − + +, so the largest of each sign
UNIFIED = [8, 6, 3, 0, 5, -6, 7, 6]
# where the signs agree, element 0 in the lowest bit: 1 0 1 0 1 1 1 1, 1 1 0 0 0 1 1 0, 0 1 1 0 1 1 0 1
MASKS = "f563b6"
# Σ|τ| = 29, 28, 29 by what the masks keep of the unified one: 35, 27, 26
FACTORS = [Fraction(29, 35), Fraction(28, 27), Fraction(29, 26)]


def beside(masks: str, factors: list[Fraction]) -> dict[str, str]:
    """What is written beside the tensor."""
    return {"w|mask": masks, "w|rescale": hexed(factors)}


for scope in ("official", "model", "tensor"):
    example("emr", scope, {"rescale_scope": scope}, plus(UNIFIED), beside=beside(MASKS, FACTORS))
half = [Fraction(u, 2) for u in UNIFIED]
example("emr", "half", {"scale": "0.5"}, plus(half), beside=beside(MASKS, [2 * factor for factor in FACTORS]))
# +4 and −4 add up to 0, and − wins; −2 and 3 give 3; of the first 4 is kept of 6 and of the second 7 of 7
pair = [[b + Fraction(t, 8) for b, t in zip(BASE, tau, strict=False)] for tau in ((-4, -2), (4, 3))]
tied = beside("0102", [Fraction(6, 4), Fraction(7, 3)])
example("emr", "tie", {}, [BASE[0] - Fraction(1, 2), BASE[1] + Fraction(3, 8)], contributions=pair, beside=tied)
# votes of 3 and 1: 3·(−2) + 3 is below 0, so −2 wins, and in element 0 −4; nothing of the second is left
outvoted = [BASE[0] - Fraction(1, 2), BASE[1] - Fraction(1, 4)]
votes = beside("0300", [Fraction(1), Fraction(1)])
example("emr", "votes", {}, outvoted, contributions=pair, weights=("3", "1"), beside=votes)
single = [[b + Fraction(t, 8) for b, t in zip(BASE, (3, 0, -5), strict=False)]]
example("emr", "alone", {}, single[0], contributions=single, beside=beside("05", [Fraction(1)]))
