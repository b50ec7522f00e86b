"""Drives a visit or a session, several leaves in flight; decides nothing that a visit or a session decides."""

import secrets
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, nullcontext
from functools import partial
from threading import Event, Lock, local
from typing import Any

from conjoin.errors import (
    ConjoinError,
    EmptySourceError,
    IntegrityError,
    RemoteError,
    SeveralSpacesError,
    UnreachableError,
    WrongSpaceError,
)
from conjoin.log import Log, Operation, parse, views
from conjoin.progress import SILENT, Progress
from conjoin.store.base import Store, batch, holds
from conjoin.store.files import Bytes, aligned_buffer
from conjoin.sync.messages import Answer, Found, Offer, Question
from conjoin.sync.peers.base import Peer
from conjoin.sync.pulling import Outcome, Taking
from conjoin.sync.remotes.base import Remote, pieces_of
from conjoin.sync.remotes.trouble import shown
from conjoin.sync.report import SyncReport
from conjoin.sync.requests import (
    NAMES_MAX,
    OPERATION_BYTES_MAX,
    Failures,
    Fetch,
    Held,
    Keep,
    ListFolders,
    ListNames,
    Persist,
    PullLeaves,
    Push,
    PushLeaves,
    Read,
    Request,
    WantedLeaf,
)
from conjoin.sync.session import Ask, session
from conjoin.sync.visit import visit
from conjoin.wire.digest import LEAF_BYTES, Digest, LeafHasher
from conjoin.wire.objects import parse_operation

IN_VAIN_MAX = 8
"""So many objects in a row may fail because the other side does not answer; no other one is moved then."""


def synchronise(
    log: Log,
    store: Store,
    remote: Remote,
    *,
    persist_operation: Callable[[Operation], None],
    push: bool = True,
    full: bool = False,
    progress: Progress = SILENT,
    threads: int = 4,
    source: str = "",
    taking: Taking = nullcontext,
) -> SyncReport:
    """Exchange operations and content with one remote; afterwards both hold what either could give.

    Args:
        log: the replica's log. It grows by operations for which `persist_operation` has returned.
        store: the replica's content; written leaf → manifest before the operations that need them.
        remote: the other side; nothing it says is believed unverified.
        persist_operation: makes one admitted operation durable; called in causal order.
        push: also send what the remote lacks.
        full: list every name of the remote, though much may be known.
        progress: told the bytes of leaves as they move, from several threads.
        threads: leaves in flight, each of at most 4 MiB.
        source: how the report names the remote; its own name when empty.
        taking: makes the block in which operations are taken; it may let `log` have what others wrote since.

    Raises:
        WrongSpaceError: the remote holds another space and not this one.
        RemoteError: the remote cannot be listed.
        StoreError: the replica's own directory cannot be used (full, read-only, …). What was kept stays and is valid.
    """
    outcome = Outcome()
    drive = Drive(store, remote, persist_operation, progress)
    drive.run(visit(log, outcome, push=push, full=full, taking=taking), threads)
    return drive.report(outcome, log, source)


def synchronise_with(
    log: Log,
    store: Store,
    peer: Peer,
    *,
    persist_operation: Callable[[Operation], None],
    push: bool = True,
    progress: Progress = SILENT,
    threads: int = 4,
    source: str = "",
    taking: Taking = nullcontext,
) -> SyncReport:
    """Exchange operations and content with a live peer; arguments and result as of `synchronise`.

    Raises:
        PeerRefusedError: the peer does not answer this replica.
        RemoteError: it cannot be reached, or went away. What was kept stays and is valid.
        StoreError: the replica's own directory cannot be used.
    """
    outcome = Outcome()
    drive = Drive(store, peer, persist_operation, progress)
    drive.run(session(log, outcome, secrets.token_hex(16), push=push, taking=taking), threads)
    return drive.report(outcome, log, source)


