"""A live peer as the driver sees it, over any line; believes nothing that comes."""

from typing import Protocol

from conjoin.errors import MissingObjectError, PeerRefusedError, ProtocolError
from conjoin.sync.messages import FRAME_BYTES_MAX, Answer, Get, Object, Put, Question, Refused, Wanted, decode, encode
from conjoin.wire.manifest import MANIFEST_BYTES_MAX


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
        """The answer to a question.

        Raises:
            RemoteError: there is none.
            ProtocolError: it is no answer.
        """
        frame = self.line.exchange(encode(question))
        if len(frame) > FRAME_BYTES_MAX:
            raise ProtocolError(f"{len(frame)} bytes came, at most {FRAME_BYTES_MAX} are allowed", where=self.where)
        answer = decode(frame)
        if not isinstance(answer, Answer):
            raise ProtocolError(f"{type(answer).__name__} is no answer", where=self.where)
        return answer

    def has(self, name: str) -> bool:  # noqa: ARG002
        """Never known beforehand: what a peer has is not asked about, it asks for what it wants."""
        return False

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """See `Remote`."""
        answer = self.ask(Get(name))
        if isinstance(answer, Refused):
            if answer.code == MissingObjectError.code:
                raise MissingObjectError(f"{self.where} does not have it", where=name)
            raise PeerRefusedError(f"{self.where} does not give it: {answer.what}", where=name)
        if not isinstance(answer, Object) or answer.name != name or len(answer.data) > size_bytes_max:
            raise ProtocolError(f"what came is not an object of at most {size_bytes_max} bytes", where=name)
        return answer.data

    def put(self, name: str, data: bytes) -> None:
        """See `Remote`."""
        answer = self.ask(Put(name, data))
        if isinstance(answer, Refused):
            raise PeerRefusedError(f"{self.where} does not take it: {answer.what}", where=name)
        if not isinstance(answer, Wanted):
            raise ProtocolError(f"{type(answer).__name__} is no answer to an object", where=name)
