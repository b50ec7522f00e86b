"""Upkeep: what a replica's log and caches still need of its content, and what gc makes of that; decides no merge."""

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from conjoin.errors import IntegrityError, RemoteError, TrustError
from conjoin.inventory import Freed, GcReport
from conjoin.kept_log import KeptLog
from conjoin.log import Log, Operation, Retract, parse, views
from conjoin.log.segments import Packed, members, pack, read_segment
from conjoin.progress import SILENT, Progress
from conjoin.store import gc
from conjoin.store.base import check_object
from conjoin.store.fsck import Damage
from conjoin.store.inplace import ReplicaStore
from conjoin.sync import synchronise
from conjoin.sync.pulling import needed_content
from conjoin.sync.remotes import Remote
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import (
    SegmentName,
    fork_name,
    leaf_name,
    parse_manifest,
    parse_operation,
    parse_segment,
)

LATEST_KEPT_SINGLE = 64
"""How many of each author's latest operations gc leaves as they are: those that a place may still lack."""
PACKED_MIN = 256
"""gc puts no fewer operations than this into one segment."""


def collect(
    log: Log,
    store: ReplicaStore,
    *,
    leaves: Collection[Digest] = (),
    grace_seconds: float,
    dry_run: bool,
    progress: Progress = SILENT,
) -> GcReport:
    """Find what nothing needs and what can be packed and, unless it is a dry run, do it; then the lock is held.

    Args:
        log: a whole log.
        store: the replica's store.
        leaves: leaves that caches of the replica need.
        grace_seconds: how long content stays after it was last needed or written.
        dry_run: remove nothing.
        progress: told about the bytes freed.

    Raises:
        DamagedObjectError: a manifest that is needed is damaged.
        StoreError: something could not be written or removed.
    """
    found, later_bytes = unneeded(log, store, leaves=leaves, grace_seconds=grace_seconds)
    if not dry_run:
        gc.remove(store, found, progress)
    packed = 0
    for segment in _segments(log, store):
        packed += len(segment.operations)
        if not dry_run:
            store.put(segment.name, segment.data)
    if not dry_run:
        inside = _in_segments(log, store)
        store.discard({name: 0 for name in store.names("ops/") if (one := parse_operation(name)) and one.id in inside})
    named = _named(log)
    freed = tuple(_freed(one, named) for one in found)
    return GcReport(
        dry_run=dry_run,
        freed=freed,
        objects=sum(one.objects for one in freed),
        size_bytes=sum(one.size_bytes for one in freed),
        later_bytes=later_bytes,
        packed=packed,
    )


def take_back(log: Log, store: ReplicaStore, written: Sequence[str], *, leaves: Collection[Digest] = ()) -> None:
    """Remove content that was just written, but for what something names by now; nobody else reads, the lock is held.

    Args:
        log: a whole log.
        store: the replica's store.
        written: names of manifests and leaves, in their order.
        leaves: leaves that caches of the replica need.

    Raises:
        DamagedObjectError: a manifest that names leaves is damaged.
        StoreError: something could not be removed.
    """
    needed, new = set(needed_content(log)), set(written)
    staying = set(map(leaf_name, leaves))
    for name in store.names("manifest/"):
        content = parse_manifest(name)
        if content is not None and (content in needed or name not in new):
            staying.add(name)
            staying.update(map(leaf_name, Manifest.decode(store.get(name), content).leaf_lengths()))
    store.discard({name: 0 for name in reversed(written) if name not in staying})


def unneeded(
    log: Log, store: ReplicaStore, *, leaves: Collection[Digest] = (), grace_seconds: float
) -> tuple[tuple[gc.Unneeded, ...], int]:
    """The content that nothing needs, and the bytes of what has to stay for the grace; arguments as of `collect`.

    Raises:
        DamagedObjectError: a manifest that is needed is damaged.
    """
    needed = gc.Needed(needed_content(log), leaves, _last_needed(log, store, _named(log)))
    return gc.find(store, needed, time.time() - grace_seconds)