class Drive:
    """Carries out the requests of one sync and counts what moves."""

    def __init__(
        self,
        store: Store,
        remote: Remote | Peer,
        persist_operation: Callable[[Operation], None],
        progress: Progress,
    ) -> None:
        self._store = store
        self._remote = remote
        self._persist_operation = persist_operation
        self._progress = progress
        self._pool: ThreadPoolExecutor
        self._lock = Lock()
        self._local = local()
        self._sent: set[str] = set()
        self._in_vain = 0
        self._gone: ConjoinError | None = None
        self.stop = Event()
        self.bytes_in = 0
        self.bytes_out = 0
        self.objects_in = 0
        self.objects_out = 0

    def run(self, steps: Generator[Request | Ask, Any, None], threads: int) -> None:
        """Carry out every request in turn, `threads` leaves in flight."""
        answer: Any = None
        with (
            closing(steps),  # an error here is not raised in there, where a lock may be held
            ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="conjoin-sync") as self._pool,
        ):
            try:
                while True:
                    answer = self.answer(steps.send(answer))
            except StopIteration:
                pass
            except BaseException as error:
                if isinstance(error, WrongSpaceError) and error.where:
                    error.where += f" in {shown(self._remote.where)}"
                self.stop.set()
                self._pool.shutdown(wait=True, cancel_futures=True)
                raise

    def report(self, outcome: Outcome, log: Log, source: str) -> SyncReport:
        """What happened, for whoever asked for it."""
        return SyncReport(
            source=shown(source or self._remote.where),
            operations_in=outcome.operations_in,
            operations_out=outcome.operations_out,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            objects_in=self.objects_in,
            objects_out=self.objects_out,
            refused=tuple(outcome.refused),
            waiting=outcome.waiting,
            missing=outcome.missing,
            root=views.root(log),
            failure=outcome.failure,
            root_there=outcome.root_there,
            lacking_there=outcome.lacking_there,
            begun=outcome.begun,
            skipped_in=outcome.skipped_in,
            skipped_out=outcome.skipped_out,
        )

    def answer(self, request: Request | Ask) -> Any:
        """The answer that `request`'s docstring promises."""
        match request:
            case Ask(question):
                return self._ask(question)
            case ListNames(prefix, after):
                assert not isinstance(self._remote, Peer), "only visits list names"
                return self._remote.names(prefix, after)
            case ListFolders(prefix):
                assert not isinstance(self._remote, Peer), "only visits list folders"
                return self._remote.folders(prefix)
            case Fetch(names, size_bytes_max):
                return list(self._pool.map(partial(self._fetch, size_bytes_max=size_bytes_max), names))
            case Held(names):
                return frozenset(name for name in names if holds(self._store, name))
            case Read(name):
                return self._read(name)
            case PullLeaves(what, leaves):
                with batch(self._store):
                    return self._each(what, leaves, self._pull_leaf)
            case Keep(name, data):
                self._store.put(name, data)
                self._count(objects_in=1)
            case Persist(operation):
                self._persist_operation(operation)
                self._count(objects_in=1)
            case PushLeaves(what, leaves):
                return self._each(what, leaves, self._push_leaf)
            case Push(name, data):
                return self._push(name, data)
        return None

    def _count(self, *, bytes_in: int = 0, bytes_out: int = 0, objects_in: int = 0, objects_out: int = 0) -> None:
        with self._lock:
            self.bytes_in += bytes_in
            self.bytes_out += bytes_out
            self.objects_in += objects_in
            self.objects_out += objects_out

    def _heard(self, error: ConjoinError | None) -> None:
        """Note how moving an object ended: whether the other side is still there."""
        with self._lock:
            self._in_vain = self._in_vain + 1 if isinstance(error, UnreachableError) else 0
            if self._in_vain >= IN_VAIN_MAX:
                self._gone = error

    def _fetch(self, name: str, size_bytes_max: int) -> bytes | ConjoinError:
        if self._gone is not None:
            return self._gone
        try:
            data = self._remote.get(name, size_bytes_max)
        except (RemoteError, IntegrityError) as error:
            self._heard(error)
            return error
        self._heard(None)
        self._count(bytes_in=len(data))
        return data

    def _ask(self, question: Question) -> Answer | ConjoinError:
        assert isinstance(self._remote, Peer), "only sessions ask"
        try:
            answer = self._remote.ask(question)
        except RemoteError as error:
            return error
        if isinstance(question, Offer):
            self._count(bytes_out=sum(map(len, question.operations)), objects_out=len(question.operations))
        if isinstance(answer, Found):
            self._count(bytes_in=sum(map(len, answer.operations)))
        return answer

    def _read(self, name: str) -> bytes | ConjoinError:
        try:
            return self._store.get(name)
        except IntegrityError as error:
            return error

    def _push(self, name: str, data: bytes) -> RemoteError | None:
        if name in self._sent:  # contents share leaves, and the listing is older than what this visit sent
            return None
        try:
            self._remote.put(name, data)
        except RemoteError as error:
            return error
        self._sent.add(name)
        self._count(bytes_out=len(data), objects_out=1)
        return None

    def _pull_leaf(self, leaf: WantedLeaf) -> ConjoinError | None:
        try:
            data = self._arrived(leaf)
        except (RemoteError, IntegrityError) as error:
            return error
        self._store.put(leaf.name, data)
        self._count(objects_in=1)
        return None

    def _arrived(self, leaf: WantedLeaf) -> memoryview:
        """A leaf from the other side, hashed while it arrives, in a buffer of this thread that can be written directly.

        Raises:
            DamagedObjectError: it is another one.
            RemoteError, IntegrityError: it cannot be had.
        """
        moved: int | None = None
        pieces: Iterable[Bytes]
        if isinstance(self._remote, Peer):
            whole, moved = self._remote.pull_leaf(leaf, self._store)
            pieces = (whole,)
        else:
            pieces = pieces_of(self._remote, leaf.name, leaf.size_bytes)
        buffer, hasher, size_bytes = self._buffer(), LeafHasher(), 0
        for piece in pieces:
            start, size_bytes = size_bytes, size_bytes + len(piece)
            if size_bytes > leaf.size_bytes:
                break
            hasher.update(piece)
            buffer[start:size_bytes] = piece
        self._count(bytes_in=size_bytes if moved is None else moved)
        leaf.judge(size_bytes, hasher.digest())
        return buffer[:size_bytes]

    def _buffer(self) -> memoryview:
        """Room for a leaf, of this thread alone, good for writes that go past the page cache."""
        buffer: memoryview | None = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = aligned_buffer(LEAF_BYTES)
        return buffer

    def _push_leaf(self, leaf: WantedLeaf) -> ConjoinError | None:
        data = self._read(leaf.name)
        if isinstance(data, ConjoinError):
            return data
        if not isinstance(self._remote, Peer):
            return self._push(leaf.name, data)
        try:
            self._count(bytes_out=self._remote.push_leaf(leaf, data, self._store), objects_out=1)
        except (RemoteError, IntegrityError) as error:
            return error
        return None

    def _each(
        self, what: str, leaves: Sequence[WantedLeaf], move: Callable[[WantedLeaf], ConjoinError | None]
    ) -> Failures:
        """Move leaves, several in flight; a failure of the store ends it, a failure of one leaf does not."""
        self._progress.start(what, sum(leaf.size_bytes for leaf in leaves))
        failures: dict[str, ConjoinError] = {}

        def move_one(leaf: WantedLeaf) -> ConjoinError | None:
            if self.stop.is_set():
                return None
            if self._gone is not None:
                return self._gone
            error = move(leaf)
            self._heard(error)
            self._progress.advance(leaf.size_bytes)
            return error

        moving = {self._pool.submit(move_one, leaf): leaf for leaf in leaves}
        for future in as_completed(moving):
            error = future.result()
            if error is not None:
                failures[moving[future].name] = error
        return dict(sorted(failures.items()))


