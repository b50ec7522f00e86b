"""Replica: the one object that wires the rooms together; decides nothing that a room decides."""

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from conjoin.crdt import MergeState
from conjoin.errors import (
    ConjoinError,
    CopiedReplicaError,
    DamagedObjectError,
    DamagedPeersError,
    KeyFileError,
    MismatchedTensorsError,
    NotAMemberError,
    NotPermittedError,
    ReadOnlyError,
    RemoteError,
    TrustError,
    UsageError,
    UsedKeyError,
)
from conjoin.founding import clone_from_peer, clone_from_place, found_space
from conjoin.inventory import (
    Added,
    ContributionInfo,
    FsckReport,
    GcReport,
    Inventory,
    OperationInfo,
    PeerInfo,
    Rekeyed,
    Retracted,
    Status,
    count,
    match,
)
from conjoin.kept_log import KeptLog
from conjoin.log import Log, Member, Operation, views
from conjoin.own_key import OwnKey
from conjoin.progress import SILENT, Progress
from conjoin.store.files import translated_os_errors
from conjoin.store.home import Home, find_replica, is_replica
from conjoin.store.instance import check_instance, create_instance
from conjoin.store.keys import SigningKey, create_key
from conjoin.store.keyuse import KeyUse, write_key_use
from conjoin.store.lock import ReplicaLock, patiently
from conjoin.store.peers import KnownPeers
from conjoin.store.reading import Readers
from conjoin.wire.contribution import Contribution, canonical_weight
from conjoin.wire.digest import Digest
from conjoin.wire.keys import parse_public_key

if TYPE_CHECKING:
    from conjoin.executor import Receipt, RunningSums
    from conjoin.plan import Plan, Recipe
    from conjoin.store.checkpoint import Checkpoint
    from conjoin.sync import SyncReport
    from conjoin.wire.asset import Asset
    from conjoin.wire.manifest import Manifest

LOCK_SECONDS = 2.0
"""So long a command waits for another one that writes here, as a replica in gossip does now and then."""
GC_SECONDS = 10.0
"""So long gc tries to find nobody who reads; a sync does for a moment."""
CONTENT_LOCK_SECONDS = 60.0
"""So long a sync or an `add` waits that has read all content, before that was in vain."""
GRACE_SECONDS = 24 * 3600.0
"""How long gc leaves content alone after it was last needed or written."""
RETRACTED_ADDS_PER_OPERATION = 12
SHARD_SIZE_BYTES = 5 * 10**9

PathLike: TypeAlias = str | os.PathLike[str]


