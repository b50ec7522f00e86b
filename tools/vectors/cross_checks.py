"""Compare with mergekit 0.1.5 where both compute the same thing, and write docs/cross-checks.md.

It runs in an environment of its own, which is made with

    python -m venv ENV
    ENV/bin/pip install torch==2.13.0
    ENV/bin/pip install mergekit==0.1.5 pytest .
    ENV/bin/python tools/vectors/cross_checks.py

mergekit (LGPL-3.0) is run as its users run it, on checkpoints in float64; nothing of it is here. Its draws come from
one generator of torch, so they are replaced by ours: what is compared is everything else. Ends with status 1 where a
difference is larger than its reason explains.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mergekit.scripts.merge_raw_pytorch import main as merge_raw
from safetensors.numpy import load_file, save_file

from conjoin import kernels
from conjoin.strategies.base import find_strategy
from conjoin.testing.strategy_suite import Model, run

TARGET = Path(__file__).parents[2] / "docs" / "cross-checks.md"
Values = npt.NDArray[np.float64]
DIGESTS = [f"{i:02x}" * 32 for i in (1, 2, 3)]
ONES = (Fraction(1),) * 3
ROUNDED = "sums are rounded in another order"


@dataclass(frozen=True)
class Check:
    """One thing that both compute.

    Attributes:
        strategy: ours.
        params: of ours.
        method: theirs.
        given: to each model of theirs; a list gives each its own.
        overall: to their method.
        weights: of the contributions, on both sides.
        why: what explains a difference that is not 0.
        bound: how large it may be.
        count: contributions that take part.
        base: whether theirs takes the base; of two models the first may be their base.
    """

    strategy: str
    params: Mapping[str, Any]
    method: str
    given: Mapping[str, Any] = field(default_factory=dict)
    overall: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[Fraction, ...] = ONES
    why: str = ""
    bound: float = 0.0
    count: int = 3
    base: bool = True

    @property
    def label(self) -> str:
        """The parameters of ours, as a command line has them."""
        given = {f"{n}.{k[:4]}": v for n, m in self.params.items() if isinstance(m, dict) for k, v in m.items()}
        plain = {name: value for name, value in self.params.items() if not isinstance(value, dict)}
        return ", ".join(f"{name}={value}" for name, value in {**plain, **given}.items())


TENSOR = {"trim_scope": "tensor", "count_rule": "exact", "zero_sign": "plus"}
HALF = {"density": "0.5"}
KEPT = {"density": 0.5}
BAND = {"scope": "tensor", "count_rule": "exact", "density": "0.5", "outliers": "0.125", "scale": "1"}
UNEVEN = (Fraction(1), Fraction(2), Fraction(1, 2))
NEAREST = "each operation is rounded, and not in the same order"
F32 = "coefficients of ours are float32"
SINGLE = "theirs rounds task vectors to float32 where it draws"
QUOTIENT = SINGLE + ", and so the masks over probabilities that it is handed"
CHECKS = [
    Check("weight_average", {}, "linear", base=False, why=NEAREST, bound=1e-15),
    Check("linear", {}, "linear", weights=(Fraction(1), Fraction(2), Fraction(1)), base=False),
    Check("linear", {"normalize": "false"}, "linear", overall={"normalize": False}, base=False),
    Check("slerp", {}, "slerp", overall={"t": 0.5}, count=2, base=False, why=F32, bound=1e-6),
    Check("slerp", {"t": {DIGESTS[1]: "0.25"}}, "slerp", overall={"t": 0.25}, count=2, base=False, why=F32, bound=1e-6),
    Check("slerp", {}, "karcher", base=False, why="theirs stops at 10 steps or 1e-5; " + F32, bound=1e-4),
    Check("slerp", {}, "karcher", overall={"max_iter": 100, "tol": 1e-12}, base=False, why=F32, bound=1e-6),
    Check("task_arithmetic", {"scale": "0.5"}, "task_arithmetic", overall={"lambda": 0.5}, why=NEAREST, bound=1e-15),
    Check("ties", {**TENSOR, **HALF}, "ties", KEPT, {"normalize": True}),
    Check("ties", {**TENSOR, "density": "1"}, "ties", {"density": 1.0}, {"normalize": True}),
    Check("ties", {**TENSOR, **HALF, "agg": "sum"}, "ties", KEPT, {"normalize": False}),
    Check("ties", {**TENSOR, **HALF}, "ties", KEPT, {"normalize": True, "int8_mask": True}, weights=UNEVEN),
    Check("model_breadcrumbs", BAND, "breadcrumbs", {"density": 0.5, "gamma": 0.125}),
    Check("model_breadcrumbs", BAND, "breadcrumbs", {"density": 0.5, "gamma": 0.125}, weights=UNEVEN),
    Check("dare", {**HALF, "scale": "0.5"}, "dare_linear", KEPT, {"rescale": False}, why=SINGLE, bound=1e-7),
    Check(
        "dare",
        {**HALF, "scale": "1", "rescale": "l1"},
        "dare_linear",
        KEPT,
        {"rescale": True},
        why=f"{SINGLE}; {F32}",
        bound=1e-6,
    ),
    Check(
        "dare_ties",
        {**HALF, "scale": "0.5", "agg": "sum", "zero_sign": "plus"},
        "dare_ties",
        KEPT,
        {"rescale": False, "normalize": False},
        why=SINGLE,
        bound=1e-7,
    ),
    Check(
        "dare_ties",
        {**HALF, "zero_sign": "plus", "scale": "0.5"},
        "dare_ties",
        KEPT,
        {"rescale": False, "normalize": True},
        weights=UNEVEN,
        why=SINGLE,
        bound=1e-7,
    ),
    Check(
        "dare_ties",
        {**HALF, "agg": "sum", "zero_sign": "plus", "rescale": "l1"},
        "dare_ties",
        KEPT,
        {"rescale": True, "normalize": False},
        why=SINGLE,
        bound=1e-6,
    ),
    Check(
        "della",
        {**HALF, "window": "0.3", "agg": "sum", "zero_sign": "plus"},
        "della",
        {"density": 0.5, "epsilon": 0.15},
        {"rescale": False, "normalize": False},
        why=QUOTIENT,
        bound=1e-6,
    ),
    Check(
        "della",
        {**HALF, "window": "0.3", "zero_sign": "plus"},
        "della",
        {"density": 0.5, "epsilon": 0.15},
        {"rescale": False, "normalize": True},
        weights=UNEVEN,
        why=QUOTIENT,
        bound=1e-6,
    ),
    Check(
        "della",
        {**HALF, "window": "0.3", "agg": "all"},
        "della_linear",
        {"density": 0.5, "epsilon": 0.15},
        {"rescale": False, "normalize": False},
        why=QUOTIENT,
        bound=1e-6,
    ),
]


def inputs() -> dict[str, list[Values]]:
    """A base and three models by name: the 2×4 of the specification in eighths, and 24×40 of normal numbers."""
    base = np.array([[1, -2, 0.5, 3], [0, 1, -1, 2]])
    tau = [[8, -4, 1, 0, 2, -6, 3, 5], [4, 6, -2, 0, -3, -1, 7, -5], [-1, 2, 3, 0, 5, -4, -8, 6]]
    normal = np.random.default_rng(0).standard_normal((4, 24, 40))
    return {
        "2×4": [base, *(base + np.array(row).reshape(2, 4) / 8 for row in tau)],
        "24×40": [normal[0], *(normal[0] + row / 8 for row in normal[1:])],
    }


def ours(check: Check, values: Sequence[Values]) -> Values:
    """What conjoin makes of it."""
    patterns = [{"w": kernels.encode(value.ravel(), "F64")} for value in values]
    digests = DIGESTS[: check.count]
    model = Model(
        "F64",
        patterns[0],
        dict(zip(digests, patterns[1:], strict=False)),
        dict(zip(digests, check.weights, strict=False)),
        shapes={"w": values[0].shape},
    )
    return kernels.decode(run(find_strategy(check.strategy), model, check.params)["w"], "F64").reshape(values[0].shape)


def kept(check: Check, values: Sequence[Values]) -> list[tuple[Values, Values]]:
    """For each contribution what our draws keep, over the probability where that depends on the element, and those.

    DELLA of theirs does not divide by it; so it is handed over with the mask.
    """
    masks: list[tuple[Values, Values]] = []
    density, shape = Fraction(check.params["density"]), values[0].shape
    for digest, value in zip(DIGESTS, values[1:], strict=True):
        words = kernels.draws(kernels.draw_key(bytes(32), check.strategy, "w", digest), 0, value.size)
        limits = np.full(value.size, kernels.drop_threshold(density), np.uint32)
        if check.strategy == "della":
            pair = [kernels.encode(one.ravel(), "F64") for one in (value, values[0])]
            table = kernels.drop_table(density, Fraction(check.params["window"]), shape[1])
            limits = table[kernels.row_ranks(pair[:1], pair[1], "F64", shape[1])[0]]
        chances = (2.0**32 - limits) / 2.0**32
        mask = (words >= limits) / (chances if check.strategy == "della" else 1.0)
        masks.append((mask.reshape(shape), chances.reshape(shape)))
    return masks


def theirs(check: Check, values: Sequence[Values], masks: Sequence[tuple[Values, Values]], folder: Path) -> Values:
    """What mergekit makes of it, in place of its draws with our masks."""
    files = [str(folder / f"{i}.safetensors") for i in range(len(values))]
    for file, value in zip(files, values, strict=True):
        save_file({"w": value}, file)
    models = [
        {"model": file, "parameters": {"weight": float(weight), **check.given}}
        for file, weight in zip(files[1 : 1 + check.count], check.weights, strict=False)
    ]
    document = {"merge_method": check.method, "dtype": "float64", "models": models, "parameters": dict(check.overall)}
    if check.base:
        document["base_model"] = files[0]
    elif check.method == "slerp":
        document["base_model"] = files[1]
    config = folder / "config.yaml"
    config.write_text(json.dumps(document))  # JSON is YAML
    waiting, drawn = list(masks), torch.bernoulli

    def replay(chances: torch.Tensor) -> torch.Tensor:
        mask, expected = waiting.pop(0)
        if np.abs(chances.numpy() - expected).max() > 1e-6:
            raise SystemExit(f"{check.method} draws with other probabilities than ours")
        return torch.from_numpy(mask)

    torch.bernoulli = replay
    try:
        merge_raw.main([str(config), str(folder / "out"), "--quiet"], standalone_mode=False)
    finally:
        torch.bernoulli = drawn
    if waiting:
        raise SystemExit(f"{check.method} did not draw for every model")
    return load_file(folder / "out" / "model.safetensors")["w"]


HEAD = """# Cross-checks with mergekit 0.1.5

