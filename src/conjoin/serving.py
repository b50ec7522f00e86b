"""Serves a replica's directory to live peers, while other commands may work in it; decides nothing the rooms decide.

What is served is what lies in the directory: operations that another process added are noticed before a peer is told
what there is. The replica's lock is held only while a peer's operations are taken.
"""

import shutil
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from conjoin.errors import (
    BadTicketError,
    ConjoinError,
    NotAMemberError,
    NotPermittedError,
)
from conjoin.kept_log import KeptLog
from conjoin.log import views
from conjoin.own_key import load_own_key
from conjoin.replica import PathLike, Replica
from conjoin.store.base import batch
from conjoin.store.home import Home
from conjoin.store.instance import check_instance
from conjoin.store.keys import SigningKey
from conjoin.store.lock import ReplicaLock, patiently
from conjoin.store.peers import KnownPeer, KnownPeers
from conjoin.sync.host import Host
from conjoin.sync.messages import Answer, Hello, Offer, Question, Take, Taken
from conjoin.sync.peers.certificate import provide_certificate
from conjoin.sync.peers.invites import Invites
from conjoin.sync.peers.iroh_runtime import DEFAULT_RELAY, NO_RELAY, provide_endpoint_key
from conjoin.sync.peers.iroh_server import IrohServer
from conjoin.sync.peers.server import PeerServer
from conjoin.sync.peers.sessions import Visitor
from conjoin.sync.peers.ticket import IrohAddress, Ticket, parse_address, parse_bind, parse_relay
from conjoin.wire.digest import Digest

LOCK_SECONDS = 2.0
"""So long a peer's operations wait for another process that writes; then the peer is asked to come again."""
INVITE_LOCK_SECONDS = 20.0
ROOM_LEFT_BYTES = 64 * 1024 * 1024
"""Free space that content from peers leaves alone."""
TRANSPORTS = ("https", "iroh")
TURNED_AWAY_TOLD, TURNED_AWAY_SECONDS = 10, 60.0
"""So many peers that may not ask are told of in so long."""


