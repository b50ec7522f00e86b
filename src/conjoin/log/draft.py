"""Draft: the payload of an author's next operation and its links; refuses what would not be admitted, never signs."""

from collections.abc import Sequence

from conjoin.errors import BrokenChainError
from conjoin.log.admission import admit
from conjoin.log.genesis import Genesis
from conjoin.log.log import Log
from conjoin.log.operation import VERSION, Member, Operation, read_payload, retracted_adds
from conjoin.wire import canonical
from conjoin.wire.digest import Digest


def genesis_payload(author: str, body: Genesis | canonical.Json) -> bytes:
    """The payload of a genesis by `author`; sign it with `wire.envelope.seal`.

    Raises:
        MalformedOperationError: the body is not that of a genesis.
        BadKeyError: the author's key is refused.
    """
    value = body.to_json() if isinstance(body, Genesis) else body
    return _checked(
        {
            "author": author,
            "body": value,
            "deps": [],
            "prev": None,
            "seq": 0,
            "space": None,
            "type": "genesis",
            "version": VERSION,
        }
    ).payload


def draft(log: Log, author: str, type: str, body: canonical.Json) -> bytes:  # noqa: A002
    """The payload of the next operation of `author`, checked by the rules of admission.

    `prev` is the author's head. `deps` are the log's other heads; when they are more than the space allows, the
    ancestors this operation cannot do without come first (what let the author in, the adds it retracts).

    Raises:
        NotAMemberError: the author was not let in.
        NotPermittedError, WrongBaseError, MalformedOperationError, BadWeightError: the operation would be refused.
        BrokenChainError: it retracts what was not added here, or needs more links than the space allows.
    """
    before = log.head_of(author)
    prev = None if before is None else before.id
    own = () if prev is None else (prev,)
    deps = _links(log, author, type, body, own)
    operation = _checked(
        {
            "author": author,
            "body": body,
            "deps": sorted(deps),
            "prev": prev,
            "seq": 0 if before is None else before.seq + 1,
            "space": log.space,
            "type": type,
            "version": VERSION,
        }
    )
    admit(operation, log.past_of(operation.parents))
    return operation.payload


def _checked(fields: dict[str, canonical.Json]) -> Operation:
    return read_payload(canonical.encode(fields))


def _links(log: Log, author: str, kind: str, body: canonical.Json, own: tuple[Digest, ...]) -> list[Digest]:
    """The deps of an operation: all other heads if they fit, else the required ancestors and then the highest heads."""
    most = log.genesis.policy.limits.deps
    heads = [head for head in log.heads() if head not in own]
    if len(heads) <= most:
        return heads
    chosen: list[Digest] = []
    for required in _required(log, author, kind, body):
        if not log.ancestry.reaches((*own, *chosen), required):
            chosen.append(required)
    if len(chosen) > most:
        raise BrokenChainError(
            f"operation needs {len(chosen)} links, the limit is {most}", hint="retract in several operations"
        )
    heads.sort(key=lambda head: (-log.ancestry.nodes[head].height, head))
    return [*chosen, *(head for head in heads if head not in chosen)][:most]


def _required(log: Log, author: str, kind: str, body: canonical.Json) -> Sequence[Digest]:
    """What must be among the ancestors: the adds it retracts, and the operations that let the author in."""
    required = list(retracted_adds(body)) if kind == "retract" else []
    letting_in = {
        operation.meaning.role: operation.id
        for operation in reversed(log.operations())
        if isinstance(operation.meaning, Member) and operation.meaning.key == author
    }
    if letting_in:  # an admin may do whatever a member may
        required.append(letting_in.get("admin") or letting_in["member"])
    return [operation for operation in required if log.has(operation)]
