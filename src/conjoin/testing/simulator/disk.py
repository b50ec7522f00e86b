"""A disk that fails: a store whose writes can be cut short by a crash or refused; keeps exactly what `Store` promises.

A write that returned is kept, one that a crash interrupts is either whole or not there, and leaves of an open `batch`
may be lost. A torn object is never seen, because a store writes under another name first.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from conjoin.errors import DiskFullError
from conjoin.store.files import Bytes
from conjoin.store.keyuse import KeyUse
from conjoin.store.memory import MemoryStore
from conjoin.wire.objects import parse_leaf


class CrashError(Exception):
    """The machine stops here; nothing of the product catches it."""


@dataclass(frozen=True)
class Image:
    """What a disk held at a moment: all objects, the key's label and what was remembered of the key."""

    objects: dict[str, bytes]
    label: str
    use: KeyUse


class Disk(MemoryStore):
    """Objects and the few local facts beside them.

    Attributes:
        label: of the key in use.
        use: what is remembered of that key.
        crash_in: so many writes from now the machine stops; None: it does not.
        full: whether writes are refused.
        written: names in the order in which they were kept.
    """

    def __init__(self, chance: Random, label: str, use: KeyUse) -> None:
        super().__init__()
        self._chance = chance
        self._unsynced: set[str] = set()
        self._batches = 0
        self.label = label
        self.use = use
        self.crash_in: int | None = None
        self.full = False
        self._stopped = False
        self.written: list[str] = []

    def put(self, name: str, data: Bytes) -> None:
        """See `Store`."""
        if self.has(name):
            return
        later = self._batches > 0 and parse_leaf(name) is not None
        cut = self._about_to_write()
        if not later:  # whatever it names is durable before it is
            self._unsynced.clear()
        if not cut or self._chance.random() < 0.5:
            super().put(name, data)
            self.written.append(name)
        if cut:
            raise CrashError
        if later:
            self._unsynced.add(name)

    def remember(self, label: str, use: KeyUse) -> None:
        """Keep the label of the key and what is known of it, in place of what was known."""
        cut = self._about_to_write()
        if not cut or self._chance.random() < 0.5:
            self.label, self.use = label, use
        if cut:
            raise CrashError

    @contextmanager
    def batch(self) -> Generator[None]:
        """See `store.base.batch`."""
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            if not self._batches:
                self._unsynced.clear()

    def image(self) -> Image:
        """A backup of everything."""
        return Image(dict(self._objects), self.label, self.use)

    def after_crash(self) -> "Disk":
        """The disk as the machine finds it when it starts again: some of what was not made durable is gone."""
        lost = {name for name in sorted(self._unsynced) if self._chance.random() < 0.5}
        kept = {name: data for name, data in self._objects.items() if name not in lost}
        return self.restored(Image(kept, self.label, self.use))

    def restored(self, image: Image) -> "Disk":
        """A disk with the content of `image`."""
        disk = Disk(self._chance, image.label, image.use)
        disk._objects = dict(image.objects)
        disk.written = list(image.objects)
        return disk

    def _about_to_write(self) -> bool:
        """Whether the machine stops in this write."""
        if self._stopped:
            raise CrashError
        if self.full:
            raise DiskFullError("the disk is full")
        if self.crash_in is None:
            return False
        self.crash_in -= 1
        self._stopped = self.crash_in < 0
        return self._stopped
