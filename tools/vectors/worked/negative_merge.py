"""NegMerge by hand: only at (1, 1) do all three task vectors agree, −6 −1 −4. Updates are rounded, then added."""

from fractions import Fraction

from make_worked import BASE, DIGESTS, example, plus

THIRD = Fraction(11, 3)

example("negative_merge", "three", {}, plus([0, 0, 0, 0, 0, str(THIRD), 0, 0]))
example("negative_merge", "half", {"scale": "0.5"}, plus([0, 0, 0, 0, 0, str(THIRD / 2), 0, 0]))
# the mean everywhere: a third of 11 4 2 0 | 4 −11 2 6
mean = [b + Fraction(float(Fraction(-s, 24))) for b, s in zip(BASE, (11, 4, 2, 0, 4, -11, 2, 6), strict=True)]
example("negative_merge", "mean", {"consensus": "false"}, mean)
# the third is kept: 8 4, −6 −1 and 3 7 agree, and 5 −5 do not; weights 1 and 3 make −5, 2.25 and −6 of them
kept = {"role": {DIGESTS[2]: "keep"}, "keep_scale": "0.5"}
update = ["-5.5", "1", "1.5", 0, "2.5", "0.25", -10, 3]
example("negative_merge", "kept", kept, plus(update), weights=("1", "3", "1"))
