"""A meeting place in a bucket of S3, Google Cloud or Azure, through obstore; relies on put, get, head and list only.

Three clients, because limits of time in obstore are those of a client. What is read may not stand still, and its pace
is measured as it comes. An answer that comes in one piece, such as a page of names, has its time as a whole. So has an
object that is written, whose upload would count as standing still. Objects are fetched whole and never by range.
obstore's synchronous calls release the interpreter, so that threads that call them run side by side; its asynchronous
ones abort the interpreter when it ends, and are not used.
"""

import os
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conjoin.errors import RemoteError, UnknownSourceError
from conjoin.store.base import is_object
from conjoin.store.files import Bytes
from conjoin.sync import pace
from conjoin.sync.remotes import aws
from conjoin.sync.remotes.base import is_folder, missing_object, too_large
from conjoin.sync.remotes.extras import package
from conjoin.sync.remotes.limits import PAGE_BYTES, PAGE_NAMES, WRITE_SECONDS_MAX, too_slow
from conjoin.sync.remotes.trouble import shown, trouble, without_secrets
from conjoin.wire.manifest import MANIFEST_BYTES_MAX

SCHEMES = {"s3": "AWS_", "s3a": "AWS_", "gs": "GOOGLE_", "az": "AZURE_", "abfs": "AZURE_", "abfss": "AZURE_"}
"""Schemes of buckets, and how the environment variables begin that configure each."""
ENDPOINTS = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
"""Environment variables that name an endpoint."""
CONNECT_SECONDS_MAX = 10
RETRIES_MAX = 4
RETRY_SECONDS_MAX = 60


