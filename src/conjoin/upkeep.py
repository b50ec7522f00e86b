"""Upkeep: what a replica's log and caches still need of its content, and what gc makes of that; decides no merge."""

import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from conjoin.inventory import Freed, GcReport
from conjoin.log import Log, Retract, views
from conjoin.progress import SILENT, Progress
from conjoin.store import gc
from conjoin.store.inplace import ReplicaStore
from conjoin.sync.pulling import needed_content
from conjoin.wire.digest import Digest


def collect(
    log: Log,
    store: ReplicaStore,
    *,
    leaves: Collection[Digest] = (),
    grace_seconds: float,
    dry_run: bool,
    progress: Progress = SILENT,
) -> GcReport:
    """Find what nothing needs and, unless it is a dry run, remove it; the caller holds the replica's lock then.

    Args:
        log: a whole log.
        store: the replica's store.
        leaves: leaves that caches of the replica need.
        grace_seconds: how long content stays after it was last needed or written.
        dry_run: remove nothing.
        progress: told about the bytes freed.

    Raises:
        DamagedObjectError: a manifest that is needed is damaged.
        StoreError: something could not be removed.
    """
    named = _named(log)
    needed = gc.Needed(needed_content(log), leaves, _last_needed(log, store, named))
    found, later_bytes = gc.find(store, needed, time.time() - grace_seconds)
    if not dry_run:
        gc.remove(store, found, progress)
    freed = tuple(_freed(one, named) for one in found)
    return GcReport(
        dry_run, freed, sum(one.objects for one in freed), sum(one.size_bytes for one in freed), later_bytes
    )


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
    for operation in log.operations():
        if isinstance(operation.meaning, Retract):
            written = 0.0
            with suppress(FileNotFoundError):
                written = os.stat(store.root / operation.name).st_mtime
            for add in operation.meaning.adds:
                retracted[add] = max(retracted.get(add, 0.0), written)
    return {
        content: max(retracted.get(add.id, 0.0) for view in seen for add in view.adds)
        for content, seen in named.items()
        if not any(view.visible for view in seen)
    }


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
