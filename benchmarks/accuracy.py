"""How many elements of a result are not the correctly rounded exact one; conjoin and mergekit, each by its own formula.

The reference is rational arithmetic on a sample of elements, thresholds from all of them; angles come from exact inner
products with 60 digits. TIES in mergekit keeps an exact number of values per tensor and says nothing of equal ones:
elements at its threshold are not compared.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt

from benchmarks import peers
from benchmarks.checkpoints import STEP
from benchmarks.context import Context
from benchmarks.measure import conjoin, models, run
from benchmarks.report import Part, Table, at_most

Bits = npt.NDArray[np.uint16]
Values = npt.NDArray[np.float64]
Model = Mapping[str, Bits]

WEIGHTS = (2, 3, 4)
"""Tenths."""
DENSITY = Fraction(1, 5)
ARC_STEP = 0.01
"""For SLERP task vectors half as long as the weights, so that arcs are arcs."""


@dataclass(frozen=True)
class Method:
    """What both tools run, and the exact result on chosen elements of one tensor (NaN-free, None where undefined)."""

    name: str
    ours: Sequence[str]
    peer: str
    goal: float
    exact: Callable[["Inputs", str, npt.NDArray[np.int64], str], list[Fraction | None]]
    models: str = "weighted"


@dataclass
class Inputs:
    """The base and the fine-tunes, as folders, replica and values, and what has been worked out once."""

    folders: Sequence[Path]
    replica: Path
    base: Mapping[str, Values]
    tunes: Sequence[Mapping[str, Values]]
    known: dict[str, Any]

    def deltas(self, name: str) -> list[Values]:
        """Task vectors of a tensor; exact, since bf16 values of like size differ by few bits."""
        return [tune[name] - self.base[name] for tune in self.tunes]


def measure(context: Context) -> Part:
    """Run every method with both tools and compare."""
    shape, count = ("2M", 5_000) if context.quick else ("16M", 100_000)
    sets = {
        "weighted": _inputs(context.scratch / "weighted", shape, [f"0.{weight}" for weight in WEIGHTS]),
        "two": _inputs(context.scratch / "two", shape, ["1"] * 2, step=ARC_STEP),
        "three": _inputs(context.scratch / "three", shape, ["1"] * 3, step=ARC_STEP),
    }
    samples = _samples(sets["two"].base, count)
    table = Table(
        f"elements that are not the correctly rounded exact result, {shape} bf16, {count} compared",
        ("method", "tool", "compared", "differ", "share %"),
    )
    part = Part([table])
    for method in METHODS:
        inputs = sets[method.models]
        for tool, made in _results(context, method, inputs).items():
            compared, differing = _compare(method, inputs, made, samples, tool)
            share = differing / max(compared, 1)
            table.rows.append([method.name, tool, compared, differing, share * 100])
            if tool == "conjoin":
                part.goals.append(
                    at_most(f"{method.name}: share of elements not rounded correctly", share, method.goal)
                )
    return part


def _inputs(folder: Path, shape: str, weights: Sequence[str], step: float = STEP) -> Inputs:
    """Checkpoints and a replica that holds them, a fine-tune for each weight."""
    folder.mkdir()
    base, *tunes = models(folder, shape, len(weights), step=step)
    run(conjoin("init", folder / "replica", "--base", base, "--in-place"))
    for tune, weight in zip(tunes, weights, strict=True):
        run(conjoin("-C", folder / "replica", "add", tune, "--in-place", "--weight", weight))
    values = [_values(_read(path)) for path in (base, *tunes)]
    return Inputs((base, *tunes), folder / "replica", values[0], values[1:], {})


def _results(context: Context, method: Method, inputs: Inputs) -> dict[str, Model]:
    """The output of each tool."""
    out, config = context.scratch / "out", context.scratch / "mergekit.yml"
    commands = {"conjoin": conjoin("-C", inputs.replica, "resolve", *method.ours, "-o", out)}
    base, *tunes = inputs.folders
    if context.tools and method.models == "two":
        commands["mergekit"] = peers.mergekit(
            context.tools, config, out, method.peer, tunes[1:], base=tunes[0], overall={"t": 0.5}
        )
    elif context.tools and method.peer:
        given = [{"weight": weight / 10, "density": float(DENSITY)} for weight in WEIGHTS]
        origin = base if method.peer in ("task_arithmetic", "ties") else None
        commands["mergekit"] = peers.mergekit(
            context.tools, config, out, method.peer, tunes, base=origin, parameters=given
        )
    results: dict[str, Model] = {}
    for tool, command in commands.items():
        run(command, peers.ENVIRONMENT)
        results[tool] = _read(out)
        shutil.rmtree(out)
    return results


def _samples(base: Mapping[str, Values], count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Elements of each tensor that are compared, in proportion to its size."""
    rng = np.random.default_rng(1)
    total = sum(map(len, base.values()))
    return {name: np.sort(rng.integers(len(v), size=1 + count * len(v) // total)) for name, v in base.items()}


def _compare(
    method: Method, inputs: Inputs, made: Model, samples: Mapping[str, npt.NDArray[np.int64]], tool: str
) -> tuple[int, int]:
    """How many elements were compared, and how many differ; −0 is 0."""
    compared = differing = 0
    for name, chosen in samples.items():
        exact = method.exact(inputs, name, chosen, tool)
        for value, bits in zip(exact, made[name][chosen].tolist(), strict=True):
            if value is not None:
                compared += 1
                differing += (bits if bits & 0x7FFF else 0) != nearest(value)
    return compared, differing


def nearest(value: Fraction) -> int:
    """The bf16 pattern nearest to a number, ties to even; 0 for zero."""
    if not value:
        return 0
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent = max(exponent - (Fraction(2) ** exponent > size), -126)
    pattern = ((exponent + 127) << 7) - 128 + round(size / Fraction(2) ** (exponent - 7))
    return pattern | (value < 0) << 15


def _read(folder: Path) -> dict[str, Bits]:
    """Tensors of a checkpoint as flat patterns."""
    found: dict[str, Bits] = {}
    for path in folder.glob("*.safetensors"):
        data = np.fromfile(path, np.uint8)
        size = int(data[:8].view(np.uint64)[0])
        for name, entry in json.loads(bytes(data[8 : 8 + size])).items():
            if name != "__metadata__":
                start, stop = entry["data_offsets"]
                found[name] = data[8 + size + start : 8 + size + stop].view(np.uint16)
    return found


def _values(model: Model) -> dict[str, Values]:
    return {name: (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for name, bits in model.items()}


def _combined(terms: Sequence[Fraction], arrays: Sequence[Values], chosen: npt.NDArray[np.int64]) -> list[Fraction]:
    columns = [array[chosen].tolist() for array in arrays]
    return [
        sum((t * Fraction(v) for t, v in zip(terms, row, strict=True)), Fraction(0))
        for row in zip(*columns, strict=True)
    ]


def _average(inputs: Inputs, name: str, chosen: npt.NDArray[np.int64], tool: str) -> list[Fraction | None]:  # noqa: ARG001
    terms = [Fraction(weight, sum(WEIGHTS)) for weight in WEIGHTS]
    return [*_combined(terms, [tune[name] for tune in inputs.tunes], chosen)]


def _task_arithmetic(inputs: Inputs, name: str, chosen: npt.NDArray[np.int64], tool: str) -> list[Fraction | None]:  # noqa: ARG001
    terms = [Fraction(1), *(Fraction(weight, 10) for weight in WEIGHTS)]
    return [*_combined(terms, [inputs.base[name], *inputs.deltas(name)], chosen)]


def _ties(inputs: Inputs, name: str, chosen: npt.NDArray[np.int64], tool: str) -> list[Fraction | None]:
    """Ours trims over the whole model and asks its majority; mergekit trims per tensor and takes + for it."""
    deltas = inputs.deltas(name)
    if tool == "conjoin":
        if "ties" not in inputs.known:
            inputs.known["ties"] = _model_ties(inputs)
        limits, majority = inputs.known["ties"]
    else:
        limits, majority = [_limit(np.abs(delta)) for delta in deltas], 1
    rows = zip(inputs.base[name][chosen].tolist(), *(delta[chosen].tolist() for delta in deltas), strict=True)
    results: list[Fraction | None] = []
    for base, *row in rows:
        if tool != "conjoin" and any(abs(v) == limit for v, limit in zip(row, limits, strict=True)):
            results.append(None)
            continue
        kept = [(n, Fraction(v)) for n, v, q in zip(WEIGHTS, row, limits, strict=True) if abs(v) >= q]
        mass = sum((n * v for n, v in kept), Fraction(0))
        sign = (mass > 0) - (mass < 0) or majority
        agreeing = [(n, v) for n, v in kept if v * sign > 0]
        update = sum((n * v for n, v in agreeing), Fraction(0)) / max(sum(n for n, _ in agreeing), 1)
        results.append(Fraction(base) + update)
    return results


def _limit(sizes: Values) -> float:
    """The smallest magnitude that is kept."""
    kept = max(1, int(DENSITY * len(sizes)))
    return float(np.partition(sizes, len(sizes) - kept)[len(sizes) - kept])


def _model_ties(inputs: Inputs) -> tuple[list[float], int]:
    """The thresholds of the whole model, and the sign of the majority of its elements."""
    sizes = [np.concatenate([np.abs(tune[name] - inputs.base[name]) for name in inputs.base]) for tune in inputs.tunes]
    limits = [_limit(one) for one in sizes]
    balance = 0
    for name in inputs.base:
        kept = [np.where(np.abs(d) >= q, d, 0.0) for d, q in zip(inputs.deltas(name), limits, strict=True)]
        mass = sum(n * d for n, d in zip(WEIGHTS, kept, strict=True))
        balance += int((mass > 0).sum()) - int((mass < 0).sum())
    return limits, (balance > 0) - (balance < 0)


def _slerp(inputs: Inputs, name: str, chosen: npt.NDArray[np.int64], tool: str) -> list[Fraction | None]:  # noqa: ARG001
    """Half-way between the first two; a straight line beyond a cosine of 0.9995."""
    arrays = [tune[name] for tune in inputs.tunes]
    if f"slerp {name}" not in inputs.known:
        with mpmath.workdps(60):
            (aa, ab), (_, bb) = _gram(arrays)
            cosine = ab / mpmath.sqrt(aa * bb)
            half = mpmath.mpf(1) / 2
            angle = mpmath.acos(min(cosine, mpmath.mpf(1)))
            term = half if abs(cosine) > 0.9995 else mpmath.sin(angle / 2) / mpmath.sin(angle)
            inputs.known[f"slerp {name}"] = [_fraction(term)] * 2
    return [*_combined(inputs.known[f"slerp {name}"], arrays, chosen)]


def _karcher(inputs: Inputs, name: str, chosen: npt.NDArray[np.int64], tool: str) -> list[Fraction | None]:  # noqa: ARG001
    """The Fréchet mean on the sphere times the mean length."""
    arrays = [tune[name] for tune in inputs.tunes]
    if f"karcher {name}" not in inputs.known:
        with mpmath.workdps(60):
            inputs.known[f"karcher {name}"] = [_fraction(term) for term in _mean_on_sphere(_gram(arrays))]
    return [*_combined(inputs.known[f"karcher {name}"], arrays, chosen)]


def _mean_on_sphere(gram: list[list[Any]]) -> list[Any]:
    """Coefficients of the mean over vectors with these inner products: walk along the mean logarithm until it is 0."""
    k = len(gram)
    sizes = [mpmath.sqrt(gram[i][i]) for i in range(k)]
    cosines = [[gram[i][j] / sizes[i] / sizes[j] for j in range(k)] for i in range(k)]
    shares = [mpmath.mpf(1) / k] * k

    def dot(a: list[Any], b: list[Any]) -> Any:
        return mpmath.fsum(x * y * cosines[i][j] for i, x in enumerate(a) for j, y in enumerate(b))

    point = shares
    for _ in range(200):
        size = mpmath.sqrt(dot(point, point))
        point = [x / size for x in point]
        step = [mpmath.mpf(0)] * k
        for i, share in enumerate(shares):
            cosine = dot(point, [mpmath.mpf(int(i == j)) for j in range(k)])
            angle = mpmath.acos(min(cosine, mpmath.mpf(1)))
            stretch = share * angle / mpmath.sin(angle) if angle else share
            step = [s + stretch * (int(i == j) - cosine * p) for j, (s, p) in enumerate(zip(step, point, strict=True))]
        length = mpmath.sqrt(abs(dot(step, step)))
        if length < mpmath.mpf(10) ** -40:
            break
        point = [mpmath.cos(length) * p + mpmath.sin(length) / length * s for p, s in zip(point, step, strict=True)]
    mean = mpmath.fsum(share * size for share, size in zip(shares, sizes, strict=True))
    return [mean * p / size for p, size in zip(point, sizes, strict=True)]


def _gram(arrays: Sequence[Values]) -> list[list[Any]]:
    """Inner products, exact to float64: products of bf16 values are exact and their sum is rounded once."""
    k = len(arrays)
    gram: list[list[Any]] = [[None] * k for _ in range(k)]
    for i, j in combinations_with_replacement(range(k), 2):
        gram[i][j] = gram[j][i] = mpmath.mpf(math.fsum((arrays[i] * arrays[j]).tolist()))
    return gram


def _fraction(value: Any) -> Fraction:
    return Fraction(int(mpmath.nint(value * mpmath.mpf(2) ** 180)), 2**180)


DENSE = ("-p", f"density={float(DENSITY)}")
METHODS = (
    Method("linear", ("linear",), "linear", 0.0, _average),
    Method("weight_average", ("weight_average",), "", 0.0, _average),
    Method("task_arithmetic", ("task_arithmetic", "-p", "scale=1"), "task_arithmetic", 0.0, _task_arithmetic),
    Method("ties", ("ties", *DENSE), "ties", 1e-4, _ties),
    Method("slerp of two", ("slerp",), "slerp", 1e-4, _slerp, "two"),
    Method("slerp of three (karcher)", ("slerp",), "karcher", 1e-4, _karcher, "three"),
)
