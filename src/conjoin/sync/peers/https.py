"""A line to a live peer over HTTPS: shows who it is, takes nobody but the peer of the ticket, asks again when cut off.

Proxies of the environment (HTTPS_PROXY, NO_PROXY) are used; they carry what they cannot read.
"""

import time
from typing import TYPE_CHECKING, Any

from conjoin.errors import (
    BusyPeerError,
    ConjoinError,
    PeerRefusedError,
    ProtocolError,
    RemoteError,
    TrustError,
    UnreachableError,
    WrongPeerError,
)
from conjoin.log.fields import exact_fields, text_field
from conjoin.sync.messages import (
    CODE_CHARS_MAX,
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    OPERATIONS_BYTES_MAX,
    OPERATIONS_MAX,
    WHAT_CHARS_MAX,
)
from conjoin.sync.peers.certificate import pinned_context
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, Caller, Signer
from conjoin.sync.peers.ticket import Ticket
from conjoin.sync.remotes.extras import package
from conjoin.wire import canonical

if TYPE_CHECKING:
    import httpx

PATH = "/conjoin/1/"
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
"""So long the other side may send or take nothing while an object moves."""
THINKING_SECONDS = 600.0
"""So long it may take for the first byte of an answer that it must work for: thousands of operations, say."""
RETRY_SECONDS = 20.0
"""So long a question that was cut off is asked again."""
WAIT_SECONDS = (0.1, 4.0)
"""Between two attempts, at first and at most."""
RATE_BYTES_PER_SECOND = 8 * 1024
SMALL_FRAME_BYTES_MAX = 4 + HEADER_BYTES_MAX + OPERATIONS_BYTES_MAX + 4 * OPERATIONS_MAX
"""No frame is larger but one that holds a manifest."""
_RUN_AGAIN = "run the command again: what was moved is kept"


