"""One sync with a place that only keeps objects: what to ask for next and what to make of the answer, without I/O.

A visit is a generator. It yields requests (`sync.requests`), whoever drives it carries them out against one store
and one remote and sends the answer back in. Folder, bucket and simulator drive the same generator.

What holds after every step, so that a kill at any moment leaves a valid replica and a valid remote:

* An operation is kept or sent after the content that its visible contributions need, as far as that can be had.
* Within content, leaves come before the manifest that lists them.
* Operations come after their ancestors, also where many of one author travel as a segment.
* Nothing is kept that was not verified: operations by `log.parse` and `Log.offer`, manifests and leaves by digest,
  leaves also by the length that the manifest states.
* Nothing is sent that the log did not admit. What the log refuses is named in the outcome, never stored, never sent on.
* Absence means nothing. A remote that lists fewer objects than yesterday deletes nothing here.
* What is held is never asked for again, so an interrupted visit resumes by running again.
"""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from conjoin.errors import ConjoinError, DamagedObjectError, RemoteError, WrongSpaceError
from conjoin.log import Log, Operation, parse, views
from conjoin.log.segments import evidence_of, members, pack, read_segment, runs
from conjoin.sync.pulling import (
    Offered,
    Outcome,
    Steps,
    Taking,
    bytes_of,
    labelled,
    labels,
    offer,
    pull,
    skipping,
    wanted_leaves,
)
from conjoin.sync.requests import (
    NAMES_MAX,
    OPERATION_BYTES_MAX,
    Failures,
    Fetch,
    ListFolders,
    ListNames,
    Push,
    PushLeaves,
    Read,
    Request,
)
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import (
    OperationName,
    fork_name,
    manifest_name,
    parse_fork,
    parse_leaf,
    parse_manifest,
    parse_operation,
    parse_segment,
)
from conjoin.wire.segment import SEGMENT_BYTES_MAX, SEGMENT_OPERATIONS_MAX

REFUSALS_MAX = 10_000
"""Refusals beyond this number are not described."""
BATCH = 1024
"""Operations asked for at once."""
SEGMENT_BATCH = 4
"""Segments asked for at once."""
WHOLE_LISTING_MAX = 1000
"""Known operations an author, on average, above which only what came since is listed: a page of most listings."""


_AUTHOR = re.compile("[0-9a-f]{64}")


@dataclass(slots=True)
class _There:
    """What the remote listed: names of operations, segments and manifests; leaves only when somebody needs to know.

    `forks` is evidence of forks, always listed whole. `settled` says for an author up to which seq the remote is taken
    to hold what is known of its chain, because it holds the last operation of it: that was not listed.
    """

    forks: frozenset[str]
    operations: frozenset[str]
    segments: frozenset[str]
    settled: Mapping[str, int]
    manifests: frozenset[str]
    leaves: frozenset[str] | None = None


def visit(
    log: Log,
    outcome: Outcome,
    *,
    push: bool = True,
    full: bool = False,
    taking: Taking = nullcontext,
) -> Steps:
    """The requests of one visit of the replica whose log is `log`; `full` lists all names, though much may be known.

    `taking` makes the block in which operations are taken. `log` grows only by operations for which a `Persist` request
    was carried out, by what waits for ancestors, and by what `taking` lets it have; so a visit that is given up never
    leaves it ahead of what is durable.

    Raises:
        WrongSpaceError: the remote holds another space and not this one.
    """
    there = yield from _listing(log, outcome, full=full)
    yield from _check_space(log, there)
    ahead = yield from _pull_operations(log, there, outcome)
    if there.settled and ahead.waiting():  # ancestors may be among what was not listed
        outcome.refused.clear()  # whatever it was is listed again
        there = yield from _listing(log, outcome, full=True)
        ahead = yield from _pull_operations(ahead, there, outcome)
    offered = Offered(there.manifests, lambda: _leaves_there(there, outcome))
    complete = yield from pull(log, ahead, offered, outcome, taking)
    if push:
        yield from _push(log, complete, there, outcome)


# ---------------------------------------------------------------------------------------------------- listing
def _names(
    prefix: str, parse_name: Callable[[str], object | None], outcome: Outcome, after: str = ""
) -> Generator[Request, Any, frozenset[str]]:
    """The remote's well-formed names under `prefix`; foreign names are passed over, an endless listing is cut off."""
    listing: Iterable[str] = yield ListNames(prefix, after)
    found: set[str] = set()
    for count, name in enumerate(listing):
        if count >= NAMES_MAX:
            outcome.refuse(prefix, RemoteError(f"listing goes on after {NAMES_MAX} names; the rest was not read"))
            break
        if parse_name(name) is not None:
            found.add(name)
    return frozenset(found)


