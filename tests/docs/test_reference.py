"""The reference pages say what the code says, and the code says something about everything."""

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from conjoin.apps.cli.app import app
from conjoin.apps.cli.description import examples
from conjoin.apps.cli.failure import error_classes
from conjoin.strategies.base import strategies

TOP = Path(__file__).parents[2]
REFERENCE = TOP / "docs" / "reference"


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("make_reference", TOP / "tools" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_reference"] = module
    spec.loader.exec_module(module)
    return module


ROOT: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT.commands


def test_pages_are_current() -> None:
    pages = _generator().pages()
    assert {f"strategies/{name}.md" for name in strategies()} < set(pages)
    for page, text in pages.items():
        written = (REFERENCE / page).read_text(encoding="utf-8")
        assert written == text, f"{page}: run `python tools/make_reference.py`"


@pytest.mark.parametrize("name", sorted(strategies()))
def test_examples_of_a_strategy_parse(name: str) -> None:
    lines = examples(strategies()[name])
    assert f"conjoin resolve {name}" in lines[-1]
    for line in lines:
        _, command, *words = shlex.split(line)
        COMMANDS[command].make_context(command, words)


def test_every_command_of_the_design_is_there() -> None:
    wanted = "demo init clone invite whoami add retract sync status log show resolve verify fsck strategies"
    wanted += " stats fit task audit gc rekey serve gossip simulate"
    assert sorted(COMMANDS) == sorted(wanted.split(" "))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_is_documented(name: str) -> None:
    command = COMMANDS[name]
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert f"### conjoin {name}\n" in page
    assert command.help
    assert f"conjoin {name}" in command.epilog or f" {name}" in command.epilog
    for parameter in command.params:
        assert parameter.help, parameter.name
        for option in parameter.opts:
            if option.startswith("-"):
                assert option in page, option


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_examples_parse(name: str) -> None:
    """The examples of each command are taken by the parser, whatever the paths in them are."""
    for line in COMMANDS[name].epilog.splitlines()[2:]:
        program, *words = shlex.split(line)
        assert program == "conjoin"
        if words[0] == "-C":
            words = words[2:]
        COMMANDS[words[0]].make_context(words[0], words[1:])


def test_every_error_has_its_own_code_and_words() -> None:
    codes = [kind.code for kind in error_classes()]
    assert len(codes) == len(set(codes))
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    for kind in error_classes():
        assert kind.__doc__
        assert f"| {kind.code} | `{kind.__name__}` |" in page
        assert kind.exit_status in range(1, 9)
