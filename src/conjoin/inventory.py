"""What a replica answers when it is asked about itself: plain values with a JSON form; changes nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, Self

from conjoin.errors import AmbiguousDigestError, ConjoinError, MissingObjectError, UnknownDigestError
from conjoin.log import Add, Genesis, Log, Member, Operation, Retract, views
from conjoin.store.base import Store, holds
from conjoin.store.peers import KnownPeer
from conjoin.wire import canonical
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, manifest_name

if TYPE_CHECKING:
    from conjoin.store.fsck import Damage

SHORT_CHARS = 12
PREFIX_CHARS_MIN = 8


class Value:
    """Shared by every value here: a JSON form."""

    def to_json(self) -> dict[str, Any]:
        """The fields as one JSON object."""
        return asdict(self)  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True)
class Added(Value):
    """The result of `add`.

    `new_bytes`: what the store did not hold yet; `already`: nothing had to be signed; `same_weights`: other visible
    contributions of the same content, which count as well.
    """

    contribution: Digest
    operation: Digest
    tensors: int
    size_bytes: int
    new_bytes: int
    already: bool
    same_weights: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Retracted(Value):
    """The result of `retract`. `visible` says that somebody else's add still shows the contribution."""

    contribution: Digest
    operations: tuple[Digest, ...]
    visible: bool


@dataclass(frozen=True, slots=True)
class Rekeyed(Value):
    """The result of `rekey`.

    `before`: the key until now, None where it could not be read; `operation`: what lets the new key in, None where an
    admin has to; `wanted`: the role to ask for.
    """

    key: str
    before: str | None
    role: str | None
    operation: Digest | None
    wanted: str


@dataclass(frozen=True, slots=True)
class ContributionInfo(Value):
    """One contribution as this replica knows it. `complete`: all of its content is here. Sizes in bytes."""

    digest: Digest
    weights: Digest
    weight: str
    extras: dict[str, str]
    title: str
    license: str
    authors: tuple[str, ...]
    operations: tuple[Digest, ...]
    visible: bool
    complete: bool
    size_bytes: int | None
    time: str


@dataclass(frozen=True, slots=True)
class OperationInfo(Value):
    """One operation of the log."""

    id: Digest
    author: str
    seq: int
    type: str
    deps: tuple[Digest, ...]
    prev: Digest | None
    summary: str
    time: str


@dataclass(frozen=True, slots=True)
class PeerInfo(Value):
    """A peer or place that this replica synced with; see `store.peers.KnownPeer`.

    `behind`: operations here that it did not have when they met last, and those that came here since; an upper bound,
    for it may have met others. Times are RFC 3339, empty for never.
    """

    key: str
    source: str
    where: str
    met: str
    root: str
    behind: int
    waiting: int
    failed: str
    failure: str

    @classmethod
    def of(cls, peer: KnownPeer, operations: int) -> Self:
        """What is known of a peer by a replica that has so many operations now."""
        return cls(
            key=peer.key,
            source=peer.source,
            where=peer.where,
            met=_time(peer.met),
            root=peer.root,
            behind=peer.behind(operations),
            waiting=peer.waiting,
            failed=_time(peer.failed),
            failure=peer.failure,
        )


@dataclass(frozen=True, slots=True)
class MissingContent(Value):
    """Content that a resolve would need and that is not complete here.

    `what` names it for people; `objects` is how many manifests and leaves are lacking, as far as that is known;
    `size_bytes` is None where the manifest is lacking.
    """

    content: Digest
    what: str
    objects: int
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Status(Value):
    """The whole replica at a glance.

    `key_unreadable`: why the private key cannot be read; `key` and `role` are None then. `peers_unreadable`: why what
    is remembered of peers cannot be read. `unneeded_bytes`: what gc would free now, None where the log has gaps.
    `copied`: what tells that this directory is a copy of a replica. `key_used_elsewhere`: an operation that this
    replica's key has signed somewhere else, so that it must not sign here any more.
    """

    path: str
    space: Digest
    name: str
    key: str | None
    key_unreadable: str | None
    role: str | None
    root: Digest
    base: Digest
    contributions: tuple[ContributionInfo, ...]
    members: dict[str, str]
    operations: int
    damaged: tuple[str, ...]
    forks: tuple[tuple[str, int, tuple[Digest, ...]], ...]
    missing_objects: int
    missing: tuple[MissingContent, ...]
    peers: tuple[PeerInfo, ...]
    peers_unreadable: str | None
    size_bytes: int
    unneeded_bytes: int | None
    copied: str | None
    key_used_elsewhere: str | None


