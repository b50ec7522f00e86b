"""Whole commands, files in, files out: conjoin against a plain reader and writer of the same leaves, and mergekit."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks import peers
from benchmarks.context import Context
from benchmarks.measure import RUN_COLUMNS, Run, conjoin, medians, models, module, python, run
from benchmarks.report import Goal, Part, Plot, Series, Table, at_least, at_most

HASH = """
import hashlib, sys
buffer = bytearray(4 << 20); view = memoryview(buffer)
digest = hashlib.sha256()
with open(sys.argv[1], 'rb', buffering=0) as file:
    while n := file.readinto(buffer): digest.update(view[:n])
"""

ALL, NOTHING, OUTPUT = "every input leaf; output hashed", "nothing", "output hashed"


@dataclass(frozen=True)
class Method:
    """One way to merge: what conjoin runs, and what mergekit calls the same (run where it has parameters)."""

    strategy: str
    params: Mapping[str, str]
    peer: str = ""
    peer_parameters: Mapping[str, float] = field(default_factory=dict[str, float])
    peer_base: bool = False
    goals: tuple[float, float | None] | None = None
    """How many times less CPU than mergekit: verified, and with --trust-store."""

    @property
    def name(self) -> str:
        """As the tables show it."""
        return " ".join([self.strategy, *(f"{key}={value}" for key, value in self.params.items())])


DROPS = {"density": "0.5", "agg": "sum", "zero_sign": "plus"}
CRUMBS = {"weight": 1, "density": 0.15, "gamma": 0.006}
DELLA = {"weight": 1, "density": 0.5, "epsilon": 0.07}

METHODS = (
    Method("weight_average", {}),
    Method("linear", {}, "linear", {"weight": 1}, False, (3, 6)),
    Method("task_arithmetic", {}, "task_arithmetic", {"weight": 1}, True, (3, 6)),
    Method("ties", {"density": "0.2"}, "ties", {"weight": 1, "density": 0.2}, True, (12, 20)),
    Method("ties", {"density": "0.5"}, "ties", {}, True, (12, 20)),  # mergekit's cost does not depend on it
    Method("dare", {"density": "0.5"}, "dare_linear", {"weight": 1, "density": 0.5}, True, (6, None)),
    Method("dare_ties", DROPS, "dare_ties", {"weight": 1, "density": 0.5}, True, (8, None)),
    Method("model_breadcrumbs", {"scope": "tensor"}, "breadcrumbs", CRUMBS, True, (12, None)),
    Method("della", {"density": "0.5", "agg": "sum"}, "della", DELLA, True, (20, None)),
    Method("slerp", {}, "karcher", {"max_iter": 10}, False, (12, None)),
)


def measure(context: Context) -> Part:
    """Everything about commands on one base and three fine-tunes."""
    shape = "50M" if context.quick else "0.5B"
    base, *tunes = models(context.scratch, shape, 3)
    replica = context.scratch / "replica"
    part = Part()
    added = _add(context, base, tunes, replica)
    taken = _resolves(context, replica, base, tunes)
    figures = {name: medians(runs) for name, runs in taken.items()}

    size_gb = (base / "model.safetensors").stat().st_size / 1e9
    title = f"{shape} parameters, {size_gb:.2f} GB per checkpoint, medians of {context.runs}"
    columns = ("command", "what is verified", *RUN_COLUMNS)
    part.tables = [
        Table(f"adding: {title}", columns, [[*name, *figure.cells] for name, figure in added.items()]),
        Table(f"resolving, base + 3: {title}", columns, [[*name, *figure.cells] for name, figure in figures.items()]),
    ]
    part.goals = _goals(figures, taken)
    dots = [Series(name, [0.0], [figure.cpu_s]) for (name, _), figure in figures.items()]
    part.plots = [Plot("commands", f"resolve, base + 3 ({title})", "", "CPU seconds", dots)]
    return part


def _add(context: Context, base: Path, tunes: list[Path], replica: Path) -> dict[tuple[str, str], Run]:
    """Figures of small commands and of `add`; leaves a replica with every checkpoint copied into it."""
    taken: dict[tuple[str, str], list[Run]] = {}

    def note(name: str, what: str, figure: Run) -> None:
        taken.setdefault((name, what), []).append(figure)

    for turn in range(context.runs):
        place = context.scratch / f"add-{turn}"
        run(conjoin("init", place, "--base", base, "--in-place"))
        note("conjoin --help", "", run(conjoin("--help")))
        note("hashlib SHA-256 of one checkpoint", "", run(python(HASH, str(tunes[0] / "model.safetensors"))))
        note("add", "every value finite", run(conjoin("-C", place, "add", tunes[0])))
        note("add --in-place", "every value finite", run(conjoin("-C", place, "add", tunes[1], "--in-place")))
        shutil.rmtree(place)
    run(conjoin("init", replica, "--base", base))
    for tune in tunes:
        run(conjoin("-C", replica, "add", tune))
    return {name: medians(runs) for name, runs in taken.items()}


def _resolves(context: Context, replica: Path, base: Path, tunes: list[Path]) -> dict[tuple[str, str], list[Run]]:
    """All runs of every command, by its name and what it verifies; each turn runs each once."""
    commands = _plain_commands(context, replica)
    for method in METHODS:
        given = [word for key, value in method.params.items() for word in ("-p", f"{key}={value}")]
        words = ("-C", replica, "resolve", method.strategy, *given)
        commands[method.name, ALL] = lambda out, words=words: conjoin(*words, "-o", out)
        commands[f"{method.name} --trust-store", OUTPUT] = lambda out, words=words: conjoin(
            *words, "-o", out, "--trust-store"
        )
    taken: dict[tuple[str, str], list[Run]] = {}
    for name, command in commands.items():  # once uncounted: compiled kernels are kept on disk from then on
        if name[1] == ALL:
            _timed(context, command)
    for _ in range(context.runs):
        for name, command in commands.items():
            taken.setdefault(name, []).append(_timed(context, command))
    return taken | (_peers(context, context.tools, base, tunes) if context.tools else {})


Command = Callable[[Path], list[str | Path]]


def _timed(context: Context, command: Command) -> Run:
    """Run a command that makes a file or folder, and remove that."""
    out = context.scratch / "out"
    figure = run(command(out), peers.ENVIRONMENT)
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink()
    return figure


def _plain(inputs: str, what: str) -> str:
    return f"plain: read {inputs}, {'hash them, ' if what == ALL else ''}hash and write 1"


def _plain_commands(context: Context, replica: Path) -> dict[tuple[str, str], Command]:
    commands: dict[tuple[str, str], Command] = {}
    for strategy, inputs in (("linear", "3 tunes"), ("task_arithmetic", "base + 3")):
        jobs = context.scratch / f"{strategy}.jobs"
        jobs.write_text(_output(module("plain", "list", replica, strategy)))
        for mode, what in (("hashed", ALL), ("unhashed", OUTPUT)):
            commands[_plain(inputs, what), what] = lambda out, jobs=jobs, mode=mode: module(
                "plain", "run", jobs, out, mode
            )
    return commands


def _output(command: list[str | Path]) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def _peers(context: Context, tools: Path, base: Path, tunes: list[Path]) -> dict[tuple[str, str], list[Run]]:
    """Runs of mergekit: its first method with one and two threads, the others with the number that cost less."""
    taken: dict[tuple[str, str], list[Run]] = {}
    settings = [1] if context.quick else [1, 2]
    for method in METHODS:
        if not method.peer_parameters:
            continue
        costs: dict[float, int] = {}
        for threads in settings:

            def command(out: Path, method: Method = method, threads: int = threads) -> list[str | Path]:
                origin = base if method.peer_base else None
                given = [method.peer_parameters] * len(tunes)
                config = context.scratch / "mergekit.yml"
                return peers.mergekit(
                    tools, config, out, method.peer, tunes, base=origin, threads=threads, parameters=given
                )

            runs = [_timed(context, command) for _ in range(context.peer_runs)]
            taken[f"mergekit {method.peer}, {threads} thread{'s' * (threads > 1)}", NOTHING] = runs
            costs[medians(runs).cpu_s] = threads
        settings = [costs[min(costs)]]
    return taken


def _goals(figures: Mapping[tuple[str, str], Run], taken: Mapping[tuple[str, str], list[Run]]) -> list[Goal]:
    """Ratios between medians; those to the plain reader are medians of the ratios within a turn."""
    goals: list[Goal] = []

    def ratio(of: tuple[str, str], to: tuple[str, str], figure: str) -> float:
        pairs = zip(taken[of], taken[to], strict=True)
        return median(getattr(one, figure) / getattr(other, figure) for one, other in pairs)

    for strategy, inputs in (("linear", "3 tunes"), ("task_arithmetic", "base + 3")):
        for figure, unit in (("cpu_s", "CPU"), ("wall_s", "wall")):
            text = f"resolve {strategy}, verified: {unit} against plain reading, hashing, writing"
            goals.append(at_most(text, ratio((strategy, ALL), (_plain(inputs, ALL), ALL), figure), 1.25))
    for name, limit_s in (("linear", 2.0), ("ties density=0.2", 4.0), ("ties density=0.5", 4.0)):
        goals.append(at_most(f"resolve {name}, verified: wall seconds", figures[name, ALL].wall_s, limit_s))
    for method in METHODS:
        rivals = [f for (name, _), f in figures.items() if name.startswith(f"mergekit {method.peer},")]
        if not method.peer or not rivals:
            continue
        rival = min(rivals, key=lambda figure: figure.cpu_s)
        ours, trusting = figures[method.name, ALL], figures[f"{method.name} --trust-store", OUTPUT]
        versus = f"{method.name} against mergekit {method.peer}"
        verified, trusted = method.goals or (1, 1)
        goals.append(at_least(f"{versus}: times less CPU, verified", rival.cpu_s / ours.cpu_s, verified))
        if trusted is not None:
            goals.append(at_least(f"{versus}: times less CPU, --trust-store", rival.cpu_s / trusting.cpu_s, trusted))
        memory = ours.memory_bytes_max / min(f.memory_bytes_max for f in rivals)
        goals.append(at_most(f"{versus}: share of its peak memory", memory, 0.25))
    return goals