def _listing(log: Log, outcome: Outcome, *, full: bool) -> Generator[Request, Any, _There]:
    forks = yield from _names("fork/", parse_fork, outcome)
    operations: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    settled: dict[str, int] = {}
    if full or len(log) <= WHOLE_LISTING_MAX * len(log.chains()):
        operations = yield from _names("ops/", parse_operation, outcome)
        segments = yield from _names("seg/", parse_segment, outcome)
    else:
        for author in (yield from _authors(outcome)):
            names, runs_of, last = yield from _listing_of(author, log, outcome)
            operations |= names
            segments |= runs_of
            if last is not None:
                settled[author] = last
    manifests = yield from _names("manifest/", parse_manifest, outcome)
    return _There(forks, operations, segments, settled, manifests)


def _authors(outcome: Outcome) -> Generator[Request, Any, list[str]]:
    """The authors of whom the remote has operations."""
    found: set[str] = set()
    for kind in ("ops/", "seg/"):
        listing: Iterable[str] = yield ListFolders(kind)
        for count, component in enumerate(listing):
            if count >= NAMES_MAX:
                outcome.refuse(kind, RemoteError(f"there are more than {NAMES_MAX} folders; the rest was not read"))
                break
            if _AUTHOR.fullmatch(component):
                found.add(component)
    return sorted(found)


def _listing_of(
    author: str, log: Log, outcome: Outcome
) -> Generator[Request, Any, tuple[frozenset[str], frozenset[str], int | None]]:
    """Names of an author's operations and segments from the last known one on, and its seq; all if it is not there."""
    ops, seg = f"ops/{author}/", f"seg/{author}/"
    chain = log.chains().get(author)
    if chain:
        last = len(chain) - 1  # seqs are 0, 1, … without a gap
        first = max(0, last - SEGMENT_OPERATIONS_MAX + 1)
        operations = yield from _names(ops, parse_operation, outcome, f"{ops}{last:010d}")
        segments = yield from _names(seg, parse_segment, outcome, f"{seg}{first:010d}")
        held = _in_segments(log, segments) | {parts.id for parts in map(parse_operation, operations) if parts}
        if any(one in held for one in chain[last]):
            return operations, segments, last
    operations = yield from _names(ops, parse_operation, outcome)
    segments = yield from _names(seg, parse_segment, outcome)
    return operations, segments, None


def _leaves_there(there: _There, outcome: Outcome) -> Generator[Request, Any, frozenset[str]]:
    if there.leaves is None:
        there.leaves = yield from _names("leaf/", parse_leaf, outcome)
    return there.leaves


def _check_space(log: Log, there: _There) -> Steps:
    """Refuse a remote that holds other spaces and not this one: pushing would mix them for good."""
    if not there.operations or not log.has(log.space) or log.get(log.space).name in there.operations or there.settled:
        return
    first = sorted(name for name in there.operations if _place(name)[0] == 0)
    for start in range(0, len(first), BATCH):
        for _, operation in (yield from _fetch_operations(first[start : start + BATCH], Outcome())):
            if operation.type == "genesis" and operation.id != log.space:
                raise WrongSpaceError(
                    f"the source holds space {operation.id[:12]}, this replica belongs to {log.space[:12]}",
                    where=operation.name,
                    hint="sync with a replica or meeting place of the same space, or use an empty folder",
                )


# ---------------------------------------------------------------------------------------------------- operations
def _place(name: str) -> tuple[int, str]:
    """Where an object comes in the order of fetching: low `seq` first, so that most ancestors arrive first."""
    if operation := _parse_single(name):
        return operation.seq, name
    segment = parse_segment(name)
    return (segment.first if segment else 0), name


def _fetch_operations(names: Sequence[str], outcome: Outcome) -> Generator[Request, Any, list[tuple[str, Operation]]]:
    """One batch of operations that parse, are signed, and are what their names say; the others are refused."""
    answers: list[bytes | ConjoinError] = yield Fetch(tuple(names), OPERATION_BYTES_MAX)
    found: list[tuple[str, Operation]] = []
    for name, answer in zip(names, answers, strict=True):
        try:
            operation = parse(bytes_of(answer))
            if name not in (operation.name, fork_name(operation.author, operation.seq, operation.id)):
                raise DamagedObjectError(f"object holds operation {operation.name}", where=name)
        except ConjoinError as error:
            outcome.refuse(name, error)
        else:
            found.append((name, operation))
    return found


def _fetch_segments(names: Sequence[str], outcome: Outcome) -> Generator[Request, Any, list[tuple[str, Operation]]]:
    """The operations in one batch of segments that are what they say, ancestors first; the others are refused."""
    answers: list[bytes | ConjoinError] = yield Fetch(tuple(names), SEGMENT_BYTES_MAX)
    found: dict[Operation, str] = {}
    for name, answer in zip(names, answers, strict=True):
        try:
            found.update(dict.fromkeys(read_segment(name, bytes_of(answer)), name))
        except ConjoinError as error:
            outcome.refuse(name, error)
    return [(found[operation], operation) for run in runs(found) for operation in run]


