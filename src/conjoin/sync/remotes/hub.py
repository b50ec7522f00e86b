"""A meeting place in a storage bucket of the Hugging Face Hub, through huggingface_hub; no model repository is one.

Buckets are mutable and keep no history, which is all that a place needs. Every object is a file of its own. Of what
huggingface_hub logs about the requests that are made here nothing is shown: what it tries again either works or becomes
an error. What others in the process ask of it is logged as ever.
"""

import logging
import re
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import local
from typing import Any, TypeVar

from conjoin.errors import NoSuchPlaceError, UnknownSourceError
from conjoin.store.base import is_object
from conjoin.store.files import read_whole
from conjoin.sync import pace
from conjoin.sync.remotes.base import folders_among, missing_object, too_large
from conjoin.sync.remotes.bucket import check_plain
from conjoin.sync.remotes.extras import package
from conjoin.sync.remotes.limits import PAGE_BYTES, PAGE_NAMES, too_slow, within
from conjoin.sync.remotes.trouble import trouble
from conjoin.wire.manifest import MANIFEST_BYTES_MAX

_URL = re.compile(r"hf://buckets/([^/]+/[^/]+)(?:/(.*?))?/*", re.IGNORECASE)
_LOGGER = "huggingface_hub.utils._http"
"""Tells of every request that failed and is made again."""
_here = local()
"""`asking` in threads that ask on behalf of this room."""
T = TypeVar("T")


class HubRemote:
    """Objects below a prefix of a bucket on the Hub."""

    def __init__(self, api: Any, bucket: str, root: str, where: str) -> None:
        """A place.

        Args:
            api: huggingface_hub's HfApi.
            bucket: its id, `organisation/name`.
            root: the folder in it, empty or ending in a slash.
            where: how reports name it.
        """
        self.where = where
        self._api = api
        self._bucket = bucket
        self._root = root
        logging.getLogger(_LOGGER).addFilter(_asked_elsewhere)  # once, however often it is added
        errors = package("huggingface_hub.errors", "hf")
        self._no_bucket: type[Exception] = errors.BucketNotFoundError
        self._no_entry: type[Exception] = errors.EntryNotFoundError
        # HTTPError is the client's own; the library that moves the bytes raises RuntimeError and OSError.
        self._failures: tuple[type[Exception], ...] = (errors.HTTPError, OSError, ValueError, RuntimeError)

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """See `Remote`."""
        with self._trying("listed"):
            listed: Iterator[Any] = iter(
                self._api.list_bucket_tree(self._bucket, f"{self._root}{prefix}" or None, recursive=True)
            )
        while True:
            with self._trying("listed"):
                try:
                    page = self._asked("listed", prefix, lambda: list(islice(listed, PAGE_NAMES)))
                except self._no_entry:
                    return
            if not page:
                return
            for found in page:
                name = str(found.path).removeprefix(self._root)
                if found.type == "file" and name.startswith(prefix) and name > after and is_object(name):
                    yield name

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Remote`."""
        return folders_among(self.names(prefix), prefix)

    def has(self, name: str) -> bool:
        """See `Remote`."""
        return is_object(name) and self._info(name) is not None

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """See `Remote`."""
        info = self._info(name) if is_object(name) else None
        if info is None:
            raise missing_object(name, self.where)
        if info.size > size_bytes_max:
            raise too_large(name, self.where, size_bytes_max)
        scratch = tempfile.TemporaryDirectory(prefix="conjoin-", ignore_cleanup_errors=True)
        with scratch as folder, self._trying("read", name):
            file = Path(folder) / "object"
            self._asked("read", name, lambda: self._api.download_bucket_files(self._bucket, [(info, file)]), info.size)
            data = read_whole(file, size_bytes_max)
        if data is None:
            raise too_large(name, self.where, size_bytes_max)
        return data

    def put(self, name: str, data: bytes) -> None:
        """See `Remote`."""
        assert is_object(name), name
        if not self.has(name):
            path = f"{self._root}{name}"
            with self._trying("written", name):
                self._asked(
                    "written", name, lambda: self._api.batch_bucket_files(self._bucket, add=[(data, path)]), len(data)
                )

    def _info(self, name: str) -> Any:
        """What the Hub says about a file, or None."""
        path = f"{self._root}{name}"
        with self._trying("read", name):
            infos = self._asked("read", name, lambda: list(self._api.get_bucket_paths_info(self._bucket, [path])))
        return next((info for info in infos if info.path == path), None)

    def _asked(self, done: str, at: str, call: Callable[[], T], size_bytes: int = 0) -> T:
        """What `call` returns, in the time of so many bytes and of a page of names: the Hub may say that it is to wait.

        Raises:
            UnreachableError: it takes longer; otherwise whatever `call` raises.
        """

        def quiet() -> T:
            _here.asking = True  # the thread is of this call alone
            return call()

        return within(pace.seconds_max(PAGE_BYTES + size_bytes), quiet, too_slow(self.where, done, at))

    @contextmanager
    def _trying(self, done: str, at: str | None = None) -> Generator[None]:
        try:
            yield
        except self._no_bucket:
            raise NoSuchPlaceError(
                f"{self.where} cannot be {done}: there is no such bucket, or it is private",
                where=self.where,
                hint=f"`hf buckets create {self._bucket}` makes it; a private one needs `hf auth login` or HF_TOKEN",
            ) from None
        except self._failures as error:
            raise trouble(error, self.where, done, prefix="HF_", at=at) from None


def _asked_elsewhere(_: logging.LogRecord) -> bool:
    """Whether a request was made by others in this process."""
    return not getattr(_here, "asking", False)


def open_hub(url: str) -> HubRemote:
    """The meeting place at `hf://buckets/organisation/name` or below; nothing is asked of it yet.

    Raises:
        UnknownSourceError: the URL names something else on the Hub.
        MissingExtraError: huggingface_hub is not installed.
    """
    check_plain(url)
    match = _URL.fullmatch(url)
    if match is None:
        raise UnknownSourceError(
            f"{url} is no storage bucket", where=url, hint="write hf://buckets/organisation/name, or add /folder"
        )
    hub = package("huggingface_hub", "hf")
    package("huggingface_hub.utils", "hf").disable_progress_bars()  # conjoin draws one of its own
    root = f"{match.group(2)}/" if match.group(2) else ""
    return HubRemote(hub.HfApi(), match.group(1), root, url.rstrip("/"))
