"""Replica: the one object that wires the rooms together; decides nothing that a room decides."""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from conjoin import inventory
from conjoin.crdt import MergeState
from conjoin.errors import (
    AmbiguousDigestError,
    ConjoinError,
    DamagedObjectError,
    MismatchedTensorsError,
    MissingObjectError,
    NoReplicaError,
    NotAMemberError,
    NotPermittedError,
    ReplicaExistsError,
    UnknownDigestError,
)
from conjoin.inventory import Added, ContributionInfo, FsckReport, OperationInfo, Retracted, Status
from conjoin.log import Log, Operation, draft, genesis_payload, parse, views
from conjoin.progress import SILENT, Progress
from conjoin.store.checkpoint import Checkpoint, open_checkpoint
from conjoin.store.folder import FolderStore, translated_os_errors
from conjoin.store.fsck import fsck
from conjoin.store.ingest import ingest, ingest_files
from conjoin.store.inplace import References, ReplicaStore
from conjoin.store.instance import check_instance, create_instance
from conjoin.store.keys import SigningKey, create_key, load_key
from conjoin.store.lock import ReplicaLock
from conjoin.sync import SyncReport, choose_space, discover_spaces, open_remote, synchronise
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution, canonical_weight
from conjoin.wire.digest import Digest
from conjoin.wire.envelope import seal
from conjoin.wire.keys import parse_public_key
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, manifest_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conjoin.executor import Receipt
    from conjoin.plan import Plan, Recipe

HOME = ".conjoin"
PREFIX_CHARS_MIN = 8
RETRACTED_ADDS_PER_OPERATION = 12
CONFIG_FORMAT = "conjoin/replica/1"

PathLike: TypeAlias = str | os.PathLike[str]


