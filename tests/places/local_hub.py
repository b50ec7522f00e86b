"""A stand-in for the Hub's storage buckets: its HTTP answers for listing and asking, plain HTTP for bytes.

What is real: huggingface_hub's own code for listing, paging, asking after paths and reading errors, over HTTP. What
is not: the service that moves the bytes (Xet), whose protocol is not spoken here; `LocalApi` sends and fetches them
by plain requests instead. Nothing here was compared with the Hub itself.
"""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from huggingface_hub import HfApi

PAGE = 5
BUCKET = "clinic/models"
TIME = "2026-01-01T00:00:00.000Z"


class LocalApi(HfApi):
    """HfApi whose bytes travel by plain HTTP."""

    def batch_bucket_files(self, bucket_id: str, *, add: list[tuple[bytes, str]], **_: object) -> None:
        for data, path in add:
            url = f"{self.endpoint}/bytes/{bucket_id}/{quote(path)}"
            try:
                urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=30).close()
            except urllib.error.HTTPError as error:
                raise OSError(f"{error.code} Forbidden: the token may not write") from error

    def download_bucket_files(self, bucket_id: str, files: list[tuple[object, Path]], **_: object) -> None:
        for info, path in files:
            with urllib.request.urlopen(f"{self.endpoint}/bytes/{bucket_id}/{info.path}", timeout=30) as answer:
                path.write_bytes(answer.read())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer goes out in one piece
    server: "Hub"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _entry(self, path: str) -> dict[str, object]:
        size = len(self.server.objects[path])
        return {"type": "file", "path": path, "size": size, "xetHash": "0" * 64, "mtime": TIME, "uploadedAt": TIME}

    def _known(self, start: str) -> str | None:
        """What follows the bucket's address in the path, or None after an answer that there is no such bucket."""
        path = urlsplit(self.path).path
        if path.startswith(f"{start}/{BUCKET}"):
            return unquote(path.removeprefix(f"{start}/{BUCKET}"))
        self._answer(404, X_Error_Code="RepoNotFound")
        return None

    def do_GET(self) -> None:
        if self.path.startswith("/bytes/"):
            name = self._known("/bytes")
            data = self.server.objects.get((name or "").removeprefix("/"))
            return self._answer(404) if data is None else self._answer(200, data)
        rest = self._known("/api/buckets")
        if rest is None:
            return None
        prefix = rest.removeprefix("/tree").removeprefix("/")
        query = parse_qs(urlsplit(self.path).query)
        after = query.get("cursor", [""])[0]
        left = sorted(path for path in list(self.server.objects) if path.startswith(prefix) and path > after)
        more = {}
        if len(left) > PAGE:
            here = f"http://127.0.0.1:{self.server.server_port}{urlsplit(self.path).path}"
            more["Link"] = f'<{here}?recursive=true&cursor={quote(left[PAGE - 1])}>; rel="next"'
        body = json.dumps([self._entry(path) for path in left[:PAGE]]).encode()
        return self._answer(200, body, Content_Type="application/json", **more)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
        if self._known("/api/buckets") is not None:
            found = [self._entry(path) for path in asked if path in self.server.objects]
            self._answer(200, json.dumps(found).encode(), Content_Type="application/json")

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        name = self._known("/bytes")
        if name is not None:
            if self.server.read_only:
                return self._answer(403)
            self.server.objects[name.removeprefix("/")] = data
            self._answer(200)
        return None


class Hub(ThreadingHTTPServer):
    """The server; `objects` are the files of its one bucket."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.read_only = False

    @property
    def api(self) -> LocalApi:
        """A client of this server."""
        return LocalApi(endpoint=f"http://127.0.0.1:{self.server_port}", token=False)


@contextmanager
def local_hub() -> Generator[Hub]:
    """Serve until the block ends."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
