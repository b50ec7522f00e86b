"""Write docs/reference/ from the code: the command line, the errors, the strategies; invents no word of its own.

python tools/make_reference.py            write the pages
python tools/make_reference.py --check    change nothing; exit with 1 if a page is not current
"""

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from conjoin.apps.cli.app import app
from conjoin.apps.cli.description import costs, examples, facts, needs_briefly
from conjoin.apps.cli.failure import BROKEN_PIPE_STATUS, BUG_STATUS, INTERRUPTED_STATUS, error_classes
from conjoin.apps.cli.render import default, domain
from conjoin.strategies.base import Strategy, strategies

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
NOTE = "<!-- written by tools/make_reference.py; change the code and run `python tools/make_reference.py` -->"


def pages() -> dict[str, str]:
    """Every page by file name."""
    written = {"cli.md": _cli(), "errors.md": _errors(), "strategies.md": _strategies()}
    written |= {f"strategies/{name}.md": _strategy(one) for name, one in strategies().items()}
    return {name: "\n".join([*lines]).rstrip() + "\n" for name, lines in written.items()}


def _cli() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    yield from (
        "# Command line",
        "",
        NOTE,
        "",
        _paragraphs(root.help),
        "",
        "```",
        "conjoin [OPTIONS] COMMAND [ARGS]…",
        "```",
        "",
    )
    yield from _parameters(root)
    yield from (
        "A digest may be given by any unambiguous prefix of 8 or more characters. `--json` prints exactly one document",
        'on stdout, `{"error": {…}}` when the command fails; everything else goes to stderr. Progress bars show on a',
        "terminal only. `NO_COLOR` is respected.",
        "",
        "Exit status: 0 when all is well, 1 when a verification found a difference, 2 for a wrong command line or",
        f"recipe, 3 to 8 as [the error classes](errors.md) say, {INTERRUPTED_STATUS} after Ctrl-C,",
        f"{BROKEN_PIPE_STATUS} when the reader of the output went away, {BUG_STATUS} for a bug.",
        "",
    )
    group = ""
    for name, command in root.commands.items():
        if command.rich_help_panel != group:
            group = command.rich_help_panel
            yield from (f"## {group}", "")
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(f"[{p.metavar}]" if not p.required else str(p.metavar) for p in arguments)
        yield from (f"### conjoin {name}", "", "```", f"conjoin {name} [OPTIONS] {usage}".rstrip(), "```", "")
        yield from (_paragraphs(command.help), "")
        yield from _parameters(command)
        examples = [line.strip() for line in command.epilog.splitlines()[2:]]
        yield from ("```console", *(f"$ {line}" for line in examples), "```", "")


def _parameters(command: Any) -> Iterator[str]:
    """The arguments and options of a command as a table."""
    yield from ("| argument or option | meaning |", "|---|---|")
    context = command.make_context(command.name, [], resilient_parsing=True)
    for parameter in sorted(command.params, key=lambda p: p.param_type_name):
        spelled, meaning = parameter.get_help_record(context)
        if parameter.param_type_name == "argument":
            spelled = parameter.metavar
        yield f"| `{_cell(spelled)}` | {_cell(meaning)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _errors() -> Iterator[str]:
    yield from ("# Errors", "", NOTE, "")
    yield from (
        "Every error says what is wrong with both values, where, and what to do next:",
        "",
        "```",
        "error[CODE]: what",
        "  at: where",
        "hint: the next step",
        "```",
        "",
        'With `--json` it is printed as `{"error": {"code", "what", "where", "hint", "exit_status", "retryable"}}`.',
        "Python raises the class of that name from `conjoin.errors`; a family catches all its members.",
        "",
    )
    table = ("| code | class | exit status | retry helps | meaning |", "|---|---|---|---|---|")
    for kind in error_classes():
        if kind.code.endswith("00"):
            yield from ("", f"## {kind.__name__}: {_one_line(kind)}", "", *table) if kind.code != "E000" else table
        retry = "yes" if kind.retryable else "no"
        yield f"| {kind.code} | `{kind.__name__}` | {kind.exit_status} | {retry} | {_one_line(kind)} |"


def _one_line(kind: type) -> str:
    return _cell(inspect.getdoc(kind) or "")


def _strategies() -> Iterator[str]:
    yield from ("# Strategies", "", NOTE, "")
    yield from (
        "Numbers are plain decimals and exact. A parameter given per contribution is written `-p NAME.DIGEST=VALUE`.",
        "",
        "| strategy | needs | draws | ns per parameter | peak MB | what |",
        "|---|---|---|---|---|---|",
    )
    known = strategies()
    for one in known.values():
        cost = [f"{figure:.3g}" for figure in costs().get(one.name, ())] or ["–", "–"]
        link = f"[{one.name}](strategies/{one.name}.md)"
        yield f"| {link} | {needs_briefly(one)} | {_yes(one.stochastic)} | {' | '.join(cost)} | {one.summary} |"
    yield from (
        "",
        "CPU and memory: resolve of 16 million parameters in BF16, base and 3 contributions, every input verified, the",
        "start of the process left out; `python -m benchmarks --only strategies` on 2 cores of an Intel Xeon.",
    )


def _strategy(one: Strategy) -> Iterator[str]:
    yield from (f"# {one.name}", "", NOTE, "", "```text", one.doc, "```", "")
    if one.parameters:
        yield from ("| parameter | values | default |", "|---|---|---|")
        yield from (f"| `{p.name}` | {domain(p)} | {default(p)} |" for p in one.parameters)
        yield ""
    yield from (f"- **{name}**: {text}" for name, text in facts(one))
    yield from ("", "```console", *(f"$ {line}" for line in examples(one)), "```", "")
    yield "[all strategies](../strategies.md)"


def _yes(claim: bool) -> str:
    return "yes" if claim else "no"


def _paragraphs(text: str) -> str:
    return inspect.cleandoc(text)


def main() -> int:
    """Write the pages, or compare them with `--check`; 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a page is not current")
    check = parser.parse_args().check
    old = [
        name
        for name, text in pages().items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text("utf-8") != text
    ]
    if check:
        for name in old:
            print(f"docs/reference/{name} is not current: run `python tools/make_reference.py`", file=sys.stderr)
        return 1 if old else 0
    (FOLDER / "strategies").mkdir(parents=True, exist_ok=True)
    for name in old:
        (FOLDER / name).write_text(pages()[name], encoding="utf-8")
        print(f"wrote docs/reference/{name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
