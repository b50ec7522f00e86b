"""Admission: whether an operation counts, decided from the operation and its ancestors alone.

Never from time, arrival order or local memory: that is what makes any two replicas with the same operations agree,
however many of their peers lie. The rules are numbered as in docs/spec/log.md:

- A1, A3 (structure, key, signature) hold already: an `Operation` cannot be made otherwise.
- A2 the space is this one; a genesis is admitted iff its id is the space.
- A4 every parent is admitted: the log sees to it before it asks here.
- A5 `prev` is the same author's operation with the seq before.
- A6 the author may write here: open space, founder, or let in by a `member` operation among the ancestors.
- A7 the limits of the genesis' policy hold.
- A8 the type's own rule holds (`member`, `add`, `retract`); other types and versions have none.
"""

from typing import Protocol

from conjoin.errors import (
    BrokenChainError,
    MalformedOperationError,
    NotAMemberError,
    NotPermittedError,
    WrongBaseError,
    WrongSpaceError,
)
from conjoin.log.genesis import Genesis
from conjoin.log.operation import Add, Member, Operation, Retract, Role
from conjoin.wire.digest import Digest


class Ancestors(Protocol):
    """The causal past of one operation, without the operation itself. All of it is admitted."""

    @property
    def founder(self) -> str:
        """The author of the genesis."""
        ...

    @property
    def genesis(self) -> Genesis:
        """The body of the genesis."""
        ...

    def find(self, operation: Digest) -> Operation | None:
        """The ancestor with this id, or None if no ancestor has it."""
        ...

    def let_in(self, key: str, role: Role) -> bool:
        """Whether a `member` operation of version 1 among the ancestors lets `key` in as `role`."""
        ...


def check_space(operation: Operation, space: Digest) -> None:
    """Rule A2.

    Raises:
        WrongSpaceError: the operation belongs to another space, or is the genesis of another one.
    """
    if operation.space_id == space:
        return
    what = f"operation belongs to space {operation.space_id}"
    if operation.space is None:
        what = f"operation is the genesis of another space, {operation.id}"
    raise WrongSpaceError(f"{what}, not to {space}", where=operation.name)


def admit(operation: Operation, ancestors: Ancestors) -> None:
    """Rules A5 to A8 for an operation that is not a genesis and whose parents are all admitted.

    Raises:
        BrokenChainError: `prev` is not the author's operation before, or `retract` names no add it has seen.
        NotAMemberError: the author was not let in by its ancestors.
        NotPermittedError: the author may not do this, or has used up its operations.
        MalformedOperationError: the operation is over a limit of the policy.
        WrongBaseError: a contribution names another base than the genesis.
    """
    _check_chain(operation, ancestors)
    _check_membership(operation, ancestors)
    _check_limits(operation, ancestors)
    match operation.meaning:
        case Member():
            if not is_admin(operation.author, ancestors):
                raise NotPermittedError(
                    f"{operation.author} is not an admin and cannot let a key in", where=operation.name
                )
        case Add(contribution=contribution):
            if contribution.base != ancestors.genesis.base:
                raise WrongBaseError(
                    f"contribution names base {contribution.base}, the space has base {ancestors.genesis.base}",
                    where=operation.name,
                )
        case Retract():
            _check_retract(operation, operation.meaning, ancestors)
        case _:
            pass


def is_admin(key: str, ancestors: Ancestors) -> bool:
    """Whether `key` is the founder or was let in as admin."""
    return key == ancestors.founder or ancestors.let_in(key, "admin")


def may_write(key: str, ancestors: Ancestors) -> bool:
    """Whether `key` may write operations at all (rule A6)."""
    return ancestors.genesis.policy.open or is_admin(key, ancestors) or ancestors.let_in(key, "member")


def _check_chain(operation: Operation, ancestors: Ancestors) -> None:
    if operation.prev is None:
        return
    before = ancestors.find(operation.prev)
    if before is None or before.author != operation.author or before.seq != operation.seq - 1:
        found = "is not there" if before is None else f"is seq {before.seq} of {before.author}"
        raise BrokenChainError(
            f"operation is seq {operation.seq} of {operation.author}, but its prev {found}", where=operation.name
        )


def _check_membership(operation: Operation, ancestors: Ancestors) -> None:
    if not may_write(operation.author, ancestors):
        raise NotAMemberError(
            f"{operation.author} was not let into this space by anything the operation names",
            where=operation.name,
            hint=f"an admin runs `conjoin invite {operation.author}`, then the author syncs before it writes",
        )


def _check_limits(operation: Operation, ancestors: Ancestors) -> None:
    limits = ancestors.genesis.policy.limits
    if len(operation.deps) > limits.deps:
        raise MalformedOperationError(
            f"operation has {len(operation.deps)} deps, the limit is {limits.deps}", where=operation.name
        )
    if len(operation.payload) > limits.operation_bytes:
        raise MalformedOperationError(
            f"operation has {len(operation.payload)} bytes, the limit is {limits.operation_bytes}", where=operation.name
        )
    if operation.seq >= limits.operations_per_author:
        raise NotPermittedError(
            f"seq {operation.seq} is over the limit of {limits.operations_per_author} operations per author",
            where=operation.name,
        )


def _check_retract(operation: Operation, body: Retract, ancestors: Ancestors) -> None:
    anybody = ancestors.genesis.policy.retract == "member" or is_admin(operation.author, ancestors)
    for add in body.adds:
        target = ancestors.find(add)
        if target is None or target.type != "add":
            found = "is not among its ancestors" if target is None else f"is of type {target.type}"
            raise BrokenChainError(f"retract names {add}, which {found}", where=operation.name)
        if not anybody and target.author != operation.author:
            raise NotPermittedError(
                f"{operation.author} may not retract what {target.author} added",
                where=operation.name,
                hint="only the author of an add or an admin retracts it in this space",
            )
