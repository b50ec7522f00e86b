"""Remote: a dumb place for objects; what a visit may rely on, and the little it may not."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, cast

from conjoin.errors import MissingObjectError, RemoteError
from conjoin.store.base import is_object
from conjoin.store.files import Bytes
from conjoin.wire.manifest import MANIFEST_BYTES_MAX
from conjoin.wire.objects import TOP

_FOLDERS = {
    "": re.compile("|".join(TOP)),
    "fork/": re.compile("[0-9a-f]{64}"),
    "leaf/": re.compile("[0-9a-f]{2}"),
    "ops/": re.compile("[0-9a-f]{64}"),
    "seg/": re.compile("[0-9a-f]{64}"),
}


class Remote(Protocol):
    """The other side of a sync when it is a place and not a peer: immutable objects under the names of `wire.objects`.

    Contract, proven for every implementation by `conjoin.testing.remote_suite.RemoteSuite`:

    * Nothing that a remote says is believed. It may withhold, forget, corrupt or invent; whoever calls verifies.
    * An object is written once and whole: `names`, `has` and `get` never show half of a `put`, and putting a name that
      is already there leaves what is there.
    * No locks, conditional writes, range reads, renames or deletions are offered, because no bucket has all of them.
    * A listing may lag behind the writes of others, in any order. It names only objects, never foreign files.
    * Every method may be called from several threads at once.
    """

    @property
    def where(self) -> str:
        """How errors and reports name this remote."""
        ...

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """The names of the objects that start with `prefix`, in any order.

        Args:
            prefix: any start of a name.
            after: names up to this one, in the order of their bytes, are not asked for. A hint: a place that cannot
                leave them out lists them too.

        Raises:
            RemoteError: the remote cannot be listed.
        """
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The first components of names below `prefix`, each once, in any order, without listing what is in them.

        Args:
            prefix: empty or ending in `/`: below `ops/`, `seg/` and `fork/` are the authors, below `leaf/` the
                pairs of characters, below the empty prefix the kinds of objects, below any other one nothing.

        A folder that holds no object may be among them, one that could hold none is not.

        Raises:
            RemoteError: the remote cannot be listed.
        """
        ...

    def has(self, name: str) -> bool:
        """Whether an object of this name is there; says nothing about its bytes.

        Raises:
            RemoteError: the remote cannot be asked.
        """
        ...

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """The bytes stored under `name`, unverified.

        Raises:
            MissingObjectError: there is no such object.
            RemoteError: it cannot be read, is no regular file, or holds more than `size_bytes_max` bytes.
        """
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store `data` under `name` unless that name is taken; durable when it returns.

        Raises:
            RemoteError: it cannot be written.
        """
        ...


def pieces_of(remote: Remote, name: str, size_bytes_max: int) -> Iterable[Bytes]:
    """What `Remote.get` gives, in pieces as they arrive where the remote can do that, and in one otherwise.

    Raises: as `Remote.get`, also after some pieces.
    """
    pieces = getattr(remote, "pieces", None)
    return cast("Iterable[Bytes]", pieces(name, size_bytes_max)) if pieces else (remote.get(name, size_bytes_max),)


def is_folder(prefix: str, component: str) -> bool:
    """Whether objects can have names that start with `prefix`, `component` and a slash."""
    pattern = _FOLDERS.get(prefix)
    return pattern is not None and pattern.fullmatch(component) is not None


def folders_among(names: Iterable[str], prefix: str) -> Iterator[str]:
    """`Remote.folders` of a remote that can only list names."""
    found = {name[len(prefix) :].partition("/")[0] for name in names if name.startswith(prefix)}
    return iter(sorted(component for component in found if is_folder(prefix, component)))


def walk(
    components: Callable[[str], Iterable[str]],
    prefix: str,
    *,
    each: Callable[[Callable[[str], Iterable[str]], list[str]], Iterable[Iterable[str]]] = map,
) -> Iterator[str]:
    """`Remote.names` of a remote that can only list one folder at a time.

    Args:
        components: the names of files and folders in a folder of the place, which is given with a slash at its end.
        prefix: any start of a name. Only folders in which such names can be are listed.
        each: calls `components` for every folder of a kind, like `map`.
    """
    for top in (f"{kind}/" for kind in TOP):
        if not _meet(top, prefix):
            continue
        folders = [top]
        if top in _FOLDERS:
            folders = [f"{top}{inner}/" for inner in components(top) if is_folder(top, inner)]
        folders = [folder for folder in folders if _meet(folder, prefix)]
        for folder, found in zip(folders, each(components, folders), strict=True):
            names = (folder + last for last in found)
            yield from (name for name in names if name.startswith(prefix) and is_object(name))


def _meet(folder: str, prefix: str) -> bool:
    return folder.startswith(prefix) or prefix.startswith(folder)


def missing_object(name: str, where: str) -> MissingObjectError:
    """The error for an object that a remote does not hold."""
    return MissingObjectError(f"{where} holds no such object", where=name)


def too_large(name: str, where: str, size_bytes_max: int) -> RemoteError:
    """The error for an object that is not read to its end."""
    return RemoteError(f"the object has more than {size_bytes_max} bytes", where=f"{where}: {name}")
