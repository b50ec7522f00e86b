"""DARE-TIES on the three: masks drawn by Philox as it is written out in make_worked, the rest with a pencil."""

from fractions import Fraction

from make_worked import DIGESTS, TAU, draws, example, plus


def merged(rows: list[list[Fraction]], agg: str, *, plus_wins: bool) -> list[Fraction]:
    """Elect the sign of the sum, of nothing but zeros none; merge what carries it."""
    sums = [sum(column) for column in zip(*rows, strict=True)]
    majority = 1 if plus_wins else (lambda d: (d > 0) - (d < 0))(sum((s > 0) - (s < 0) for s in sums))
    update: list[Fraction] = []
    for column, total in zip(zip(*rows, strict=True), sums, strict=True):
        sign = (total > 0) - (total < 0) or majority
        agreeing = [value for value in column if value * sign > 0]
        whole = max(agreeing, key=abs) if agg == "max" and agreeing else sum(agreeing, Fraction(0))
        update.append(whole / (len(agreeing) or 1) if agg == "mean" else whole)
    return update


KEPT = [[int(word >= 2**31) for word in draws("dare_ties", digest, 8)] for digest in DIGESTS]
TWICE = [[Fraction(2 * t * m) for t, m in zip(tau, mask, strict=True)] for tau, mask in zip(TAU, KEPT, strict=True)]


def exact(update: list[Fraction]) -> list[Fraction]:
    """The base plus an update in eighths, its thirds rounded before they are added."""
    return plus([Fraction(float(u / 8)) * 8 for u in update])


def trimmed(row: list[Fraction]) -> list[Fraction]:
    """The four largest of eight, and what is as large as the fourth."""
    least = sorted(map(abs, row))[-4]
    return [value if abs(value) >= least else Fraction(0) for value in row]


# of τ₁ = 8 −4 1 0 2 −6 3 5 and so on the kept ones count twice
for agg in ("mean", "sum", "max"):
    update = merged(TWICE, agg, plus_wins=False)
    example("dare_ties", agg, {"density": "0.5", "agg": agg}, exact(update))
example("dare_ties", "plus", {"density": "0.5", "zero_sign": "plus"}, exact(merged(TWICE, "mean", plus_wins=True)))
half = merged([trimmed(row) for row in TWICE], "mean", plus_wins=False)
example("dare_ties", "trimmed", {"density": "0.5", "trim_density": "0.5"}, exact(half))
# nothing dropped: the sums are 11 4 2 0 | 4 −11 2 6, so the signs + + + . | + − + +
everything = [6, 4, 2, 0, "3.5", "-11/3", 5, "5.5"]
example("dare_ties", "all", {"density": "1"}, exact([Fraction(str(u)) for u in everything]))