def repair(kept: KeptLog, store: ReplicaStore, damage: Iterable[Damage], remote: Remote) -> list[str]:
    """Put what `remote` has intact in the place of damaged objects; the lock is held. Returns what is mended."""
    repaired: list[str] = []
    for item in damage:
        name = item.object_name
        try:
            data = remote.get(name)
            check_object(name, data)
            if name.startswith(("ops/", "fork/")):
                parse(data)
            elif name.startswith("seg/"):
                read_segment(name, data)
        except (RemoteError, IntegrityError, TrustError):  # it stays among what is damaged
            continue
        store.replace(name, data)
        repaired.append(item.name)
    kept.read_anew()
    if any(map(parse_segment, kept.damaged)):  # the source may hold the same operations in other segments
        synchronise(kept.log, store, remote, push=False, persist_operation=kept.persist)
        repaired += kept.mend()
    return repaired


def _segments(log: Log, store: ReplicaStore) -> Iterator[Packed]:
    """What gc packs: long runs of single files of authors that have not forked, all but the latest operations."""
    single = (parse_operation(name) for name in store.names("ops/"))
    alone = {parts.id for parts in single if parts is not None} - _in_segments(log, store)
    for chain in log.chains().values():
        if any(len(ids) > 1 for ids in chain.values()):
            continue
        run = [log.get(chain[seq][0]) for seq in range(len(chain) - LATEST_KEPT_SINGLE)]
        packed = pack((operation for operation in run if operation.id in alone), PACKED_MIN)
        yield from (segment for segment in packed if len(segment.operations) > 1)


def _in_segments(log: Log, store: ReplicaStore) -> set[Digest]:
    """The operations that segments hold here; the log was read from these segments, and none of them is damaged."""
    inside: set[Digest] = set()
    for parts in map(parse_segment, store.names("seg/")):
        held = members(log, parts) if parts is not None else None
        inside.update(operation.id for operation in held or ())
    return inside


def _named(log: Log) -> Mapping[Digest, list[views.ContributionView]]:
    """The contributions that name each content, in canonical order."""
    named: dict[Digest, list[views.ContributionView]] = {}
    for view in views.contributions(log).values():
        for content in dict.fromkeys((view.contribution.weights, *view.contribution.extras.values())):
            named.setdefault(content, []).append(view)
    return named


def _last_needed(
    log: Log, store: ReplicaStore, named: Mapping[Digest, list[views.ContributionView]]
) -> dict[Digest, float]:
    """When content that was retracted stopped being needed here: when the last retraction of it was written."""
    retracted: dict[Digest, float] = {}
    segments: dict[str, list[SegmentName]] = {}
    for parts in map(parse_segment, store.names("seg/")):
        if parts is not None:
            segments.setdefault(parts.author, []).append(parts)
    for operation in log.operations():
        if isinstance(operation.meaning, Retract):
            written = _written(store, operation, segments)
            for add in operation.meaning.adds:
                retracted[add] = max(retracted.get(add, 0.0), written)
    return {
        content: max(retracted.get(add.id, 0.0) for view in seen for add in view.adds)
        for content, seen in named.items()
        if not any(view.visible for view in seen)
    }


def _written(store: ReplicaStore, operation: Operation, segments: Mapping[str, list[SegmentName]]) -> float:
    """When an operation was last written here, whichever object holds it, in seconds since the epoch."""
    holders = [str(one) for one in segments.get(operation.author, ()) if one.first <= operation.seq <= one.last]
    times = [0.0]
    for name in (operation.name, fork_name(operation.author, operation.seq, operation.id), *holders):
        with suppress(FileNotFoundError):
            times.append(os.stat(store.root / name).st_mtime)
    return max(times)


def _freed(one: gc.Unneeded, named: Mapping[Digest, list[views.ContributionView]]) -> Freed:
    seen = named.get(one.content, []) if one.content is not None else []
    if seen:
        why = "retracted"
    elif one.content is None:
        why = "left by an interrupted command"
    else:
        why = "no contribution names it"
    return Freed(
        content=one.content,
        contributions=tuple(view.contribution.digest for view in seen),
        title=seen[0].adds[0].body["title"] if seen else "",
        why=why,
        objects=len(one.files),
        size_bytes=one.size_bytes,
    )
