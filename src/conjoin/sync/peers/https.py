"""A line to a live peer over HTTPS: shows who it is, takes nobody but the peer of the ticket, asks again when cut off.

Proxies of the environment (HTTPS_PROXY, NO_PROXY) are used; they carry what they cannot read.
"""

import io
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from conjoin.errors import ProtocolError, RemoteError, UnreachableError, WrongPeerError
from conjoin.sync.pace import IDLE_SECONDS, UNSENT_BYTES
from conjoin.sync.peers.certificate import client_context
from conjoin.sync.peers.handshake import MESSAGE_BYTES_MAX, Caller, Signer
from conjoin.sync.peers.lines import CONNECT_SECONDS, THINKING_SECONDS, TicketLine
from conjoin.sync.peers.ticket import Ticket
from conjoin.sync.remotes.extras import package
from conjoin.sync.remotes.paced import PacedAnswer

if TYPE_CHECKING:
    import urllib3

PATH = "/conjoin/1/"
CONNECTIONS_MAX = 16
OK = 200
_SENT_AT_ONCE_BYTES = 128 * 1024
"""What TLS is given at once has one limit of time as a whole: at the slowest pace this takes 16 of its 30 seconds."""
_TCP = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_NOTSENT_LOWAT": UNSENT_BYTES}
"""Seconds, seconds, times and bytes: a cable that is pulled while a peer thinks is noticed in half a minute."""


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
        self._urllib3 = package("urllib3", "net")
        self._pool: urllib3.PoolManager = self._urllib3.PoolManager()

    def dial(self) -> "HttpsLine":
        """See `TicketLine`; the first address that answers is taken."""
        failures: list[RemoteError] = []
        for address in self._ticket.addresses:
            self._base = f"https://{address}{PATH}"
            try:
                self._pool.clear()  # of the address before
                self._pool = self._connections()
                self._shake_hands()
            except (UnreachableError, WrongPeerError) as error:
                failures.append(error)
            else:
                return self
        wrong = next((error for error in failures if isinstance(error, WrongPeerError)), None)
        raise wrong or failures[0]

    def _connections(self) -> "urllib3.PoolManager":
        """Connections that take the certificate of the ticket and no other, through the proxy of the environment."""
        wanted: dict[str, Any] = {
            "num_pools": 1,
            "maxsize": CONNECTIONS_MAX,
            "ssl_context": client_context(),
            "assert_fingerprint": self._ticket.certificate,
            "assert_hostname": False,
            "socket_options": _socket_options(),
            "blocksize": _SENT_AT_ONCE_BYTES,
        }
        proxies = getproxies()
        proxy = proxies.get("https") or proxies.get("all")
        if proxy is None or proxy_bypass(urlsplit(self._base).hostname or ""):
            return self._paced(self._urllib3.PoolManager(**wanted))
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        headers: dict[str, str] = {}
        if url.username is not None:
            name = f"{unquote(url.username)}:{unquote(url.password or '')}"
            headers = self._urllib3.make_headers(proxy_basic_auth=name)
        try:
            place = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
            return self._paced(self._urllib3.ProxyManager(place, proxy_headers=headers, **wanted))
        except (ValueError, AssertionError) as cause:  # socks, or no URL
            what = f"{self.where} cannot be reached through the proxy of the environment: {cause}"
            raise UnreachableError(what, where=self._base, hint="HTTPS_PROXY names an http:// proxy") from cause

    def _paced(self, pool: "urllib3.PoolManager") -> "urllib3.PoolManager":
        """A pool whose connections read no answer that comes too slowly, from its first byte on."""
        urllib3 = self._urllib3

        class Connection(urllib3.connection.HTTPSConnection):
            response_class = PacedAnswer

        class Connections(urllib3.HTTPSConnectionPool):
            ConnectionCls = Connection

        pool.pool_classes_by_scheme = pool.pool_classes_by_scheme | {"https": Connections}
        return pool

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
            self._pool.clear()

    def _post(self, path: str, body: bytes, size_bytes_max: int, thinking_s: float) -> bytes:
        """The answer to one request, read no further than allowed."""
        headers = {"accept-encoding": "identity", "content-length": str(len(body)), "user-agent": "conjoin"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        # Until a connection has sent its first request, what bounds connecting bounds sending too.
        timeout = self._urllib3.Timeout(connect=IDLE_SECONDS if self._token else CONNECT_SECONDS, read=thinking_s)
        try:
            response = self._pool.urlopen(
                "POST",
                self._base + path,
                redirect=False,
                retries=False,
                body=io.BytesIO(body),  # a file goes out in pieces of `blocksize`
                headers=headers,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
            try:
                data = self._read(response, size_bytes_max)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except self._urllib3.exceptions.HTTPError as cause:
            raise self._broken(cause) from cause
        if response.status != OK:
            raise self._refused(response.status, data, self._base)
        return data

    def _read(self, response: Any, size_bytes_max: int) -> bytes:
        most = size_bytes_max if response.status == OK else MESSAGE_BYTES_MAX
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise ProtocolError(f"{announced} bytes are announced, at most {most} are read", where=self.where)
        data: bytes = response.read(most)  # in one go: a call for every TLS record takes twice the CPU
        if response.read(1):  # and the library says here if the answer was cut
            raise ProtocolError(f"more than {most} bytes came", where=self.where)
        return data

    def _broken(self, cause: Exception) -> RemoteError:
        """The error for a request without an answer."""
        kinds, text = self._urllib3.exceptions, str(cause)
        if isinstance(cause, kinds.SSLError) and "ingerprint" in text:
            return WrongPeerError(
                f"what answers at {self._base} shows another certificate than the ticket names",
                where=self.where,
                hint="ask for a new ticket; if the peer made no new certificate, somebody stands in between",
            )
        if isinstance(cause, kinds.NewConnectionError):
            what = f"nothing answers there ({cause.__cause__ or text})"
        elif isinstance(cause, kinds.TimeoutError):
            what = "it does not answer in time, or is too slow"
        elif isinstance(cause, kinds.ProxyError):
            what = f"the proxy does not reach it ({text})"
        else:
            what = f"the connection broke ({text or type(cause).__name__})"
        return self._unreachable(what, self._base)


def _socket_options() -> list[tuple[int, int, int]]:
    """No waiting for more to send, and where the system has them, probes and a small queue of what is not yet sent."""
    more = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _TCP.items() if hasattr(socket, name)]
    return [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *more]
