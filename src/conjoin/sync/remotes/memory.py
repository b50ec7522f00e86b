"""A meeting place held in memory, for tests and simulations; keeps nothing when the process ends."""

from collections.abc import Iterator

from conjoin.errors import MissingObjectError, RemoteError
from conjoin.sync.remotes.base import folders_among
from conjoin.wire.manifest import MANIFEST_BYTES_MAX


class MemoryRemote:
    """Objects in a dictionary. `objects` may be read and changed by a test that plays a hostile storage."""

    def __init__(self, where: str = "memory") -> None:
        self.where = where
        self.objects: dict[str, bytes] = {}

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """The names that start with `prefix` and come after `after`."""
        return iter([name for name in list(self.objects) if name.startswith(prefix) and name > after])

    def folders(self, prefix: str) -> Iterator[str]:
        """The first components of names below `prefix`."""
        return folders_among(list(self.objects), prefix)

    def has(self, name: str) -> bool:
        """Whether `name` is stored."""
        return name in self.objects

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """The bytes under `name`.

        Raises:
            MissingObjectError: there is no such object.
            RemoteError: it is larger than `size_bytes_max`.
        """
        data = self.objects.get(name)
        if data is None:
            raise MissingObjectError(f"{self.where} has no object {name}", where=name)
        if len(data) > size_bytes_max:
            raise RemoteError(f"object has {len(data)} bytes, at most {size_bytes_max} are allowed here", where=name)
        return data

    def put(self, name: str, data: bytes) -> None:
        """Store `data` under `name` unless that name is taken."""
        self.objects.setdefault(name, bytes(data))
