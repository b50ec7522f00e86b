"""The commands that keep a replica in order: gc, rekey; each calls the Replica and prints what it reports."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.options import LOOKING, SPACES, AsJson, Quiet, Shell, Where, epilog
from conjoin.errors import UsageError

if TYPE_CHECKING:
    from conjoin.inventory import GcReport

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(rich_help_panel=LOOKING, epilog=epilog("conjoin gc --dry-run", "conjoin gc --grace 7d"))(gc)
    app.command(rich_help_panel=SPACES, epilog=epilog("conjoin -C restored rekey"))(rekey)


def gc(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    grace: Annotated[
        str,
        typer.Option(
            "--grace", metavar="TIME", help="Leave alone what was needed or written within this time: 30m, 24h, 7d."
        ),
    ] = "24h",
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Remove content that no visible contribution needs.

    Operations stay for ever; so do files that were added in place. A sync brings content back when it is needed again.
    Merges of contributions whose content is gone can no longer be verified here.
    """
    shell = Shell.of(ctx, where, as_json, quiet)
    grace_seconds = duration(grace)
    with shell.replica() as replica, shell.bar() as bar:
        if not (dry_run or shell.as_json or shell.quiet):
            from conjoin.apps.cli.render import show

            show(_table(replica.gc(grace_seconds=grace_seconds, dry_run=True)))
        report = replica.gc(grace_seconds=grace_seconds, dry_run=dry_run, progress=bar)

    def human() -> Iterable[Any]:
        from conjoin.apps.cli.render import count, size

        if dry_run:
            yield from _table(report)
        verb = "would free" if dry_run else "freed"
        yield f"{verb} {size(report.size_bytes)} in {count(report.objects, 'object')}"
        if report.packed:
            packed = count(report.packed, "operation")
            yield f"{packed} {'would go' if dry_run else 'went'} into segments"
        if report.later_bytes:
            yield f"{size(report.later_bytes)} more are not needed, but were within the last {grace}"

    shell.tell(report, brief=str(report.size_bytes), human=human)


def rekey(
    ctx: typer.Context,
    sign_in: Annotated[
        bool,
        typer.Option(
            "--sign-in",
            help="Let the new key in by an admin's key that this replica has or had, though it may sign elsewhere: "
            "only where every other copy is gone for good, after a sync with all who saw its last operations.",
        ),
    ] = False,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Take a new key, for a copied or restored replica.

    Two replicas that sign with one key would fork the log. The key until now lets the new one in if it is an admin's
    and signs nowhere else; otherwise an admin has to.
    """
    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica:
        done = replica.rekey(sign_in=sign_in)

    def human() -> Iterable[Any]:
        from conjoin.apps.cli.render import facts, short

        yield "this replica has a new key"
        yield facts([("key", done.key), ("before", short(done.before)), ("role", done.role or "reader")])
        if done.role is None or (done.wanted == "admin" and done.role != "admin"):
            admin = " --admin" if done.wanted == "admin" else ""
            yield f"next: an admin runs `conjoin invite {done.key}{admin}`; then sync on both sides"

    shell.tell(done, brief=done.key, human=human)


def _table(report: "GcReport") -> list[Any]:
    """What goes, and why."""
    from conjoin.apps.cli.render import short, size, table

    if not report.freed:
        return []
    rows = [
        (
            short(one.contributions[0]) if one.contributions else "-",
            one.why,
            size(one.size_bytes),
            one.title or "-",
        )
        for one in report.freed
    ]
    return [table(("contribution", "why", "size", "title"), rows, right=("size",)), ""]


def duration(text: str) -> float:
    """Seconds in a text such as `30m`, `24h` or `7d`.

    Raises:
        UsageError: it is no such text.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is not a time", hint="write a number and s, m, h or d: 24h")
    return float(match[1]) * _SECONDS[match[2]]
