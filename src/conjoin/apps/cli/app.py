"""The application: its commands and how a run of it ends; does no work of a command."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from conjoin.apps.cli import (
    auditing,
    contribute,
    demonstrate,
    fitting,
    gossip,
    inspection,
    layer2,
    serving,
    simulating,
    space,
    statistics,
    upkeep,
)
from conjoin.apps.cli.failure import BUG_STATUS, close_pipe, from_os, interrupted, report
from conjoin.apps.cli.options import AsJson, Quiet, Shell, Where, epilog
from conjoin.errors import ConjoinError, UsageError

_ClickException: type[Exception] = typer.BadParameter.__mro__[2]  # type: ignore[assignment]
"""The parent of everything the parser raises; typer carries its own copy of it from some version on."""


class GroupedHelp(TyperGroup):
    """The command list of `conjoin --help`, in groups and in the order of use."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """The commands in the order they were declared."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write one section per group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        width = formatter.width - 6 - max(len(name) for name in self.commands)
        for name, command in self.commands.items():
            group = str(getattr(command, "rich_help_panel", None) or "Commands")
            groups.setdefault(group, []).append((name, command.get_short_help_str(width)))
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl(rows)


app = typer.Typer(
    name="conjoin",
    cls=GroupedHelp,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog("conjoin demo shows it all in a few seconds", "conjoin COMMAND --help explains a command"),
)
for module in (
    demonstrate,
    space,
    serving,
    gossip,
    contribute,
    statistics,
    fitting,
    layer2,
    inspection,
    upkeep,
    auditing,
    simulating,
):
    module.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"conjoin {version('conjoin')}")
        raise typer.Exit


@app.callback()
def conjoin(
    ctx: typer.Context,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Merge fine-tuned models without a server: every replica computes the same checkpoint, byte for byte."""
    ctx.obj = Shell(where, as_json, quiet)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; everything it prints is flushed."""
    as_json = "--json" in arguments
    try:
        try:
            status = _invoke(arguments)
        finally:
            sys.stdout.flush()
    except ConjoinError as error:
        return report(error, as_json=as_json)
    except _ClickException as error:
        return _usage(error, as_json=as_json)
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return interrupted(as_json=as_json)
    except BrokenPipeError:
        return close_pipe()
    except OSError as cause:
        return report(from_os(cause), as_json=as_json)
    except Exception as bug:  # noqa: BLE001  (the last handler: a bug must not look like "differs", status 1)
        traceback.print_exc()
        report(
            ConjoinError(f"a bug in conjoin: {bug!r}", hint="please report it with the lines above"), as_json=as_json
        )
        return BUG_STATUS
    return status


def _invoke(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    if "_CONJOIN_COMPLETE" in os.environ:
        command.main(args=list(arguments), prog_name="conjoin")
        return 0
    with command.make_context("conjoin", list(arguments)) as ctx:
        status = command.invoke(ctx)
    return status if isinstance(status, int) else 0


def _usage(error: Exception, *, as_json: bool) -> int:
    """Report what the parser refused in our own form; asking for no command at all prints the help."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "conjoin"
    message = str(getattr(error, "format_message", error.__str__)()).strip()
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None and not as_json:
        sys.stderr.write(context.get_help() + "\n")
        return UsageError.exit_status
    what = message[:1].lower() + message[1:].rstrip(".").replace(": Value error, ", ": ")
    unreadable = what.endswith("is not readable")
    hint = "check its owner and permissions" if unreadable else f"`{path} --help` shows what it takes"
    return report(UsageError(what, where=path, hint=hint), as_json=as_json)
