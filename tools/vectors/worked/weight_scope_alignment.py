"""Weight scope alignment by hand: pairs of numbers, whose mean and spread are seen at once."""

from fractions import Fraction

from make_worked import example


def rows(*given: tuple[int, ...]) -> list[list[Fraction]]:
    """Exact numbers."""
    return [[Fraction(v) for v in row] for row in given]


NAME = "weight_scope_alignment"
PAIR = rows((1, 3), (0, 8))
# means 2 and 4, spreads 1 and 4: together 3 and 2.5, so both become (0.5, 5.5)
example(NAME, "pair", {}, [Fraction("0.5"), Fraction("5.5")], contributions=PAIR)
# by weights 3 and 1: mean 2.5, spread 7/4
example(NAME, "weighted", {}, [Fraction("0.75"), Fraction("4.25")], contributions=PAIR, weights=("3", "1"))
# spreads 1 and 7: √((1 + 49)/2) = 5 about 4.5
rms = [Fraction("-0.5"), Fraction("9.5")]
example(NAME, "rms", {"scope_fusion": "rms"}, rms, contributions=rows((1, 3), (0, 14)))
# no spread, so not scaled: 2 beside 1.5 and 2.5
flat = [Fraction(v) for v in ("1.75", "2.25", "1.75", "2.25")]
example(NAME, "flat", {}, flat, contributions=rows((2, 2, 2, 2), (1, 3, 1, 3)))
example(NAME, "alone", {}, PAIR[1], contributions=PAIR[1:])
