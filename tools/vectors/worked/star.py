"""STAR by hand: diagonal matrices are their own decomposition, and a matrix of rank 1 keeps itself."""

from fractions import Fraction

from make_worked import BASE, example

DIAGONAL = [Fraction(v) for v in (3, 0, 0, 1)]
SHAPE = {"w": [2, 2]}
ZERO = [Fraction(0)] * 4
UNIT = [Fraction(v) for v in (4, 0, 0, 0)]

# σ = 3, 1, together 4. 40 % of 4 is 1.6, which 3 reaches: one is kept, times 4/3. 80 % is 3.2: both are kept.
example("star", "diagonal-cut", {}, UNIT, base=ZERO, contributions=[DIAGONAL], shapes=SHAPE)
example("star", "diagonal-whole", {"density": "0.8"}, DIAGONAL, base=ZERO, contributions=[DIAGONAL], shapes=SHAPE)
# 75 % of 4 is 3 exactly, which 3 reaches
example("star", "reached", {"density": "0.75"}, UNIT, base=ZERO, contributions=[DIAGONAL], shapes=SHAPE)

# two: diag(3, 1) becomes diag(4, 0), diag(0, 2) has rank 1 and stays; weights 3 and 1: diag(12, 2) / 4, on the base
moved = [[b + t for b, t in zip(BASE[:4], tau, strict=True)] for tau in (DIAGONAL, [0, 0, 0, 2])]
both = [b + u for b, u in zip(BASE[:4], (3, 0, 0, Fraction(1, 2)), strict=True)]
example("star", "weighted", {}, both, contributions=moved, weights=("3", "1"), base=BASE[:4], shapes=SHAPE)

# a vector is averaged: (1, 3) and (2, −1) give (1.5, 1)
pair = [[Fraction(1), Fraction(3)], [Fraction(2), Fraction(-1)]]
example("star", "vector", {}, [Fraction(3, 2), Fraction(1)], contributions=pair)
