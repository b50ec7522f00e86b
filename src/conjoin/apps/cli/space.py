"""The commands that make and join spaces: init, clone, invite, whoami; each calls the Replica once."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conjoin.apps.cli.failure import name_errors, refusals
from conjoin.apps.cli.options import SPACES, AsJson, Quiet, Shell, Where, epilog
from conjoin.errors import WrongSpaceError

if TYPE_CHECKING:
    from conjoin.sync import SyncReport

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", help="Sign with this private key (OpenSSH Ed25519 or ours) instead of a new one."
    ),
]


class RetractPolicy(StrEnum):
    """Who may retract a contribution, besides admins."""

    author = "author"
    member = "member"


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        rich_help_panel=SPACES,
        epilog=epilog(
            "conjoin init site-a --base base/ --name radiology",
            "conjoin init site-a --base model.safetensors --key ~/.ssh/id_ed25519",
        ),
    )(init)
    app.command(
        rich_help_panel=SPACES,
        epilog=epilog(
            "conjoin clone site-a site-b",
            "conjoin clone /mnt/shared/meeting site-c --key ~/.ssh/id_ed25519",
            "conjoin clone s3://hospital-models/radiology site-d",
            "conjoin clone conjoin:TICKET site-e",
        ),
    )(clone)
    app.command(
        rich_help_panel=SPACES,
        epilog=epilog(
            "conjoin invite 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
            'conjoin invite "$(cat ~/.ssh/id_ed25519.pub)" --admin',
        ),
    )(invite)
    app.command(rich_help_panel=SPACES, epilog=epilog("conjoin -C site-b whoami"))(whoami)


def init(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory of the new replica; made if it is not there.")
    ],
    base: Annotated[
        Path,
        typer.Option(
            "--base", metavar="CHECKPOINT", help="The common ancestor: a safetensors file or Hugging Face folder."
        ),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="A name for the space, for people.")] = "",
    open_: Annotated[
        bool, typer.Option("--open", help="Admit every key. Without it only keys that an admin invites may add.")
    ] = False,
    retract: Annotated[
        RetractPolicy, typer.Option("--retract", help="Who may retract a contribution, besides admins.")
    ] = RetractPolicy.author,
    key: KeyFile = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Reference the base's files where they are instead of copying them.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Found a new space on a base checkpoint.

    Makes the first replica of the space in DIR. The base is fixed for the life of the space, and so is who may take
    part. The key made here is the first admin.
    """
    from conjoin.replica import Replica

    shell = Shell.of(ctx, None, as_json, quiet)
    with shell.bar() as bar:
        replica = Replica.init(
            folder, base, name=name, key=key, open=open_, retract=retract.value, in_place=in_place, progress=bar
        )
    value = {
        "path": replica.path,
        "space": replica.space,
        "base": replica.base,
        "key": replica.key,
        "role": replica.role,
    }

    def human() -> list[Any]:
        from conjoin.apps.cli.render import facts, short

        left = sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []
        left = [name for name in left if not name.startswith(".")]
        notes = [f"note: subfolders of the base are not kept: {', '.join(left)}"] if left else []
        return [
            f"founded a{'n open' if open_ else ' closed'} space; its first replica is {folder}",
            facts(
                [
                    ("space", short(replica.space)),
                    ("base", short(replica.base)),
                    ("key", f"{short(replica.key)} (admin)"),
                ]
            ),
            *notes,
            f"next: `conjoin -C {folder} add CHECKPOINT`, or `conjoin clone {folder} DIR` for a second replica",
        ]

    shell.tell(value, brief=replica.space, human=human)


