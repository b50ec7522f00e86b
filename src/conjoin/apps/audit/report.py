"""What the audit found, beside what the paper prints: cells, differences, totals and the verdict; runs nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from conjoin.apps.audit import paper
from conjoin.apps.audit.literature import EXPECTED, Setting, reason
from conjoin.apps.audit.paper import LAYERED, PROPERTIES, ROWS, Totals
from conjoin.apps.audit.phases import LayeredResult, RawResult
from conjoin.apps.audit.shapes import SHAPES
from conjoin.apps.audit.sweep import Swept

MISSING = "MISSING"


@dataclass(frozen=True, slots=True)
class Part:
    """Both phases on some shapes, by strategy; a strategy that is not registered is in neither.

    Attributes:
        shapes: their name.
        raw: Phase 1.
        layered: Phase 2.
    """

    shapes: str
    raw: Mapping[str, RawResult]
    layered: Mapping[str, LayeredResult]


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell that is not what the paper prints.

    Attributes:
        shapes: which table.
        strategy: which row.
        property: which column.
        ours: P or F as measured.
        printed: as the paper has it.
        why: the reason, as far as it is known.
    """

    shapes: str
    strategy: str
    property: str
    ours: str
    printed: str
    why: str


@dataclass(frozen=True, slots=True)
class SettingResult:
    """A strategy with other parameters, and what came out."""

    setting: Setting
    found: RawResult


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that was found.

    Attributes:
        strategies: those that were asked for, ascending.
        seed: names every generated tensor.
        parts: per shapes.
        settings: other parameters, on 4×4.
        sweep: by strategy; empty where it was not asked for.
        rules: by strategy, what was made for it beside the tensors, in words.
        cpu_s: processor time of everything.
        peak_bytes: most memory that the process has had, None where that is not known.
    """

    strategies: tuple[str, ...]
    seed: int
    parts: tuple[Part, ...]
    settings: tuple[SettingResult, ...]
    sweep: Mapping[str, Swept]
    swept: bool
    rules: Mapping[str, str]
    cpu_s: float
    peak_bytes: int | None

    @property
    def missing(self) -> tuple[str, ...]:
        """Strategies of the paper that are not registered."""
        known = {name for part in self.parts for name in part.raw} | set(self.sweep)
        return tuple(name for name in self.strategies if name not in known)

    @property
    def layered_passed(self) -> tuple[int, int]:
        """Strategy-level tests of Phase 2 that passed, and how many there are."""
        letters = [result.letters for part in self.parts for result in part.layered.values()]
        return sum(word.count("P") for word in letters), len(LAYERED) * len(self.strategies) * len(self.parts)

    @property
    def converged(self) -> int:
        """Strategies whose replicas all resolved to one digest."""
        return sum(one.converges for one in self.sweep.values())

    @property
    def holds(self) -> bool:
        """Whether no strategy is missing, Phase 2 passed everywhere and every sweep converged."""
        passed, tests = self.layered_passed
        raw = all(result.problem is None for part in self.parts for result in part.raw.values())
        return (
            not self.missing and passed == tests and raw and (not self.swept or self.converged == len(self.strategies))
        )

    def differences(self) -> Iterator[Difference]:
        """Every cell of Phase 1 that is not the paper's, in the order of the tables."""
        for part in self.parts:
            for name, result in part.raw.items():
                yield from differences(part.shapes, name, result.letters)

    def unexpected(self) -> Iterator[Difference]:
        """Every cell of Phase 1 on 4×4 that is not what the definition gives; `printed` is that."""
        for part in self.parts:
            for name, result in part.raw.items():
                wanted = EXPECTED[name].letters
                for at, (ours, expected) in enumerate(zip(result.letters, wanted, strict=False)):
                    if ours != expected:
                        yield Difference(part.shapes, name, PROPERTIES[at], ours, expected, "")


def differences(shapes: str, strategy: str, letters: str) -> Iterator[Difference]:
    """The cells of one row that are not the paper's."""
    printed, controlled = ROWS[strategy].raw[shapes], ROWS[strategy].raw["4x4"]
    for at, (ours, theirs) in enumerate(zip(letters, printed, strict=False)):
        why = reason(strategy, at, ours, theirs, controlled[at])
        if why:
            yield Difference(shapes, strategy, PROPERTIES[at], ours, theirs, why)


def totals_of(part: Part) -> Totals:
    """Our totals for some shapes."""
    return paper.totals({name: result.letters for name, result in part.raw.items() if result.letters})


def title_of(part: Part) -> str:
    """The shapes for people."""
    return SHAPES[part.shapes].title
