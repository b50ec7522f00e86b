"""DELLA by hand: thresholds by rank in whole numbers, draws by Philox, values rounded where float64 rounds them."""

from fractions import Fraction

from make_worked import BASE, DIGESTS, TAU, draws, example

EIGHTHS = [[t / 8 for t in tau] for tau in TAU]


def limits(row: list[float], least: Fraction, most: Fraction) -> list[int]:
    """Below which draw an element is dropped: by its rank in magnitude, of equals by place, on the line between."""
    first, last = ((1 - p) * 2**32 + Fraction(1, 2) for p in (least, most))
    first, last, gaps = first.__floor__(), last.__floor__(), len(row) - 1
    order = sorted(range(len(row)), key=lambda at: (abs(row[at]), at))
    return [first - (2 * (first - last) * order.index(at) + gaps) // (2 * gaps) for at in range(len(row))]


def kept(i: int, columns: int, least: Fraction, most: Fraction) -> list[float]:
    """What remains of the i-th task vector: over the probability with which it does."""
    rows = [EIGHTHS[i][at : at + columns] for at in range(0, 8, columns)]
    bounds = [limit for row in rows for limit in limits(row, least, most)]
    drawn = draws("della", DIGESTS[i], 8)
    return [
        0.0 if word < bound else float(Fraction(t) / Fraction(2**32 - bound, 2**32))
        for t, word, bound in zip(EIGHTHS[i], drawn, bounds, strict=True)
    ]


def merged(rows: list[list[float]], agg: str) -> list[Fraction]:
    """The sign of the sum; the mean or sum of what carries it, added to the base; each operation rounded once."""
    out: list[Fraction] = []
    for b, column in zip(BASE, zip(*rows, strict=True), strict=True):
        mass = sum(column)
        agreeing = [value for value in column if value * mass > 0]
        update = sum(agreeing) / (len(agreeing) or 1) if agg == "mean" else mass if agg == "all" else sum(agreeing)
        out.append(Fraction(float(b) + update))
    return out


HALF, SHAPE = Fraction(1, 2), {"w": [2, 4]}
wide = {"density": "0.5", "window": "0.3"}
ends = HALF - Fraction(3, 20), HALF + Fraction(3, 20)
# the first row of τ₁, 8 −4 1 0, is kept with 0.65 0.55 0.45 0.35
assert [round((2**32 - t) / 2**32, 9) for t in limits(EIGHTHS[0][:4], *ends)] == [0.65, 0.55, 0.45, 0.35]
first = [b + Fraction(t, 8) for b, t in zip(BASE, TAU[0], strict=True)]
example("della", "one", wide, merged([kept(0, 4, *ends)], "mean"), contributions=[first], shapes=SHAPE)
for agg in ("mean", "sum", "all"):
    rows = [kept(i, 4, *ends) for i in range(3)]
    example("della", agg, {**wide, "agg": agg}, merged(rows, agg), shapes=SHAPE)
whole = {"density": "0.75", "window": "0.5", "scope": "tensor"}
example("della", "tensor", whole, merged([kept(i, 8, HALF, Fraction(1)) for i in range(3)], "mean"), shapes=SHAPE)
# pairs: the smaller one is kept with ½ and doubled, the larger one always
pairs = {"density": "0.75", "window": "0.5"}
rows = [kept(i, 2, HALF, Fraction(1)) for i in range(3)]
example("della", "pairs", pairs, merged(rows, "mean"), shapes={"w": [4, 2]})
