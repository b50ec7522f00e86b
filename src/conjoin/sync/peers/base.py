"""A live peer as the driver sees it, over any line; believes nothing that comes."""

import secrets
import time
from typing import Protocol

from conjoin.errors import (
    BusyPeerError,
    ConjoinError,
    DamagedObjectError,
    IntegrityError,
    MissingObjectError,
    PeerRefusedError,
    ProtocolError,
)
from conjoin.store.base import Store, holds, read_leaf
from conjoin.sync.coding import can_code, decode_delta, encode_delta
from conjoin.sync.messages import (
    FRAME_BYTES_MAX,
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
from conjoin.sync.requests import WantedLeaf
from conjoin.wire.digest import leaf_digest
from conjoin.wire.manifest import MANIFEST_BYTES_MAX
from conjoin.wire.objects import leaf_name

BUSY_SECONDS = 60.0
"""So long a peer that cannot answer just now is asked again."""
BUSY_WAIT_SECONDS = (0.1, 4.0)
"""Between two such questions, at first and at most; each time a random part of it, so that two do not march in step."""


class Line(Protocol):
    """An open way to one peer whose key is proven. Every method may be called from several threads at once."""

    @property
    def where(self) -> str:
        """How errors and reports name the peer."""
        ...

    @property
    def key(self) -> str:
        """The peer's public key in hex, which it has proven to hold."""
        ...

    def exchange(self, frame: bytes) -> bytes:
        """Send one frame and return the frame that answers it, of `FRAME_BYTES_MAX` bytes at most.

        Raises:
            BusyPeerError: the peer cannot answer just now; nothing came of the question.
            RemoteError: the peer cannot be reached, went away, sends too much, or too slowly.
        """
        ...

    def close(self) -> None:
        """Close the line; what was answered stays answered."""
        ...


class Peer:
    """Asks questions over a line; gives and takes objects as a `Remote` does, but lists nothing: it answers `Hello`."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.where = line.where

    def ask(self, question: Question) -> Answer:
        """The answer to a question. A peer that is busy is asked again for a while.

        Raises:
            RemoteError: there is none.
            ProtocolError: it is no answer.
        """
        frame = self._exchange(encode(question))
        if len(frame) > FRAME_BYTES_MAX:
            raise ProtocolError(f"{len(frame)} bytes came, at most {FRAME_BYTES_MAX} are allowed", where=self.where)
        answer = decode(frame)
        if not isinstance(answer, Answer):
            raise ProtocolError(f"{type(answer).__name__} is no answer", where=self.where)
        return answer

    def _exchange(self, frame: bytes) -> bytes:
        began, wait = time.monotonic(), BUSY_WAIT_SECONDS[0]
        while True:
            try:
                return self.line.exchange(frame)
            except BusyPeerError:
                if time.monotonic() - began + wait > BUSY_SECONDS:
                    raise
            time.sleep(wait * (0.5 + secrets.randbelow(1000) / 1000))
            wait = min(2 * wait, BUSY_WAIT_SECONDS[1])

    def has(self, name: str) -> bool:  # noqa: ARG002
        """Never known beforehand: what a peer has is not asked about, it asks for what it wants."""
        return False

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """See `Remote`."""
        found = self._object(Get(name))
        if len(found.data) > size_bytes_max:
            raise ProtocolError(f"what came is longer than {size_bytes_max} bytes", where=name)
        return found.data

    def put(self, name: str, data: bytes) -> None:
        """See `Remote`."""
        self._taken(self.ask(Put(name, data)), name)

    def pull_leaf(self, leaf: WantedLeaf, store: Store) -> tuple[bytes, int]:
        """A leaf, unverified, and how many bytes travelled: fewer, where both sides have one like it.

        Raises: as `get`.
        """
        like = _like(leaf, store)
        if like is None:
            data = self.get(leaf.name, leaf.size_bytes)
            return data, len(data)
        base, delta = like
        found = self._object(Get(leaf.name, delta))
        if found.delta is None:
            return found.data, len(found.data)
        data = decode_delta(found.data, base, delta.item_bytes)
        if leaf_digest(data) == leaf.digest:
            return data, len(found.data)
        whole = self.get(leaf.name, leaf.size_bytes)  # what it is like may be damaged there
        return whole, len(found.data) + len(whole)

    def push_leaf(self, leaf: WantedLeaf, data: bytes, store: Store) -> int:
        """Give a leaf; returns how many bytes travelled.

        Raises: as `put`.
        """
        like = _like(leaf, store)
        packed = encode_delta(data, like[0], like[1].item_bytes) if like else None
        if like and packed is not None:
            answer = self.ask(Put(leaf.name, packed, like[1]))
            if not (isinstance(answer, Refused) and answer.code in (MissingObjectError.code, DamagedObjectError.code)):
                self._taken(answer, leaf.name)
                return len(packed)
            # The other side does not have what the leaf is like, or has it damaged.
        self._taken(self.ask(Put(leaf.name, data)), leaf.name)
        return len(data)

    def _object(self, question: Get) -> Object:
        answer = self.ask(question)
        if isinstance(answer, Refused):
            raise self._refusal(answer, question.name)
        if not isinstance(answer, Object) or answer.name != question.name or answer.delta not in (None, question.delta):
            raise ProtocolError("what came is not what was asked for", where=question.name)
        return answer

    def _taken(self, answer: Answer, name: str) -> None:
        """Return if an object that was given was taken."""
        if isinstance(answer, Refused):
            raise self._refusal(answer, name)
        if not isinstance(answer, Wanted):
            raise ProtocolError(f"{type(answer).__name__} is no answer to an object", where=name)

    def _refusal(self, answer: Refused, name: str) -> ConjoinError:
        if answer.code == MissingObjectError.code:
            return MissingObjectError(f"{self.where} does not have it", where=name)
        return PeerRefusedError(f"{self.where} refuses: {answer.what} ({answer.code})", where=name)


def _like(leaf: WantedLeaf, store: Store) -> tuple[bytes, Delta] | None:
    """The bytes of the leaf that `leaf` may be sent as a difference from, where this side has it undamaged."""
    if leaf.like is None or not can_code() or not holds(store, leaf_name(leaf.like)):
        return None
    try:
        return read_leaf(store, leaf.like, trusted=False), Delta(leaf.like, leaf.item_bytes)
    except IntegrityError:
        return None