def clone(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A replica directory, a folder used as meeting place, the URL of such a place, as for sync, or "
            "the ticket of a live peer.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the new replica; must not hold one.")],
    key: KeyFile = None,
    space: Annotated[
        str | None,
        typer.Option("--space", metavar="DIGEST", help="The space to take, where the meeting place holds several."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Make another replica of a space, with a key of its own.

    From a replica directory whose key is an admin's the new key is let in at once, and so it is by a ticket with an
    invite. From a meeting place the new replica only reads until an admin runs `conjoin invite KEY`. What breaks the
    rules of the space is named and not taken, as by `conjoin sync`; the replica is made of the rest. When it is broken
    off, the same command goes on where it stopped, with the same key. Where the source goes away halfway, the replica
    is made of what came, and `conjoin sync` brings the rest.
    """
    from conjoin.replica import Replica

    shell = Shell.of(ctx, None, as_json, quiet)
    reports: list[SyncReport] = []
    with shell.bar() as bar:
        replica = Replica.clone(source, folder, key=key, space=space, progress=bar, tell=reports.append)
    (report,) = reports
    value = {
        "path": replica.path,
        "space": replica.space,
        "base": replica.base,
        "key": replica.key,
        "role": replica.role,
        "refused": report.refused,
        "missing": report.missing,
        "skipped_in": report.skipped_in,
    }

    def human() -> list[Any]:
        from conjoin.apps.cli.render import already, facts, short, trouble
        from conjoin.sync import is_ticket
        from conjoin.sync.peers.dialling import named
        from conjoin.sync.remotes.trouble import shown

        lines: list[Any] = [
            f"cloned {shown(named(source))} to {folder}",
            facts([("space", short(replica.space)), ("key", short(replica.key)), ("role", replica.role or "reader")]),
            *already("here", report.skipped_in),
            *trouble(report),
        ]
        if report.missing:
            again = "TICKET" if is_ticket(source) else shown(source)
            lines.append(f"next: `conjoin -C {folder} sync {again}` brings what is incomplete, if it is there")
        elif replica.role is None:
            lines.append(f"next: to add, an admin runs `conjoin invite {replica.key}`; then sync on both sides")
        else:
            lines.append(f"next: `conjoin -C {folder} add CHECKPOINT`")
        return lines

    shell.tell(value, brief=replica.key, human=human)
    # Who chose among the spaces of a place knows that there are others.
    errors = [error for error in refusals(report) if space is None or error.code != WrongSpaceError.code]
    return name_errors(errors, as_json=shell.as_json)


def invite(
    ctx: typer.Context,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Public key: 64 hex characters or an OpenSSH `ssh-ed25519` line.")
    ],
    admin: Annotated[bool, typer.Option("--admin", help="Let it in as an admin, who may invite and retract.")] = False,
    where: Where = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Let a key into the space. Only admins can; the invited replica learns of it when it syncs."""
    shell = Shell.of(ctx, where, as_json, quiet)
    role = "admin" if admin else "member"
    with shell.replica() as replica:
        known = len(replica.operations())
        operation = replica.invite(key, role=role)
        operations = replica.operations()
    already = len(operations) == known
    summary = next(o.summary for o in operations if o.id == operation)
    said = "that key is in already, nothing was signed" if already else "next: sync, so that the others learn of it"
    shell.tell(
        {"operation": operation, "role": role, "already": already},
        brief=operation,
        human=lambda: [f"operation {operation[:12]} {summary}", said],
    )


def whoami(ctx: typer.Context, where: Where = None, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Print this replica's public key and role.

    The key is given in the three spellings that people use: hex, OpenSSH line, fingerprint.
    """
    from conjoin.wire.keys import fingerprint, openssh_line

    shell = Shell.of(ctx, where, as_json, quiet)
    with shell.replica() as replica:
        key, role, space = replica.key, replica.role, replica.space
    line, mark = openssh_line(key), fingerprint(key)
    value = {"key": key, "openssh": line, "fingerprint": mark, "role": role, "space": space}

    def human() -> list[Any]:
        from conjoin.apps.cli.render import facts, short

        return [
            facts(
                [
                    ("key", key),
                    ("openssh", line),
                    ("fingerprint", mark),
                    ("role", f"{role or 'reader: not a member'} in space {short(space)}"),
                ]
            )
        ]

    shell.tell(value, brief=key, human=human)
