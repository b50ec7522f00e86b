"""KnOTS by hand: task vectors whose rows are at right angles have the unit vectors as their basis, so Pᵢ = τᵢ."""

from fractions import Fraction

from make_worked import BASE, DIGESTS, draws, example

PLAIN = {"density": "1", "scale": "1"}
SHAPE = {"w": [2, 2]}


def numbers(*texts: str) -> list[Fraction]:
    """Exact numbers."""
    return [Fraction(text) for text in texts]


def merged(name: str, params: dict[str, str], taus: list[list[Fraction]], update: list[Fraction]) -> None:
    """Task vectors on a base, and their merged one."""
    thetas = [[b + t for b, t in zip(BASE, tau, strict=False)] for tau in taus]
    out = [b + t for b, t in zip(BASE, update, strict=False)]
    example("svd_knot_tying", name, params, out, base=BASE[:4], contributions=thetas, shapes=SHAPE)


# no element is shared, so each is what its owner says; the mean has half
diagonal = [numbers("2", "0", "0", "0"), numbers("0", "0", "0", "1")]
merged("ties", PLAIN, diagonal, numbers("2", "0", "0", "1"))
merged("mean", {**PLAIN, "inner": "mean"}, diagonal, numbers("1", "0", "0", "0.5"))
merged("sum", {"inner": "task_arithmetic", "scale": "0.5"}, diagonal, numbers("1", "0", "0", "0.5"))

# diag(4, 1) and diag(0, 2): the rows are at right angles. A quarter keeps 4 of the first and 2 of the second; one half
# keeps 1 as well, which agrees with 2: (1 + 2)/2
shared = [numbers("4", "0", "0", "1"), numbers("0", "0", "0", "2")]
merged("quarter", {"density": "0.25", "scale": "1"}, shared, numbers("4", "0", "0", "2"))
merged("half", {"density": "0.5", "scale": "0.5"}, shared, numbers("2", "0", "0", "0.75"))
by_tensor = {"density": "0.5", "scale": "0.5", "trim_scope": "tensor"}
merged("half-of-tensor", by_tensor, shared, numbers("2", "0", "0", "0.75"))
# 3 and −2 in one element: + is elected, and 3 is left alone
against = [numbers("3", "0", "0", "1"), numbers("-2", "0", "0", "1")]
merged("elected", PLAIN, against, numbers("3", "0", "0", "1"))
# 2 and −2: the sum is 0, and so is the element
merged("undecided", PLAIN, [numbers("2", "0", "0", "1"), numbers("-2", "0", "0", "1")], numbers("0", "0", "0", "1"))

# dropped with probability one half, what is kept counts twice; no element is shared
full = [numbers("4", "0", "0", "1"), numbers("0", "3", "0", "0"), numbers("0", "0", "2", "0")]
kept = [[2 * int(word >= 2**31) for word in draws("svd_knot_tying", digest, 4)] for digest in DIGESTS]
update = [sum((mask[i] * tau[i] for mask, tau in zip(kept, full, strict=True)), Fraction(0)) for i in range(4)]
assert any(update)
assert update.count(0) in (1, 2)
merged("dropped", {"inner": "dare_ties", "density": "0.5", "scale": "1"}, full, update)

# taller than all columns together: one column of length 4, so V = 1, Σ = 4, P = 4
tall = [[Fraction(0)] * 2 + [Fraction(4)]]
three = {"w": [3, 1]}
example("svd_knot_tying", "tall", PLAIN, tall[0], base=[Fraction(0)] * 3, contributions=tall, shapes=three)
