"""A simulated replica: the product's log, session, host, visit and driver over a disk and a network that fail.

What `replica.py` does around them stands here again, without files: it remembers what its key signed before anybody
sees it, looks after every sync whether the key signed elsewhere, and signs no more if it did.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from conjoin.errors import (
    ConjoinError,
    MissingObjectError,
    PeerRefusedError,
    ProtocolError,
    RemoteError,
    StoreError,
)
from conjoin.log import Log, Operation, draft, parse, views
from conjoin.store.base import batch, holds, read_leaf
from conjoin.store.keyuse import KeyUse
from conjoin.sync.coding import can_code, decode_delta, encode_delta
from conjoin.sync.host import Host
from conjoin.sync.messages import (
    Answer,
    Delta,
    Get,
    Object,
    Put,
    Question,
    Refused,
    Wanted,
    decode,
    encode,
)
from conjoin.sync.pulling import Outcome
from conjoin.sync.requests import (
    Failures,
    Fetch,
    Held,
    Keep,
    Persist,
    PullLeaves,
    PushLeaves,
    Read,
    Request,
    WantedLeaf,
)
from conjoin.sync.session import Ask, session
from conjoin.sync.visit import visit
from conjoin.testing.simulator.disk import CrashError, Disk, Image
from conjoin.testing.simulator.keys import Signer
from conjoin.testing.simulator.visiting import Visit
from conjoin.wire import canonical
from conjoin.wire.digest import Digest
from conjoin.wire.objects import is_content, leaf_name, parse_manifest

if TYPE_CHECKING:
    from conjoin.testing.simulator.network import Network
    from conjoin.testing.simulator.place import Place

TIMEOUT_MS = 2_000
"""A question that has no answer by then gets none."""
ROOM_BYTES = 1 << 20
"""Content that a host takes from one peer."""
WAITING_MAX = 300
"""Operations that may wait for their ancestors at one replica."""
HOSTS_MAX = 64
"""Lines that a replica keeps open for others; the oldest one is closed for a new one."""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""When the simulated time begins."""
AHEAD_MS_MAX = 10**12
"""A clock goes up to three decades wrong, either way."""
PAUSES_MS = (0, 0, 0, 0, 20, 200)
"""Between two requests of a visit."""

_TAKEN = b'"type":"taken"'
_PAYLOAD_TYPE = b'"payloadType"'
"""What stands once in every envelope, and nowhere else in a frame."""

Frames = Generator[bytes, bytes | ConjoinError, None]
"""A conversation by the side that began it: yields frames and is sent the frames that answer them, or an error."""


@dataclass
class Conversation:
    """A conversation that this replica began and that waits for an answer."""

    number: int
    peer: Node
    frames: Frames
    asked: int = -1