@dataclass(frozen=True, slots=True)
class FsckReport(Value):
    """The result of reading every object again."""

    objects: int
    size_bytes: int
    damage: "tuple[Damage, ...]"
    repaired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Freed(Value):
    """Content that gc removes.

    Attributes:
        content: its digest; None for leaves that an interrupted command left.
        contributions: those that named it, in canonical order.
        title: of the first of them, for people.
        why: why nothing needs it any more.
        objects: how many objects go; 0 where only the note on files outside does.
        size_bytes: of these objects.
    """

    content: Digest | None
    contributions: tuple[Digest, ...]
    title: str
    why: str
    objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class GcReport(Value):
    """What gc removed, or would remove when it is a dry run.

    `later_bytes`: what nothing needs, within the grace; `packed`: operations put together into segments.
    """

    dry_run: bool
    freed: tuple[Freed, ...]
    objects: int
    size_bytes: int
    later_bytes: int
    packed: int = 0


def count(number: int, noun: str) -> str:
    """A number of things in words: `1 tensor is`, `2 tensors are`."""
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"


class Inventory:
    """Describes what a log and a store hold."""

    def __init__(self, log: Log, store: Store) -> None:
        self.log = log
        self.store = store

    @property
    def base(self) -> Digest:
        """Content digest of the base."""
        return self.log.genesis.base

    @property
    def files(self) -> Digest:
        """Content digest of the base's other files."""
        return self.log.genesis.files

    def manifest(self, digest: Digest) -> Manifest:
        """The manifest of some content.

        Raises:
            MissingObjectError, DamagedObjectError: it is not held, or not intact.
        """
        name = manifest_name(digest)
        if not self.store.has(name):
            raise MissingObjectError(
                f"the content {digest[:SHORT_CHARS]} is not in this replica",
                where=name,
                hint="sync with a replica or meeting place that has it; what was retracted does not come again",
            )
        return Manifest.decode(self.store.get(name), digest)

    def contributions(self) -> tuple[ContributionInfo, ...]:
        """Every contribution ever added, in canonical order."""
        return tuple(self._contribution(view) for _, view in sorted(views.contributions(self.log).items()))

    def operations(self) -> tuple[OperationInfo, ...]:
        """The admitted operations, ancestors first."""
        return tuple(_operation(operation) for operation in self.log.operations())

    def missing(self, contributions: Iterable[ContributionInfo]) -> tuple[MissingContent, ...]:
        """What is lacking of the base and of the visible ones among `contributions`; a leaf counts once."""
        content = {self.base: "the base", self.files: "the base's other files"}
        for info in contributions:
            if info.visible and not info.complete:
                content.setdefault(info.weights, f"contribution {info.digest[:SHORT_CHARS]}")
                for name, digest in info.extras.items():
                    content.setdefault(Digest(digest), f"{name} of contribution {info.digest[:SHORT_CHARS]}")
        found: list[MissingContent] = []
        seen: set[Digest] = set()
        for digest, what in content.items():
            manifest = self._held(digest)
            if manifest is None:
                found.append(MissingContent(digest, what, 1, None))
                continue
            lacking = {
                leaf: size for leaf, size in manifest.leaf_lengths().items() if not holds(self.store, leaf_name(leaf))
            }
            fresh = lacking.keys() - seen
            if lacking:
                found.append(MissingContent(digest, what, len(fresh), sum(lacking[leaf] for leaf in fresh)))
            seen |= fresh
        return tuple(found)

    def find_contribution(self, prefix: str) -> Digest:
        """The contribution whose digest starts with `prefix`; errors as of `match`."""
        return match(prefix, {digest: "contribution" for digest in views.contributions(self.log)}, "contribution")

    def show(self, prefix: str) -> dict[str, Any]:
        """Describe whatever has a digest that starts with `prefix`; errors as of `match`."""
        members = views.members(self.log)
        contributions = {info.digest: info for info in self.contributions()}
        known: dict[str, str] = {views.root(self.log): "root", self.base: "base"}
        known |= dict.fromkeys(members, "key")
        known |= {operation.id: "operation" for operation in self.log.operations()}
        known |= {info.weights: "content" for info in contributions.values()}
        known |= dict.fromkeys(contributions, "contribution")
        digest = match(prefix, known, "object")
        kind = known[digest]
        if kind == "contribution":
            return {"kind": kind, "base": self.base} | contributions[digest].to_json()
        if kind == "operation":
            return {"kind": kind, "id": digest} | canonical.decode(self.log.get(digest).payload)
        if kind == "key":
            return {"kind": kind, "key": digest, "role": members[digest]}
        if kind == "root":
            return {"kind": kind, "digest": digest, "visible": list(views.visible(self.log))}
        manifest = self.manifest(digest)
        tensors = [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "root": t.root} for t in manifest.tensors]
        return {"kind": kind, "digest": digest, "size_bytes": manifest.size_bytes, "tensors": tensors}

    def _held(self, digest: Digest) -> Manifest | None:
        """The manifest of some content, or None where it is missing or damaged."""
        try:
            return self.manifest(digest)
        except ConjoinError:
            return None

    def _is_complete(self, manifest: Manifest) -> bool:
        leaves = dict.fromkeys(leaf for tensor in manifest.tensors for leaf in tensor.leaves)
        return all(holds(self.store, leaf_name(leaf)) for leaf in leaves)

    def _contribution(self, view: views.ContributionView) -> ContributionInfo:
        contribution = view.contribution
        weights, *extras = (self._held(digest) for digest in (contribution.weights, *contribution.extras.values()))
        shown = (view.live or view.adds)[0].meaning
        assert isinstance(shown, Add), "a contribution is shown by what added it"
        return ContributionInfo(
            digest=contribution.digest,
            weights=contribution.weights,
            weight=contribution.weight,
            extras=dict(contribution.extras),
            title=shown.title,
            license=shown.license,
            authors=tuple(sorted({add.author for add in view.adds})),
            operations=tuple(add.id for add in view.adds),
            visible=view.visible,
            complete=all(found is not None and self._is_complete(found) for found in (weights, *extras)),
            size_bytes=None if weights is None else weights.size_bytes,
            time=shown.time,
        )