class Serving:
    """A replica that answers live peers until it is closed. A context manager.

    Args:
        path: the replica's directory.
        bind: `host:port` to listen at; port 0 takes a free one.
        transports: of `TRANSPORTS`, those over which peers are answered.
        relay: what iroh may be reached through: `none`, `default` for the relays of n0, or the URL of one.
        addresses: `host:port` for the ticket, where peers reach it otherwise than at `bind`.
        invite_seconds: also give a one-time invite, good for so long; None gives none.
        tell: called when a peer's session begins and when it ends, from another thread.
        turned_away: called with the key of a peer that may not ask, and why, from another thread; only now and then
            where strangers come often.

    Raises:
        NoReplicaError, CopiedReplicaError, KeyFileError: the replica cannot be served.
        NotPermittedError: an invite was asked for, and this replica's key is not an admin's.
        MissingExtraError: the packages for it are not installed.
        UnreachableError: nothing can listen at `bind`, or no relay answers.
        BadTicketError: `bind`, `relay` or one of `addresses` is none.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        bind: str = "127.0.0.1:0",
        transports: Sequence[str] = TRANSPORTS[:1],
        relay: str = NO_RELAY,
        addresses: Sequence[str] = (),
        invite_seconds: float | None = None,
        tell: Callable[[Visitor], None] = lambda _: None,
        turned_away: Callable[[str, str], None] = lambda _key, _why: None,
    ) -> None:
        parse_bind(bind)
        self._served = served = _Served(Path(path).absolute(), turned_away)
        self._tell = tell
        given = tuple(parse_address(address) for address in addresses)
        if relay not in (NO_RELAY, DEFAULT_RELAY):
            parse_relay(relay)
        self._servers: list[PeerServer | IrohServer] = []
        self._held = ExitStack()
        self.address = ""
        reached: tuple[str, ...] = ()
        digest, iroh = Digest(""), None
        if "https" in transports:
            certificate = served.home.local / "certificate.pem"
            digest = provide_certificate(certificate)
            server = PeerServer(served, bind, (certificate, digest), self._told)
            self._servers.append(server)
            self.address = server.address
            reached = given or _reachable(server.address)
        invite = "" if invite_seconds is None else served.give_invite(invite_seconds)
        if "iroh" in transports:
            key = provide_endpoint_key(served.home.local / "iroh.key")
            endpoint = IrohServer(served, bind, key, relay, self._told)
            with ExitStack() as undone:
                undone.callback(endpoint.close)
                iroh = IrohAddress(endpoint.endpoint, given or _reachable(endpoint.address), endpoint.relay)
                undone.pop_all()
            self._servers.append(endpoint)
            self.address = self.address or endpoint.address
        self.is_open = served.is_open
        self.ticket = Ticket(reached, served.signer.public, digest, served.space, invite, iroh)
        self._remembering = ThreadPoolExecutor(1, thread_name_prefix="conjoin-remember")

    def __enter__(self) -> Self:
        self._held.enter_context(self._served.batch())
        self._held.enter_context(self._remembering)
        for server in self._servers:
            self._held.enter_context(server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _told(self, visitor: Visitor) -> None:
        if visitor.ended == "done":
            self._remembering.submit(self._served.remember, visitor.key, visitor.host)
        self._tell(visitor)


class _Served:
    """One replica as the server of peers sees it; several threads use it at once."""

    def __init__(self, path: Path, turned_away: Callable[[str, str], None]) -> None:
        self._path = path
        self._turned_away = turned_away
        self._turned_away_at: deque[float] = deque(maxlen=TURNED_AWAY_TOLD)
        self.home = Home.of(path)
        check_instance(self.home.instance)
        self.space, key_path = self.home.read_config()
        self.signer: SigningKey = load_own_key(key_path)
        self._store = self.home.open_store()
        self._kept = KeptLog(self._store, self.space)
        self._log = self._kept.log
        self._invites = Invites(self.home.local / "invites.json")
        self._lock = threading.RLock()

    @property
    def is_open(self) -> bool:
        """Whether every key is admitted."""
        return views.policy(self._log).open

    @property
    def operations(self) -> int:
        """How many operations the log has; read while it is not changed."""
        return len(self._log)

    def batch(self) -> AbstractContextManager[None]:
        """While peers are served, leaves are made durable together, before the manifest that names them."""
        return batch(self._store)

    def admit(self, key: str, invite: str) -> None:
        """See `sync.peers.answering.Served`."""
        with self._lock:
            self._kept.grow(settled=True)
            if views.policy(self._log).open or key in views.members(self._log):
                return
            may_invite = views.members(self._log).get(self.signer.public) == "admin"
        if not (invite and may_invite and self._used(invite)):
            what = "the invite was used, has ended, or is none" if invite else "it has no invite"
            self._tell_turned_away(key, what)
            raise NotAMemberError(f"key {key} is not a member of this closed space, and {what}")
        patiently(INVITE_LOCK_SECONDS, lambda: self._let_in(key))

    def _tell_turned_away(self, key: str, why: str) -> None:
        now = time.monotonic()
        with self._lock:
            told = self._turned_away_at
            if len(told) == TURNED_AWAY_TOLD and told[0] > now - TURNED_AWAY_SECONDS:
                return
            told.append(now)
        self._turned_away(key, why)

    def _let_in(self, key: str) -> None:
        with Replica.open(self._path) as replica:
            replica.invite(key)

    def host(self) -> "_Desk":
        """See `sync.peers.answering.Served`."""
        return _Desk(self, Host(self._log, self._store, self._kept.persist, self._room))

    def give_invite(self, seconds: float) -> str:
        """A new one-time invite."""
        role = views.members(self._log).get(self.signer.public)
        if role != "admin" and not views.policy(self._log).open:
            raise NotPermittedError(
                f"key {self.signer.public[:12]} is not an admin of this space, so it cannot invite",
                hint="serve without an invite, or let an admin serve with one",
            )
        with self._process_lock(INVITE_LOCK_SECONDS):
            return self._invites.give(time.time(), seconds)

    @contextmanager
    def telling(self, *, fresh: bool) -> Generator[None]:
        """A block in which the log does not change; `fresh`: it has what other processes added."""
        with self._lock:
            if fresh:
                self._kept.grow(settled=True)
            yield

    @contextmanager
    def taking(self) -> Generator[None]:
        """A block in which operations are taken."""
        with self._process_lock(LOCK_SECONDS), self._lock:
            check_instance(self.home.instance)
            self._kept.grow()
            yield

    @contextmanager
    def _process_lock(self, seconds: float) -> Generator[None]:
        """Hold the replica's lock, for which another process is waited for so long."""
        with ExitStack() as held:
            patiently(seconds, lambda: held.enter_context(ReplicaLock(self.home.lock)))
            yield

    def remember(self, key: str, desk: object) -> None:
        """Remember a peer that came, and that it has by now what was here then."""
        if isinstance(desk, _Desk) and desk.held:
            met = KnownPeer(key, "", "", int(time.time()), operations=desk.held, lacking=0)
            with suppress(ConjoinError):  # a hint that cannot be kept fails nobody
                KnownPeers(self.home.peers).met(met)

    def _used(self, invite: str) -> bool:
        with self._process_lock(INVITE_LOCK_SECONDS):
            return self._invites.use(invite, time.time())

    def _room(self) -> int:
        return max(0, shutil.disk_usage(self.home.path).free - ROOM_LEFT_BYTES)


class _Desk:
    """A host whose log other peers and processes share.

    Attributes:
        held: how many operations of this replica its peer has, if it keeps what it is given.
    """

    def __init__(self, served: _Served, host: Host) -> None:
        self._served = served
        self._host = host
        self.held = 0

    def answer(self, question: Question) -> Answer:
        """See `Host`. Objects are given and taken without waiting for anybody.

        Raises:
            LockedError: another process has been writing for long.
        """
        match question:
            case Take():
                with self._served.taking():
                    answer = self._host.answer(question)
                self.held += answer.operations if isinstance(answer, Taken) else 0
                return answer
            case Hello() | Offer():
                with self._served.telling(fresh=isinstance(question, Hello)):
                    self.held = self._served.operations if isinstance(question, Hello) else self.held
                    return self._host.answer(question)
            case _:
                return self._host.answer(question)

    def wants(self, name: str) -> bool:
        """See `Host`."""
        return self._host.wants(name)


def _reachable(address: str) -> tuple[str, ...]:
    """Where others reach what listens at `address`: itself, or for every interface the one that leads outside."""
    host, _, port = address.rpartition(":")
    if host not in ("0.0.0.0", "[::]"):
        return (address,)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        try:
            outward.connect(("192.0.2.1", 9))  # nothing is sent: a datagram socket only chooses its interface
            return (f"{outward.getsockname()[0]}:{port}",)
        except OSError as cause:
            raise BadTicketError(
                "no address of this machine is known by which others could reach it",
                hint="name it: `--address HOST:PORT`",
            ) from cause
