"""Another replica's directory as a remote: reads and writes its objects; never sees its key."""

import os
from collections.abc import Iterator
from pathlib import Path

from conjoin.errors import DamagedObjectError, RemoteError
from conjoin.store.base import Store, read_leaf, size_limit
from conjoin.store.inplace import References, ReplicaStore
from conjoin.sync.remotes.base import folders_among
from conjoin.sync.remotes.folder import as_remote_error
from conjoin.wire.manifest import MANIFEST_BYTES_MAX
from conjoin.wire.objects import parse_leaf

HOME = ".conjoin"


class StoreRemote:
    """A store as a remote. Leaves come unverified, like everything a remote gives."""

    def __init__(self, store: Store, where: str) -> None:
        self.where = where
        self._store = store

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """See `Remote`."""
        with as_remote_error(self.where, "listed"):
            yield from (name for name in self._store.names(prefix) if name > after)

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Remote`."""
        with as_remote_error(self.where, "listed"):
            yield from folders_among(self._store.names(prefix), prefix)

    def has(self, name: str) -> bool:
        """See `Remote`."""
        with as_remote_error(self.where, "read"):
            return self._store.has(name)

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """See `Remote`."""
        try:
            with as_remote_error(self.where, "read"):
                data = self._read(name)
        except DamagedObjectError as cause:
            raise RemoteError(f"the object is damaged there: {cause.what}", where=f"{self.where}: {name}") from cause
        if len(data) > min(size_bytes_max, size_limit(name)):
            raise RemoteError(f"the object has {len(data)} bytes, over {size_bytes_max}", where=f"{self.where}: {name}")
        return data

    def put(self, name: str, data: bytes) -> None:
        """See `Remote`."""
        with as_remote_error(self.where, "written"):
            self._store.put(name, data)

    def _read(self, name: str) -> bytes:
        """One object; a leaf is not hashed here, because whoever asked hashes it anyway."""
        leaf = parse_leaf(name)
        if leaf is None:
            return self._store.get(name)
        return read_leaf(self._store, leaf)


class ReplicaRemote(StoreRemote):
    """The replica at `path`, whether or not another process has it open: objects only ever appear whole."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        home = Path(path) / HOME
        local = home / "local"
        super().__init__(ReplicaStore(home, local / "tmp", References(local / "inplace")), os.fspath(path))
