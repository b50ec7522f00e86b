"""A meeting place on anything that fsspec can reach (SFTP, WebDAV, FTP, SMB, …): one call at a time, slow, general.

An object is written under `.tmp/` and then moved to its name, so that it appears whole where moving is one step; what
a writer that died left in `.tmp/` stays there.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from conjoin.errors import ConjoinError, MissingExtraError, UnknownSourceError, UnreachableError
from conjoin.store.base import is_object
from conjoin.sync import pace
from conjoin.sync.remotes.base import is_folder, missing_object, too_large, walk
from conjoin.sync.remotes.extras import package
from conjoin.sync.remotes.folder import TEMPORARY
from conjoin.sync.remotes.limits import PAGE_BYTES, WRITE_SECONDS_MAX, too_slow, within
from conjoin.sync.remotes.trouble import shown, trouble
from conjoin.wire.manifest import MANIFEST_BYTES_MAX

T = TypeVar("T")
_WEBDAV = ("webdav", "dav")


class GenericRemote:
    """Objects below `root` of a file system of fsspec."""

    def __init__(self, files: Any, root: str, where: str) -> None:
        """A place.

        Args:
            files: fsspec's file system.
            root: path in it, without a slash at its end.
            where: how reports name it.
        """
        self.where = where
        self._files = files
        self._root = root
        self._made: set[str] = set()
        self._lock = Lock()
        self._stuck = False
        """Whether a call was left behind, so that there is no room for another one."""

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """See `Remote`."""
        return (name for name in walk(self._components, prefix) if name > after)

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Remote`."""
        return (part for part in self._components(prefix, "directory") if is_folder(prefix, part))

    def has(self, name: str) -> bool:
        """See `Remote`."""
        if not is_object(name):
            return False
        return self._asked("read", name, pace.seconds_max(0), lambda: self._size_bytes(name)) is not None

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """See `Remote`."""
        if not is_object(name):
            raise missing_object(name, self.where)
        size_bytes = self._asked("read", name, pace.seconds_max(0), lambda: self._size_bytes(name))
        if size_bytes is None:
            raise missing_object(name, self.where)
        data = b""
        if size_bytes <= size_bytes_max:
            seconds = pace.seconds_max(size_bytes or size_bytes_max)
            data = self._asked("read", name, seconds, lambda: self._read(name, size_bytes, size_bytes_max))
        if max(size_bytes, len(data)) > size_bytes_max:
            raise too_large(name, self.where, size_bytes_max)
        return data

    def put(self, name: str, data: bytes) -> None:
        """See `Remote`."""
        assert is_object(name), name
        self._asked("written", name, WRITE_SECONDS_MAX, lambda: self._write(name, data))

    def _read(self, name: str, size_bytes: int, size_bytes_max: int) -> bytes:
        with self._files.open(self._path(name), "rb") as file:
            if hasattr(file, "prefetch"):  # SFTP, which otherwise asks for one small piece after the other
                file.prefetch(size_bytes)
            return bytes(file.read(size_bytes_max + 1))

    def _write(self, name: str, data: bytes) -> None:
        unfinished = self._path(f"{TEMPORARY}/{secrets.randbits(48)}-{secrets.token_hex(8)}")
        if self._size_bytes(name) is not None:
            return
        self._make(self._path(TEMPORARY))
        self._make(self._path(name).rpartition("/")[0])
        try:
            with self._files.open(unfinished, "wb") as file:
                if hasattr(file, "set_pipelined"):
                    file.set_pipelined(True)
                file.write(data)
            self._files.mv(unfinished, self._path(name))
        except BaseException:
            with suppress(Exception):
                self._files.rm_file(unfinished)
            raise

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _size_bytes(self, name: str) -> int | None:
        """The size that the place states for a file, 0 where it states none; None where there is no such file."""
        self._files.invalidate_cache()
        try:
            found = self._files.info(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return int(found.get("size") or 0) if found["type"] == "file" else None

    def _components(self, folder: str, kind: str | None = None) -> list[str]:
        """What a folder of the place holds, by the last parts of the names; nothing where there is no such folder."""
        found = self._asked("listed", folder, pace.seconds_max(PAGE_BYTES), lambda: self._entries(folder))
        wanted = {kind} if kind else {"file", "directory"}
        return [str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in found if entry["type"] in wanted]

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        self._files.invalidate_cache()
        try:
            return self._files.ls(self._path(folder).rstrip("/"), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _make(self, folder: str) -> None:
        if folder not in self._made:
            self._files.makedirs(folder, exist_ok=True)
            self._made.add(folder)

    def _asked(self, done: str, at: str, seconds: float, call: Callable[[], T]) -> T:
        """What `call` returns, if it does so in time.

        Raises:
            RemoteError: it takes longer, an earlier one did, or it fails.
        """
        slow = too_slow(self.where, done, at)
        with self._lock:
            if self._stuck:
                raise slow
            try:
                return within(seconds, call, slow)
            except UnreachableError:
                self._stuck = True
                raise
            except Exception as error:  # noqa: BLE001 (every file system of fsspec raises what its own library does)
                raise trouble(error, self.where, done, at=at) from None


def open_generic(url: str) -> GenericRemote:
    """The meeting place at a URL of any scheme that fsspec knows.

    Raises:
        UnknownSourceError: fsspec knows no such scheme, or the URL names no server.
        MissingExtraError: fsspec, or what it needs for this scheme, is not installed.
        RemoteError: the place cannot be reached.
    """
    where, scheme = shown(url), url.partition("://")[0].lower()
    core = package("fsspec.core", "cloud")
    known: dict[str, dict[str, str]] = package("fsspec.registry", "cloud").known_implementations
    try:
        files, root = _webdav(url) if scheme in _WEBDAV else core.url_to_fs(url, skip_instance_cache=True)
    except ImportError as cause:
        needs = known.get(scheme, {}).get("err", str(cause))
        raise MissingExtraError(
            f"{scheme}:// needs another package: {needs}", where=where, hint="install it with pip"
        ) from cause
    except ConjoinError:
        raise
    except Exception as error:  # noqa: BLE001 (see above)
        if scheme not in known:
            raise UnknownSourceError(
                f"{scheme}:// is no kind of place that is known here",
                where=where,
                hint="name a folder, a replica's directory, or a URL such as s3://bucket/prefix or sftp://host/path",
            ) from None
        raise trouble(error, where, "reached") from None
    return GenericRemote(files, str(root).rstrip("/"), where)


def _webdav(url: str) -> tuple[Any, str]:
    """The file system of `webdav://[user:password@]server/folder`, which always is behind TLS."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if not host:
        where = shown(url)
        raise UnknownSourceError(f"{where} names no server", where=where, hint="write webdav://server/folder")
    user = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return package("fsspec", "cloud").filesystem("webdav", base_url=f"https://{host}", auth=user), parts.path
