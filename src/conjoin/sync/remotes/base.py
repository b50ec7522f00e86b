"""Remote: a dumb place for objects; what a visit may rely on, and the little it may not."""

from collections.abc import Iterator
from typing import Protocol

from conjoin.wire.manifest import MANIFEST_BYTES_MAX


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

    def names(self, prefix: str) -> Iterator[str]:
        """The names of the objects that start with `prefix`, in any order.

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