def _pull_operations(log: Log, there: _There, outcome: Outcome) -> Generator[Request, Any, Log]:
    """The log that `log` would be with everything the remote has: a copy, or `log` itself if there is nothing new."""
    by_id = {parts.id: name for name in (*there.forks, *there.operations) if (parts := _parse_single(name))}
    lacking = [name for name in (*there.segments, *by_id.values()) if not _known(log, name)]
    if not lacking:
        return log
    ahead = log.copy()
    while lacking:
        dropped: dict[str, None] = {}
        before = len(ahead)
        for batch in _batches(sorted(lacking, key=_place)):
            asked = [name for name in batch if not _known(ahead, name)]
            fetch = _fetch_segments if parse_segment(batch[0]) else _fetch_operations
            for name, operation in (yield from fetch(asked, outcome)) if asked else ():
                if offer(ahead, operation, outcome) == "dropped":
                    dropped[name] = None
        # What found the waiting room full is asked for again, for as long as that gets anywhere.
        lacking = list(dropped) if len(ahead) > before else []
    return ahead


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    """Names in the order given, as many at once as may be asked for, segments apart from operations."""
    for segments, group in groupby(names, lambda name: parse_segment(name) is not None):
        inside = list(group)
        size = SEGMENT_BATCH if segments else BATCH
        yield from (inside[start : start + size] for start in range(0, len(inside), size))


def _known(log: Log, name: str) -> bool:
    """Whether an operation is admitted, or all those in a segment: the last one has the others as ancestors."""
    parts = _parse_single(name) or parse_segment(name)
    return parts is not None and log.has(parts.id)


def _parse_single(name: str) -> OperationName | None:
    """What the name of an operation says, by itself or as evidence of a fork."""
    return parse_operation(name) or parse_fork(name)


def _in_segments(log: Log, names: frozenset[str]) -> set[Digest]:
    """The admitted operations that segments of these names hold, if they are what their names say."""
    found: set[Digest] = set()
    for name in names:
        parts = parse_segment(name)
        try:
            inside = members(log, parts) if parts else None
        except DamagedObjectError:  # nothing can stand under that name: what it pretends to hold is not there
            continue
        found.update(operation.id for operation in inside or ())
    return found


# ---------------------------------------------------------------------------------------------------- pushing
def _push(log: Log, complete: Mapping[Digest, Manifest], there: _There, outcome: Outcome) -> Steps:
    """Send what the remote lacks: complete content, then operations in causal order; stop when it cannot be written."""
    held = _in_segments(log, there.segments)
    lacking = [
        one
        for one in log.operations()
        if one.id not in held and one.name not in there.operations and one.seq > there.settled.get(one.author, -1)
    ]
    outcome.lacking_there = len(lacking)
    called = labels(log)
    for digest, manifest in complete.items():
        yield from _push_content(digest, called.get(digest, digest[:8]), manifest, there, outcome)
        if outcome.failure is not None:
            return
    for packed in pack(lacking):
        outcome.failure = yield Push(packed.name, packed.data)
        if outcome.failure is not None:
            return
        outcome.begun = not (there.operations or there.segments or there.settled)
        outcome.operations_out += len(packed.operations)
        outcome.lacking_there = len(lacking) - outcome.operations_out
    for evidence in evidence_of(log, ((fork.author, fork.seq) for fork in views.forks(log))):
        if evidence.name not in there.forks:
            outcome.failure = yield Push(evidence.name, evidence.data)
            if outcome.failure is not None:
                return


def _push_content(digest: Digest, called: str, manifest: Manifest, there: _There, outcome: Outcome) -> Steps:
    listed = yield from _leaves_there(there, outcome)
    leaves = wanted_leaves(manifest)
    lacking = tuple(leaf for leaf in leaves if leaf.name not in listed)
    if lacking:
        outcome.skipped_out = skipping(outcome.skipped_out, leaves, lacking)
        failures: Failures = yield PushLeaves(labelled(f"pushing {called}", leaves, lacking), lacking)
        for name, error in failures.items():
            if isinstance(error, RemoteError):
                outcome.failure = error
            else:
                outcome.refuse(name, error, here=True)
        if failures:
            return
        there.leaves = listed | {leaf.name for leaf in lacking}
    name = manifest_name(digest)
    if name not in there.manifests:
        answer = yield Read(name)
        if isinstance(answer, ConjoinError):
            outcome.refuse(name, answer, here=True)
            return
        outcome.failure = yield Push(name, answer)