class Replica:
    """One participant's state of a space: its log, its content, its key.

    Make one with `init`, `clone` or `open`; it is a context manager. Methods that write take the replica's lock for
    as long as they run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._home = path / HOME
        self._local = self._home / "local"
        config = _read_config(self._local / "config.json")
        self.space = Digest(config["space"])
        self._key_path = Path(config["key"]) if config["key"] else self._local / "key"
        self._store = ReplicaStore(self._home, self._local / "tmp", References(self._local / "inplace"))
        self._signing_key: SigningKey | None = None
        self.damaged: tuple[str, ...] = ()
        self.log = self._read_log()

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
        target = Path(path).absolute()
        checkpoint = open_checkpoint(Path(base))
        with _new_home(target) as home:
            signing_key = _provide_key(home, key)
            store = ReplicaStore(home, home / "local" / "tmp", References(home / "local" / "inplace"))
            manifest = ingest(checkpoint, store, in_place=in_place, references=store.references, progress=progress)
            files = ingest_files(checkpoint.files, store)
            body = {
                "base": manifest.digest,
                "files": files.digest,
                "name": name,
                "nonce": os.urandom(16).hex(),
                "policy": {
                    "limits": {"deps": 16, "operation_bytes": 65_536, "operations_per_author": 1_000_000},
                    "open": open,
                    "retract": retract,
                },
            }
            payload = genesis_payload(signing_key.public, body)
            genesis = parse(seal(payload, signing_key.public, signing_key.sign))
            store.put(genesis.name, genesis.envelope)
            _write_config(home, genesis.id, key)
        return cls(target)

    @classmethod
    def open(cls, path: PathLike) -> Self:
        """Open the replica in directory `path`.

        Raises:
            NoReplicaError: there is none.
        """
        target = Path(path).absolute()
        if not (target / HOME / "local" / "config.json").is_file():
            raise NoReplicaError(
                "there is no replica here", where=str(target), hint="`conjoin init DIR --base CHECKPOINT` makes one"
            )
        return cls(target)

    @staticmethod
    def find(start: PathLike) -> Path:
        """The nearest directory from `start` upward that holds a replica.

        Raises:
            NoReplicaError: none does.
        """
        origin = Path(start).absolute()
        for folder in (origin, *origin.parents):
            if (folder / HOME / "local" / "config.json").is_file():
                return folder
        raise NoReplicaError(
            "there is no replica here or in any directory above",
            where=str(origin),
            hint="name one with `-C DIR`, or make one with `conjoin init DIR --base CHECKPOINT`",
        )

    @classmethod
    def clone(
        cls,
        source: PathLike,
        path: PathLike,
        *,
        key: PathLike | None = None,
        space: str | None = None,
        progress: Progress = SILENT,
    ) -> Self:
        """Make another replica of the space in `source`, with a key of its own.

        From a local replica directory whose key is an admin's, the new key is signed in at once. From a meeting
        place, or otherwise, the new replica only reads until an admin invites its key.

        Args:
            source: a replica directory or a meeting place.
            path: the new replica's directory.
            key: an existing private key file; None makes a new one.
            space: digest prefix of the space, where the source holds several.
            progress: told about bytes copied.
        """
        target = Path(path).absolute()
        remote = open_remote(os.fspath(source))
        genesis = choose_space(discover_spaces(remote), space)
        with _new_home(target) as home:
            signing_key = _provide_key(home, key)
            if (Path(source) / HOME / "local").is_dir():
                _sign_in(Path(source), signing_key.public)
            store = FolderStore(home, home / "local" / "tmp")
            log = Log.founded_by(genesis)
            store.put(genesis.name, genesis.envelope)
            synchronise(
                log, store, remote, push=False, persist_operation=lambda o: store.put(o.name, o.envelope), progress=progress
            )
            _write_config(home, genesis.id, key)
        return cls(target)

    def close(self) -> None:
        """Forget the private key."""
        self._signing_key = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------ what it knows

    @property
    def genesis(self) -> Operation:
        """The operation that founded the space."""
        return self.log.get(self.space)

    @property
    def name(self) -> str:
        """The space's name, for people."""
        return str(self.genesis.body["name"])

    @property
    def base(self) -> Digest:
        """Content digest of the base."""
        return Digest(self.genesis.body["base"])

    @property
    def key(self) -> str:
        """This replica's public key, 64 hex characters."""
        return self._key().public

    @property
    def role(self) -> str | None:
        """What this replica's key may do: "admin", "member", or None for a reader."""
        role = views.members(self.log).get(self.key)
        return "member" if role is None and self.is_open else role

    @property
    def is_open(self) -> bool:
        """Whether the space admits any key."""
        return bool(self.genesis.body["policy"]["open"])

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
        return tuple(self._contribution_info(digest, view) for digest, view in sorted(views.contributions(self.log).items()))

    def operations(self) -> tuple[OperationInfo, ...]:
        """The admitted operations, ancestors first."""
        return tuple(_operation_info(operation) for operation in self.log.operations())

    def status(self) -> Status:
        """The whole replica at a glance."""
        contributions = self.contributions()
        wanted = [self._leaves(digest) for digest in (self.base, Digest(self.genesis.body["files"]))]
        wanted += [self._leaves(Digest(c.weights)) for c in contributions if c.visible]
        missing = sum(1 for leaves in wanted if leaves is None)
        missing += len({leaf for leaves in wanted if leaves for leaf in leaves if not self._store.has(leaf_name(leaf))})
        return Status(
            path=str(self.path),
            space=self.space,
            name=self.name,
            key=self.key,
            role=self.role,
            root=self.root,
            base=self.base,
            contributions=contributions,
            members=self.members(),
            operations=sum(1 for _ in self.log.operations()),
            damaged=self.damaged,
            forks=tuple((fork.author, fork.seq, fork.operations) for fork in views.forks(self.log)),
            missing_objects=missing,
            size_bytes=_size_bytes(self._home),
        )

    def find_contribution(self, prefix: str) -> Digest:
        """The contribution whose digest starts with `prefix` (8 characters or more).

        Raises:
            UnknownDigestError, AmbiguousDigestError: none or several do.
        """
        known = {str(digest): f"contribution {digest}" for digest in views.contributions(self.log)}
        return _match(prefix, known, "contribution")

    def show(self, prefix: str) -> dict[str, Any]:
        """Describe whatever has a digest that starts with `prefix`: contribution, operation, checkpoint content or key.

        Raises:
            UnknownDigestError, AmbiguousDigestError: nothing or several things do.
        """
        known: dict[str, str] = {self.root: "root", self.base: "base"}
        known |= {key: "key" for key in self.members()}
        known |= {info.id: "operation" for info in self.operations()}
        contributions = {info.digest: info for info in self.contributions()}
        known |= {info.weights: "content" for info in contributions.values()}
        known |= {digest: "contribution" for digest in contributions}
        digest = _match(prefix, known, "thing")
        kind = known[digest]
        if kind == "contribution":
            return {"kind": kind, "base": self.base} | contributions[digest].to_json()
        if kind == "operation":
            operation = self.log.get(digest)
            return {"kind": kind, "id": digest} | canonical.decode(operation.payload)
        if kind in ("content", "base"):
            return {"kind": kind, "digest": digest} | self._describe_content(digest)
        if kind == "key":
            return {"kind": kind, "key": digest, "role": self.members()[digest]}
        return {"kind": kind, "digest": digest, "visible": list(self.visible)}

    # ------------------------------------------------------------------ what it does

    def add(
        self,
        checkpoint: PathLike,
        *,
        weight: str = "1",
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
            weight: positive decimal string.
            title: for people; never changes the merge.
            license: SPDX expression; never changes the merge.
            extras: side-cars by name (`fisher`, `gram`, …), part of the contribution's identity.
            in_place: reference the checkpoint's files instead of copying them.
            partial: allow tensors that are missing from or unknown to the base.
            progress: told about bytes read.

        Raises:
            InputError: the checkpoint cannot be used; all differences from the base are listed.
            NotAMemberError: this replica's key may not write yet.
        """
        weight = canonical_weight(weight)
        opened = open_checkpoint(Path(checkpoint))
        side_cars = {name: open_checkpoint(Path(path)) for name, path in (extras or {}).items()}
        self._require_fit(opened, partial=partial)
        with self._writing():
            self._require_membership()
            before = self._store.bytes_written
            manifest = ingest(opened, self._store, in_place=in_place, references=self._store.references, progress=progress)
            digests = {
                name: ingest(side_car, self._store, progress=progress).digest for name, side_car in side_cars.items()
            }
            contribution = Contribution(weights=manifest.digest, base=self.base, weight=weight, extras=digests)
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
            new_bytes=self._store.bytes_written - before,
            already=bool(live),
        )

    def retract(self, prefix: str) -> Retracted:
        """Take a contribution back: every add of it that this key may retract. Concurrent adds survive.

        Raises:
            UnknownDigestError, AmbiguousDigestError: no or several contributions have such a digest.
            NotPermittedError: it is visible through other authors' adds only, or not visible at all.
        """
        digest = self.find_contribution(prefix)
        with self._writing():
            self._require_membership()
            adds = self._live_adds(digest)
            if not adds:
                raise NotPermittedError(
                    f"contribution {digest[:12]} is not visible: it was retracted before", hint="`conjoin log` shows by whom"
                )
            everyone = self.role == "admin" or self.genesis.body["policy"]["retract"] == "member"
            mine = [add for add in adds if everyone or add.author == self.key]
            if not mine:
                authors = ", ".join(sorted({add.author[:12] for add in adds}))
                raise NotPermittedError(
                    f"contribution {digest[:12]} was added by {authors}, not by this replica ({self.key[:12]})",
                    hint="ask its author or an admin to retract it",
                )
            ids = sorted(add.id for add in mine)
            step = RETRACTED_ADDS_PER_OPERATION
            operations = [self._sign("retract", {"adds": ids[i : i + step]}) for i in range(0, len(ids), step)]
        return Retracted(digest, tuple(operation.id for operation in operations), digest in self.visible)

    def invite(self, key: str, *, role: str = "member") -> Digest:
        """Let a public key in, given as 64 hex characters or as an OpenSSH line. Returns the operation's id.

        Raises:
            BadKeyError: it is not an admissible Ed25519 key.
            NotPermittedError: this replica's key is not an admin.
        """
        admitted = parse_public_key(key)
        with self._writing():
            if self.members().get(self.key) != "admin":
                raise NotPermittedError(
                    f"key {self.key[:12]} is not an admin of this space", hint="ask an admin to run `conjoin invite`"
                )
            return self._sign("member", {"key": admitted, "role": role}).id

    def sync(self, source: PathLike, *, progress: Progress = SILENT) -> SyncReport:
        """Pull from and push to a replica directory or meeting place, until both hold the same operations.

        Raises:
            RemoteError, WrongSpaceError: the source cannot be used.
        """
        remote = open_remote(os.fspath(source))
        with self._writing(damage_allowed=True):
            return synchronise(
                self.log, self._store, remote, persist_operation=self._persist, progress=progress, source=os.fspath(source)
            )

    def recipe(
        self,
        strategy: str,
        params: Mapping[str, object] | None = None,
        *,
        weights: Mapping[str, str] | None = None,
        **options: Any,
    ) -> "Recipe":
        """A validated recipe; digest prefixes in `params` and `weights` are expanded to contributions of this replica."""
        from conjoin.plan import Recipe

        def expanded(value: object) -> object:
            return {self.find_contribution(k): v for k, v in value.items()} if isinstance(value, Mapping) else value

        given = {name: expanded(value) for name, value in (params or {}).items()}
        return Recipe.of(strategy, given, weights={self.find_contribution(k): w for k, w in (weights or {}).items()}, **options)

    def plan(self, recipe: "Recipe", *, shard_size_bytes: int = 5 * 10**9, only: tuple[Digest, ...] | None = None) -> "Plan":
        """Everything about resolving `recipe` that can be checked without reading a tensor.

        Args:
            recipe: what to run.
            shard_size_bytes: largest size of an output file.
            only: the contributions to merge instead of the visible set, for recomputing an earlier result.
        """
        from conjoin.plan import make_plan

        known = views.contributions(self.log)
        chosen = self.visible if only is None else only
        contributions = [(d, self._manifest(known[d].contribution.weights), known[d].contribution.weight) for d in chosen]
        return make_plan(
            space=self.space,
            base=self._manifest(self.base),
            files=self._manifest(Digest(self.genesis.body["files"])),
            contributions=contributions,
            recipe=recipe,
            shard_size_bytes=shard_size_bytes,
        )

    def resolve(
        self,
        strategy: "str | Recipe",
        out: PathLike,
        *,
        shard_size_bytes: int = 5 * 10**9,
        threads: int | None = None,
        memory_bytes: int | None = None,
        trust_store: bool = False,
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
            progress: told about bytes read.
            params: the strategy's parameters, as decimal strings, choices or flags.
        """
        from conjoin.executor import execute

        recipe = self.recipe(strategy, params) if isinstance(strategy, str) else strategy
        plan = self.plan(recipe, shard_size_bytes=shard_size_bytes)
        return execute(
            plan,
            self._store,
            Path(out),
            threads=threads,
            memory_bytes=memory_bytes,
            trust_store=trust_store,
            progress=progress,
        )

    def fsck(self, *, repair_from: PathLike | None = None, progress: Progress = SILENT) -> FsckReport:
        """Read every object again and name each damaged one; with `repair_from`, replace those the source has intact."""
        objects, size_bytes, damage = fsck(self._store, progress=progress)
        repaired: list[str] = []
        if repair_from is not None and damage:
            remote = open_remote(os.fspath(repair_from))
            with self._writing(damage_allowed=True):
                for item in damage:
                    with suppress(ConjoinError):
                        self._store.replace(item.name, remote.get(item.name))
                        repaired.append(item.name)
        return FsckReport(objects, size_bytes, tuple(d for d in damage if d.name not in repaired), tuple(repaired))

    @property
    def store(self) -> ReplicaStore:
        """The replica's content, for reading."""
        return self._store

    # ------------------------------------------------------------------ inside

    def _key(self) -> SigningKey:
        if self._signing_key is None:
            self._signing_key = load_key(self._key_path)
        return self._signing_key

    def _read_log(self) -> Log:
        """Admit every stored operation again; what is damaged is remembered, so that fsck and sync can mend it."""
        operations: list[Operation] = []
        damaged: list[str] = []
        for name in sorted(self._store.names("ops/")):
            try:
                operation = parse(self._store.get(name))
                if operation.name != name:
                    raise DamagedObjectError("the operation is stored under another one's name", where=name)
                operations.append(operation)
            except ConjoinError:
                damaged.append(name)
        genesis = next((o for o in operations if o.id == self.space), None)
        if genesis is None:
            raise DamagedObjectError(
                f"the founding operation {self.space[:12]} of this space is missing or damaged",
                where=str(self._home / "ops"),
                hint="copy its file from another replica's .conjoin/ops",
            )
        log = Log.founded_by(genesis)
        for operation in operations:
            log.offer(operation)
        self.damaged = tuple(damaged)
        return log

    @contextmanager
    def _writing(self, *, damage_allowed: bool = False) -> "Iterator[None]":
        """Hold the lock with the log as it is on disk now, and turn operating system errors into ours."""
        with translated_os_errors(self._home), ReplicaLock(self._local / "lock"):
            check_instance(self._local / "instance")
            self._store.sweep()
            self.log = self._read_log()
            if self.damaged and not damage_allowed:
                raise DamagedObjectError(
                    f"{len(self.damaged)} operations of the log are damaged; writing now could fork the log",
                    where="\n".join(self.damaged[:5]),
                    hint="`conjoin fsck --repair-from SOURCE` or `conjoin sync SOURCE` mends them from another replica",
                )
            yield

    def _require_membership(self) -> None:
        if self.role is None:
            raise NotAMemberError(
                f"key {self.key} is not a member of this closed space",
                hint=f"an admin lets it in with `conjoin invite {self.key}`; then sync",
            )

    def _require_fit(self, checkpoint: Checkpoint, *, partial: bool) -> None:
        from conjoin.plan import compare_tensors

        differences = compare_tensors(self._manifest(self.base).tensors, checkpoint.tensors)
        if partial:
            differences = [d for d in differences if d.both]
        if differences:
            raise MismatchedTensorsError(
                f"{len(differences)} tensors do not fit the base {self.base[:12]}:\n"
                + "\n".join(f"  {difference}" for difference in differences),
                where=str(checkpoint.path),
                hint=f"was it tuned from another base? `conjoin show {self.base[:12]}` lists the base's tensors",
            )

    def _sign(self, kind: str, body: dict[str, Any]) -> Operation:
        """Draft, sign, admit and store one operation of this replica."""
        key = self._key()
        operation = parse(seal(draft(self.log, key.public, kind, body), key.public, key.sign))
        verdict = self.log.offer(operation)
        if verdict.error is not None:
            raise verdict.error
        self._persist(operation)
        return operation

    def _persist(self, operation: Operation) -> None:
        if operation.name in self.damaged:
            self._store.replace(operation.name, operation.envelope)
        else:
            self._store.put(operation.name, operation.envelope)

    def _live_adds(self, digest: Digest, author: str | None = None) -> list[Operation]:
        """The adds that make a contribution visible, optionally of one author."""
        view = views.contributions(self.log).get(digest)
        return [] if view is None else [o for o in view.live if author in (None, o.author)]

    def _manifest(self, digest: Digest) -> Manifest:
        name = manifest_name(digest)
        if not self._store.has(name):
            raise MissingObjectError(
                f"the content {digest[:12]} is not in this replica",
                where=name,
                hint="sync with a replica or meeting place that has it",
            )
        return Manifest.decode(self._store.get(name), digest)

    def _leaves(self, digest: Digest) -> tuple[Digest, ...] | None:
        """The leaves of a held manifest, or None where the manifest is missing or damaged."""
        try:
            return tuple(self._manifest(digest).leaf_lengths())
        except ConjoinError:
            return None

    def _contribution_info(self, digest: Digest, view: views.ContributionView) -> ContributionInfo:
        contribution = view.contribution
        leaves = self._leaves(contribution.weights)
        shown = (view.live or view.adds)[0]
        return ContributionInfo(
            digest=digest,
            weights=contribution.weights,
            weight=contribution.weight,
            extras=dict(contribution.extras),
            title=shown.body["title"],
            license=shown.body["license"],
            authors=tuple(sorted({add.author for add in view.adds})),
            operations=tuple(add.id for add in view.adds),
            visible=view.visible,
            complete=leaves is not None and all(self._store.has(leaf_name(leaf)) for leaf in leaves),
            size_bytes=None if leaves is None else self._manifest(contribution.weights).size_bytes,
            time=shown.body["time"],
        )

    def _describe_content(self, digest: Digest) -> dict[str, Any]:
        manifest = self._manifest(digest)
        tensors = [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "root": t.root} for t in manifest.tensors]
        return {"size_bytes": manifest.size_bytes, "tensors": tensors}


