"""Verification: is this checkpoint what its receipt says, and does the receipt follow from the log? Repairs nothing."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conjoin.errors import RecomputedDiffersError, VerificationError, WrongSpaceError
from conjoin.executor import Receipt, check_output, execute
from conjoin.inventory import Value
from conjoin.log import views
from conjoin.plan import Plan
from conjoin.progress import SILENT, Progress
from conjoin.replica import Replica
from conjoin.store.assets import assets_beside
from conjoin.wire.digest import Digest


@dataclass(frozen=True, slots=True)
class Verification(Value):
    """What was found true of a merged checkpoint.

    `current`: it was resolved from what is visible in the replica now. `recomputed`: it was resolved again and gave the
    same bytes.
    """

    output: Digest
    root: Digest
    contributions: tuple[Digest, ...]
    strategy: str
    current: bool
    recomputed: bool


def verify(
    out: str | os.PathLike[str], replica: Replica, *, recompute: bool = False, progress: Progress = SILENT
) -> Verification:
    """Check a merged checkpoint against its receipt, and its receipt against the log.

    Args:
        out: the folder `resolve` made.
        replica: a replica of the same space.
        recompute: resolve again from the receipt's contributions and compare the bytes.
        progress: told about bytes read.

    Raises:
        MalformedReceiptError: there is no receipt to check.
        WrongSpaceError: it belongs to another space.
        VerificationError: bytes or log say otherwise; what differs is named.
        RecomputedDiffersError: resolving again gave other bytes.
    """
    folder = Path(out)
    receipt = Receipt.read(folder)
    if receipt.space != replica.space:
        raise WrongSpaceError(
            f"the checkpoint was made in space {receipt.space[:12]}, this replica is of {replica.space[:12]}",
            where=str(folder),
            hint="name a replica of that space with `-C DIR`",
        )
    chosen = tuple(Digest(c["digest"]) for c in receipt.contributions)
    known = views.contributions(replica.log)
    unknown = [digest for digest in chosen if digest not in known]
    if unknown:
        raise VerificationError(
            f"{len(unknown)} contributions of the receipt are not in this replica's log",
            where="\n".join(unknown),
            hint="sync first; if they are still unknown, the receipt names what nobody in the space added",
        )
    assets = assets_beside(folder, receipt.recipe.assets)
    plan = replica.plan(receipt.recipe, only=chosen, assets=assets)
    wrong = receipt.differences(plan)
    if wrong:
        raise VerificationError(
            f"the receipt does not follow from the log: {', '.join(wrong)} differ",
            where=str(folder / "conjoin.json"),
            hint="the receipt was changed after the checkpoint was made; resolve again",
        )
    check_output(folder, receipt, plan, progress=progress)
    if recompute:
        with replica.reading():
            _recompute(folder, receipt, plan, replica, progress)
    return Verification(
        output=receipt.output,
        root=receipt.root,
        contributions=chosen,
        strategy=receipt.recipe.strategy,
        current=receipt.root == replica.root,
        recomputed=recompute,
    )


def _recompute(folder: Path, receipt: Receipt, plan: Plan, replica: Replica, progress: Progress) -> None:
    """Resolve again beside the checkpoint, compare, and remove the copy."""
    scratch = Path(tempfile.mkdtemp(prefix=".conjoin-recompute-", dir=folder.absolute().parent))
    try:
        again = execute(plan, replica.store, scratch / "again", progress=progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if again.output != receipt.output or again.side_files != receipt.side_files:
        raise RecomputedDiffersError(
            f"resolving again gave {again.output[:12]}, the receipt states {receipt.output[:12]}",
            where=str(folder),
            hint="compare the `numerics` and `version` of the receipt with this installation, and report it",
        )
