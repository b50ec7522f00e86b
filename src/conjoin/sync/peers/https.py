"""A line to a live peer over HTTPS: shows who it is, takes nobody but the peer of the ticket, asks again when cut off.

Proxies of the environment (HTTPS_PROXY, NO_PROXY) are used; they carry what they cannot read.
"""

import time
from typing import TYPE_CHECKING, Any

from conjoin.errors import ProtocolError, RemoteError, UnreachableError, WrongPeerError
from conjoin.sync.peers.certificate import pinned_context
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, Caller, Signer
from conjoin.sync.peers.lines import (
    CONNECT_SECONDS,
    IDLE_SECONDS,
    RATE_BYTES_PER_SECOND,
    THINKING_SECONDS,
    TicketLine,
)
from conjoin.sync.peers.ticket import Ticket
from conjoin.sync.remotes.extras import package

if TYPE_CHECKING:
    import httpx

PATH = "/conjoin/1/"


class HttpsLine(TicketLine):
    """A line to the peer of a ticket over HTTPS; see `TicketLine`.

    Args:
        ticket: whom to reach, and where.
        signer: the key to show.

    Raises:
        MissingExtraError: the package for it is not installed.
    """

    def __init__(self, ticket: Ticket, signer: Signer) -> None:
        super().__init__(ticket, signer)
        self._token = ""
        self._base = ""
        self._httpx = package("httpx", "net")
        self._client: httpx.Client = self._httpx.Client(
            verify=pinned_context(ticket.certificate),
            timeout=self._httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS),
            limits=self._httpx.Limits(max_connections=16, max_keepalive_connections=16, keepalive_expiry=20),
            headers={"accept-encoding": "identity", "user-agent": "conjoin"},
        )

    def dial(self) -> "HttpsLine":
        """See `TicketLine`; the first address that answers is taken."""
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

    def _ask(self, frame: bytes, size_bytes_max: int, thinking_s: float) -> bytes:
        return self._post("ask", frame, size_bytes_max, thinking_s)

    def close(self) -> None:
        """See `Line`. The peer is told, if it can be reached."""
        try:
            if self._token and self._gone is None:
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
            raise self._broken(cause) from cause
        except httpx.InvalidURL as cause:
            raise UnreachableError(f"{self.where} cannot be reached: {cause}", where=self._base) from cause
        if response.status_code != httpx.codes.OK:
            raise self._refused(response.status_code, data, self._base)
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

    def _broken(self, cause: Exception) -> RemoteError:
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
        return self._unreachable(what, self._base)
