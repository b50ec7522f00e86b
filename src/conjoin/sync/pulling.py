"""What every sync does with what the other side offers: content first, then the operations that need it; no I/O."""

from collections.abc import Callable, Collection, Container, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from conjoin.errors import ConjoinError, MissingObjectError, RemoteError
from conjoin.log import Add, Log, Operation, views
from conjoin.log.segments import evidence_of, pack
from conjoin.sync.report import NOTHING_SKIPPED, Refusal, Skipped
from conjoin.sync.requests import (
    Failures,
    Fetch,
    Held,
    Keep,
    Persist,
    PullLeaves,
    Read,
    Request,
    WantedLeaf,
)
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import MANIFEST_BYTES_MAX, Manifest
from conjoin.wire.objects import manifest_name

REFUSALS_MAX = 10_000
"""Refusals beyond this number are not described."""
TITLE_SHOWN_CHARS = 24
"""So much of a title a bar shows."""

Steps = Generator[Request, Any, None]
Taking: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Makes a block in which operations are taken into a log; it may let the log have what others wrote since."""
ListLeaves: TypeAlias = Callable[[], Generator[Request, Any, Container[str]]]
"""Finds out the names of leaves on the other side."""


@dataclass(slots=True)
class Outcome:
    """What a sync found; filled while it runs, so that an interrupted one can be reported too."""

    operations_in: int = 0
    operations_out: int = 0
    refused: list[Refusal] = field(default_factory=list[Refusal])
    waiting: int = 0
    missing: tuple[Digest, ...] = ()
    failure: ConjoinError | None = None
    root_there: Digest | None = None
    lacking_there: int | None = None
    begun: bool = False
    skipped_in: Skipped = NOTHING_SKIPPED
    skipped_out: Skipped = NOTHING_SKIPPED

    def refuse(self, name: str, error: ConjoinError, *, here: bool = False) -> None:
        """Note that the object `name` was not taken because of `error`; `here`: it is this replica's own copy."""
        what = f"in this replica: {error.what}" if here else error.what
        if len(self.refused) < REFUSALS_MAX:
            self.refused.append(Refusal(name, error.code, what))
        elif len(self.refused) == REFUSALS_MAX:
            what = f"more objects were refused; only the first {REFUSALS_MAX} are listed"
            self.refused.append(Refusal("", RemoteError.code, what))


def _no_leaves() -> Generator[Request, Any, Container[str]]:
    yield from ()
    return ()


@dataclass(frozen=True, slots=True)
class Offered:
    """What the other side says it has; a hint that saves asking, never believed.

    Attributes:
        manifests: names of manifests. What is listed under one came there before it, and is asked for without looking.
        leaves: how to find out which leaves of other manifests it has, which costs something in some places.
    """

    manifests: Container[str]
    leaves: ListLeaves = _no_leaves


_NOTHING = Offered(())


def needed_content(log: Log) -> list[Digest]:
    """Content that resolving this log needs: the base, its files, then visible contributions in canonical order."""
    if not log.has(log.space):
        return []
    needed = [log.genesis.base, log.genesis.files]
    for view in views.contributions(log).values():
        if view.visible:
            needed += content_of(view.contribution)
    return list(dict.fromkeys(needed))


def content_of(contribution: Contribution) -> list[Digest]:
    """Content digests of a contribution: its weights, then its extras by name."""
    return [contribution.weights, *(contribution.extras[name] for name in sorted(contribution.extras))]


def labels(log: Log) -> dict[Digest, str]:
    """What to call each content of this log: the base, or a contribution by the start of its digest and its title."""
    found = {log.genesis.base: "the base", log.genesis.files: "the base's other files"} if log.has(log.space) else {}
    for digest, view in views.contributions(log).items():
        title = next((add.meaning.title for add in view.adds if isinstance(add.meaning, Add)), "")
        name = f"{digest[:8]} “{title:.{TITLE_SHOWN_CHARS}}”" if title else digest[:8]
        found.setdefault(view.contribution.weights, name)
        for extra, content in view.contribution.extras.items():
            found.setdefault(content, f"{extra} of {name}")
    return found


def pull(
    log: Log, ahead: Log, offered: Offered, outcome: Outcome, taking: Taking = nullcontext
) -> Generator[Request, Any, dict[Digest, Manifest]]:
    """Complete here what `ahead` needs as far as it can be had, then take its operations into `log`.

    `ahead` is `log` or a copy of it that has grown. `log` grows only by operations for which a `Persist` request was
    carried out, by what waits for ancestors, and by what `taking` lets it have. Returns the manifests that are complete
    here, of everything that `log` needs by then.
    """
    complete: dict[Digest, Manifest] = {}
    tried: set[Digest] = set()

    def complete_what_is_needed(by: Log, offered: Offered) -> Steps:
        called = labels(by)
        for digest in needed_content(by):
            if digest not in tried:
                tried.add(digest)
                base = complete.get(by.genesis.base)
                manifest = yield from pull_content(digest, called[digest], offered, outcome, base=base)
                if manifest is not None:
                    complete[digest] = manifest

    yield from complete_what_is_needed(ahead, offered)
    with taking():
        if ahead is not log:
            yield from take(log, ahead, outcome)
    # What others added to it meanwhile came with its content, or waits for the next sync: none comes after operations.
    yield from complete_what_is_needed(log, _NOTHING)
    outcome.missing = tuple(sorted(set(needed_content(log)) - set(complete)))
    outcome.waiting = len(log.waiting())
    return complete


