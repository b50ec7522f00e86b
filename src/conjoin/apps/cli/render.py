"""Text and tables for people, readable at 80 columns and without colour; reads no replica and decides nothing."""

import calendar
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from conjoin.apps.cli.failure import printable

if TYPE_CHECKING:
    from rich.table import Table

    from conjoin.executor import RunningReport
    from conjoin.inventory import ContributionInfo, OperationInfo, PeerInfo, Status
    from conjoin.strategies.base import Parameter, Strategy
    from conjoin.sync.report import Skipped, SyncReport

SHORT_CHARS = 12
"""Characters of a digest that tables show; commands take any 8 or more."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


def show(parts: Iterable[Any]) -> None:
    """Print lines and tables to stdout. Text is taken literally, never as markup."""
    for part in parts:
        lines = printable(part) if isinstance(part, str) else _drawn(part)
        sys.stdout.writelines(line.rstrip() + "\n" for line in lines.split("\n"))


def _drawn(part: "Table") -> str:
    """A table as text, as wide as the terminal allows."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    with console.capture() as drawn:
        console.print(part)
    return drawn.get().rstrip("\n")


def warn(text: str) -> None:
    """Print one warning to stderr."""
    sys.stderr.write(f"warning: {printable(text)}\n")


def short(digest: str | None) -> str:
    """The first characters of a digest, as tables show them."""
    return (digest or "-")[:SHORT_CHARS]


