"""Fisher merging by hand: two contributions of two elements, (1, 2) and (3, 6)."""

import struct
from fractions import Fraction

from make_worked import BASE, DIGESTS, example

PAIR = [[Fraction(1), Fraction(2)], [Fraction(3), Fraction(6)]]


def fisher(*rows: tuple[float, float]) -> dict[str, dict[str, dict[str, str]]]:
    """The side-cars."""
    return {"fisher": {d: {"w": struct.pack("<2f", *row).hex()} for d, row in zip(DIGESTS, rows, strict=False)}}


PLAIN = {"normalize": "false"}
# (1·1 + 1·3)/2 and (3·2 + 1·6)/4
example("fisher_merge", "plain", PLAIN, [Fraction(2), Fraction(3)], contributions=PAIR, extras=fisher((1, 3), (1, 1)))
# norms 5 and 10 make (8, 6) the same as (4, 3): (3·1 + 4·3)/7 and (4·2 + 3·6)/7
sevenths = [Fraction(15, 7), Fraction(26, 7)]
example("fisher_merge", "normalised", {}, sevenths, contributions=PAIR, extras=fisher((3, 4), (8, 6)))
# a weight of 2 on the second: (3·1 + 8·3)/11 and (4·2 + 6·6)/10
weighted = [Fraction(27, 11), Fraction("4.4")]
example("fisher_merge", "weighted", {}, weighted, contributions=PAIR, weights=("1", "2"), extras=fisher((3, 4), (8, 6)))
# the floor: (0.5·1 + 1.5·3)/2, and (4·2 + 4·6)/8
floor = {"normalize": "false", "floor": "0.5"}
floored = [Fraction("2.5"), Fraction(4)]
example("fisher_merge", "floor", floor, floored, contributions=PAIR, extras=fisher((0, 4), (1.5, 4)))
# nobody knows anything of the first element: the mean, or the one that is favoured
nothing = fisher((0, 1), (0, 1))
example("fisher_merge", "nothing", {}, [Fraction(2), Fraction(4)], contributions=PAIR, extras=nothing)
favor = {"favor": {DIGESTS[1]: "true"}}
example("fisher_merge", "favor", favor, [Fraction(3), Fraction(4)], contributions=PAIR, extras=nothing)
# F = θ²: (1·1 + 9·3)/10 and (4·2 + 36·6)/40
squares = {"variant": "magnitude_proxy", "normalize": "false"}
example("fisher_merge", "magnitude-proxy", squares, [Fraction("2.8"), Fraction("5.6")], contributions=PAIR)
# F = τ² with τ = (1, 2) and (3, −1): (1·2 + 9·4)/10 and (4·0 + 1·(−3))/5
moved = [[b + t for b, t in zip(BASE, tau, strict=False)] for tau in ((1, 2), (3, -1))]
deltas = {"variant": "delta_sq", "normalize": "false"}
example("fisher_merge", "delta-sq", deltas, [Fraction("3.8"), Fraction("-0.6")], contributions=moved)
