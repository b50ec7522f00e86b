"""The audit as lines and tables for people; runs nothing."""

import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from conjoin.apps.audit.paper import LAYERED, PROPERTIES, ROWS, TABLE_OF, TOLERANCE, TOTALS, Totals
from conjoin.apps.audit.report import MISSING, Audit, Part, differences, title_of, totals_of
from conjoin.apps.audit.shapes import SHAPES


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table, before it is drawn.

    Attributes:
        title: a line above it.
        columns: their names.
        rows: cells.
        right: columns of numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()


def sheets(audit: Audit) -> Iterable[Sheet]:
    """Every table, in order."""
    for part in audit.parts:
        yield _phases(audit, part)
        yield _totals(part)
    if rows := _differences(audit):
        yield Sheet(DIFFERENCES, (*_CELL, "paper", "what"), rows)
    odd = list(audit.unexpected())
    if odd:
        rows = [(title(d.shapes), d.strategy, d.property, d.ours, d.printed) for d in odd]
        yield Sheet("cells that differ from the definition", (*_CELL, "definition"), tuple(rows))
    if audit.settings:
        rows = [
            (s.setting.strategy, params(s.setting.params), s.found.letters or "error", s.setting.letters, s.setting.why)
            for s in audit.settings
        ]
        columns = ("strategy", "parameters", "raw", "expected", "what")
        yield Sheet("where a parameter decides, on 4×4", columns, tuple(rows))
    if audit.swept:
        yield _sweep(audit)


DIFFERENCES = "cells that differ from the paper"
_CELL = ("shapes", "strategy", "property", "ours")


def lines(audit: Audit) -> Iterable[Any]:
    """The audit from top to bottom."""
    from conjoin.apps.cli.render import table

    yield "Each strategy as a raw operation f(a, b), and through both layers. P passes, F fails, in the order"
    yield f"{', '.join(PROPERTIES)}; raw within {TOLERANCE:g} as in the paper, `bits` to the bit; the two layers"
    yield f"always to the bit, with a fourth letter: {LAYERED[-1]} (three replicas, all six orders)."
    for sheet in sheets(audit):
        yield from ("", sheet.title, "")
        if sheet.title == DIFFERENCES:
            yield from _prose(sheet)
        else:
            yield table(sheet.columns, sheet.rows, right=sheet.right)
    for name, problem in problems(audit):
        yield ""
        yield f"{name}: {problem}"
    yield ""
    yield verdict(audit)


def _differences(audit: Audit) -> tuple[tuple[str, ...], ...]:
    """A row for each cell, the same cell of several shapes in one."""
    cells: dict[tuple[str, ...], list[str]] = {}
    for one in audit.differences():
        cells.setdefault((one.strategy, one.property, one.ours, one.printed, one.why), []).append(title(one.shapes))
    return tuple((", ".join(shapes), *cell) for cell, shapes in cells.items())


def _prose(sheet: Sheet) -> Iterable[str]:
    """The differences as text, which needs no wide terminal."""
    width = shutil.get_terminal_size().columns
    for shapes, strategy, kind, ours, printed, why in sheet.rows:
        yield f"{strategy}, {kind}: {ours} here, {printed} in the paper ({shapes})"
        yield textwrap.fill(why, width, initial_indent="    ", subsequent_indent="    ")


def verdict(audit: Audit) -> str:
    """One line: what holds and what does not."""
    passed, tests = audit.layered_passed
    parts = [f"{passed} of {tests} tests through both layers pass, to the bit"]
    if audit.swept:
        parts.append(f"{audit.converged} of {len(audit.strategies)} sweeps end in one digest")
    if audit.missing:
        parts.append(f"{len(audit.missing)} strategies are missing: {', '.join(audit.missing)}")
    return "; ".join(parts)


def problems(audit: Audit) -> Iterable[tuple[str, str]]:
    """Errors that ended a test, with where."""
    for part in audit.parts:
        for name, raw in part.raw.items():
            layered = part.layered[name]
            if raw.problem:
                yield f"{title_of(part)}, {name}, raw", raw.problem
            if layered.problem:
                yield f"{title_of(part)}, {name}, two layers", layered.problem
    for setting in audit.settings:
        if setting.found.problem:
            yield f"{setting.setting.strategy} with {params(setting.setting.params)}", setting.found.problem
    for name, swept in audit.sweep.items():
        if swept.problem:
            yield f"sweep, {name}", swept.problem


def title(shapes: str) -> str:
    """Shapes for people."""
    return SHAPES[shapes].title


def params(given: Any) -> str:
    """Parameters on one line."""
    return " ".join(f"{name}={_value(value)}" for name, value in given.items())


def _value(value: Any) -> str:
    return "/".join("-" if one is None else str(one) for one in value) if isinstance(value, list) else str(value)


def _phases(audit: Audit, part: Part) -> Sheet:
    rows: list[tuple[str, ...]] = []
    for name in audit.strategies:
        printed = ROWS[name].raw[part.shapes]
        if name not in part.raw:
            rows.append((name, MISSING, "", printed, "", MISSING, "", ""))
            continue
        raw, layered = part.raw[name], part.layered[name]
        marks = " ".join(one.property[0].upper() for one in differences(part.shapes, name, raw.letters))
        letters = raw.letters or "error", raw.bitwise or "error"
        ran = f"{len(raw.layers)}/{len(SHAPES[part.shapes].layers)}"
        rows.append(
            (name, *letters, printed, marks, layered.letters or "error", ran, f"{raw.cpu_s + layered.cpu_s:.1f}")
        )
    head = f"{title_of(part)}: raw beside {TABLE_OF[part.shapes]}, and the two layers"
    columns = ("strategy", "raw", "bits", "paper", "differs", "two layers", "layers", "CPU s")
    return Sheet(head, columns, tuple(rows), right=("layers", "CPU s"))


def _totals(part: Part) -> Sheet:
    columns = ("passing", *PROPERTIES, "all three", "of")
    rows = (
        _total("ours", totals_of(part), len(part.raw)),
        _total("paper", TOTALS[part.shapes], len(ROWS)),
    )
    return Sheet(f"{title_of(part)}: strategies that pass as raw operations", columns, rows, right=columns[1:])


def _total(who: str, totals: Totals, count: int) -> tuple[str, ...]:
    return who, *map(str, totals.passing), str(totals.all_three), str(count)


def _sweep(audit: Audit) -> Sheet:
    columns = ("strategy", "digest", "joins", "paper", "resolves", "paper ")
    rows: list[tuple[str, ...]] = []
    for name in audit.strategies:
        row, swept = ROWS[name], audit.sweep.get(name)
        if swept is None:
            digest = MISSING
        elif swept.problem:
            digest = "error"
        else:
            digest = swept.digests[0][:12] if swept.converges else f"{len(swept.digests)} different"
        ours = ("", "") if swept is None else (f"{swept.gossip_cpu_ms:.1f}", f"{swept.resolve_cpu_ms:,.0f}")
        rows.append((name, digest, ours[0], f"{row.gossip_ms}", ours[1], f"{row.resolve_ms:,.0f}"))
    head = "sweep: 10 replicas of 64×64, each to each in a random order, then each resolves; CPU ms beside Table 8's ms"
    return Sheet(head, columns, tuple(rows), right=columns[2:])