def _operation_info(operation: Operation) -> OperationInfo:
    added = operation.body.get("contribution") if operation.type == "add" else None
    contribution = Contribution.from_json(added).digest if added else None
    return OperationInfo(
        id=operation.id,
        author=operation.author,
        seq=operation.seq,
        type=operation.type,
        deps=tuple(operation.deps),
        prev=operation.prev,
        summary=inventory.operation_summary(operation.type, operation.body, contribution),
        time=str(operation.body.get("time", "")),
    )


def _match(prefix: str, known: Mapping[str, str], noun: str) -> Digest:
    """The one key of `known` that starts with `prefix`; its values describe the keys."""
    wanted = prefix.lower().removeprefix("sha256:")
    if len(wanted) < PREFIX_CHARS_MIN:
        raise UnknownDigestError(f"`{prefix}` is too short", hint=f"give at least {PREFIX_CHARS_MIN} characters of the digest")
    found = sorted(digest for digest in known if digest.startswith(wanted))
    if not found:
        raise UnknownDigestError(f"no {noun} here has a digest that starts with `{prefix}`", hint="`conjoin log` lists them")
    if len(found) > 1:
        raise AmbiguousDigestError(
            f"{len(found)} digests start with `{prefix}`",
            where="\n".join(f"{digest} ({known[digest]})" for digest in found),
            hint="give more characters",
        )
    return Digest(found[0])


