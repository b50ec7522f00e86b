"""SPUNGE by hand: TIES of the worked example, and of task vectors turned round. Updates are rounded, then added."""

from fractions import Fraction

from make_worked import BASE, SUM, example, plus

# half of each: 8 −4 −6 5 | 4 6 7 −5 | 5 −4 −8 6 stay, as for TIES
merged = [6, 6, 0, 0, 5, -5, -8, "5.5"]
half = {"density": "0.5", "trim_scope": "tensor"}
example("split_unlearn_merge", "ties", half, plus(merged))
turned = [-Fraction(str(value)) / 2 for value in merged]
tvn = {**half, "unlearn": "tvn", "unlearn_scale": "0.5"}
example("split_unlearn_merge", "tvn", tvn, plus([str(value) for value in turned]))
added = plus([Fraction(-s, 4) for s in SUM])
example("split_unlearn_merge", "added", {**tvn, "inner": "task_arithmetic", "scale": "0.5"}, added)
mean = [b + Fraction(float(Fraction(-s, 24))) for b, s in zip(BASE, SUM, strict=True)]
example("split_unlearn_merge", "mean", {"inner": "mean", "unlearn": "tvn"}, mean)
