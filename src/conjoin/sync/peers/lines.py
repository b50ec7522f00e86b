"""What every line to a live peer does alike: asks again when cut off, and makes errors of refusals; carries nothing."""

import time
from abc import abstractmethod

from conjoin.errors import BusyPeerError, ConjoinError, PeerRefusedError, RemoteError, TrustError, UnreachableError
from conjoin.log.fields import exact_fields, text_field
from conjoin.sync.messages import (
    CODE_CHARS_MAX,
    FRAME_BYTES_MAX,
    SMALL_FRAME_BYTES_MAX,
    WHAT_CHARS_MAX,
)
from conjoin.sync.pace import IDLE_SECONDS
from conjoin.sync.peers.base import Line
from conjoin.sync.peers.handshake import Signer
from conjoin.sync.peers.ticket import Ticket
from conjoin.wire import canonical

CONNECT_SECONDS = 10.0
THINKING_SECONDS = 600.0
"""So long it may take for the first byte of an answer that it must work for: thousands of operations, say."""
RETRY_SECONDS = 20.0
"""So long a question that was cut off is asked again."""
WAIT_SECONDS = (0.1, 4.0)
"""Between two attempts, at first and at most."""
_RUN_AGAIN = "run the command again: what was moved is kept"
_LATER = (408, 429, 500, 502, 503, 504)


class TicketLine(Line):
    """A line to the peer of a ticket; see `Line`. Dial before use.

    Args:
        ticket: whom to reach, and where.
        signer: the key to show.
    """

    def __init__(self, ticket: Ticket, signer: Signer) -> None:
        self._ticket = ticket
        self._signer = signer
        self._lost = False
        """Whether asking again is in vain."""
        self._gone: UnreachableError | None = None
        """Why nothing is asked any more."""
        self._answered = 0.0

    @property
    def where(self) -> str:
        """See `Line`."""
        return self._ticket.where

    @property
    def key(self) -> str:
        """See `Line`."""
        return self._ticket.key

    @abstractmethod
    def dial(self) -> "TicketLine":
        """Reach the peer, and let both sides prove their keys.

        Raises:
            UnreachableError: it does not answer.
            WrongPeerError: what answers is not the peer of the ticket.
            PeerRefusedError: the peer does not let this key in.
        """

    @abstractmethod
    def _ask(self, frame: bytes, size_bytes_max: int, thinking_s: float) -> bytes:
        """The frame that answers a frame, read no further than allowed; its first byte comes in time."""

    def exchange(self, frame: bytes) -> bytes:
        """See `Line`. What may be asked twice is asked again for a while when the connection breaks.

        When nothing at all was answered for so long, the peer is gone: what is asked later fails at once.

        Raises:
            BusyPeerError: the peer cannot answer just now.
            UnreachableError: the peer went away, or is too slow.
            PeerRefusedError: it says that the session is over.
            ProtocolError: it sends too much.
        """
        if self._gone is not None:
            raise UnreachableError(self._gone.what, where=self._gone.where, hint=self._gone.hint)
        header = bytes(frame[4:1024])
        moves_object = b'"type":"get"' in header or b'"type":"put"' in header
        most = FRAME_BYTES_MAX if b'"name":"manifest/' in header else SMALL_FRAME_BYTES_MAX
        thinking = IDLE_SECONDS if moves_object else THINKING_SECONDS
        if b'"type":"take"' in header:  # the answer counts what was taken, and a second one would say none
            return self._ask(frame, most, thinking)
        began, wait = time.monotonic(), WAIT_SECONDS[0]
        while True:
            try:
                answer = self._ask(frame, most, thinking)
            except BusyPeerError:
                self._answered = time.monotonic()
                raise
            except UnreachableError as error:
                if self._gone is not None or self._lost or time.monotonic() - began + wait > RETRY_SECONDS:
                    if self._answered < began:
                        self._gone = error
                    raise
            else:
                self._answered = time.monotonic()
                return answer
            time.sleep(wait)
            wait = min(2 * wait, WAIT_SECONDS[1])

    def _unreachable(self, what: str, at: str) -> RemoteError:
        """The error for a question without an answer."""
        hint = f"is `conjoin serve` running there, and may this machine reach it? {_RUN_AGAIN}"
        return UnreachableError(f"{self.where} cannot be reached: {what}", where=at, hint=hint)

    def _refused(self, status: int, data: bytes, at: str) -> ConjoinError:
        """The error for an answer that is none."""
        try:
            fields = exact_fields(canonical.decode(data, "refusal"), ("code", "what"), "refusal")
            code = text_field(fields["code"], CODE_CHARS_MAX, "code")
            what = text_field(fields["what"], WHAT_CHARS_MAX, "what")
        except TrustError:
            code, what = "", f"status {status}"
        if status in _LATER:
            kind = BusyPeerError if status == 503 else UnreachableError
            return kind(f"{self.where} does not answer now: {what}", where=at, hint=_RUN_AGAIN)
        if status == 401:
            what, hint = "it knows nothing of this session", f"it may have been started anew; {_RUN_AGAIN}"
        elif code == "E406":
            hint = (
                "ask for a ticket with an invite (`conjoin serve --invite`), or let an admin run `conjoin invite KEY`, "
                "and run the same command again; if one did, the peer has to sync before it knows"
            )
        else:
            hint = "ask for a new ticket"
        return PeerRefusedError(f"{self.where} refuses: {what}", where=at, hint=hint)