class BucketRemote:
    """Objects below a prefix of a bucket."""

    def __init__(self, asking: Any, reading: Any, writing: Any, where: str, *, prefix: str = "") -> None:
        """A place.

        Args:
            asking: obstore's store for listing and asking what is there.
            reading: obstore's store of the same place for getting.
            writing: the same for putting.
            where: how reports name it.
            prefix: how environment variables begin that configure such places, for hints.
        """
        self.where = where
        self._asking = asking
        self._reading = reading
        self._writing = writing
        self._prefix = prefix
        self._failures = failures()

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """See `Remote`."""
        folder = prefix.rpartition("/")[0] or None
        with self._trying("listed"):
            pages = self._asking.list(folder, offset=after or None, chunk_size=PAGE_NAMES)
        while True:
            with self._trying("listed"):
                page = next(pages, None)
            if page is None:
                return
            for found in page:
                name: str = found["path"]
                if name.startswith(prefix) and is_object(name):
                    yield name

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Remote`."""
        with self._trying("listed"):
            found = self._asking.list_with_delimiter(prefix.rstrip("/") or None)["common_prefixes"]
        for path in found:
            component = str(path).rpartition("/")[2]
            if is_folder(prefix, component):
                yield component

    def has(self, name: str) -> bool:
        """See `Remote`."""
        if not is_object(name):
            return False
        with self._trying("read", name):
            try:
                self._asking.head(name)
            except FileNotFoundError:
                return False
        return True

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """See `Remote`."""
        return b"".join(self.pieces(name, size_bytes_max))

    def pieces(self, name: str, size_bytes_max: int) -> Iterator[Bytes]:
        """See `sync.remotes.base.pieces_of`."""
        if not is_object(name):
            raise missing_object(name, self.where)
        with self._trying("read", name):
            try:
                found = self._reading.get(name)
            except FileNotFoundError:
                raise missing_object(name, self.where) from None
            if found.meta["size"] > size_bytes_max:  # the client reads no more than the place has announced
                raise too_large(name, self.where, size_bytes_max)
            began, moved_bytes = time.monotonic(), 0
            for piece in found.stream(1):  # what has come, however little: a larger piece would be waited for
                moved_bytes += len(piece)
                if pace.seconds_left(began, moved_bytes) <= 0:
                    raise too_slow(self.where, "read", name)
                yield piece

    def put(self, name: str, data: bytes) -> None:
        """See `Remote`. Between asking and writing another writer may come; then both have written the same bytes."""
        assert is_object(name), name
        if self.has(name):
            return
        with self._trying("written", name):
            self._writing.put(name, data, use_multipart=False)

    @contextmanager
    def _trying(self, done: str, at: str | None = None) -> Generator[None]:
        try:
            yield
        except self._failures as error:
            raise trouble(error, self.where, done, prefix=self._prefix, at=at) from None


def failures() -> tuple[type[Exception], ...]:
    """What obstore's calls raise."""
    return (package("obstore.exceptions", "cloud").BaseError, OSError, ValueError)


def open_bucket(url: str, environment: Mapping[str, str] = os.environ) -> BucketRemote:
    """The meeting place at `url`, such as `s3://bucket/prefix`; nothing is asked of it yet.

    Credentials, endpoint and region come from the environment variables that obstore reads, for S3 also from the
    files of the AWS command line.

    Args:
        url: with a scheme of `SCHEMES`.
        environment: the environment variables.

    Raises:
        UnknownSourceError: the URL names no bucket, or holds more than a bucket and a prefix.
        MissingExtraError: obstore is not installed.
        RemoteError: the configuration is not one.
    """
    parts = urlsplit(url)
    prefix = SCHEMES[parts.scheme.lower()]
    check_plain(url, allow_user=parts.scheme.lower().startswith("abfs"))
    if not parts.netloc:
        raise UnknownSourceError(
            f"{url} names no bucket", where=url, hint=f"write {parts.scheme}://bucket or {parts.scheme}://bucket/prefix"
        )
    from_url = package("obstore.store", "cloud").from_url
    config = aws.profile(environment) if prefix == "AWS_" else {}
    endpoints = {name: environment.get(name, "") for name in ENDPOINTS if name.startswith(prefix)}
    _check_endpoints(url, {**endpoints, "endpoint_url": config.get("endpoint", "")})
    common = {**client_options(prefix, environment), "connect_timeout": timedelta(seconds=CONNECT_SECONDS_MAX)}
    try:
        stores = [
            from_url(url, config=config or None, client_options=common | limits, retry_config=retries())
            for limits in (asking_limits(), reading_limits(), writing_limits())
        ]
    except failures() as error:
        raise trouble(error, url, "used", prefix=prefix) from None
    return BucketRemote(*stores, where=url, prefix=prefix)


def _check_endpoints(url: str, endpoints: Mapping[str, str]) -> None:
    """Refuse an endpoint that is no URL: the client library would not do so before it panics."""
    for name, value in endpoints.items():
        try:
            parts = urlsplit(value)
            usable = (
                parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and value.split() == [value]
            )
        except ValueError:
            usable = False
        if value and not usable:
            told = without_secrets(value).rpartition("@")[2]
            raise RemoteError(f"{name} is {told!r:.80}, which is no URL", where=url, hint="write https://host:port")


def check_plain(url: str, *, allow_user: bool = False) -> None:
    """Return if `url` is a place and a path and nothing else.

    Raises:
        UnknownSourceError: it holds a user name, password, query or fragment.
    """
    parts = urlsplit(url)
    if parts.password is not None or (parts.username is not None and not allow_user):
        raise UnknownSourceError(
            f"{shown(url)} holds credentials",
            where=shown(url),
            hint="others see command lines: keep credentials in the environment or the service's own files",
        )
    if parts.query or parts.fragment:
        raise UnknownSourceError(
            f"{shown(url)} holds options",
            where=shown(url),
            hint="endpoint, region and the like come from the environment, such as AWS_ENDPOINT_URL and AWS_REGION",
        )


def client_options(prefix: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What obstore would take from the environment by itself, had it not been given limits of time too."""
    options: dict[str, Any] = {}
    for name in ("allow_http", "allow_invalid_certificates"):
        if f"{prefix}{name.upper()}" in environment:
            options[name] = environment[f"{prefix}{name.upper()}"].strip().lower() in {"1", "true", "yes", "on"}
    for name in ("proxy_url", "proxy_ca_certificate", "proxy_excludes"):
        if value := environment.get(f"{prefix}{name.upper()}"):
            options[name] = value
    if prefix == "AWS_" and (bundle := environment.get("AWS_CA_BUNDLE")):
        try:
            options["root_certificate"] = Path(bundle).read_text(encoding="utf-8")
        except (OSError, ValueError) as cause:
            raise UnknownSourceError("the file of AWS_CA_BUNDLE cannot be read", where=bundle) from cause
    return options


def asking_limits() -> dict[str, timedelta]:
    """Limits of time for a client that lists and asks what is there."""
    whole = timedelta(seconds=pace.seconds_max(PAGE_BYTES))
    return {"read_timeout": timedelta(seconds=pace.IDLE_SECONDS), "timeout": whole}


def reading_limits() -> dict[str, timedelta]:
    """Limits of time for a client that gets."""
    whole = timedelta(seconds=pace.seconds_max(MANIFEST_BYTES_MAX))
    return {"read_timeout": timedelta(seconds=pace.IDLE_SECONDS), "timeout": whole}


def writing_limits() -> dict[str, timedelta]:
    """Limits of time for a client that puts."""
    return {"timeout": timedelta(seconds=WRITE_SECONDS_MAX)}


def retries() -> dict[str, Any]:
    """How often what failed for a moment is tried again."""
    return {"max_retries": RETRIES_MAX, "retry_timeout": timedelta(seconds=RETRY_SECONDS_MAX)}
