"""What a replica answers when it is asked about itself: plain values, with a JSON form each; reads nothing."""

from dataclasses import asdict, dataclass
from typing import Any

from conjoin.store.fsck import Damage
from conjoin.wire.digest import Digest

SHORT_CHARS = 12


class Value:
    """Shared by every value here: a JSON form."""

    def to_json(self) -> dict[str, Any]:
        """The fields as one JSON object."""
        return asdict(self)  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True)
class Added(Value):
    """The result of `add`. `new_bytes` is what was not in the store yet; `already` says that nothing had to be signed."""

    contribution: Digest
    operation: Digest
    tensors: int
    size_bytes: int
    new_bytes: int
    already: bool


@dataclass(frozen=True, slots=True)
class Retracted(Value):
    """The result of `retract`. `visible` says that somebody else's add still shows the contribution."""

    contribution: Digest
    operations: tuple[Digest, ...]
    visible: bool


@dataclass(frozen=True, slots=True)
class ContributionInfo(Value):
    """One contribution as this replica knows it. `complete`: all of its content is here. Sizes in bytes."""

    digest: Digest
    weights: Digest
    weight: str
    extras: dict[str, str]
    title: str
    license: str
    authors: tuple[str, ...]
    operations: tuple[Digest, ...]
    visible: bool
    complete: bool
    size_bytes: int | None
    time: str


@dataclass(frozen=True, slots=True)
class OperationInfo(Value):
    """One operation of the log."""

    id: Digest
    author: str
    seq: int
    type: str
    deps: tuple[Digest, ...]
    prev: Digest | None
    summary: str
    time: str


@dataclass(frozen=True, slots=True)
class Status(Value):
    """The whole replica at a glance."""

    path: str
    space: Digest
    name: str
    key: str
    role: str | None
    root: Digest
    base: Digest
    contributions: tuple[ContributionInfo, ...]
    members: dict[str, str]
    operations: int
    damaged: tuple[str, ...]
    forks: tuple[tuple[str, int, tuple[Digest, ...]], ...]
    missing_objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FsckReport(Value):
    """The result of reading every object again."""

    objects: int
    size_bytes: int
    damage: tuple[Damage, ...]
    repaired: tuple[str, ...] = ()


def operation_summary(kind: str, body: dict[str, Any], contribution: str | None) -> str:
    """One line for people about an operation of type `kind`."""
    if kind == "genesis":
        return f"founds the space {body.get('name', '')!r}, {'open' if body['policy']['open'] else 'closed'}"
    if kind == "member":
        return f"lets in {body['key'][:SHORT_CHARS]} as {body['role']}"
    if kind == "add":
        title = f" “{body['title']}”" if body.get("title") else ""
        return f"adds {(contribution or '')[:SHORT_CHARS]}{title}"
    if kind == "retract":
        return f"retracts {', '.join(add[:SHORT_CHARS] for add in body['adds'])}"
    return "of a newer version, carried along"