class Replica:
    """One participant's state of a space: its log, its content, its key.

    Make one with `init`, `clone` or `open`; it is a context manager. Methods that write hold the replica's lock
    meanwhile, but not while they read or move content.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path).absolute()
        self._home = Home.of(self.path)
        self.space, key_path = self._home.read_config()
        self._readers = Readers(self._home.reading)
        self.store = self._home.open_store()
        self._own_key = OwnKey(self._home, key_path)
        self._kept = KeptLog(self.store, self.space)

    # ------------------------------------------------------------------ making and opening

    @classmethod
    def init(
        cls,
        path: PathLike,
        base: PathLike,
        *,
        name: str = "",
        key: PathLike | None = None,
        open: bool = False,  # noqa: A002 - the word of the command line and of the policy
        retract: str = "author",
        in_place: bool = False,
        progress: Progress = SILENT,
    ) -> Self:
        """Found a space on the checkpoint `base` and make its first replica at `path`.

        Args:
            path: the replica's directory; made if it is not there.
            base: the base checkpoint θ₀, pinned for the life of the space.
            name: a name for the space, for people.
            key: an existing private key file (ours or OpenSSH Ed25519); None makes a new one.
            open: admit operations of any key, not only of members.
            retract: who may retract besides admins: "author" (of the add) or "member" (every member).
            in_place: reference the base's files instead of copying them.
            progress: told about bytes read.

        Raises:
            ReplicaExistsError, InputError, KeyFileError, StoreError: see there. Nothing is left behind.
        """
        found_space(
            Path(path).absolute(),
            Path(base),
            name=name,
            key=None if key is None else Path(key),
            policy={"open": open, "retract": retract},
            in_place=in_place,
            progress=progress,
        )
        return cls(path)

    @classmethod
    def open(cls, path: PathLike) -> Self:
        """Open the replica in directory `path`.

        Raises:
            NoReplicaError: there is none.
        """
        return cls(path)

    @staticmethod
    def find(start: PathLike) -> Path:
        """The nearest directory from `start` upward that holds a replica.

        Raises:
            NoReplicaError: none does.
        """
        return find_replica(Path(start).absolute())

    @classmethod
    def clone(
        cls,
        source: PathLike,
        path: PathLike,
        *,
        key: PathLike | None = None,
        space: str | None = None,
        progress: Progress = SILENT,
        tell: Callable[["SyncReport"], None] | None = None,
    ) -> Self:
        """Make another replica of the space in `source`, with a key of its own.

        From a local replica directory whose key is an admin's, the new key is signed in at once; so it is by a live
        peer's ticket with an invite. From a meeting place, or otherwise, the new replica only reads until an admin
        invites its key.

        Args:
            source: a replica directory, a meeting place or a live peer's ticket.
            path: the new replica's directory.
            key: an existing private key file; None makes a new one.
            space: digest prefix of the space, where the source holds several.
            progress: told about bytes copied.
            tell: called once with what came, what was refused of it and what is missing: operations that are true make
                a replica, and what else it needs follows with a sync.

        Raises:
            RemoteError, ReplicaExistsError, KeyFileError, StoreError: see there. What came, and a new key that was
                shown to a peer, stay in `path` for the next attempt to clone the same space; otherwise nothing does.
        """
        from conjoin.sync import is_ticket

        place, own, new = os.fspath(source), None if key is None else Path(key), Path(path).absolute()
        if is_ticket(source):
            report = clone_from_peer(place, new, key=own, progress=progress)
        else:
            let_in = partial(_sign_in, Path(source))
            report = clone_from_place(place, new, key=own, space=space, let_in=let_in, progress=progress)
        if tell is not None:
            tell(report)
        return cls(path)

    def refresh(self) -> None:
        """Notice what other processes wrote to the log since it was read; costs little where they wrote nothing."""
        self._kept.refresh()

    def close(self) -> None:
        """Forget the private key."""
        self._own_key.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ what it knows

    @property
    def log(self) -> Log:
        """The operations that are known here."""
        return self._kept.log

    @property
    def damaged(self) -> tuple[str, ...]:
        """Names of stored objects that should hold operations and do not."""
        return self._kept.damaged

    @property
    def inventory(self) -> Inventory:
        """What the log and the store hold, described."""
        return Inventory(self.log, self.store)

    @property
    def name(self) -> str:
        """The space's name, for people."""
        return self.log.genesis.name

    @property
    def base(self) -> Digest:
        """Content digest of the base."""
        return self.log.genesis.base

    @property
    def key(self) -> str:
        """This replica's public key, 64 hex characters."""
        return self._own_key.load().public

    @property
    def role(self) -> str | None:
        """What this replica's key may do: "admin", "member", or None for a reader."""
        role = self.members().get(self.key)
        return "member" if role is None and self.is_open else role

    @property
    def is_open(self) -> bool:
        """Whether the space admits any key."""
        return views.policy(self.log).open

    @property
    def visible(self) -> tuple[Digest, ...]:
        """Digests of the visible contributions, in canonical order."""
        return views.visible(self.log)

    @property
    def root(self) -> Digest:
        """Digest over the visible set: equal on every replica that sees the same contributions."""
        return views.root(self.log)

    def state(self) -> MergeState:
        """The OR-Set this replica's log amounts to."""
        return views.merge_state(self.log)

    def members(self) -> dict[str, str]:
        """Roles by public key."""
        return dict(views.members(self.log))

    def contributions(self) -> tuple[ContributionInfo, ...]:
        """Every contribution ever added, in canonical order."""
        return self.inventory.contributions()

    def operations(self) -> tuple[OperationInfo, ...]:
        """The admitted operations, ancestors first."""
        return self.inventory.operations()

    def status(self) -> Status:
        """The whole replica at a glance."""
        contributions = self.contributions()
        missing = self.inventory.missing(contributions)
        key, key_unreadable = None, None
        try:
            key = self.key
        except KeyFileError as error:
            key_unreadable = str(error)
        peers: tuple[PeerInfo, ...] = ()
        peers_unreadable: str | None = None
        try:
            peers = self.peers()
        except DamagedPeersError as error:
            peers_unreadable = str(error)
        return Status(
            path=str(self.path),
            space=self.space,
            name=self.name,
            key=key,
            key_unreadable=key_unreadable,
            role=self.role if key else None,
            root=self.root,
            base=self.base,
            contributions=contributions,
            members=self.members(),
            operations=len(self.log),
            damaged=self.damaged,
            forks=tuple((fork.author, fork.seq, fork.operations) for fork in views.forks(self.log)),
            missing_objects=sum(content.objects for content in missing),
            missing=missing,
            peers=peers,
            peers_unreadable=peers_unreadable,
            size_bytes=self._home.size_bytes(),
            unneeded_bytes=self._unneeded_bytes(),
            copied=self._copied(),
            key_used_elsewhere=self._own_key.use(self.log).elsewhere if key else None,
        )

    def find_contribution(self, prefix: str) -> Digest:
        """The contribution whose digest starts with `prefix` (8 characters or more).

        Raises:
            UnknownDigestError, AmbiguousDigestError: none or several do.
        """
        return self.inventory.find_contribution(prefix)

    def show(self, prefix: str) -> dict[str, Any]:
        """Describe whatever has a digest that starts with `prefix`: contribution, operation, checkpoint content or key.

        Raises:
            UnknownDigestError, AmbiguousDigestError: nothing or several things do.
        """
        return self.inventory.show(prefix)

    # ------------------------------------------------------------------ what it does

    def add(
        self,
        checkpoint: PathLike,
        *,
        weight: str | float = "1",
        title: str = "",
        license: str = "",  # noqa: A002 - the word of the command line and of the log
        extras: Mapping[str, PathLike] | None = None,
        in_place: bool = False,
        partial: bool = False,
        progress: Progress = SILENT,
    ) -> Added:
        """Offer a fine-tune of the base as a contribution.

        Args:
            checkpoint: a safetensors file or a Hugging Face folder.
            weight: positive decimal string; a number is taken as it prints.
            title: for people; never changes the merge.
            license: SPDX expression; never changes the merge.
            extras: side-cars by name (`fisher`, `gram`, …), part of the contribution's identity.
            in_place: reference the checkpoint's files instead of copying them.
            partial: allow tensors that are missing from or unknown to the base.
            progress: told about bytes read.

        Raises:
            InputError: the checkpoint cannot be used; all differences from the base are listed.
            NotAMemberError: this replica's key may not write yet.
            UsedKeyError: this replica's key signs elsewhere too; `retract` and `invite` refuse this as well.
            LockedError: another process kept writing when everything was read.
            StoreError: something could not be written; what was, is removed again.
        """
        from conjoin.store.checkpoint import open_checkpoint
        from conjoin.store.ingest import ingest

        weight = canonical_weight(str(weight))
        opened = open_checkpoint(Path(checkpoint))
        side_cars = {name: open_checkpoint(Path(path)) for name, path in (extras or {}).items()}
        self._require_fit(opened, partial=partial)
        before = self.store.bytes_written
        with self.reading():  # and without the lock, which others need while gigabytes are read
            with self._signing():
                self._require_membership()  # what would refuse this does so before anything is read
            with self._undoing():
                manifest = ingest(
                    opened, self.store, in_place=in_place, references=self.store.references, progress=progress
                )
                digests = {
                    name: ingest(side_car, self.store, progress=progress).digest for name, side_car in side_cars.items()
                }
                contribution = Contribution(weights=manifest.digest, base=self.base, weight=weight, extras=digests)
                with self._signing(CONTENT_LOCK_SECONDS):
                    self._require_membership()
                    live = self._live_adds(contribution.digest, author=self.key)
                    if live:
                        operation = live[0]
                    else:
                        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                        body = {"contribution": contribution.to_json(), "license": license, "time": now, "title": title}
                        operation = self._sign("add", body)
        return Added(
            contribution=contribution.digest,
            operation=operation.id,
            tensors=len(manifest.tensors),
            size_bytes=manifest.size_bytes,
            new_bytes=self.store.bytes_written - before,
            already=bool(live),
            same_weights=tuple(
                digest
                for digest, view in sorted(views.contributions(self.log).items())
                if view.visible and view.contribution.weights == manifest.digest and digest != contribution.digest
            ),
        )

    def retract(self, prefix: str) -> Retracted:
        """Take a contribution back: every add of it that this key may retract. Concurrent adds survive.

        Raises:
            UnknownDigestError, AmbiguousDigestError: no or several contributions have such a digest.
            NotPermittedError: it is visible through other authors' adds only, or not visible at all.
        """
        digest = self.find_contribution(prefix)
        with self._signing():
            self._require_membership()
            adds = self._live_adds(digest)
            if not adds:
                raise NotPermittedError(
                    f"contribution {digest[:12]} is not visible: it was retracted before",
                    hint="`conjoin log` shows by whom",
                )
            everyone = self.role == "admin" or views.policy(self.log).retract == "member"
            mine = [add for add in adds if everyone or add.author == self.key]
            if not mine:
                authors = ", ".join(sorted({add.author[:12] for add in adds}))
                raise NotPermittedError(
                    f"contribution {digest[:12]} was added by {authors}, not by this replica ({self.key[:12]})",
                    hint="ask its author or an admin to retract it",
                )
            ids = sorted(add.id for add in mine)
            links = views.policy(self.log).limits.deps - 1  # one is for what let this key in
            step = min(RETRACTED_ADDS_PER_OPERATION, links)
            operations = [self._sign("retract", {"adds": ids[i : i + step]}) for i in range(0, len(ids), step)]
        return Retracted(digest, tuple(operation.id for operation in operations), digest in self.visible)

    def invite(self, key: str, *, role: str = "member") -> Digest:
        """Let a public key in, given as 64 hex characters or as an OpenSSH line.

        Returns:
            Id of the operation that lets it in as `role` or more; nothing is signed where there is one already.

        Raises:
            BadKeyError: it is not an admissible Ed25519 key.
            NotPermittedError: this replica's key is not an admin.
        """
        admitted = parse_public_key(key)
        with self._signing():
            if self.members().get(self.key) != "admin":
                raise NotPermittedError(
                    f"key {self.key[:12]} is not an admin of this space", hint="ask an admin to run `conjoin invite`"
                )
            known = self._let_in(admitted, role)
            return known if known is not None else self._sign("member", {"key": admitted, "role": role}).id

    def sync(
        self, source: PathLike, *, full: bool = False, dry_run: bool = False, progress: Progress = SILENT
    ) -> "SyncReport":
        """Pull from and push to a replica directory, meeting place or live peer, until both hold the same operations.

        Args:
            source: a replica directory, a meeting place or a ticket.
            full: list everything in a place, though much may be known.
            dry_run: report what would move, and neither move nor keep anything.
            progress: told about the bytes of content that move.

        Raises:
            UsageError: the source is this replica itself.
            RemoteError, WrongSpaceError: the source cannot be used.
        """
        from conjoin.sync import dial, is_ticket, open_remote, rehearse
        from conjoin.sync.known import remember_failed, remember_met

        place = os.fspath(source)
        self._require_another(place)
        if dry_run and is_ticket(source):
            with dial(source, self._own_key.load(), self.space) as peer:
                return rehearse(self.log, self.store, peer)
        if dry_run:
            return rehearse(self.log, self.store, open_remote(place), full=full, source=place)
        peers = KnownPeers(self._home.peers)
        try:
            report = self._exchange(place, full=full, progress=progress)
        except (RemoteError, TrustError) as error:
            remember_failed(peers, place, error)
            raise
        remember_met(peers, place, report, len(self.log))
        return report

    def peers(self) -> tuple[PeerInfo, ...]:
        """The peers and places that this replica synced with, the one met last first.

        Raises:
            DamagedPeersError: what is remembered of them cannot be read.
        """
        return tuple(PeerInfo.of(peer, len(self.log)) for peer in KnownPeers(self._home.peers).read())

    def forget_peer(self, peer: PathLike) -> PeerInfo:
        """Remember a peer or place no longer, so that gossip leaves it alone; a sync with it remembers it anew.

        Args:
            peer: 8 or more characters of its key, or what `sync` takes.

        Raises:
            UnknownSourceError: no such peer is remembered, or several are.
            DamagedPeersError: what is remembered of them cannot be read.
        """
        from conjoin.sync.known import known_as

        peers = KnownPeers(self._home.peers)
        found = known_as(peers, os.fspath(peer))
        peers.forget(found.identity)
        return PeerInfo.of(found, len(self.log))

    def rekey(self, *, sign_in: bool = False) -> Rekeyed:
        """Take a new key: for a copied or restored replica, or one whose key signs elsewhere too.

        The key until now is kept in `local/`, and lets the new one in if it is an admin's that signs nowhere else. If
        it may do so, its next operation could be a fork; then an admin has to invite the new key.

        Args:
            sign_in: let an admin's key that this replica has or had sign nevertheless. Right only where the other copy
                is gone for good, after a sync with everybody who saw its last operations.

        Raises:
            NotPermittedError: `sign_in` was asked for, and no key that this replica has or had is an admin's.
            LockedError, StoreError: see there. The key is then what it was.
        """
        with translated_os_errors(self._home.path), ReplicaLock(self._home.lock):
            self.store.sweep()
            self._kept.read_anew()
            self._own_key = OwnKey(self._home, self._home.read_config()[1])
            before = self._own_key.load_if_any()
            signer = self._own_key.signer_of_successor(self.log, self.members(), sign_in=sign_in)
            unfinished = self._home.local / "key.new"
            with suppress(FileNotFoundError):
                os.unlink(unfinished)  # what a killed one left: it may have been copied since
            new = create_key(unfinished)
            wanted = self.members().get(before.public, "member") if before else "member"
            operation = None
            if signer is not None:
                self._kept.require_whole()
                operation = self._sign("member", {"key": new.public, "role": "admin"}, signer)
            self._home.change_key(unfinished, self.space, before.public if before else None)
            self._own_key = OwnKey(self._home, self._home.key)
            write_key_use(self._home.key_use, KeyUse(new.public))
            create_instance(self._home.instance)
        return Rekeyed(new.public, before and before.public, self.role, operation and operation.id, wanted)

    def recipe(
        self,
        strategy: str,
        params: Mapping[str, object] | None = None,
        *,
        weights: Mapping[str, str] | None = None,
        **options: Any,
    ) -> "Recipe":
        """A validated recipe; digest prefixes in `params` and `weights` may name this replica's contributions.

        A key in `params` may also be the prefix of an author's key, and stands for what that author has visible.
        """
        from conjoin.plan import Recipe

        def expanded(value: object) -> object:
            if not isinstance(value, Mapping):
                return value
            return {digest: v for key, v in value.items() for digest in self._named(str(key))}

        given = {name: expanded(value) for name, value in (params or {}).items()}
        return Recipe.of(
            strategy, given, weights={self.find_contribution(k): w for k, w in (weights or {}).items()}, **options
        )

    def plan(
        self,
        recipe: "Recipe",
        *,
        shard_size_bytes: int = SHARD_SIZE_BYTES,
        only: tuple[Digest, ...] | None = None,
        assets: "Sequence[Asset]" = (),
    ) -> "Plan":
        """Everything about resolving `recipe` that can be checked without reading a tensor.

        Args:
            recipe: what to run.
            shard_size_bytes: largest size of an output file.
            only: the contributions to merge instead of the visible set, for recomputing an earlier result.
            assets: what the recipe's strategies apply.

        Raises:
            DamagedObjectError: operations of the log are damaged or missing.
            MissingObjectError: content that is needed is not here.
        """
        from conjoin.plan import make_plan

        self._kept.require_whole()  # a lost retraction would bring back what was taken out
        manifest = self.inventory.manifest
        known = views.contributions(self.log)
        chosen = self.visible if only is None else only
        contributions = [(d, manifest(known[d].contribution.weights), known[d].contribution.weight) for d in chosen]

        def side_car(digest: Digest, name: str) -> "Manifest | None":
            content = known[digest].contribution.extras.get(name)
            return None if content is None else manifest(content)

        return make_plan(
            space=self.space,
            base=manifest(self.base),
            files=manifest(self.log.genesis.files),
            contributions=contributions,
            recipe=recipe,
            shard_size_bytes=shard_size_bytes,
            side_cars=side_car,
            assets=assets,
        )

    def resolve(
        self,
        strategy: "str | Recipe",
        out: PathLike,
        *,
        shard_size_bytes: int = SHARD_SIZE_BYTES,
        threads: int | None = None,
        memory_bytes: int | None = None,
        trust_store: bool = False,
        device: str | None = None,
        running: "bool | RunningSums" = False,
        assets: "Sequence[Asset | PathLike]" = (),
        progress: Progress = SILENT,
        **params: Any,
    ) -> "Receipt":
        """Merge the visible set into a checkpoint folder at `out` and return its receipt.

        Args:
            strategy: a strategy's name, with its parameters as `params`; or a whole Recipe.
            out: folder to make; must not exist.
            shard_size_bytes: largest size of an output file.
            threads: workers; None takes the cores this process may use.
            memory_bytes: budget for buffers; None takes the executor's default.
            trust_store: do not hash what was copied into the store; files added in place are always verified.
            device: a device of torch, such as `cuda`, for the operations it has; the bytes are the same.
            running: keep running sums, so that the next resolve reads only what was added or retracted since; the bytes
                are the same. `running_sums()` in place of True tells afterwards what was done.
            assets: what `conjoin fit` made, or files of it, for strategies that apply what was learned.
            progress: told about bytes read.
            params: the strategy's parameters, as decimal strings, choices or flags.
        """
        from conjoin.executor import execute
        from conjoin.kernels import computing_on
        from conjoin.store.assets import read_asset
        from conjoin.wire.asset import Asset

        known = [asset if isinstance(asset, Asset) else read_asset(asset) for asset in assets]
        if isinstance(strategy, str) and len(known) == 1:
            params = {"asset": known[0].digest, **params}
        recipe = self.recipe(strategy, params) if isinstance(strategy, str) else strategy
        with self.reading():
            plan = self.plan(recipe, shard_size_bytes=shard_size_bytes, assets=known)
            with computing_on(device):
                return execute(
                    plan,
                    self.store,
                    Path(out),
                    threads=threads,
                    memory_bytes=memory_bytes,
                    trust_store=trust_store,
                    running=self.running_sums() if running is True else running or None,
                    progress=progress,
                )

    def running_sums(self) -> "RunningSums":
        """The running sums kept here, for `resolve`; a folder that may be removed at any time."""
        from conjoin.executor import RunningSums

        return RunningSums(self._home.running)

    def gc(
        self, *, grace_seconds: float = GRACE_SECONDS, dry_run: bool = False, progress: Progress = SILENT
    ) -> GcReport:
        """Remove content that nothing needs: no visible contribution, not the base, no running sum that is kept.

        Operations stay, and so do files that were added in place: only the notes on them go. What is removed comes
        back with a sync when it is needed again. Merges of contributions whose content is gone can no longer be
        verified here. Long runs of operations are put together into segments, which are read faster.

        Args:
            grace_seconds: how long content stays after it was last needed or written.
            dry_run: remove nothing, and report what would be.
            progress: told about the bytes freed.

        Raises:
            DamagedObjectError: operations or manifests that are needed are damaged: what is needed is not known.
            LockedError: another command is writing to this replica or reading its content.
        """
        if dry_run:
            self._kept.require_whole()
            return self._collect(grace_seconds, dry_run=True)

        def alone() -> GcReport:
            with self._writing():
                self._readers.require_none()
                return self._collect(grace_seconds, dry_run=False, progress=progress)

        return patiently(GC_SECONDS, alone)  # without the lock meanwhile, which a sync that reads may be waiting for

    def reading(self) -> AbstractContextManager[None]:
        """A block that reads content for long: `gc` waits for its end."""
        return self._readers.reading()

    def fsck(self, *, repair_from: PathLike | None = None, progress: Progress = SILENT) -> FsckReport:
        """Read every object again and name each damaged one; `repair_from` replaces those that it has intact.

        Raises:
            UsageError: `repair_from` is a ticket.
            RemoteError: it cannot be read.
        """
        from conjoin.store.fsck import fsck
        from conjoin.sync import is_ticket, open_remote
        from conjoin.upkeep import repair

        if repair_from is not None and is_ticket(repair_from):
            raise UsageError(
                "a live peer gives what is missing, and not what is damaged",
                hint="name a replica directory or a meeting place; or remove the damaged objects that `conjoin fsck` "
                "names, and sync with the peer",
            )
        objects, size_bytes, damage = fsck(self.store, progress=progress)
        repaired: list[str] = []
        if repair_from is not None:
            remote = open_remote(os.fspath(repair_from))
            if damage:
                with self._writing(damage_allowed=True):
                    repaired = repair(self._kept, self.store, damage, remote)
                self._kept.read_anew()
        return FsckReport(objects, size_bytes, tuple(d for d in damage if d.name not in repaired), tuple(repaired))

    # ------------------------------------------------------------------ inside

    def _copied(self) -> str | None:
        """What tells that this directory is a copy of a replica; None where it is none."""
        try:
            check_instance(self._home.instance)
        except CopiedReplicaError as error:
            return error.what
        return None

    def _collect(self, grace_seconds: float, *, dry_run: bool, progress: Progress = SILENT) -> GcReport:
        from conjoin.upkeep import collect

        return collect(
            self.log,
            self.store,
            leaves=self._summed_leaves(),
            grace_seconds=grace_seconds,
            dry_run=dry_run,
            progress=progress,
        )

    def _unneeded_bytes(self) -> int | None:
        """What gc would free now; None where that is not known."""
        from conjoin.upkeep import unneeded

        try:
            self._kept.require_whole()
            found, _ = unneeded(self.log, self.store, leaves=self._summed_leaves(), grace_seconds=GRACE_SECONDS)
        except DamagedObjectError:
            return None
        return sum(one.size_bytes for one in found)

    def _summed_leaves(self) -> frozenset[Digest]:
        """The leaves that running sums kept here would read again."""
        return self.running_sums().kept.leaves() if self._home.running.is_dir() else frozenset()

    def _exchange(self, source: str, *, full: bool, progress: Progress) -> "SyncReport":
        """A sync that holds the lock while operations are taken, and not while content moves."""
        from conjoin.sync import dial, is_ticket, open_remote, synchronise, synchronise_with

        elsewhere: str | None = None

        @contextmanager
        def taking() -> Generator[None]:
            nonlocal elsewhere
            with self._locked(CONTENT_LOCK_SECONDS):
                self._kept.grow()
                yield
                self._kept.mend()
                elsewhere = self._own_key.watch(self.log)

        exchange: Callable[..., SyncReport]
        with ExitStack() as connected, self.reading():
            with self._writing(damage_allowed=True):
                pass  # what would refuse this sync does so before anything moves
            if is_ticket(source):
                # A peer has one session of a key, and another one would end it.
                patiently(LOCK_SECONDS, lambda: connected.enter_context(ReplicaLock(self._home.dialling)))
                peer = connected.enter_context(dial(source, self._own_key.load(), self.space))
                exchange = partial(synchronise_with, peer=peer)
            else:
                exchange = partial(synchronise, remote=open_remote(source), full=full, source=source)
            with translated_os_errors(self._home.path):
                report = exchange(
                    self.log, self.store, persist_operation=self._kept.persist, progress=progress, taking=taking
                )
        return replace(report, key_used_elsewhere=elsewhere)

    @contextmanager
    def _undoing(self) -> Generator[None]:
        """A block whose new content goes again if it fails, but for what others count on by then; gc may remove that.

        Whoever begins to count on content makes a mark and then needs the lock, if for a moment; only what a peer
        brings at this very moment does not, and comes with the next sync.
        """
        from conjoin.upkeep import take_back

        with self.store.recording() as written:
            try:
                yield
            except BaseException:
                with suppress(ConjoinError), self._writing():
                    if not self._readers.others():
                        take_back(self.log, self.store, written, leaves=self._summed_leaves())
                raise

    @contextmanager
    def _signing(self, seconds: float = LOCK_SECONDS) -> Generator[None]:
        """As `_writing`, for commands that sign.

        Raises:
            UsedKeyError: this replica's key signs elsewhere too.
        """
        with self._writing(seconds):
            if self._own_key.is_ahead_of(self.log):
                self._kept.read_anew()
            self._own_key.require_unused(self.log)
            yield

    @contextmanager
    def _writing(self, seconds: float = LOCK_SECONDS, *, damage_allowed: bool = False) -> Generator[None]:
        """Hold the lock with the log as it is on disk now; operating system errors become ours."""
        with self._locked(seconds):
            self.store.sweep()
            self._kept.refresh()
            self._own_key.watch(self.log)
            if not damage_allowed:
                self._kept.require_whole()
            yield

    @contextmanager
    def _locked(self, seconds: float) -> Generator[None]:
        """Hold the lock, for which another process is waited for so long; operating system errors become ours."""
        with translated_os_errors(self._home.path), ExitStack() as held:
            patiently(seconds, lambda: held.enter_context(ReplicaLock(self._home.lock)))
            check_instance(self._home.instance)
            self._own_key = OwnKey(self._home, self._home.read_config()[1])  # another process may have taken a new one
            yield

    def _require_another(self, source: str) -> None:
        """Refuse what a sync with would move nothing, and would be remembered as a peer."""
        from conjoin.sync import is_ticket
        from conjoin.sync.peers.ticket import parse_ticket

        if is_ticket(source):
            if parse_ticket(source).key == self.key:
                raise UsageError(
                    "the ticket is of this replica itself, or of one that it is a copy of",
                    hint="give it to another replica; a copy takes a key of its own by `conjoin rekey`",
                )
        elif os.path.isdir(source) and any(os.path.samefile(source, own) for own in (self.path, self._home.path)):
            raise UsageError("this is the replica itself", where=source, hint="name another replica or a meeting place")

    def _named(self, prefix: str) -> list[Digest]:
        """The contributions that a prefix names: one by its digest, or all visible ones of an author by the key.

        One that names both is refused: keys can be made until they begin as a digest does.
        """
        known = views.contributions(self.log)
        kinds = {add.author: "author" for view in known.values() for add in view.live}
        found = match(prefix, {**kinds, **dict.fromkeys(known, "contribution")}, "contribution or author")
        if found in known:
            return [found]
        return [digest for digest in self.visible if self._live_adds(digest, author=found)]

    def _require_membership(self) -> None:
        if self.role is None:
            raise NotAMemberError(
                f"key {self.key} is not a member of this closed space",
                hint=f"an admin lets it in with `conjoin invite {self.key}`; then sync",
            )

    def _require_fit(self, checkpoint: "Checkpoint", *, partial: bool) -> None:
        from conjoin.plan import compare_tensors

        differences = compare_tensors(self.inventory.manifest(self.base).tensors, checkpoint.tensors)
        if partial:
            differences = [difference for difference in differences if difference.both]
        if differences:
            raise MismatchedTensorsError(
                f"{count(len(differences), 'tensor')} not as in the base {self.base[:12]}:\n"
                + "\n".join(f"  {difference}" for difference in differences),
                where=str(checkpoint.path),
                hint=f"was it tuned from another base? `conjoin show {self.base[:12]}` lists the base's tensors; "
                + (
                    "another dtype or shape cannot be merged, cast it before it is added"
                    if any(difference.both for difference in differences)
                    else "`--partial` allows missing and additional tensors"
                ),
            )

    def _sign(self, kind: str, body: dict[str, Any], by: SigningKey | None = None) -> Operation:
        """Draft, sign, admit and store one operation of this replica, or of another key it had."""
        operation = self._own_key.sign(self.log, kind, body, by)
        self._kept.persist(operation)  # first, so that the log never holds what a full disk refused; it has been judged
        verdict = self.log.offer(operation)
        assert verdict.status == "admitted", verdict.error
        return operation

    def _let_in(self, key: str, role: str) -> Digest | None:
        """The operation by which a key already has a role or a higher one, if any."""
        if key == self.log.founder:
            return self.space
        meanings = ((operation.id, operation.meaning) for operation in self.log.operations())
        found = (
            number for number, m in meanings if isinstance(m, Member) and m.key == key and m.role in (role, "admin")
        )
        return next(found, None)

    def _live_adds(self, digest: Digest, author: str | None = None) -> list[Operation]:
        """The adds that make a contribution visible, optionally of one author."""
        view = views.contributions(self.log).get(digest)
        return [] if view is None else [add for add in view.live if author in (None, add.author)]


def _sign_in(source: Path, key: str) -> None:
    """Let `key` in with the key of the local replica at `source`, if one is there that may invite and be written."""
    if not is_replica(source):
        return
    # A copy, a replica of somebody else and one on a read-only disk may be read all the same.
    with suppress(CopiedReplicaError, KeyFileError, ReadOnlyError, UsedKeyError), Replica.open(source) as replica:
        if replica.members().get(replica.key) == "admin" and key not in replica.members():
            replica.invite(key)
