"""The arithmetic alone, in memory, beside copying and hashing the same bytes in the same process; one core.

`hot` works on one chunk that stays in the cache; `streamed` on arrays larger than the last-level cache, slice by slice
as a resolve does. Bytes are those read and written, so copying n bytes moves 2 n.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.context import Context
from benchmarks.measure import interleaved
from benchmarks.report import Goal, Part, Plot, Series, Table, at_least, at_most
from conjoin import kernels
from conjoin.strategies.base import Block, Extent, Pass, find_strategy

HOT_BYTES, STREAMED_BYTES = 1 << 20, 1 << 26
"""Size of one source."""
SLICE_BYTES = 4 << 20
COPIED_BYTES = 1 << 28
DIGESTS = tuple(f"{number:064x}" for number in range(8))

Raw = npt.NDArray[Any]
Measured = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One operation on one set of arrays: its work, the bytes it moves, and the elements its cost is counted by."""

    work: Callable[[], object]
    moved_bytes: int
    elements: int


class Data:
    """A base and four fine-tunes in one format."""

    def __init__(self, form: str, size_bytes: int) -> None:
        self.form = form
        item = kernels.FORMATS[form].raw.itemsize
        self.n = size_bytes // item
        self.step = min(self.n, SLICE_BYTES // item)
        rng = np.random.default_rng(0)
        base = rng.normal(0, 0.02, self.n).astype(np.float32)
        self.base = _encoded(base, form)
        self.tunes = [_encoded(base + rng.normal(0, 0.0005, self.n).astype(np.float32), form) for _ in range(4)]
        self.item = item

    def each(self, work: Callable[[list[Raw], Raw, int], object], k: int) -> Callable[[], object]:
        """Call `work` with every slice of k tunes and the base."""

        def run() -> None:
            for at in range(0, self.n, self.step):
                work([tune[at : at + self.step] for tune in self.tunes[:k]], self.base[at : at + self.step], at)

        return run


def measure(context: Context) -> Part:
    """All operations, hot and streamed; every round runs each once."""
    kernels.use("compiled")
    part = Part()
    for place, size_bytes in (("hot", HOT_BYTES), ("streamed", STREAMED_BYTES >> 2 * context.quick)):
        cases = _cases(size_bytes, COPIED_BYTES if place == "streamed" else 5 * HOT_BYTES // 2)
        rounds, least_s = (3, 0.01) if context.quick else (9, 0.05)
        seconds = interleaved({name: case.work for name, case in cases.items()}, rounds, least_s)
        copying = seconds["memcpy"] / cases["memcpy"].moved_bytes
        table = Table(
            f"kernels, {place}, CPU of one core, medians of {rounds}", ("operation", "ns/element", "GB/s", "× memcpy")
        )
        for name, case in cases.items():
            spent = seconds[name]
            table.rows.append(
                [name, spent / case.elements * 1e9, case.moved_bytes / spent / 1e9, spent / case.moved_bytes / copying]
            )
        part.tables.append(table)
        part.goals += _goals(place, {str(row[0]): row for row in table.rows})
        dots = [Series(str(row[0]), [0.0], [float(row[3] or 0)]) for row in table.rows]
        part.plots.append(Plot(f"kernels-{place}", table.title, "", "time, × memcpy of the same bytes", dots))
    return part


def _goals(place: str, rows: dict[str, list[Any]]) -> list[Goal]:
    goals = [
        at_least(f"linear k=4 BF16, {place}: share of memcpy's GB/s", 1 / rows["linear k=4 BF16"][3], 0.7),
        at_most(f"ties k=3 BF16, {place}: × memcpy", rows["ties k=3 BF16"][3], 8),
        at_most(f"dare k=4 BF16, {place}: ns per element", rows["dare k=4 BF16"][1], 2.5),
    ]
    if place == "streamed":  # a threshold is found once per tensor, so its cost shows on a tensor, not on a chunk
        goals.append(at_most("exact threshold BF16: ns per element", rows["exact threshold k=3 BF16"][1], 0.4))
    return goals


def _encoded(values: npt.NDArray[np.float32], form: str) -> Raw:
    if form == "BF16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return values.astype({"F16": np.float16, "F32": np.float32}[form]).view(kernels.FORMATS[form].raw)


def _cases(size_bytes: int, copied_bytes: int) -> dict[str, Case]:
    source, target = np.ones(copied_bytes, np.uint8), np.zeros(copied_bytes, np.uint8)
    leaf = source[:SLICE_BYTES].data
    cases = {
        "memcpy": Case(lambda: np.copyto(target, source), 2 * copied_bytes, copied_bytes),
        "hashlib SHA-256 (element = byte)": Case(lambda: hashlib.sha256(leaf).digest(), len(leaf), len(leaf)),
    }
    for form in ("BF16", "F16", "F32"):
        cases |= {f"{name} {form}": case for name, case in _linear(Data(form, size_bytes)).items()}
    cases |= {f"{name} BF16": case for name, case in _operations(Data("BF16", size_bytes)).items()}
    return cases


def _linear(data: Data) -> dict[str, Case]:
    form, n, item = data.form, data.n, data.item
    quarters = kernels.coefficients([Fraction(1, 4)] * 4)
    uneven = kernels.coefficients([Fraction(w) for w in ("0.1", "0.2", "0.3", "0.4")])
    return {
        "linear k=4": Case(data.each(lambda x, _, __: kernels.linear(x, quarters, form, form), 4), 5 * item * n, n),
        "linear k=4 uneven": Case(
            data.each(lambda x, _, __: kernels.linear(x, uneven, form, form), 4), 5 * item * n, n
        ),
    }


def _operations(data: Data) -> dict[str, Case]:
    """Everything else; elements are those of the output, or of all contributions where something is only measured."""
    form, n, item = data.form, data.n, data.item
    ones = kernels.coefficients([Fraction(1)] * 4)
    keys = [kernels.draw_key(bytes(32), "dare", "tensor", digest) for digest in DIGESTS[:4]]
    half = kernels.drop_threshold(Fraction(1, 2))

    def task_arithmetic(x: list[Raw], base: Raw, at: int) -> object:
        return kernels.delta_sum(x, base, form, form, terms=ones, start=at)

    def dare(x: list[Raw], base: Raw, at: int) -> object:
        return kernels.delta_sum(x, base, form, form, terms=ones, drop_below=half, keys=keys, start=at)

    def l1(x: list[Raw], base: Raw, at: int) -> object:
        return kernels.block_l1(x, base, form, drop_below=half, keys=keys, start=at)

    words = data.each(lambda _, base, at: kernels.draws(keys[0], at, len(base)), 0)
    return {
        "task arithmetic k=4": Case(data.each(task_arithmetic, 4), 6 * item * n, n),
        "dare k=4": Case(data.each(dare, 4), 6 * item * n, n),
        "draws": Case(words, 4 * n, n),
        "nonfinite": Case(data.each(lambda x, _, __: kernels.count_nonfinite(x[0], form), 1), item * n, n),
        "high histograms k=3": Case(
            data.each(lambda x, base, _: kernels.high_histograms(x, base, form), 3), 4 * item * n, 3 * n
        ),
        "gram k=4": Case(data.each(lambda x, base, _: kernels.block_gram(x, base, form), 4), 5 * item * n, 4 * n),
        "l1 with draws k=4": Case(data.each(l1, 4), 5 * item * n, 4 * n),
        **_ties(data),
    }


def _ties(data: Data) -> dict[str, Case]:
    """The strategy's own passes: what it takes to find the threshold, the majority, and the result; density 0.2."""
    form, n, item = data.form, data.n, data.item
    ties = find_strategy("ties")
    params = ties.parse({"trim_scope": "tensor"})
    weights = (Fraction(1),) * 3

    def block(x: list[Raw], base: Raw, at: int, measured: Measured) -> Block:
        return Block(
            tensors=tuple(x),
            base=base,
            weights=weights,
            contributions=DIGESTS[:3],
            format=form,
            out_format=form,
            name="tensor",
            shape=(n,),
            offset=at,
            flat_offset=0,
            seeds={},
            strategy="ties",
            measured=measured,
        )

    def take(one: Pass, measured: Measured) -> None:
        partials: list[Any] = []
        data.each(lambda x, base, at: partials.append(one.measure(block(x, base, at, measured), params)), 3)()
        measured[one.name] = one.finish(sum(partials), params, Extent(3, n, weights, measured))

    *search, majority = [one for one in ties.passes if one.needed(params)]
    assert majority.name == "majority"

    def found() -> Measured:
        measured: Measured = {}
        for one in search:
            if not one.settled(measured):
                take(one, measured)
        return measured

    measured = found()
    readings = len(measured)
    take(majority, measured)
    return {
        "exact threshold k=3": Case(found, 4 * item * n * readings, 3 * n),
        "majority k=3": Case(lambda: take(majority, measured), 4 * item * n, n),
        "ties k=3": Case(
            data.each(lambda x, base, at: ties.function(block(x, base, at, measured), **params), 3), 5 * item * n, n
        ),
    }