def match(prefix: str, known: Mapping[str, str], noun: str) -> Digest:
    """The one key of `known` that starts with `prefix`; its values say what each key is.

    Raises:
        UnknownDigestError, AmbiguousDigestError: none or several do.
    """
    wanted = prefix.lower().removeprefix("sha256:")
    if len(wanted) < PREFIX_CHARS_MIN:
        raise UnknownDigestError(
            f"`{prefix}` is too short for a digest", hint=f"give at least {PREFIX_CHARS_MIN} of its characters"
        )
    found = sorted(digest for digest in known if digest.startswith(wanted))
    if not found:
        raise UnknownDigestError(
            f"no {noun} here has a digest that starts with `{prefix}`",
            hint="`conjoin status` and `conjoin log` list them",
        )
    if len(found) > 1:
        raise AmbiguousDigestError(
            f"{len(found)} digests start with `{prefix}`",
            where="\n".join(f"{digest} ({known[digest]})" for digest in found),
            hint="give more characters",
        )
    return Digest(found[0])


def _time(seconds: int) -> str:
    """Seconds since the epoch as RFC 3339, or nothing for 0."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds)) if seconds else ""


def _operation(operation: Operation) -> OperationInfo:
    return OperationInfo(
        id=operation.id,
        author=operation.author,
        seq=operation.seq,
        type=operation.type,
        deps=tuple(operation.deps),
        prev=operation.prev,
        summary=_summary(operation.meaning),
        time=operation.meaning.time if isinstance(operation.meaning, Add) else "",
    )


def _summary(meaning: Genesis | Member | Add | Retract | None) -> str:
    """One line for people about an operation's body."""
    match meaning:
        case Genesis():
            return f"founds the space “{meaning.name}”, {'open' if meaning.policy.open else 'closed'}"
        case Member():
            return f"lets in {meaning.key[:SHORT_CHARS]} as {meaning.role}"
        case Add():
            return f"adds {meaning.contribution.digest[:SHORT_CHARS]}" + (
                f" “{meaning.title}”" if meaning.title else ""
            )
        case Retract():
            return f"retracts {', '.join(add[:SHORT_CHARS] for add in meaning.adds)}"
        case None:
            return "of a newer version, carried along"
