"""Admission, rule by rule: who may write what after which ancestors, and that nothing else has a say."""

from typing import Any

import pytest

from conjoin.errors import (
    BrokenChainError,
    MalformedOperationError,
    NotAMemberError,
    NotPermittedError,
    WrongBaseError,
    WrongSpaceError,
)
from conjoin.log import Genesis, Limits, Log, Operation, Policy, draft, genesis_payload, parse
from conjoin.testing.histories import BASE, NO_FILES, Signer, add_body, found, sample_contribution
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import sha256

FOUNDER, MEMBER, OTHER, STRANGER = (Signer(label) for label in ("founder", "member", "other", "stranger"))
BODY = add_body(sample_contribution(0), "a title")


class Space:
    """A log with its genesis, MEMBER and OTHER let in, and a way to write anything into it."""

    def __init__(self, let_in: tuple[Signer, ...] = (MEMBER, OTHER), **policy: Any) -> None:
        body = Genesis(BASE, NO_FILES, "00" * 16, "admission", Policy(**policy))
        self.genesis = parse(FOUNDER.seal(genesis_payload(FOUNDER.key, body)))
        self.log = Log.founded_by(self.genesis)
        for signer in let_in:
            self.write(FOUNDER, "member", {"key": signer.key, "role": "member"})

    def write(self, signer: Signer, kind: str, body: canonical.Json) -> Operation:
        operation = parse(signer.seal(draft(self.log, signer.key, kind, body)))
        assert self.log.offer(operation).status == "admitted"
        return operation

    def add(self, signer: Signer, number: int = 0) -> Operation:
        return self.write(signer, "add", add_body(sample_contribution(number)))

    def offer(self, signer: Signer, **changes: Any) -> tuple[str, type | None]:
        before = self.log.head_of(signer.key)
        fields = {
            "author": signer.key,
            "body": BODY,
            "deps": [head for head in self.log.heads() if before is None or head != before.id],
            "prev": before and before.id,
            "seq": 0 if before is None else before.seq + 1,
            "space": self.log.space,
            "type": "add",
            "version": 1,
        }
        verdict = self.log.offer(signer.seal(canonical.encode({**fields, **changes})))
        if verdict.operation is not None and verdict.status == "refused":
            assert verdict.error is not None
            assert self.log.offer(verdict.operation).status == "refused", "a refusal is final"
            assert verdict.error.where == verdict.operation.name
        return verdict.status, type(verdict.error) if verdict.status == "refused" else None


ADMITTED = ("admitted", None)


def test_members_add() -> None:
    assert Space().offer(MEMBER) == ADMITTED


def test_strangers_do_not() -> None:
    assert Space().offer(STRANGER) == ("refused", NotAMemberError)


def test_strangers_write_into_an_open_space() -> None:
    assert Space((), open=True).offer(STRANGER) == ADMITTED


def test_membership_must_be_among_the_ancestors() -> None:
    space = Space()
    assert space.offer(MEMBER, deps=[space.genesis.id]) == ("refused", NotAMemberError)
    first = next(operation for operation in space.log.operations() if operation.type == "member")
    assert space.offer(MEMBER, deps=[first.id]) == ADMITTED


def test_another_space() -> None:
    space = Space()
    assert space.offer(MEMBER, space=sha256(b"elsewhere")) == ("refused", WrongSpaceError)
    verdict = space.log.offer(found(FOUNDER, name="a second genesis"))
    assert verdict.status == "refused"
    assert isinstance(verdict.error, WrongSpaceError)
    assert "genesis of another space" in verdict.error.what


def test_a_gap_in_seq() -> None:
    space = Space()
    first = space.add(MEMBER)
    assert space.offer(MEMBER, seq=2, prev=first.id) == ("refused", BrokenChainError)
    assert space.offer(MEMBER, seq=1, prev=first.id) == ADMITTED


def test_prev_is_the_authors_own() -> None:
    space = Space()
    first, others = space.add(MEMBER), space.add(OTHER)
    changes = {"seq": 1, "prev": others.id, "deps": [first.id]}
    assert space.offer(MEMBER, **changes) == ("refused", BrokenChainError)
    founders = space.log.head_of(FOUNDER.key)
    assert founders is not None
    assert space.offer(MEMBER, seq=founders.seq + 1, prev=founders.id) == ("refused", BrokenChainError)


def test_a_fork_keeps_both_branches() -> None:
    space = Space()
    heads = list(space.log.heads())
    space.add(MEMBER)
    assert space.offer(MEMBER, seq=0, prev=None, deps=heads) == ADMITTED


def test_only_admins_let_keys_in() -> None:
    space = Space()
    body = {"key": STRANGER.key, "role": "member"}
    assert space.offer(MEMBER, type="member", body=body) == ("refused", NotPermittedError)
    space.write(FOUNDER, "member", {"key": MEMBER.key, "role": "admin"})
    assert space.offer(MEMBER, type="member", body=body) == ADMITTED
    assert space.offer(STRANGER) == ADMITTED


def test_nobody_becomes_admin_by_an_operation_of_its_own() -> None:
    space = Space()
    body = {"key": MEMBER.key, "role": "admin"}
    assert space.offer(MEMBER, type="member", body=body) == ("refused", NotPermittedError)


