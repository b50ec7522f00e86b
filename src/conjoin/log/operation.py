"""Operation: one signed fact of the log, read from its envelope; refuses what is not canonical, well-formed and signed.

This is everything that can be said about an operation without its ancestors: rules A1 (bytes and structure) and A3
(key and signature) of docs/spec/operations.md. What needs ancestors is in admission.py.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from conjoin.errors import MalformedOperationError
from conjoin.log.fields import digests_field, exact_fields, integer_field, text_field, time_field
from conjoin.log.genesis import DEPS_MAX, OPERATIONS_PER_AUTHOR_MAX, Genesis
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest, parse_digest, sha256
from conjoin.wire.envelope import PAYLOAD_BYTES_MAX, unseal, verify
from conjoin.wire.keys import check_key_hex
from conjoin.wire.objects import operation_name

VERSION = 1
VERSION_MAX = 65_535
TITLE_CHARS_MAX = 200
LICENSE_CHARS_MAX = 100
_TYPE = re.compile(r"[a-z][a-z-]{0,31}")
_FIELDS = frozenset({"author", "body", "deps", "prev", "seq", "space", "type", "version"})
_ADD_FIELDS = frozenset({"contribution", "license", "time", "title"})

Role = Literal["admin", "member"]


@dataclass(frozen=True, slots=True)
class Member:
    """The body of a `member` operation: the key it lets in, and as what."""

    key: str
    role: Role


@dataclass(frozen=True, slots=True)
class Add:
    """The body of an `add` operation: the contribution, and what is said about it without changing any merge."""

    contribution: Contribution
    license: str
    title: str
    time: str


@dataclass(frozen=True, slots=True)
class Retract:
    """The body of a `retract` operation: ids of the `add` operations it takes back, ascending."""

    adds: tuple[Digest, ...]


Meaning = Genesis | Member | Add | Retract | None


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation. Made only by `parse` (verified) and by `read_payload` (unsigned, with an empty envelope).

    Attributes:
        id: SHA-256 of the payload; signatures are not part of it.
        author: public key in hex.
        seq: its place in the author's chain, from 0.
        prev: the author's operation before it; None iff `seq` is 0.
        deps: other operations the author had seen, ascending, at most 16.
        space: id of the genesis; None only in a genesis itself.
        type: what kind of fact; types this version does not know are carried.
        version: version of the type's body; higher versions are carried.
        payload: the canonical JSON that is signed.
        envelope: the bytes that are stored and sent.
        meaning: the body as a value, or None for a type or version this software does not know.
    """

    id: Digest
    author: str
    seq: int
    prev: Digest | None
    deps: tuple[Digest, ...]
    space: Digest | None
    type: str
    version: int
    payload: bytes = field(repr=False)
    envelope: bytes = field(repr=False)
    meaning: Meaning = field(repr=False)

    @property
    def body(self) -> Mapping[str, canonical.Json]:
        """The body as a JSON object, read from the payload anew."""
        return canonical.decode(self.payload)["body"]

    @property
    def name(self) -> str:
        """Name of the object that holds the envelope."""
        return operation_name(self.author, self.seq, self.id)

    @property
    def parents(self) -> tuple[Digest, ...]:
        """The operations it links to: prev, if any, and then deps."""
        return self.deps if self.prev is None else (self.prev, *self.deps)

    @property
    def space_id(self) -> Digest:
        """The space it belongs to; a genesis founds the space named by its own id."""
        return self.id if self.space is None else self.space

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operation) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def parse(envelope: bytes) -> Operation:
    """Read an envelope: structure, key and signature.

    Raises:
        MalformedOperationError: the envelope or payload is not canonical, too large, or not of its type's shape.
        BadKeyError: the author's key, or a key the body lets in, is malformed, non-canonical or of small order.
        BadWeightError: the weight of a contribution is not canonical.
        BadSignatureError: the signature does not verify.
    """
    payload, author, signature = unseal(envelope)
    operation = read_payload(payload, envelope)
    if operation.author != author:
        raise MalformedOperationError(f"payload names author {operation.author} but the signature names {author}")
    verify(payload, author, signature)
    return operation