def size(size_bytes: int | None) -> str:
    """A size in powers of 1000, to three digits."""
    if size_bytes is None:
        return "?"
    value, unit = float(size_bytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 99.5 else f"{value:.3g} {_UNITS[unit]}"


def count(number: int, noun: str) -> str:
    """`1 tensor`, `2 tensors`, `1,234 tensors`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def running_line(report: "RunningReport", strategy: str) -> str:
    """What a resolve did with running sums, in a line."""
    if not report.slices:
        return f"no sum is kept: with these parameters {strategy} does not follow from one sum of its contributions"
    parts = [f"{count(len(report.added), 'contribution')} added, {len(report.taken_out)} taken out"]
    parts.append(f"{report.from_sums:,} of {count(report.slices, 'slice')} from sums")
    if report.begun:
        parts.append(f"{report.begun:,} begun")
    if report.unproven:
        parts.append(f"{report.unproven:,} recomputed, not proven")
    if report.not_kept:
        parts.append(f"{report.not_kept:,} not kept")
    return ", ".join([*parts, f"{size(report.size_bytes)} kept"])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> "Table":
    """A table without frames; digests and numbers never wrap, other cells fold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in columns:
        fold = name in (
            "title",
            "what",
            "summary",
            "meaning",
            "tensor",
            "arrived",
            "default",
            "order of arrival",
            "where",
        )
        made.add_column(name, justify="right" if name in right else "left", no_wrap=not fold, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, one pair a line. Long values are left to the terminal, so that they can be copied whole."""
    rows = list(pairs)
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def contributions(infos: Sequence["ContributionInfo"]) -> Any:
    """The table of contributions, or a line where there is none."""
    if not infos:
        return "no contributions yet: `conjoin add CHECKPOINT` offers one"
    rows = [
        (
            short(info.digest),
            ("visible" if info.visible else "retracted") + ("" if info.complete else ", incomplete"),
            info.weight,
            size(info.size_bytes),
            ", ".join(author[:8] for author in info.authors),
            info.title or "-",
        )
        for info in infos
    ]
    return table(("contribution", "state", "weight", "size", "by", "title"), rows, right=("weight", "size"))


def status(state: "Status") -> Iterable[Any]:
    """What `conjoin status` prints."""
    visible = sum(1 for info in state.contributions if info.visible)
    roles = sorted(state.members.values())
    key = f"{short(state.key)} ({state.role or 'reader: not a member'})" if state.key else "cannot be read, see below"
    yield facts(
        [
            ("space", f"{short(state.space)}{f' “{state.name}”' if state.name else ''}"),
            ("replica", state.path),
            ("key", key),
            ("base", short(state.base)),
            ("root", f"{short(state.root)} over {count(visible, 'visible contribution')}"),
            ("members", f"{len(roles)} ({count(roles.count('admin'), 'admin')})"),
            ("operations", f"{state.operations}"),
            ("stored", size(state.size_bytes)),
        ]
    )
    yield ""
    yield contributions(state.contributions)
    if state.peers:
        yield ""
        yield peers(state.peers)
    if state.missing:
        yield f"{count(state.missing_objects, 'object')} missing: sync with a replica that has them before resolve"
        for content in state.missing:
            big = "of a size not known yet" if content.size_bytes is None else size(content.size_bytes)
            yield f"  {content.what}: {count(content.objects, 'object')}, {big}"
    if state.key_unreadable is not None:
        yield state.key_unreadable
    if state.copied is not None:
        yield f"{state.copied}: `conjoin rekey` before it writes or syncs"
    if state.key_used_elsewhere is not None:
        yield used_elsewhere(state.key_used_elsewhere)
    if state.unneeded_bytes:
        yield f"{size(state.unneeded_bytes)} are not needed any more: `conjoin gc` frees them"
    if state.damaged:
        yield f"{count(len(state.damaged), 'operation')} damaged: `conjoin fsck --repair-from SOURCE` mends them"
    if state.peers_unreadable is not None:
        yield state.peers_unreadable
    for author, seq, ids in state.forks:
        different = ", ".join(map(short, ids))
        yield f"key {short(author)} signed {len(ids)} different operations as number {seq}: {different}"
    if state.forks:
        yield (
            "a fork harms no merge, both sides of it count; where a replica was copied or restored, `conjoin rekey` "
            "gives it\na key of its own, and otherwise somebody else has the key: `conjoin show` says what it signed"
        )


def peers(known: Sequence["PeerInfo"]) -> "Table":
    """The table of peers: who, where, when met last, and what they may not have."""
    rows = [
        (short(peer.key) if peer.key else "place", _path(peer.where) or "comes here", _lag(peer), ago(peer.met))
        for peer in known
    ]
    return table(("peer", "where", "has", "met"), rows)


def named(peer: "PeerInfo") -> str:
    """A peer or place in a few words."""
    return f"peer {short(peer.key)}" if peer.key else _path(peer.where)


def _path(where: str) -> str:
    """A folder as people would name it from here; anything else as it is."""
    try:
        return min(where, os.path.relpath(where), key=len) if os.path.isabs(where) else where
    except (OSError, ValueError):  # from a folder that is gone, or to another drive there is no way
        return where


def _lag(peer: "PeerInfo") -> str:
    """What a peer has, going by when it was met last."""
    has = f"{count(peer.behind, 'operation')} behind" if peer.behind else "everything"
    parts = [has if peer.met else "not known"]
    if peer.waiting:
        parts.append(f"{peer.waiting:,} of it {'waits' if peer.waiting == 1 else 'wait'} here")
    if peer.failed:
        parts.append(f"failed {ago(peer.failed)}")
    return ", ".join(parts)


def ago(when: str) -> str:
    """How long ago a time was, given as RFC 3339 in UTC; the empty text is never."""
    if not when:
        return "never"
    seconds = int(time.time()) - calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ"))
    for unit, unit_seconds in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= unit_seconds:
            return f"{count(seconds // unit_seconds, unit)} ago"
    return "just now"


def used_elsewhere(name: str) -> str:
    """What to say of a replica whose key has signed the operation `name` somewhere else."""
    at = f"{name[:16]}…/{name[-75:-64]}{name[-64:][:12]}" if name.startswith("ops/") else name
    return f"this replica's key signs elsewhere too ({at}): `conjoin rekey` before it writes again"


def log(operations: Sequence["OperationInfo"]) -> Iterable[Any]:
    """What `conjoin log` prints: ancestors first."""
    rows = [(short(o.id), o.author[:8], str(o.seq), o.type, o.summary) for o in operations]
    yield table(("operation", "by", "seq", "type", "what"), rows, right=("seq",))


def graph(operations: Sequence["OperationInfo"]) -> Iterable[Any]:
    """What `conjoin log --graph` prints: one column per author, and what each operation had seen."""
    authors = list(dict.fromkeys(o.author for o in operations))
    for operation in operations:
        lane = authors.index(operation.author)
        lanes = " ".join("●" if i == lane else "│" for i in range(len(authors)))
        after = [short(d)[:8] for d in dict.fromkeys((*filter(None, [operation.prev]), *operation.deps))]
        yield f"{lanes}  {short(operation.id)}  {operation.summary}"
        if after:
            yield f"{' '.join('│' for _ in authors)}    after {', '.join(after)}"
    yield ""
    for lane, author in enumerate(authors):
        yield f"{'  ' * lane}●  {short(author)}"


def sync(report: "SyncReport", *, dry_run: bool = False) -> Iterable[Any]:
    """What `conjoin sync` prints for one source."""
    receive, send = ("would receive", "would send at most") if dry_run else ("received", "sent")
    received = _moved(receive, report.operations_in, report.objects_in, report.bytes_in)
    sent = _moved(send, report.operations_out, report.objects_out, report.bytes_out)
    nothing = "nothing new" if report.failure is None else "nothing moved"
    yield f"{report.source}: {', '.join(filter(None, (received, sent))) or nothing}"
    if report.begun:
        yield "  there was nothing of this space before: a new meeting place is begun"
    yield from already("here", report.skipped_in)
    yield from already("there", report.skipped_out)
    yield from trouble(report)


def already(where: str, skipped: "Skipped") -> Iterable[Any]:
    """What a transfer did not move, because earlier ones had."""
    if skipped.objects:
        were = "was" if skipped.objects == 1 else "were"
        yield f"  {count(skipped.objects, 'object')} of the content ({size(skipped.size_bytes)}) {were} {where} already"


def trouble(report: "SyncReport") -> Iterable[Any]:
    """What is wrong after a sync that nothing failed in."""
    if report.waiting:
        yield f"  {count(report.waiting, 'operation')} waiting for ancestors that are not here yet"
    if report.key_used_elsewhere is not None:
        yield f"  {used_elsewhere(report.key_used_elsewhere)}"
    if report.missing:
        yield f"  incomplete here, syncing with another replica may help: {', '.join(map(short, report.missing))}"


def _moved(how: str, operations: int, objects: int, size_bytes: int) -> str:
    if not operations and not objects:
        return ""
    if not operations:
        return f"{how} {count(objects, 'object')} ({size(size_bytes)})"
    return f"{how} {count(operations, 'operation')} ({count(objects, 'object')}, {size(size_bytes)})"


def strategies(known: Iterable["Strategy"]) -> Iterable[Any]:
    """What `conjoin strategies` prints."""
    from conjoin.apps.cli.description import needs_briefly

    rows = [(s.name, needs_briefly(s), "yes" if s.stochastic else "no", s.summary.rstrip(".")) for s in known]
    yield table(("strategy", "needs", "draws", "what"), rows)
    yield ""
    yield "`conjoin strategies NAME` shows one with its formula and parameters"


def strategy(one: "Strategy") -> Iterable[Any]:
    """What `conjoin strategies NAME` prints."""
    from conjoin.apps.cli import description

    yield one.name
    yield ""
    yield one.doc
    yield ""
    if one.parameters:
        rows = [(p.name, domain(p), default(p)) for p in one.parameters]
        yield table(("parameter", "values", "default"), rows)
        yield ""
    yield facts(description.facts(one))
    yield ""
    yield from description.examples(one)


def domain(parameter: "Parameter") -> str:
    """The values a parameter takes."""
    if parameter.kind == "asset":
        return "an asset, by --asset"
    if parameter.choices:
        return ", ".join(parameter.choices) + (" by contribution" if parameter.kind == "by-contribution" else "")
    if parameter.kind == "flag":
        return "true, false"
    limits = parameter.domain
    bounds = [
        text
        for text, bound in (
            (f"≥ {limits.minimum}", limits.minimum),
            (f"> {limits.above}", limits.above),
            (f"≤ {limits.maximum}", limits.maximum),
            (f"< {limits.below}", limits.below),
        )
        if bound is not None
    ]
    number = "whole number" if limits.whole else "number"
    kind = f"{number} per contribution" if parameter.kind == "by-contribution" else number
    return kind + (f" {' and '.join(bounds)}" if bounds else "")


def default(parameter: "Parameter") -> str:
    """The value a parameter has when it is not given."""
    from fractions import Fraction

    from conjoin.strategies.base import canonical_decimal

    value = parameter.default
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return canonical_decimal(value) if isinstance(value, Fraction) else str(value)
