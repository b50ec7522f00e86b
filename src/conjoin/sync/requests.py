"""What a visit or a session asks of its driver, and by which bytes it judges a leaf; plain values that do nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from conjoin.errors import ConjoinError, DamagedObjectError
from conjoin.log import Operation
from conjoin.wire.digest import Digest, leaf_digest
from conjoin.wire.objects import leaf_name

OPERATION_BYTES_MAX = 96 * 1024
"""Largest envelope that is fetched: a 64 KiB payload in base64 and its signature."""
NAMES_MAX = 1_000_000
"""A listing is cut off here, whatever the remote goes on saying."""


@dataclass(frozen=True, slots=True)
class ListNames:
    """Ask the remote for its names under `prefix`. Answer: an iterable of text; it is read to `NAMES_MAX` at most.

    Names up to `after` are not wanted, and may come all the same.
    """

    prefix: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class ListFolders:
    """Ask the remote for the first components of its names below `prefix`. Answer: as of `ListNames`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the remote for small objects. Answer: for each name in turn its bytes, or the error that it met."""

    names: tuple[str, ...]
    size_bytes_max: int


@dataclass(frozen=True, slots=True)
class Held:
    """Ask the store which of `names` it has. Answer: a set of names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Ask the store for one object, verified. Answer: its bytes, or the error that it met."""

    name: str


@dataclass(frozen=True, slots=True)
class WantedLeaf:
    """A leaf to move, with everything needed to judge the bytes that arrive.

    Attributes:
        digest: of its bytes.
        size_bytes: their number.
        like: a leaf of the base at the same place of the same tensor, from which it may differ little.
        item_bytes: size of an element of the tensor.
    """

    digest: Digest
    size_bytes: int
    like: Digest | None = None
    item_bytes: int = 1

    @property
    def name(self) -> str:
        """The object's name."""
        return leaf_name(self.digest)

    def check(self, data: bytes) -> None:
        """Return if `data` may be kept under this leaf's name.

        Raises: as `judge`.
        """
        self.judge(len(data), leaf_digest(data))

    def judge(self, size_bytes: int, digest: Digest) -> None:
        """Return if what has this length and this digest may be kept under this leaf's name.

        Raises:
            DamagedObjectError: it has another length or another digest.
        """
        if size_bytes != self.size_bytes:
            raise DamagedObjectError(
                f"leaf has {size_bytes} bytes, its manifest says {self.size_bytes}", where=self.name
            )
        if digest != self.digest:
            raise DamagedObjectError("leaf does not match its digest", where=self.name)


@dataclass(frozen=True, slots=True)
class PullLeaves:
    """Fetch each leaf, `check` it, keep it: in any order, several at once. Answer: the errors met, by name."""

    what: str
    leaves: tuple[WantedLeaf, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """Put one verified object into the store. No answer."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Persist:
    """Keep one admitted operation; its ancestors were named in earlier requests. No answer."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class PushLeaves:
    """Send leaves of the store to the remote, several at once. Answer: name → error for those that failed."""

    what: str
    leaves: tuple[WantedLeaf, ...]


@dataclass(frozen=True, slots=True)
class Push:
    """Send one object to the remote. Answer: None, or the error that it met."""

    name: str
    data: bytes


Request = ListNames | ListFolders | Fetch | Held | Read | PullLeaves | Keep | Persist | PushLeaves | Push
Failures = Mapping[str, ConjoinError]
