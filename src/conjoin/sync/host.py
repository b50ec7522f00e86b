"""One sync with a live peer, by the side that is asked: answers questions, believes nothing, and opens no connection.

The peer has proven its key before it asks anything; that is the transport's business, as is who may ask. A host keeps
what the peer offers in memory until the peer says that this is all, so content comes before the operations that need
it here too; a peer that goes away halfway leaves leaves, which the next sync uses, and nothing else.
"""

from collections.abc import Callable
from itertools import islice

from conjoin.errors import (
    ConjoinError,
    MissingObjectError,
    PeerRefusedError,
    ProtocolError,
    StoreError,
    WrongSpaceError,
)
from conjoin.log import Log, Operation, parse, views
from conjoin.store.base import Store, holds, read_leaf
from conjoin.sync.coding import can_code, decode_delta, encode_delta
from conjoin.sync.messages import (
    NAMES_MAX,
    WHAT_CHARS_MAX,
    Answer,
    Found,
    Get,
    Hello,
    Object,
    Offer,
    Put,
    Question,
    Refused,
    Take,
    Taken,
    Wanted,
    decode,
    encode,
)
from conjoin.sync.pulling import Outcome, needed_content, take, wanted_leaves
from conjoin.sync.reconcile import Comparison, fitting
from conjoin.sync.requests import Keep, WantedLeaf
from conjoin.sync.session import batches
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import is_content, leaf_name, manifest_name, parse_leaf, parse_manifest


class Host:
    """Answers one peer.

    Args:
        log: the replica's log, which other peers may make grow too.
        store: its content.
        persist: makes one admitted operation durable; called in causal order.
        room: how many bytes of content may still be taken from this peer.

    `exchange` is called for one question at a time, except `Get` and the `Put` of leaves, which may come from several
    threads at once.
    """

    def __init__(self, log: Log, store: Store, persist: Callable[[Operation], None], room: Callable[[], int]) -> None:
        self._log = log
        self._store = store
        self._persist = persist
        self._room = room
        self._ahead: Log | None = None
        self._wanted: frozenset[str] = frozenset()
        self._leaves: dict[str, WantedLeaf] = {}

    def exchange(self, frame: bytes) -> bytes:
        """The frame that answers a frame, whatever it is."""
        try:
            question = decode(frame)
        except ProtocolError as error:
            return encode(Refused(error.code, error.what[:WHAT_CHARS_MAX]))
        if not isinstance(question, Question):
            return encode(Refused(ProtocolError.code, f"{type(question).__name__} is no question"))
        return encode(self.answer(question))

    def answer(self, question: Question) -> Answer:
        """The answer to a question; an error is an answer too, and tells nothing of this machine."""
        try:
            match question:
                case Hello():
                    return self._found(question)
                case Offer(operations, last):
                    return self._offered(operations, last=last)
                case Put():
                    return self._put(question)
                case Take():
                    return self._take()
                case Get():
                    return self._object(question)
        except StoreError as error:
            return Refused(error.code, "its own directory cannot be used")
        except ConjoinError as error:
            return Refused(error.code, error.what[:WHAT_CHARS_MAX])

    def wants(self, name: str) -> bool:
        """Whether a manifest of this name was asked for and has not come."""
        return name in self._wanted

    # ------------------------------------------------------------------------------------------------ telling
    def _found(self, hello: Hello) -> Found:
        if hello.space != self._log.space:
            raise WrongSpaceError(f"this is space {self._log.space[:12]}, the question is about {hello.space[:12]}")
        mine = Comparison(self._log, hello.nonce)
        ranges, listed = mine.compare(hello.ranges)
        theirs = (*listed, *hello.holdings)
        operations, _ = next(batches(mine.lacking(theirs))) if hello.send else ([], True)
        return Found(
            root=views.root(self._log),
            ranges=ranges,
            holdings=fitting(mine.holding(other.author) for other in theirs),
            wanted=self._ask_for(self._log) if hello.ranges else (),
            operations=tuple(operation.envelope for operation in operations),
        )

    def _object(self, question: Get) -> Object:
        """An object; a leaf is not hashed here, because whoever asked hashes it anyway."""
        name, delta = question.name, question.delta
        if not is_content(name):
            raise MissingObjectError("no such object is given to peers", where=name)
        leaf = parse_leaf(name)
        if leaf is None:
            return Object(name, self._store.get(name))
        data = read_leaf(self._store, leaf)
        if delta is None or not can_code() or not holds(self._store, leaf_name(delta.base)):
            return Object(name, data)
        packed = encode_delta(data, read_leaf(self._store, delta.base), delta.item_bytes)
        return Object(name, data) if packed is None else Object(name, packed, delta)

    # ------------------------------------------------------------------------------------------------ taking
    def _offered(self, envelopes: tuple[bytes, ...], *, last: bool) -> Wanted:
        ahead = self._ahead = self._ahead or self._log.copy()
        refused: list[tuple[Digest, str]] = []
        for envelope in envelopes:
            verdict = ahead.offer(parse(envelope))
            if verdict.status == "refused" and verdict.operation is not None and verdict.error is not None:
                refused.append((verdict.operation.id, verdict.error.code))
            refused += [(refusal.operation.id, refusal.error.code) for refusal in verdict.refused]
        return Wanted(self._ask_for(ahead) if last else (), tuple(refused))

    def _ask_for(self, log: Log) -> tuple[str, ...]:
        """Names of manifests that `log` needs and that are not here; from now on they are taken."""
        names = (manifest_name(digest) for digest in needed_content(log))
        wanted = tuple(islice((name for name in names if not holds(self._store, name)), NAMES_MAX))
        self._wanted = frozenset(wanted)
        return wanted

    def _put(self, question: Put) -> Wanted:
        name, data, delta = question.name, question.data, question.delta
        leaf = self._leaves.get(name)
        if leaf is not None:
            if delta is not None:
                data = decode_delta(data, read_leaf(self._store, delta.base), delta.item_bytes)
            leaf.check(data)
            self._store.put(name, data)  # and it may come again, if the answer to this was lost on its way
            return Wanted(())
        digest = parse_manifest(name)
        if digest is None or name not in self._wanted:
            raise ProtocolError("nobody asked for this object", where=name)
        return self._put_manifest(digest, data)

    def _put_manifest(self, digest: Digest, data: bytes) -> Wanted:
        """Ask for the leaves that are lacking; the manifest is kept once there are none."""
        manifest = Manifest.decode(data, digest)
        lacking = {leaf.name: leaf for leaf in wanted_leaves(manifest) if not holds(self._store, leaf.name)}
        if not lacking:
            self._store.put(manifest_name(digest), data)
            return Wanted(())
        size_bytes = sum(leaf.size_bytes for leaf in lacking.values())
        if size_bytes > self._room():
            raise PeerRefusedError(f"{size_bytes} bytes are announced, there is room for {self._room()}")
        asked = dict(islice(lacking.items(), NAMES_MAX))
        self._leaves |= asked
        return Wanted(tuple(asked))

    def _take(self) -> Taken:
        ahead, self._ahead = self._ahead or self._log, None
        self._leaves.clear()
        outcome = Outcome()
        for request in take(self._log, ahead, outcome):
            if isinstance(request, Keep):
                self._store.put(request.name, request.data)
            else:
                self._persist(request.operation)
        return Taken(outcome.operations_in, views.root(self._log))