@contextmanager
def _new_home(target: Path) -> "Iterator[Path]":
    """Build a replica's home under another name and move it into place at the end; leave nothing behind on an error."""
    if (target / HOME).exists():
        raise ReplicaExistsError("there is a replica here already", where=str(target / HOME), hint="choose another directory")
    if target.exists() and not target.is_dir():
        raise ReplicaExistsError("the path is a file", where=str(target), hint="choose another directory")
    home, existed = target / f"{HOME}-new", target.exists()
    with translated_os_errors(target):
        shutil.rmtree(home, ignore_errors=True)
        for folder in (home / "local" / "tmp", home / "local" / "inplace", home / "ops", home / "manifest", home / "leaf"):
            folder.mkdir(parents=True)
        try:
            yield home
            create_instance(home / "local" / "instance")
            home.rename(target / HOME)
            _sync_directory(target)
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            if not existed:
                with suppress(OSError):
                    target.rmdir()
            raise


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _provide_key(home: Path, key: PathLike | None) -> SigningKey:
    """Load the user's key, or make one inside the new replica."""
    return load_key(Path(key)) if key is not None else create_key(home / "local" / "key")


def _write_config(home: Path, space: Digest, key: PathLike | None) -> None:
    value = {"format": CONFIG_FORMAT, "key": str(Path(key).absolute()) if key else "", "space": space}
    path = home / "local" / "config.json"
    with path.open("wb") as file:
        file.write(canonical.encode(value))
        file.flush()
        os.fsync(file.fileno())


def _read_config(path: Path) -> dict[str, str]:
    try:
        value = canonical.decode(path.read_bytes(), "the replica's configuration")
        assert value["format"] == CONFIG_FORMAT
    except (ConjoinError, OSError, KeyError, TypeError, AssertionError) as cause:
        raise DamagedObjectError(
            "the replica's configuration is damaged or of another version", where=str(path), hint="clone the space again"
        ) from cause
    return value


def _sign_in(source: Path, key: str) -> None:
    """Let `key` in with the key of the local replica at `source`, if that may invite."""
    with Replica.open(source) as replica:
        if replica.members().get(replica.key) == "admin" and key not in replica.members():
            replica.invite(key)


def _size_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
