"""Execute: carry out a plan into a checkpoint folder that is whole when it appears; decides nothing about its bytes."""

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from conjoin.errors import MalformedReceiptError, MissingObjectError, StoreError
from conjoin.executor.engine import Engine, workers_for
from conjoin.executor.receipt import Receipt
from conjoin.executor.running import RunningSums
from conjoin.executor.workfolder import WorkFolder, locked, remove, require_absent, work_path
from conjoin.plan import Plan
from conjoin.plan.layout import INDEX_NAME, RECEIPT_NAME, SideFile, rewrite_config
from conjoin.plan.tasks import Leaves
from conjoin.progress import SILENT, Progress
from conjoin.store.base import Store, read_tensor
from conjoin.wire.asset import asset_file
from conjoin.wire.digest import Digest, sha256
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import leaf_name

_LISTED_MAX = 10


def software_version() -> str:
    """The version that receipts name."""
    return str(import_module("conjoin").__version__)


def execute(
    plan: Plan,
    store: Store,
    out: str | os.PathLike[str],
    *,
    threads: int | None = None,
    memory_bytes: int | None = None,
    trust_store: bool = False,
    running: RunningSums | None = None,
    progress: Progress = SILENT,
) -> Receipt:
    """Carry out a plan: write the merged checkpoint to the folder `out`, with its receipt, and return the receipt.

    Everything is written to a work folder beside `out` and appears at once when it is complete and durable. A run that
    is killed or interrupted leaves the work folder; the next run of the same plan checks what is finished there and
    goes on. A run that fails leaves nothing.

    Args:
        plan: what to do.
        store: where the leaves are.
        out: folder to make; its parents are made if need be.
        threads: workers; None takes the cores this process may use. The result does not depend on it.
        memory_bytes: budget for buffers, None for 512 MiB; fewer workers run where it is small.
        trust_store: do not hash leaves that the store keeps a copy of; the result then is only as good as the store.
        running: sums of earlier resolves, to make what they prove without reading everything, and to be kept for the
            next one. The result does not depend on it.
        progress: told about bytes read.

    Raises:
        OutputExistsError: something is at `out`. Nothing was done.
        MemoryBudgetError, MissingObjectError: before any work; the least budget, and what is missing, are named.
        LockedError: another process is resolving to `out`.
        DamagedObjectError, ChangedFileError: an input is not what its digest says.
        DiskFullError, ReadOnlyError, DeviceError: the output could not be written.
    """
    target = Path(os.path.abspath(out))
    earlier = _finish_earlier(plan, target)
    if earlier is not None:
        return earlier
    require_absent(target)
    workers_for(plan, threads, memory_bytes, running=running is not None)
    _require_leaves(plan, store)
    with locked(target) as work:
        folder = WorkFolder(work, plan, software_version())
        try:
            require_absent(target)
            with folder:
                done = folder.check_finished()
                engine = Engine(plan, store, folder, trusted=trust_store, progress=progress, done=done, running=running)
                receipt = _complete(folder, plan, store, engine.run(threads=threads, memory_bytes=memory_bytes))
                if running is not None:
                    running.prune(plan)
                folder.publish(target)
        except Exception:
            with suppress(StoreError):
                remove(work)
            raise
        remove(work)
    return receipt


def _finish_earlier(plan: Plan, out: Path) -> Receipt | None:
    """The receipt of a run of this plan that was killed after its output appeared; what it left is removed."""
    if not out.is_dir() or out.is_symlink() or not work_path(out).is_dir():
        return None
    try:
        receipt = Receipt.read(out)
    except MalformedReceiptError:
        return None
    if receipt.differences(plan) or receipt.version != software_version():
        return None
    with locked(out) as work:
        remove(work)
    return receipt


def _require_leaves(plan: Plan, store: Store) -> None:
    """Check that every leaf the plan reads is there, without reading it."""
    wanted = {leaf for task in plan.tasks for leaves in task.reads for leaf in leaves}
    sides = [side.task for task in plan.tasks for side in task.sides]
    wanted.update(leaf for side in sides for leaves in side.sources for leaf in leaves)
    wanted.update(leaf for side in plan.side_files for leaf in side.entry.leaves)
    missing = [name for name in map(leaf_name, sorted(wanted)) if not store.has(name)]
    if missing:
        more = [f"… and {len(missing) - _LISTED_MAX} more"] if len(missing) > _LISTED_MAX else []
        raise MissingObjectError(
            f"{len(missing)} of {len(wanted)} objects that the merge reads are not in this replica",
            where="\n".join(missing[:_LISTED_MAX] + more),
            hint="sync with a replica or meeting place that has them",
        )


def _complete(folder: WorkFolder, plan: Plan, store: Store, leaves: Mapping[int, Leaves]) -> Receipt:
    """Write everything beside the shards: index, side files, and the receipt last."""
    if plan.index is not None:
        folder.add_file(INDEX_NAME, plan.index)
    side_files: dict[str, Digest] = {}
    for side in plan.side_files:
        data = read_side_file(store, side)
        folder.add_file(side.name, data)
        side_files[side.name] = sha256(data)
    if plan.side_shard is not None:
        side_files[plan.side_shard.name] = folder.digest_of(plan.side_shard)
    for asset in plan.assets:
        name, data = asset_file(asset.digest), asset.encode()
        folder.add_file(name, data)
        side_files[name] = sha256(data)
    output = output_manifest(plan, leaves)
    receipt = Receipt.of(
        plan,
        output=output.digest,
        tensors={entry.name: entry.root for entry in output.tensors},
        side_files=side_files,
        version=software_version(),
        warnings=tuple(sorted(folder.warnings)),
    )
    folder.add_file(RECEIPT_NAME, receipt.encode())
    return receipt


def output_manifest(plan: Plan, leaves: Mapping[int, Leaves]) -> Manifest:
    """The manifest of the output from the leaves of every task."""
    return Manifest.of(
        TensorEntry(name, task.out_dtype, task.shape, leaves[index])
        for index, task in enumerate(plan.tasks)
        for name in task.names
    )


def read_side_file(store: Store, side: SideFile) -> bytes:
    """The bytes of a side file as the output holds them."""
    data = read_tensor(store, side.entry)
    return bytes(data) if side.config_dtype is None else rewrite_config(bytes(data), side.config_dtype)
