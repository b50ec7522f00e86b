"""The commands that change what is merged: add, retract, sync; each calls the Replica and reports what it said."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.failure import name_errors, refusals
from conjoin.apps.cli.options import CONTRIBUTIONS, AsJson, Quiet, Shell, Where, assignments, epilog
from conjoin.errors import ConjoinError, UsageError

if TYPE_CHECKING:
    from conjoin.sync import SyncReport


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        rich_help_panel=CONTRIBUTIONS,
        epilog=epilog(
            "conjoin add my-finetune/ --title 'radiology v2' --license Apache-2.0",
            "conjoin add model.safetensors --weight 0.5 --extra fisher=fisher.safetensors",
        ),
    )(add)
    app.command(rich_help_panel=CONTRIBUTIONS, epilog=epilog("conjoin retract 7f3a91c2"))(retract)
    app.command(
        rich_help_panel=CONTRIBUTIONS,
        epilog=epilog(
            "conjoin sync ../site-b",
            "conjoin sync ../site-b ../site-c /mnt/shared/meeting",
            "conjoin sync s3://hospital-models/radiology",
            "conjoin sync conjoin:TICKET",
            "conjoin sync --dry-run ../site-b",
            "conjoin sync --forget s3://old-bucket/radiology",
            "conjoin sync hf://buckets/clinic/radiology sftp://someone@storage.example.org/srv/radiology",
        ),
    )(sync)


def add(
    ctx: typer.Context,
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CHECKPOINT", help="A safetensors file or Hugging Face folder, tuned from the base."),
    ],
    weight: Annotated[
        str, typer.Option("--weight", metavar="W", help="Its weight: a decimal number above zero.")
    ] = "1",
    title: Annotated[
        str, typer.Option("--title", metavar="TEXT", help="A title for people; never changes the merge.")
    ] = "",
    licence: Annotated[
        str, typer.Option("--license", metavar="SPDX", help="Its licence, for people; never changes the merge.")
    ] = "",
    extra: Annotated[
        list[str] | None,
        typer.Option("--extra", metavar="NAME=FILE", help="A side-car such as fisher=FILE; part of what is merged."),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Reference the files where they are; they are verified at every read.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept tensors that only the base or only the checkpoint has.")
    ] = False,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Offer a fine-tune of the base; print its digest.

    The checkpoint is checked first: its format, its fit to the base, and that it holds no NaN or Inf. Tensors that are
    in the replica already are kept once.
    """
    shell = Shell.of(ctx, where, as_json, quiet)
    extras = {name: Path(path) for name, path in assignments(extra or (), "--extra", "NAME=FILE").items()}
    with shell.replica() as replica, shell.bar() as bar:
        added = replica.add(
            checkpoint,
            weight=weight,
            title=title,
            license=licence,
            extras=extras,
            in_place=in_place,
            partial=partial,
            progress=bar,
        )

    def human() -> list[Any]:
        from conjoin.apps.cli.render import count, size

        if added.already:
            return [f"contribution {added.contribution} is here already, nothing was signed"]
        what = f"{count(added.tensors, 'tensor')}, {size(added.size_bytes)}, {size(added.new_bytes)} of it new here"
        lines = [f"added contribution {added.contribution}", f"{what}; next: {shell.command('sync SOURCE')}"]
        lines += [
            f"note: the same weights are visible as {other[:12]} too and count twice; "
            f"{shell.command(f'retract {other[:12]}')} takes that one out"
            for other in added.same_weights
        ]
        return lines

    shell.tell(added, brief=added.contribution, human=human)


def retract(
    ctx: typer.Context,
    digest: Annotated[
        str, typer.Argument(metavar="DIGEST", help="The contribution: 8 or more characters of its digest.")
    ],
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Take a contribution back. What others add at the same time stays, and it can be added again."""
    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica:
        done = replica.retract(digest)

    def human() -> list[Any]:
        lines = [f"retracted contribution {done.contribution[:12]}"]
        if done.visible:
            lines.append("it stays visible through another author's add; its author or an admin can retract that one")
        lines.append(f"next: {shell.command('sync SOURCE')}, so that the others learn of it")
        return lines

    shell.tell(done, brief=done.contribution, human=human)


def sync(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="Replica directories, folders used as meeting places, or URLs of such places: s3://bucket/prefix, "
            "gs://, az://, hf://buckets/org/name, https://host/folder (read only), sftp://host/folder and others; "
            "or tickets of live peers.",
        ),
    ],
    full: Annotated[
        bool,
        typer.Option("--full", help="List everything in each place, also where only what came since is looked for."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would move, at most, and move and keep nothing.")
    ] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Move nothing: remember each source no longer, so that gossip leaves it alone; 8 or more characters "
            "of a peer's key name it too.",
        ),
    ] = False,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Pull from and push to each source.

    Afterwards both sides hold the same operations. A folder that holds no replica serves as a meeting place: any copy
    of it, by any means, syncs too, and so does a bucket. Credentials for buckets come from the environment and the
    files that the service's own tools use, never from the URL. Operations that break the rules of the space are named
    and not taken; the rest is, and the exit status is then 5. From a place that cannot be written everything is
    pulled; the exit status is then 6.
    """
    from conjoin.sync.remotes.open import require_named

    shell = Shell.of(ctx, where, as_json, quiet)
    for source in sources:
        require_named(source)
    if forget:
        if full or dry_run:
            raise UsageError("--forget moves nothing", hint="leave out --full and --dry-run")
        return _forget(shell, sources)
    reports: list[SyncReport] = []
    failed: list[tuple[str, ConjoinError]] = []
    with shell.replica() as replica, shell.bar() as bar:
        for source in sources:
            try:
                reports.append(replica.sync(source, full=full, dry_run=dry_run, progress=bar))
            except ConjoinError as error:
                if len(sources) == 1:
                    raise
                from conjoin.sync.peers.dialling import named
                from conjoin.sync.remotes.trouble import shown

                failed.append((shown(named(source)), error))
        root, visible = replica.root, len(replica.visible)

    def human() -> list[Any]:
        from conjoin.apps.cli.render import count, short
        from conjoin.apps.cli.render import sync as lines

        return [
            *(line for report in reports for line in lines(report, dry_run=dry_run)),
            f"root {short(root)} over {count(visible, 'visible contribution')}",
        ]

    failures = [{"source": source, "error": error} for source, error in failed]
    told = {"dry_run": dry_run, "root": root, "visible": visible, "sources": reports, "failed": failures}
    shell.tell(told, human=human)
    errors = [error for _, error in failed] + [report.failure for report in reports if report.failure is not None]
    return name_errors([*errors, *(error for report in reports for error in refusals(report))], as_json=shell.as_json)


def _forget(shell: Shell, sources: list[str]) -> int:
    """Remember peers and places no longer."""
    from conjoin.apps.cli.render import named

    with shell.replica() as replica:
        forgotten = [replica.forget_peer(source) for source in sources]
    shell.tell({"forgotten": forgotten}, human=lambda: [f"{named(peer)} is forgotten" for peer in forgotten])
    return 0
