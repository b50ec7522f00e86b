"""The commands that only look: status, log, show, and fsck, which mends what it is told to; print, never decide."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from conjoin.apps.cli.options import LOOKING, AsJson, Quiet, Shell, Where, epilog, plain

TENSORS_SHOWN = 40
DAMAGE_STATUS = 4
"""Exit status of `fsck` when something is damaged: that of the integrity errors."""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(rich_help_panel=LOOKING, epilog=epilog("conjoin -C site-a status"))(status)
    app.command(rich_help_panel=LOOKING, epilog=epilog("conjoin log", "conjoin log --graph"))(log)
    app.command(rich_help_panel=LOOKING, epilog=epilog("conjoin show 7f3a91c2"))(show)
    app.command(rich_help_panel=LOOKING, epilog=epilog("conjoin fsck", "conjoin fsck --repair-from ../site-b"))(fsck)


def status(ctx: typer.Context, where: Where = None, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Show the space, the root and every contribution."""
    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica:
        state = replica.status()

    def human() -> Iterable[Any]:
        from conjoin.apps.cli import render

        return render.status(state)

    shell.tell(state, brief=state.root, human=human)


def log(
    ctx: typer.Context,
    graph: Annotated[bool, typer.Option("--graph", help="Draw who had seen what: a column per author.")] = False,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List the operations of the space, ancestors first."""
    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica:
        operations = replica.operations()

    def human() -> Iterable[Any]:
        from conjoin.apps.cli import render

        return render.graph(operations) if graph else render.log(operations)

    shell.tell(operations, brief="\n".join(o.id for o in operations), human=human)


def show(
    ctx: typer.Context,
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="8 or more characters of any digest or key.")],
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Describe whatever has this digest.

    A contribution, an operation, a checkpoint's content, the base, the root or a member's key.
    """
    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica:
        value = replica.show(digest)
    shell.tell(
        value,
        brief=next((str(value[k]) for k in ("digest", "id", "key") if k in value), ""),
        human=lambda: _shown(value),
    )


def _shown(value: dict[str, Any]) -> Iterable[Any]:
    """Facts one a line; tensors as a table."""
    from conjoin.apps.cli import render

    tensors = value.get("tensors")
    yield render.facts((name, _text(plain(item))) for name, item in value.items() if name != "tensors")
    if tensors is not None:
        yield ""
        rows = [
            (t["name"], t["dtype"], "×".join(map(str, t["shape"])) or "scalar", render.short(t["root"]))
            for t in tensors[:TENSORS_SHOWN]
        ]
        yield render.table(("tensor", "dtype", "shape", "root"), rows)
        if len(tensors) > TENSORS_SHOWN:
            yield f"… and {len(tensors) - TENSORS_SHOWN:,} more; `--json` lists them all"


def _text(item: Any) -> str:
    """One value of `show` for people: lists of texts with commas, nothing as `-`, the rest as JSON."""
    if isinstance(item, str):
        return item or "-"
    if isinstance(item, list) and all(isinstance(part, str) for part in item):
        return ", ".join(item) or "-"
    return json.dumps(item, ensure_ascii=False) if item not in ({}, None) else "-"


def fsck(
    ctx: typer.Context,
    repair_from: Annotated[
        str | None,
        typer.Option(
            "--repair-from",
            metavar="SOURCE",
            help="Replace damaged objects by intact ones from here: a replica directory or a meeting place.",
        ),
    ] = None,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Read everything again and name each damaged object. The exit status is 4 when something is damaged."""
    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica, shell.bar() as bar:
        found = replica.fsck(repair_from=repair_from, progress=bar)

    def human() -> list[Any]:
        from conjoin.apps.cli import render

        lines = [f"read {render.count(found.objects, 'object')}, {render.size(found.size_bytes)}"]
        lines += [f"damaged: {d.name}\n  {d.what}" + (f"\n  hint: {d.hint}" if d.hint else "") for d in found.damage]
        lines += [f"repaired: {name}" for name in found.repaired]
        if found.damage and repair_from is not None:
            lines.append(f"{repair_from} has none of what is still damaged intact: try another source")
        if not found.damage:
            lines.append("nothing is damaged")
        return lines

    shell.tell(found, brief="\n".join(d.name for d in found.damage), human=human)
    return DAMAGE_STATUS if found.damage else 0