class HttpsLine:
    """A line to the peer of a ticket; see `Line`. Dial before use.

    Args:
        ticket: whom to reach, and where.
        signer: the key to show.

    Raises:
        MissingExtraError: the package for it is not installed.
    """

    def __init__(self, ticket: Ticket, signer: Signer) -> None:
        self._ticket = ticket
        self._signer = signer
        self._token = ""
        self._base = ""
        self._httpx = package("httpx", "net")
        self._client: httpx.Client = self._httpx.Client(
            verify=pinned_context(ticket.certificate),
            timeout=self._httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS),
            limits=self._httpx.Limits(max_connections=16, max_keepalive_connections=16, keepalive_expiry=20),
            headers={"accept-encoding": "identity", "user-agent": "conjoin"},
        )

    @property
    def where(self) -> str:
        """See `Line`."""
        return self._ticket.where

    @property
    def key(self) -> str:
        """See `Line`."""
        return self._ticket.key

    def dial(self) -> "HttpsLine":
        """Reach the peer at the first address that answers, and let both sides prove their keys.

        Raises:
            UnreachableError: none of the addresses answers.
            WrongPeerError: what answers is not the peer of the ticket.
            PeerRefusedError: the peer does not let this key in.
        """
        failures: list[RemoteError] = []
        for address in self._ticket.addresses:
            self._base = f"https://{address}{PATH}"
            try:
                self._shake_hands()
            except (UnreachableError, WrongPeerError) as error:
                failures.append(error)
            else:
                return self
        wrong = next((error for error in failures if isinstance(error, WrongPeerError)), None)
        raise wrong or failures[0]

    def _shake_hands(self) -> None:
        caller = Caller(self._ticket, self._signer)
        welcome = self._post("greet", caller.greeting(), MESSAGE_BYTES_MAX, IDLE_SECONDS)
        proof = caller.proof(welcome)
        self._token = caller.token(self._post("prove", proof, MESSAGE_BYTES_MAX, THINKING_SECONDS))

    def exchange(self, frame: bytes) -> bytes:
        """See `Line`. What may be asked twice is asked again for a while when the connection breaks.

        Raises:
            BusyPeerError: the peer cannot answer just now.
            UnreachableError: the peer went away, or is too slow.
            PeerRefusedError: it says that the session is over.
            ProtocolError: it sends too much.
        """
        header = bytes(frame[4:1024])
        moves_object = b'"type":"get"' in header or b'"type":"put"' in header
        most = FRAME_BYTES_MAX if b'"name":"manifest/' in header else SMALL_FRAME_BYTES_MAX
        thinking = IDLE_SECONDS if moves_object else THINKING_SECONDS
        if b'"type":"take"' in header:  # the answer counts what was taken, and a second one would say none
            return self._post("ask", frame, most, thinking)
        began, wait = time.monotonic(), WAIT_SECONDS[0]
        while True:
            try:
                return self._post("ask", frame, most, thinking)
            except BusyPeerError:
                raise
            except UnreachableError:
                if time.monotonic() - began + wait > RETRY_SECONDS:
                    raise
            time.sleep(wait)
            wait = min(2 * wait, WAIT_SECONDS[1])

    def close(self) -> None:
        """See `Line`. The peer is told, if it can be reached."""
        try:
            if self._token:
                self._post("leave", b"", MESSAGE_BYTES_MAX, CONNECT_SECONDS)
        except RemoteError:
            pass  # the session ends by itself
        finally:
            self._token = ""
            self._client.close()

    def _post(self, path: str, body: bytes, size_bytes_max: int, thinking_s: float) -> bytes:
        """The answer to one request, read no further than allowed."""
        httpx = self._httpx
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        timeout = httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS, read=thinking_s, pool=None)
        try:
            with self._client.stream(
                "POST", self._base + path, content=body, headers=headers, timeout=timeout
            ) as response:
                data = self._read(response, size_bytes_max)
        except httpx.HTTPError as cause:
            raise self._unreachable(cause) from cause
        except httpx.InvalidURL as cause:
            raise UnreachableError(f"{self.where} cannot be reached: {cause}", where=self._base) from cause
        if response.status_code != httpx.codes.OK:
            raise self._refused(response.status_code, data)
        return data

    def _read(self, response: Any, size_bytes_max: int) -> bytes:
        pieces: list[bytes] = []
        size_bytes = 0
        most = size_bytes_max if response.status_code == self._httpx.codes.OK else MESSAGE_BYTES_MAX
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise ProtocolError(f"{announced} bytes are announced, at most {most} are read", where=self.where)
        began = time.monotonic()
        for piece in response.iter_raw():
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes > most:
                raise ProtocolError(f"more than {most} bytes came", where=self.where)
            if time.monotonic() - began > IDLE_SECONDS + size_bytes / RATE_BYTES_PER_SECOND:
                raise UnreachableError(f"{self.where} is too slow: {size_bytes} bytes came", where=self.where)
        return b"".join(pieces)

    def _unreachable(self, cause: Exception) -> RemoteError:
        """The error for a request without an answer."""
        text = str(cause)
        if "not the one that the ticket names" in text:
            return WrongPeerError(
                f"what answers at {self._base} shows another certificate than the ticket names",
                where=self.where,
                hint="ask for a new ticket; if the peer made no new certificate, somebody stands in between",
            )
        if isinstance(cause, self._httpx.TimeoutException):
            what = "it does not answer in time"
        elif isinstance(cause, self._httpx.ConnectError):
            what = f"nothing answers there ({text or 'connection refused'})"
        elif isinstance(cause, self._httpx.ProxyError):
            what = f"the proxy does not reach it ({text})"
        else:
            what = f"the connection broke ({text or type(cause).__name__})"
        hint = f"is `conjoin serve` running there, and may this machine reach it? {_RUN_AGAIN}"
        return UnreachableError(f"{self.where} cannot be reached: {what}", where=self._base, hint=hint)

    def _refused(self, status: int, data: bytes) -> ConjoinError:
        """The error for an answer that is none."""
        try:
            fields = exact_fields(canonical.decode(data, "refusal"), ("code", "what"), "refusal")
            code = text_field(fields["code"], CODE_CHARS_MAX, "code")
            what = text_field(fields["what"], WHAT_CHARS_MAX, "what")
        except TrustError:
            code, what = "", f"HTTP status {status}"
        if status in (408, 429, 500, 502, 503, 504):
            kind = BusyPeerError if status == 503 else UnreachableError
            return kind(f"{self.where} does not answer now: {what}", where=self._base, hint=_RUN_AGAIN)
        if status == 401:
            what, hint = "it knows nothing of this session", f"it may have been started anew; {_RUN_AGAIN}"
        elif code == "E406":
            hint = (
                "ask for a ticket with an invite (`conjoin serve --invite`), or let an admin run `conjoin invite KEY`"
            )
        else:
            hint = "ask for a new ticket"
        return PeerRefusedError(f"{self.where} refuses: {what}", where=self._base, hint=hint)