def discover_spaces(remote: Remote) -> tuple[Operation, ...]:
    """The genesis operations that a remote holds, in order of their digests; what is none or is damaged is passed over.

    Raises:
        RemoteError: the remote cannot be listed.
    """
    found: dict[Digest, Operation] = {}
    for count, name in enumerate(remote.names("ops/")):
        if count >= NAMES_MAX:
            break
        parts = parse_operation(name)
        if parts is None or parts.seq != 0:
            continue
        try:
            operation = parse(remote.get(name, OPERATION_BYTES_MAX))
        except ConjoinError:
            continue
        if operation.type == "genesis" and operation.name == name:
            found[operation.id] = operation
    return tuple(found[space] for space in sorted(found))


def choose_space(spaces: Iterable[Operation], wanted: str | None = None) -> Operation:
    """The one genesis operation meant: the only one, or the one whose digest starts with `wanted`.

    Raises:
        EmptySourceError: there is none.
        SeveralSpacesError: there are several and `wanted` names none or more than one of them.
    """
    every = list(spaces)
    if not every:
        raise EmptySourceError(
            "the source holds no space", hint="sync a replica with it first: `conjoin sync SOURCE` in that replica"
        )
    chosen = [genesis for genesis in every if wanted is None or genesis.id.startswith(wanted)]
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(f"{genesis.id[:12]} ({genesis.body['name'] or 'unnamed'})" for genesis in every)
    if not chosen:
        raise EmptySourceError(f"the source holds no space {wanted}", hint=f"it holds {listed}")
    raise SeveralSpacesError(f"the source holds {len(chosen)} spaces that fit", hint=f"name one of {listed}")
