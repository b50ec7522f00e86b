"""LED-Merging by hand: the task vectors (1, 2, 3, 4) and (5, 6, 7, 8) on a base of zeros."""

import struct
from fractions import Fraction
from typing import Any

from make_worked import BASE, DIGESTS, TAU, example

ZERO = [Fraction(0)] * 4
ONE, TWO = ([Fraction(v) for v in row] for row in ((1, 2, 3, 4), (5, 6, 7, 8)))
Row = tuple[int, int, int, int]


def importance(*rows: tuple[Row, Row]) -> dict[str, dict[str, dict[str, str]]]:
    """Scores of the base and of each contribution."""
    packed = [[struct.pack("<4f", *row).hex() for row in pair] for pair in rows]
    sides = zip(("base", "tuned"), zip(*packed, strict=True), strict=True)
    return {side: {d: {"w": row} for d, row in zip(DIGESTS, given, strict=False)} for side, given in sides}


def led(name: str, params: dict[str, Any], out: list[int | float], scores: list[tuple[Row, Row]], **more: Any) -> None:
    """Write one example."""
    exact = [Fraction(str(v)) for v in out]
    thetas = [ONE, TWO][: len(scores)]
    example("led_merge", name, params, exact, contributions=thetas, base=ZERO, extras=importance(*scores), **more)


HALF = {"density": "0.5"}
FIRST, SECOND = (4, 3, 2, 1), (1, 4, 2, 3)
# E₁ = {0, 1}, E₂ = {1, 3}: element 1 is elected by both
led("disjoint", HALF, [1, 0, 0, 8], [(FIRST, FIRST), (SECOND, SECOND)])
led("scaled", {"density": "0.5", "scale": "0.5"}, [1, 0, 0, 4], [(FIRST, FIRST), (SECOND, SECOND)], weights=("2", "1"))
# of {0, 1} and {0, 2} the first elects {0} alone, so element 1 is left to the second
led("election", HALF, [1, 6, 0, 8], [(FIRST, (4, 1, 3, 2)), (SECOND, SECOND)])
# one of four for the first, {0}; three of four for the second, {1, 2, 3}
densities = {"density": "0.25", "density_of": {DIGESTS[1]: "0.75"}}
led("densities", densities, [1, 6, 7, 8], [(FIRST, FIRST), (SECOND, SECOND)])
# 0.1 of four is none: one is taken all the same, of equals the first; both take element 0
led("equals", {"density": "0.1"}, [0, 0, 0, 0], [((5, 5, 5, 5),) * 2, ((0, 0, 0, 0),) * 2])
led("identical", HALF, [0, 0, 0, 0], [(FIRST, FIRST), (FIRST, FIRST)])
led("alone", HALF, [1, 2, 0, 0], [(FIRST, FIRST)])
led("everything", {"density": "1"}, [1, 2, 3, 4], [(FIRST, FIRST)])
# without data: |θ₀τ| = 8 8 ½ 0 and |θτ| = 16 10 ⅝ 0 in eighths, so {0, 1}
theta = [b + Fraction(t, 8) for b, t in zip(BASE[:4], TAU[0], strict=False)]
proxy = {"density": "0.5", "variant": "delta_proxy"}
example("led_merge", "delta-proxy", proxy, [*theta[:2], *BASE[2:4]], contributions=[theta])