def offer(ahead: Log, operation: Operation, outcome: Outcome) -> str:
    """Offer an operation that came, note what is refused because of it, and return what became of it."""
    verdict = ahead.offer(operation)
    if verdict.status == "refused" and verdict.error is not None:
        outcome.refuse(operation.name, verdict.error)
    for refusal in verdict.refused:
        outcome.refuse(refusal.operation.name, refusal.error)
    return verdict.status


def take(log: Log, ahead: Log, outcome: Outcome) -> Generator[Keep | Persist, Any, None]:
    """Make durable what `ahead` has and `log` lacks, in causal order and many in segments, then let `log` have it."""
    # What `log` will admit of them includes what waits in it by now, and what waits in `ahead` for what only `log` has.
    trial = log.copy()
    offered = (*(operation for operation in ahead.operations() if not log.has(operation.id)), *ahead.waiting())
    fresh = [one for operation in offered for one in trial.offer(operation).admitted]
    for packed in pack(fresh):
        if len(packed.operations) == 1:
            yield Persist(packed.operations[0])
        else:
            yield Keep(packed.name, packed.data)
    chains = trial.chains()
    doubled = {(one.author, one.seq) for one in fresh if len(chains[one.author][one.seq]) > 1}
    for evidence in evidence_of(trial, sorted(doubled)):
        yield Keep(evidence.name, evidence.data)
    # Only now: offering one operation also admits what waited for it, which must be durable before.
    for operation in fresh:
        log.offer(operation)
    outcome.operations_in += len(fresh)
    for operation in ahead.waiting():
        log.offer(operation)


def pull_content(
    digest: Digest, called: str, offered: Offered, outcome: Outcome, *, base: Manifest | None = None
) -> Generator[Request, Any, Manifest | None]:
    """Complete one manifest and its leaves here; None if something of it cannot be had now.

    `called` is what its bar says. `base` is the manifest of the base, if that is complete: leaves that are like its
    leaves may come as differences.
    """
    name = manifest_name(digest)
    held = name in (yield Held((name,)))
    if not held and name not in offered.manifests:
        return None
    source: Request = Read(name) if held else Fetch((name,), MANIFEST_BYTES_MAX)
    answer = yield source
    try:
        data = bytes_of(answer if held else answer[0])
        manifest = Manifest.decode(data, digest)
    except ConjoinError as error:
        _note(outcome, name, error, here=held)
        return None
    listed = None if name in offered.manifests else offered.leaves
    if not (yield from _pull_leaves(wanted_leaves(manifest, base), f"pulling {called}", listed, outcome)):
        return None
    if not held:
        yield Keep(name, data)
    return manifest


def wanted_leaves(manifest: Manifest, base: Manifest | None = None) -> list[WantedLeaf]:
    """Every distinct leaf of a manifest, with what is needed to judge its bytes, and the leaf of `base` it is like."""
    found: dict[Digest, WantedLeaf] = {}
    for entry in manifest.tensors:
        twin = base.by_name.get(entry.name) if base is not None else None
        same = twin is not None and (twin.dtype, twin.shape) == (entry.dtype, entry.shape)
        likes = twin.leaves if twin is not None and same else (None,) * len(entry.leaves)
        for leaf, size_bytes, like in zip(entry.leaves, entry.leaf_sizes(), likes, strict=True):
            found.setdefault(leaf, WantedLeaf(leaf, size_bytes, like, entry.kind.item_bytes))
    return list(found.values())


def skipping(before: Skipped, leaves: Sequence[WantedLeaf], lacking: Collection[WantedLeaf]) -> Skipped:
    """What was skipped by now: the leaves of content of which only some are lacking, too."""
    size_bytes = sum(leaf.size_bytes for leaf in leaves) - sum(leaf.size_bytes for leaf in lacking)
    return Skipped(before.objects + len(leaves) - len(lacking), before.size_bytes + size_bytes)


def labelled(what: str, leaves: Collection[WantedLeaf], lacking: Collection[WantedLeaf]) -> str:
    """The label of a bar for moving the leaves that are lacking."""
    return what if len(lacking) == len(leaves) else f"{what}, {len(lacking)} of {len(leaves)} leaves"


def bytes_of(answer: bytes | ConjoinError) -> bytes:
    """The bytes of an answer; raises the error that it is otherwise."""
    if isinstance(answer, ConjoinError):
        raise answer
    return answer


def _pull_leaves(
    leaves: Sequence[WantedLeaf], what: str, list_leaves: ListLeaves | None, outcome: Outcome
) -> Generator[Request, Any, bool]:
    """Pull those of `leaves` that are not held, of a list only if there is one; whether all are held afterwards."""
    held: frozenset[str] = yield Held(tuple(leaf.name for leaf in leaves))
    lacking = tuple(leaf for leaf in leaves if leaf.name not in held)
    if not lacking:
        return True
    there = lacking
    if list_leaves is not None:
        listed = yield from list_leaves()
        there = tuple(leaf for leaf in lacking if leaf.name in listed)
    if not there:
        return False
    outcome.skipped_in = skipping(outcome.skipped_in, leaves, lacking)
    failures: Failures = yield PullLeaves(labelled(what, leaves, there), there)
    for name, error in failures.items():
        _note(outcome, name, error)
    return len(there) == len(lacking) and not failures


def _note(outcome: Outcome, name: str, error: ConjoinError, *, here: bool = False) -> None:
    """Refuse what came and was wrong; what the other side turns out not to have is missing and no fault."""
    if here or not isinstance(error, MissingObjectError):
        outcome.refuse(name, error, here=here)