Written by `tools/vectors/cross_checks.py`, which says how to make the environment it runs in. Every merge is of float64
checkpoints, base and three models of 2×4 numbers (in eighths) and of 24×40 (normal); weights are 1, but where they are
named. Where something is drawn mergekit is handed our masks in place of its draws, after its probabilities have been
compared with ours (to 1e-6, as it has them in float32).

| conjoin | parameters | mergekit | parameters | max difference, 2×4 | max difference, 24×40 | why it is not 0 |
|---|---|---|---|---|---|---|
"""
TAIL = """
Not compared, since it is another computation:

- `rescale: true` of mergekit's `della` divides by the share of the L1 norm that was kept; ours by the probability of
  each element, which is what makes it unbiased. It is compared with `rescale: false`, and masks over our probabilities.
- TIES over the whole model (our default, and the paper's): mergekit trims each tensor.
- Model Breadcrumbs by rows (our default, and the authors' code): mergekit takes each tensor as a whole.
- Magnitudes that are equal as float32: mergekit sorts them in no particular order.
"""


def main() -> int:
    """Run every check; 1 where one differs more than its reason explains."""
    rows: list[str] = []
    failed = 0
    for check in CHECKS:
        found: list[float] = []
        for values in inputs().values():
            masks = kept(check, values) if check.method.startswith(("dare", "della")) else []
            with tempfile.TemporaryDirectory() as folder:
                found.append(float(np.abs(ours(check, values) - theirs(check, values, masks, Path(folder))).max()))
        failed += max(found) > check.bound
        weights = "" if check.weights == ONES else f"weights {', '.join(str(float(w)) for w in check.weights)}"
        settings = {**check.given, **check.overall}
        other = ", ".join([f"{n}={json.dumps(v)}" for n, v in settings.items()] + ([weights] if weights else []))
        numbers = " | ".join(f"{value:.1e}" if value else "0" for value in found)
        why = check.why if any(found) else ""
        rows.append(f"| {check.strategy} | {check.label} | {check.method} | {other} | {numbers} | {why} |")
        print(rows[-1], "" if max(found) <= check.bound else "  <-- unexplained")
    TARGET.write_text(HEAD + "\n".join(rows) + "\n" + TAIL)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
