"""A store in memory, for tests and for work that leaves no trace; forgets everything with the process."""

from collections.abc import Iterator

from conjoin.store.base import check_leaf, check_object, damaged, is_object, missing
from conjoin.store.files import Bytes
from conjoin.wire.digest import Digest
from conjoin.wire.objects import leaf_name


class MemoryStore:
    """Objects in a dictionary; keeps the promises of `Store` except that nothing outlives the process."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def has(self, name: str) -> bool:
        """See `Store`."""
        return name in self._objects

    def get(self, name: str) -> bytes:
        """See `Store`."""
        data = self._objects.get(name)
        if data is None:
            raise missing(name)
        check_object(name, data)
        return data

    def read_leaf(self, digest: Digest, into: memoryview, *, trusted: bool = False) -> int:
        """See `Store`."""
        name = leaf_name(digest)
        data = self._objects.get(name)
        if data is None:
            raise missing(name)
        if len(data) > len(into):
            raise damaged(name, f"the leaf has {len(data)} bytes and at most {len(into)} were expected")
        into[: len(data)] = data
        if not trusted:
            check_leaf(digest, data)
        return len(data)

    def put(self, name: str, data: Bytes) -> None:
        """See `Store`."""
        assert is_object(name), name
        if name not in self._objects:
            self._objects[name] = bytes(data)

    def take_over(self, other: "MemoryStore") -> None:
        """Hold everything that `other` holds too; no byte of it is read."""
        self._objects = {**other._objects, **self._objects}  # noqa: SLF001 (its own kind)

    def names(self, prefix: str) -> Iterator[str]:
        """See `Store`."""
        return iter(sorted(name for name in list(self._objects) if name.startswith(prefix)))

    def remove(self, name: str) -> None:
        """See `Store`."""
        self._objects.pop(name, None)
