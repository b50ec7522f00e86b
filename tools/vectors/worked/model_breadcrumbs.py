"""Model Breadcrumbs by hand: which of eight magnitudes are outliers, kept and small can be read off."""

from make_worked import example, plus

half = {"density": "0.5", "outliers": "0.125", "scale": "1", "count_rule": "exact"}
# of τ₁ = 8 −4 1 0 2 −6 3 5 the 8 is left out, −6 5 −4 3 stay; of τ₂ = 4 6 −2 0 −3 −1 7 −5 the 7, 6 −5 4 −3 stay;
# of τ₃ = −1 2 3 0 5 −4 −8 6 the −8, 6 5 −4 3 stay
whole = [4, 2, 3, 0, 2, -10, 3, 6]
example("model_breadcrumbs", "tensor", {**half, "scope": "tensor"}, plus(whole))
example("model_breadcrumbs", "threshold", {**half, "scope": "tensor", "count_rule": "threshold"}, plus(whole))
example("model_breadcrumbs", "vector", half, plus(whole))
example("model_breadcrumbs", "scaled", {**half, "scale": "0.5"}, plus(["2", "1", "1.5", 0, 1, -5, "1.5", 3]))
# rows of four with one outlier each, two kept: 8 −4 1 0 → −4 1; 2 −6 3 5 → 5 3; 4 6 −2 0 → 4 −2; −3 −1 7 −5 → −5 −3;
# −1 2 3 0 → 2 −1; 5 −4 −8 6 → 6 5
rows = {"density": "0.5", "outliers": "0.25", "scale": "1", "count_rule": "exact"}
row = [3, -2, -1, 0, 2, 0, 3, 6]
example("model_breadcrumbs", "rows", rows, plus(row), shapes={"w": [2, 4]})
example("model_breadcrumbs", "tensor-of-rows", {**half, "scope": "tensor"}, plus(whole), shapes={"w": [2, 4]})
# by default ⌊0.15 · 8⌋ = 1 is kept and none is an outlier: 8, 7 and −8, times 0.2 and weights 1, 2.5 and 0
weights = ("1", "2.5", "0")
example("model_breadcrumbs", "default", {}, plus(["1.6", 0, 0, 0, 0, 0, "3.5", 0]), weights=weights)
