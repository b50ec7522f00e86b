"""What a part of the benchmark hands back: tables, goals and series to plot; prints them, judges nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows under columns; the first column is text."""

    title: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)


@dataclass(frozen=True)
class Goal:
    """A figure beside what it should be. `sense` is ≤ or ≥."""

    what: str
    measured: float
    sense: str
    goal: float

    @property
    def reached(self) -> bool:
        """Whether the figure is on the right side."""
        return self.measured <= self.goal if self.sense == "≤" else self.measured >= self.goal


@dataclass(frozen=True)
class Series:
    """Points of one line of a plot, named by `label`."""

    label: str
    x: list[float]
    y: list[float]


@dataclass(frozen=True)
class Plot:
    """Lines over one x axis; with a `fit` each gets the straight line of least squares."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: list[Series]
    fit: bool = False


@dataclass
class Part:
    """All that one part has found."""

    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)


def at_most(what: str, measured: float, goal: float) -> Goal:
    """A goal that is an upper limit."""
    return Goal(what, measured, "≤", goal)


def at_least(what: str, measured: float, goal: float) -> Goal:
    """A goal that is a lower limit."""
    return Goal(what, measured, "≥", goal)


def show(part: Part) -> None:
    """Print the tables, then the goals."""
    console = Console(width=140)
    for table in part.tables:
        shown = RichTable(title=table.title, title_justify="left")
        for number, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if number and _numbers(table, number) else "left")
        for row in table.rows:
            shown.add_row(*map(_text, row))
        console.print(shown)
    if part.goals:
        shown = RichTable(title="against the goals", title_justify="left")
        for column in ("what", "measured", "goal", "reached"):
            shown.add_column(column, justify="left" if column == "what" else "right")
        for goal in part.goals:
            mark = "yes" if goal.reached else "[bold red]no[/]"
            shown.add_row(goal.what, _text(goal.measured), f"{goal.sense} {_text(goal.goal)}", mark)
        console.print(shown)


def _numbers(table: Table, column: int) -> bool:
    return any(isinstance(row[column], int | float) for row in table.rows)


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