def test_in_an_open_space_strangers_let_nobody_in() -> None:
    body = {"key": STRANGER.key, "role": "admin"}
    assert Space((), open=True).offer(STRANGER, type="member", body=body) == ("refused", NotPermittedError)


def test_the_right_to_admit_must_be_among_the_ancestors() -> None:
    space = Space()
    heads = list(space.log.heads())
    space.write(FOUNDER, "member", {"key": MEMBER.key, "role": "admin"})
    body = {"key": STRANGER.key, "role": "member"}
    assert space.offer(MEMBER, type="member", body=body, deps=heads) == ("refused", NotPermittedError)


def retract(*adds: Operation) -> dict[str, Any]:
    return {"type": "retract", "body": {"adds": sorted(add.id for add in adds)}}


def test_authors_retract_their_own_and_admins_everything() -> None:
    space = Space()
    mine, others = space.add(MEMBER, 1), space.add(OTHER, 2)
    assert space.offer(MEMBER, **retract(others)) == ("refused", NotPermittedError)
    assert space.offer(MEMBER, **retract(mine, others)) == ("refused", NotPermittedError)
    assert space.offer(MEMBER, **retract(mine)) == ADMITTED
    assert space.offer(FOUNDER, **retract(mine, others)) == ADMITTED


def test_a_policy_lets_every_member_retract() -> None:
    space = Space(retract="member")
    add = space.add(OTHER)
    assert space.offer(STRANGER, **retract(add)) == ("refused", NotAMemberError)
    assert space.offer(MEMBER, **retract(add)) == ADMITTED


def test_a_retraction_names_adds_it_has_seen() -> None:
    space = Space(retract="member")
    first = space.add(MEMBER)
    heads = list(space.log.heads())
    unseen = space.add(OTHER)
    changes = {"seq": 1, "prev": first.id, "deps": [head for head in heads if head != first.id]}
    assert space.offer(MEMBER, **retract(unseen), **changes) == ("refused", BrokenChainError)
    assert space.offer(MEMBER, **retract(space.genesis)) == ("refused", BrokenChainError)
    nothing = {"type": "retract", "body": {"adds": [sha256(b"nothing")]}}
    assert space.offer(MEMBER, **nothing) == ("refused", BrokenChainError)
    assert space.offer(MEMBER, **retract(unseen)) == ADMITTED


def test_a_retraction_does_not_retract_itself_or_a_retraction() -> None:
    space = Space()
    add = space.add(MEMBER)
    gone = space.write(MEMBER, "retract", {"adds": [add.id]})
    assert space.offer(MEMBER, **retract(gone)) == ("refused", BrokenChainError)
    assert space.offer(MEMBER, **retract(add)) == ADMITTED


def test_a_retraction_may_name_an_add_of_a_later_version() -> None:
    space = Space()
    assert space.offer(MEMBER, version=2, body={"form": "unknown"}) == ADMITTED
    later = space.log.head_of(MEMBER.key)
    assert later is not None
    assert space.offer(MEMBER, **retract(later)) == ADMITTED
    assert space.offer(OTHER, **retract(later)) == ("refused", NotPermittedError)


def test_another_base() -> None:
    body = add_body(Contribution(sha256(b"w"), sha256(b"another base")))
    assert Space().offer(MEMBER, body=body) == ("refused", WrongBaseError)


@pytest.mark.parametrize(
    ("kind", "version"), [("attest", 1), ("key-revoke", 3), ("add", 2), ("member", 2), ("retract", 9)]
)
def test_unknown_types_and_versions_are_carried_for_members_only(kind: str, version: int) -> None:
    changes = {"type": kind, "version": version, "body": {"anything": ["goes"]}}
    assert Space().offer(MEMBER, **changes) == ADMITTED
    assert Space().offer(STRANGER, **changes) == ("refused", NotAMemberError)


def test_a_member_operation_of_a_later_version_lets_nobody_in_here() -> None:
    space = Space()
    body = {"key": STRANGER.key, "role": "member"}
    assert space.offer(FOUNDER, type="member", version=2, body=body) == ADMITTED
    assert space.offer(STRANGER) == ("refused", NotAMemberError)


def test_the_limits_of_the_policy() -> None:
    space = Space(limits=Limits(deps=2, operation_bytes=4096, operations_per_author=3))
    first = space.add(MEMBER)
    deps = sorted([space.genesis.id, *(o.id for o in space.log.operations() if o.type == "member")])
    assert len(deps) == 3
    assert space.offer(MEMBER, deps=deps, prev=first.id) == ("refused", MalformedOperationError)
    assert space.offer(MEMBER, deps=deps[:2], prev=first.id) == ADMITTED
    assert space.offer(OTHER, type="note", body={"text": "x" * 4096}) == ("refused", MalformedOperationError)
    assert space.offer(FOUNDER) == ("refused", NotPermittedError)


@pytest.mark.parametrize("kind", ["add", "member", "retract", "attest"])
def test_a_draft_that_would_be_refused_is_never_signed(kind: str) -> None:
    space = Space()
    bodies = {"add": BODY, "member": {"key": STRANGER.key, "role": "member"}, "retract": {"adds": [sha256(b"x")]}}
    with pytest.raises(NotAMemberError):
        draft(space.log, STRANGER.key, kind, bodies.get(kind, {}))
