"""AdaRank by hand: diagonal task vectors, whose singular triplets everybody sees."""

from fractions import Fraction

from make_worked import BASE, DIGESTS, example

base = BASE[:4]
three_one = [base[0] + 3, base[1], base[2], base[3] + 1]
one_two = [base[0] + 1, base[1], base[2], base[3] - 2]
shape = {"w": [2, 2]}


def fitted(*pairs: tuple[str, str]) -> dict[str, dict[str, dict[str, str]]]:
    """An asset's values: λ and the mask of the tensor `w` per contribution."""
    kept, scale = ({d: pair[i] for d, pair in zip(DIGESTS, pairs, strict=False)} for i in (0, 1))
    return {"scale": {"w": scale}, "kept": {"w": kept}}


# diag(3, 1), of which the first is kept: diag(3, 0)
first = [base[0] + 3, *base[1:]]
example("adarank", "first", {}, first, contributions=[three_one], shapes=shape, fitted=fitted(("10", "1")))
second = [*base[:3], base[3] + 1]
example("adarank", "second", {}, second, contributions=[three_one], shapes=shape, fitted=fitted(("01", "1")))
# ½ diag(3, 0) and, as −2 is the larger one of the second, ¼ diag(0, −2)
both = [base[0] + Fraction(3, 2), base[1], base[2], base[3] - Fraction(1, 2)]
pair = fitted(("10", "0.5"), ("10", "0.25"))
example("adarank", "two", {}, both, contributions=[three_one, one_two], shapes=shape, fitted=pair)
# 9 of 10 parts of the energy are in the first
energy = {"variant": "energy", "density": "0.9", "scale": "1"}
example("adarank", "energy", energy, first, contributions=[three_one], shapes=shape)
example("adarank", "energy-all", {**energy, "density": "0.91"}, three_one, contributions=[three_one], shapes=shape)
# around the mean, diag(1, 2) and −diag(1, 2) from it: of the first the larger value, of the second nothing, λ = ½
apart = [[base[0] + sign, base[1], base[2], base[3] + 2 * sign] for sign in (1, -1)]
around = {**fitted(("10", "0.5"), ("00", "1")), "origin": "mean"}
larger = [*base[:3], base[3] + 1]
example("adarank", "mean", {"origin": "mean"}, larger, contributions=apart, shapes=shape, fitted=around)