class Node:
    """One replica. Its methods may raise `CrashError`; whoever calls them then calls `crash`."""

    def __init__(self, name: str, space: Operation, network: Network, chance: Random, *, hashed: bool) -> None:
        self.name = name
        self.network = network
        self.signer = Signer(name, hashed=hashed)
        founder = space.author == self.signer.key
        use = KeyUse(self.signer.key, 1, space.id) if founder else KeyUse(self.signer.key)
        self.disk = Disk(chance, name, use)
        self.disk.put(space.name, space.envelope)
        self._clock_ms_ahead = chance.randint(-AHEAD_MS_MAX, AHEAD_MS_MAX)
        self.running = True
        self.backups: list[Image] = []
        self.keys = [self.signer.key]
        self.acknowledged: set[Digest] = set()
        self.restored = False
        self.delivered = 0
        self.complaints: list[str] = []
        self._space = space.id
        self._hashed = hashed
        self._chance = chance
        self._conversations: dict[int, Conversation] = {}
        self._hosts: dict[tuple[str, int], Host] = {}
        self._visit: Visit | None = None
        self._begun = 0
        self.log = self._read_log()

    # ------------------------------------------------------------------------------------------------ its own disk
    def _read_log(self) -> Log:
        """The log that the disk holds, whatever objects its operations lie in."""
        names = [name for name in self.disk.names("") if not is_content(name)]
        envelopes = [line for name in names for line in self.disk.get(name).split(b"\n") if line]
        log = Log(self._space, waiting_operations_max=WAITING_MAX)
        before = -1
        while len(log) > before:  # as often as it takes: the waiting room is small
            before = len(log)
            for envelope in envelopes:
                log.offer(envelope)
        return log

    def stored(self) -> frozenset[Digest]:
        """Ids of the operations that would be here after a crash."""
        return frozenset(operation.id for operation in self._read_log().operations())

    def crash(self) -> None:
        """The machine stops: what was in memory is gone."""
        self.running = False
        self.disk = self.disk.after_crash()
        self._conversations.clear()
        self._hosts.clear()
        self._visit = None

    def start(self) -> None:
        """The machine starts again with what its disk holds."""
        self.running = True
        self.signer = Signer(self.disk.label, hashed=self._hashed)
        self.log = self._read_log()
        lost = sorted(operation for operation in self.acknowledged if not self.log.has(operation))
        if lost:
            self.complaints.append(f"{len(lost)} acknowledged operations are gone after a crash, first {lost[0][:12]}")

    def back_up(self) -> None:
        """Keep an image of the whole disk."""
        self.backups.append(self.disk.image())

    def restore(self) -> None:
        """The newest image comes back, and nothing tells the replica so."""
        self.crash()
        self.disk = self.disk.restored(self.backups[-1])
        self.restored = True
        # What only this machine had and the image lacks is lost; no protocol can bring it back.
        self.acknowledged &= self.stored()
        self.start()

    def rekey(self) -> None:
        """Take a new key, as `conjoin rekey` does; a full disk leaves it the old one."""
        new = Signer(f"{self.name}/{len(self.keys)}", hashed=self._hashed)
        self.keys.append(new.key)
        try:
            self.disk.remember(new.label, KeyUse(new.key))
        except StoreError:
            return
        self.signer = new

    # ------------------------------------------------------------------------------------------------ writing
    @property
    def time(self) -> str:
        """What its clock says, as operations state it; it goes wrong by decades and never back."""
        now = EPOCH + timedelta(milliseconds=self.network.now_ms + self._clock_ms_ahead)
        return now.strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def key_used_elsewhere(self) -> bool:
        """Whether this replica has noticed that its key signs elsewhere."""
        return self.disk.use.elsewhere is not None

    def write(self, kind: str, body: canonical.Json) -> Operation | None:
        """Sign an operation; None where the replica may not, or its disk is full."""
        try:
            self._watch_key()
            if self.key_used_elsewhere:
                return None
            payload = draft(self.log, self.signer.key, kind, body)
            operation = parse(self.signer.seal(payload))
            use = KeyUse(self.signer.key, operation.seq + 1, operation.id)
            self.disk.remember(self.disk.label, use)
            self._persist(operation)
        except ConjoinError:
            return None
        self.log.offer(operation)
        self.acknowledged.add(operation.id)
        return operation

    def _persist(self, operation: Operation) -> None:
        self.disk.put(operation.name, operation.envelope)

    def _watch_key(self) -> None:
        use = self.disk.use
        if use.elsewhere is None:
            foreign = views.signed_elsewhere(self.log, use.key, use.count, use.last)
            if foreign is not None:
                self.disk.remember(self.disk.label, replace(use, elsewhere=foreign.name))

    # ------------------------------------------------------------------------------------------------ conversations
    def sync_with(self, peer: Node) -> Outcome:
        """Begin a session; it goes on as answers come. The outcome is filled until then."""
        outcome = Outcome()
        nonce = self._chance.randbytes(16).hex()
        self.begin(peer, self._drive(session(self.log, outcome, nonce)))
        return outcome

    def begin(self, peer: Node, frames: Frames) -> None:
        """Begin a conversation."""
        self._begun += 1
        conversation = Conversation(self._begun, peer, frames)
        self._conversations[conversation.number] = conversation
        self._go_on(conversation, None)

    def _go_on(self, conversation: Conversation, answer: bytes | ConjoinError | None) -> None:
        """Let a conversation ask its next question."""
        try:
            frame = conversation.frames.send(answer)  # type: ignore[arg-type]  (None only at first)
        except (StopIteration, ConjoinError):
            self._conversations.pop(conversation.number, None)
            self._finished()
            return
        conversation.asked += 1
        peer, number, asked = conversation.peer, conversation.number, conversation.asked
        self.network.send(self.name, peer.name, len(frame), lambda: peer.asked_by(self, number, asked, frame))
        late = RemoteError(f"{peer.name} does not answer")
        self.network.after(TIMEOUT_MS, lambda: self.answered(number, asked, late))

    def _finished(self) -> None:
        with suppress(StoreError):  # where the disk is full: it is looked at again before anything is signed
            self._watch_key()

    def asked_by(self, peer: Node, number: int, asked: int, frame: bytes) -> None:
        """A question arrives. A line that this process does not know ended with an earlier one: it is not answered."""
        if not self.running:
            return
        line = (peer.name, number)
        if line not in self._hosts:
            if asked > 0:
                return
            while len(self._hosts) >= HOSTS_MAX:
                del self._hosts[next(iter(self._hosts))]
            self._hosts[line] = Host(self.log, self.disk, self._persist, lambda: ROOM_BYTES)
        try:
            self.delivered += operations_in(frame)
            answer = self.answer(self._hosts[line], frame)
        except CrashError:
            self.crash()
            return
        if answer is not None:
            self.network.send(self.name, peer.name, len(answer), lambda: peer.answered(number, asked, answer))

    def answer(self, host: Host, frame: bytes) -> bytes | None:
        """The frame that answers a frame; None for silence."""
        answer = host.exchange(frame)
        if _TAKEN in answer[: len(_TAKEN) + 200]:
            self.acknowledged.update(operation.id for operation in self.log.operations())
        return answer

    def answered(self, number: int, asked: int, answer: bytes | ConjoinError) -> None:
        """An answer arrives, or the time for it is over; one that comes twice or late is nobody's."""
        conversation = self._conversations.get(number)
        if not self.running or conversation is None or conversation.asked != asked:
            return
        try:
            if isinstance(answer, bytes):
                self.delivered += operations_in(answer)
            self._go_on(conversation, answer)
        except CrashError:
            self.crash()

    @property
    def talking(self) -> bool:
        """Whether a conversation that it began is open."""
        return bool(self._conversations)

    # ------------------------------------------------------------------------------------------------ driving
    def _drive(self, steps: Generator[Request | Ask, Any, None]) -> Frames:
        """Carry out what a session asks for; what goes to the peer is a frame, one at a time."""
        answer: Any = None
        kept: set[Digest] = set()
        while True:
            try:
                request = steps.send(answer)
            except StopIteration:
                return
            if isinstance(request, Persist):
                kept.add(request.operation.id)
            answer = yield from self._carry_out(request)
            if isinstance(request, Keep) and parse_manifest(request.name) and kept:
                self.complaints.append(f"{request.name[:24]} was kept after the operations of the same session")

    def _carry_out(self, request: Request | Ask) -> Generator[bytes, bytes | ConjoinError, Any]:
        match request:
            case Ask(question):
                return (yield from _ask(question))
            case Fetch(names, _):
                found: list[bytes | ConjoinError] = []
                for name in names:
                    answer = yield from _get(name)
                    found.append(answer if isinstance(answer, ConjoinError) else answer.data)
                return found
            case PullLeaves(_, leaves):
                return (yield from self._pull_leaves(leaves))
            case PushLeaves(_, leaves):
                return (yield from self._push_leaves(leaves))
            case Held(names):
                return frozenset(name for name in names if holds(self.disk, name))
            case Read(name):
                return self._read(name)
            case Keep(name, data):
                self.disk.put(name, data)
            case Persist(operation):
                self._persist(operation)
            case _:
                raise AssertionError(f"a session does not ask for {type(request).__name__}")
        return None

    def _read(self, name: str) -> bytes | ConjoinError:
        try:
            return self.disk.get(name)
        except ConjoinError as error:
            return error

    def _pull_leaves(self, leaves: Iterable[WantedLeaf]) -> Generator[bytes, bytes | ConjoinError, Failures]:
        failures: dict[str, ConjoinError] = {}
        with batch(self.disk):
            for leaf in leaves:
                try:
                    data = yield from self._pull_leaf(leaf)
                    leaf.check(data)
                except StoreError:
                    raise
                except ConjoinError as error:
                    failures[leaf.name] = error
                else:
                    self.disk.put(leaf.name, data)
        return failures

    def _push_leaves(self, leaves: Iterable[WantedLeaf]) -> Generator[bytes, bytes | ConjoinError, Failures]:
        failures: dict[str, ConjoinError] = {}
        for leaf in leaves:
            data = self._read(leaf.name)
            answer = data if isinstance(data, ConjoinError) else (yield from self._push_leaf(leaf, data))
            if not isinstance(answer, Wanted):
                failures[leaf.name] = answer if isinstance(answer, ConjoinError) else PeerRefusedError("not taken")
        return failures

    def _pull_leaf(self, leaf: WantedLeaf) -> Generator[bytes, bytes | ConjoinError, bytes]:
        """A leaf that the peer gives, as a difference where both have one like it; unverified."""
        like = self._like(leaf)
        found = yield from _get(leaf.name, like)
        if isinstance(found, ConjoinError):
            raise found
        if like is None or found.delta is None:
            return found.data
        return decode_delta(found.data, read_leaf(self.disk, like.base), like.item_bytes)

    def _push_leaf(
        self, leaf: WantedLeaf, data: bytes
    ) -> Generator[bytes, bytes | ConjoinError, Answer | ConjoinError]:
        """Give a leaf, as a difference where there is one like it, or whole if the peer does not have that."""
        like = self._like(leaf)
        packed = None if like is None else encode_delta(data, read_leaf(self.disk, like.base), like.item_bytes)
        if packed is not None:
            answer = yield from _ask(Put(leaf.name, packed, like))
            if not (isinstance(answer, Refused) and answer.code == MissingObjectError.code):
                return answer
        return (yield from _ask(Put(leaf.name, data)))

    def _like(self, leaf: WantedLeaf) -> Delta | None:
        """How a leaf may travel as a difference, where this side has what it differs from."""
        if leaf.like is None or not can_code() or not holds(self.disk, leaf_name(leaf.like)):
            return None
        return Delta(leaf.like, leaf.item_bytes)

    # ------------------------------------------------------------------------------------------------ meeting places
    def visit(self, place: Place) -> Outcome:
        """Begin a visit to a meeting place; it goes on a request at a time. The outcome is filled until then."""
        outcome = Outcome()
        self._visit = Visit(visit(self.log, outcome), outcome, self.disk, place, self._persist)
        self._visit_on(self._visit)
        return outcome

    @property
    def visiting(self) -> bool:
        """Whether a visit is under way."""
        return self._visit is not None

    def _visit_on(self, going: Visit) -> None:
        """Let what a visit asks for happen, then others."""
        if self._visit is not going:
            return
        try:
            try:
                answer = going.go_on()
            except (StopIteration, ConjoinError):
                self._visit = None
                self._finished()
                return
        except CrashError:
            self.crash()
            return
        if isinstance(answer, list):
            self.delivered += sum(operations_in(data) for data in answer if isinstance(data, bytes))  # pyright: ignore
        self.network.after(self._chance.choice(PAUSES_MS), lambda: self._visit_on(going))


def operations_in(frame: bytes) -> int:
    """How many operations a frame carries."""
    return frame.count(_PAYLOAD_TYPE)


def _ask(question: Question) -> Generator[bytes, bytes | ConjoinError, Answer | ConjoinError]:
    """The peer's answer, or the error that came in place of one."""
    answer = yield encode(question)
    if isinstance(answer, ConjoinError):
        return answer
    try:
        message = decode(answer)
    except ConjoinError as error:
        return error
    if not isinstance(message, Answer):
        return ProtocolError(f"{type(message).__name__} is no answer")
    return message


def _get(name: str, like: Delta | None = None) -> Generator[bytes, bytes | ConjoinError, Object | ConjoinError]:
    """An object that the peer gives, unverified, or the error that came in place of it."""
    answer = yield from _ask(Get(name, like))
    if isinstance(answer, Object) and answer.name == name and answer.delta in (None, like):
        return answer
    if isinstance(answer, Refused):
        missing = answer.code == MissingObjectError.code
        return MissingObjectError(answer.what) if missing else PeerRefusedError(answer.what)
    return answer if isinstance(answer, ConjoinError) else ProtocolError("what came is no such object")
