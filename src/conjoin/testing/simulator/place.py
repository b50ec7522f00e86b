"""A meeting place on a bad day: slow to list what is new, sometimes away, and open to whoever puts rubbish there."""

from collections.abc import Iterator
from random import Random

from conjoin.errors import RemoteError
from conjoin.sync.remotes import MemoryRemote
from conjoin.wire.manifest import MANIFEST_BYTES_MAX


class Place(MemoryRemote):
    """Objects in memory.

    Attributes:
        failing: share of requests that fail.
        hiding: share of objects that a listing leaves out, as if it were an old one.
    """

    def __init__(self, chance: Random, *, failing: float = 0.0, hiding: float = 0.0) -> None:
        super().__init__("place")
        self.failing = failing
        self.hiding = hiding
        self._chance = chance

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """See `Remote`."""
        self._fail()
        names = list(super().names(prefix, after))
        return iter([name for name in names if not self.hiding or self._chance.random() >= self.hiding])

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Remote`."""
        self._fail()
        return super().folders(prefix)

    def has(self, name: str) -> bool:
        """See `Remote`."""
        self._fail()
        return super().has(name)

    def get(self, name: str, size_bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """See `Remote`."""
        self._fail()
        return super().get(name, size_bytes_max)

    def put(self, name: str, data: bytes) -> None:
        """See `Remote`."""
        self._fail()
        super().put(name, data)

    def _fail(self) -> None:
        if self.failing and self._chance.random() < self.failing:
            raise RemoteError("the place does not answer")
