"""What a simulation found, as tables, JSON, Markdown and a picture; runs nothing and prints nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

FORMAT = "conjoin/simulation/1"
_WIDTH, _HEIGHT, _EDGE = 640, 360, 60


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table; numbers are given as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """One line through points (x, y), and the paper's beside it where it has one."""

    title: str
    x: str
    y: str
    points: Points
    paper: Points = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a scenario found.

    Attributes:
        name: of the scenario.
        holds: whether everything that must hold does.
        facts: what was measured, by name.
        sheets: tables, ours beside the paper's.
        notes: what to know about the figures.
        plot: the picture, if there is one to draw.
        problems: what does not hold.
    """

    name: str
    holds: bool
    facts: Mapping[str, Any]
    sheets: tuple[Sheet, ...] = ()
    notes: tuple[str, ...] = ()
    plot: Plot | None = None
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON types."""
        sheets = [{"title": s.title, "columns": s.columns, "rows": s.rows} for s in self.sheets]
        return {
            "format": FORMAT,
            "scenario": self.name,
            "holds": self.holds,
            "facts": dict(self.facts),
            "tables": sheets,
            "plot": None if self.plot is None else asdict(self.plot),
            "notes": list(self.notes),
            "problems": list(self.problems),
        }

    def markdown(self) -> str:
        """Everything as a document."""
        lines = [f"# Simulation: {self.name}", "", "Holds." if self.holds else "**Does not hold.**", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items()]
        for sheet in self.sheets:
            lines += ["", f"## {sheet.title}", "", _row(sheet.columns), _row(["---"] * len(sheet.columns))]
            lines += [_row(row) for row in sheet.rows]
        if self.plot is not None:
            lines += ["", f"![{self.plot.title}](simulation.svg)"]
        lines += ["", *(f"- {note}" for note in self.notes), *(f"- does not hold: {one}" for one in self.problems)]
        return "\n".join(lines) + "\n"


def write(result: Result, folder: Path) -> tuple[Path, ...]:
    """Write simulation.json, simulation.md and, where there is a plot, simulation.svg into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "simulation.json": json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n",
        "simulation.md": result.markdown(),
    }
    if result.plot is not None:
        texts["simulation.svg"] = picture(result.plot)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuple(folder / name for name in texts)


def picture(plot: Plot) -> str:
    """The plot as SVG, both axes from zero; the paper's line is dashed."""
    every = (*plot.points, *plot.paper)
    x_max, y_max = max([*(x for x, _ in every), 1e-9]), max([*(y for _, y in every), 1e-9])

    def line(points: Points) -> str:
        return " ".join(
            f"{_EDGE + x / x_max * (_WIDTH - 2 * _EDGE):.1f},{_HEIGHT - _EDGE - y / y_max * (_HEIGHT - 2 * _EDGE):.1f}"
            for x, y in points
        )

    left, bottom = _EDGE, _HEIGHT - _EDGE
    texts = [
        (left, 30, "start", f"{plot.title} (dashed: the paper)" if plot.paper else plot.title),
        (_WIDTH - _EDGE, bottom + 40, "end", f"{plot.x} (up to {x_max:,.4g})"),
        (left, _EDGE - 10, "start", f"{plot.y} (up to {y_max:,.4g})"),
    ]
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<style>text{font:13px sans-serif;fill:#222}polyline{fill:none;stroke:#2b6cb0;stroke-width:2}"
        "path{stroke:#888;fill:none}.paper{stroke:#888;stroke-dasharray:6 4}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<path d="M{left},{_EDGE}V{bottom}H{_WIDTH - _EDGE}"/>',
        *([f'<polyline class="paper" points="{line(plot.paper)}"/>'] if plot.paper else []),
        f'<polyline points="{line(plot.points)}"/>',
        *(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>' for x, y, anchor, text in texts),
        "</svg>",
    ]
    return "\n".join(drawn) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