def read_payload(payload: bytes, envelope: bytes = b"") -> Operation:
    """Read a payload: structure only (rule A1), no signature.

    Raises:
        MalformedOperationError: it is not canonical, too large, or not of its type's shape.
        BadKeyError: the author's key, or a key the body lets in, is refused.
        BadWeightError: the weight of a contribution is not canonical.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise MalformedOperationError(f"operation has {len(payload)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
    fields = exact_fields(canonical.decode(payload, "operation"), _FIELDS, "operation")
    kind, version = fields["type"], integer_field(fields["version"], 1, VERSION_MAX, "version")
    if not isinstance(kind, str) or _TYPE.fullmatch(kind) is None:
        raise MalformedOperationError(f"type is not 1 to 32 of a-z and -, a letter first: {kind!r:.80}")
    if not isinstance(fields["body"], dict):
        raise MalformedOperationError(f"body is not an object: {fields['body']!r:.80}")
    links = _read_links(fields, kind)
    author = check_key_hex(fields["author"], "author")
    meaning = _read_body(kind, version, fields["body"])
    return Operation(sha256(payload), author, *links, kind, version, payload, envelope, meaning)


def _read_links(
    fields: Mapping[str, canonical.Json], kind: str
) -> tuple[int, Digest | None, tuple[Digest, ...], Digest | None]:
    """The fields (seq, prev, deps, space), with the rules that need no ancestors."""
    seq = integer_field(fields["seq"], 0, OPERATIONS_PER_AUTHOR_MAX - 1, "seq")
    prev = None if fields["prev"] is None else parse_digest(fields["prev"], "prev")
    deps = digests_field(fields["deps"], 0, DEPS_MAX, "deps")
    if kind == "genesis":
        if fields["space"] is not None or prev is not None or deps or seq:
            raise MalformedOperationError("a genesis has seq 0, no prev, no deps and no space")
        return seq, prev, deps, None
    space = Digest(sys.intern(parse_digest(fields["space"], "space")))  # one object for the whole log
    if (prev is None) != (seq == 0):
        raise MalformedOperationError(f"prev is null exactly when seq is 0, but seq is {seq} and prev {prev}")
    if prev in deps:
        raise MalformedOperationError("deps repeat prev")
    if prev is None and not deps:
        raise MalformedOperationError(f"a {kind} operation must have the genesis among its ancestors, but has no links")
    return seq, prev, deps, space


def retracted_adds(body: canonical.Json) -> tuple[Digest, ...]:
    """The ids that the body of a `retract` names.

    Raises:
        MalformedOperationError: it is not such a body.
    """
    return digests_field(exact_fields(body, ("adds",), "retract")["adds"], 1, PAYLOAD_BYTES_MAX, "adds")


def _read_member(body: canonical.Json) -> Member:
    fields = exact_fields(body, ("key", "role"), "member")
    if fields["role"] not in ("admin", "member"):
        raise MalformedOperationError(f"role is admin or member: {fields['role']!r:.40}")
    return Member(check_key_hex(fields["key"], "key"), fields["role"])


def _read_add(body: canonical.Json) -> Add:
    fields = exact_fields(body, _ADD_FIELDS, "add")
    return Add(
        Contribution.from_json(fields["contribution"]),
        text_field(fields["license"], LICENSE_CHARS_MAX, "license"),
        text_field(fields["title"], TITLE_CHARS_MAX, "title"),
        time_field(fields["time"], "time"),
    )


def _read_retract(body: canonical.Json) -> Retract:
    return Retract(retracted_adds(body))


_READERS: Mapping[str, Callable[[canonical.Json], Meaning]] = {
    "add": _read_add,
    "genesis": Genesis.from_json,
    "member": _read_member,
    "retract": _read_retract,
}


def _read_body(kind: str, version: int, body: canonical.Json) -> Meaning:
    reader = _READERS.get(kind)
    if reader is not None and version == VERSION:
        return reader(body)
    if kind == "genesis":
        raise MalformedOperationError(
            f"genesis has version {version}, this software reads version {VERSION}",
            hint="the space was made by a newer conjoin; update this one",
        )
    return None
