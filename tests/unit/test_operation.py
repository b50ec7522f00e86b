"""Operations read from payloads: what a good one holds, and the fields of its type."""

import pytest

from conjoin.errors import MalformedOperationError, NotPermittedError, WrongSpaceError
from conjoin.log import Add, Genesis, Limits, Log, Member, Policy, Retract, draft, genesis_payload, parse
from conjoin.log.operation import read_payload
from conjoin.testing.histories import BASE, NO_FILES, Signer, add_body, found, sample_contribution
from conjoin.wire import canonical
from conjoin.wire.digest import sha256
from conjoin.wire.objects import parse_operation

FOUNDER, MEMBER = Signer("founder"), Signer("member")


def test_a_genesis() -> None:
    genesis = found(FOUNDER, name="radiology")
    assert genesis.type == "genesis"
    assert genesis.space is None
    assert genesis.space_id == genesis.id == sha256(genesis.payload)
    assert genesis.parents == ()
    assert genesis.meaning == Genesis(BASE, NO_FILES, "00" * 16, "radiology", Policy())
    assert Genesis.from_json(genesis.body) == genesis.meaning


def test_the_kinds_of_meaning() -> None:
    log = Log.founded_by(found(FOUNDER))
    contribution = sample_contribution(3, "0.5")
    member = parse(FOUNDER.seal(draft(log, FOUNDER.key, "member", {"key": MEMBER.key, "role": "admin"})))
    assert member.meaning == Member(MEMBER.key, "admin")
    body = add_body(contribution, "a title", "MIT", "2026-01-02T03:04:05.123+01:00")
    add = parse(FOUNDER.seal(draft(log, FOUNDER.key, "add", body)))
    assert add.meaning == Add(contribution, "MIT", "a title", "2026-01-02T03:04:05.123+01:00")
    log.offer(add)
    retract = parse(FOUNDER.seal(draft(log, FOUNDER.key, "retract", {"adds": [add.id]})))
    assert retract.meaning == Retract((add.id,))
    assert retract.prev == add.id
    assert retract.seq == 2
    later = parse(FOUNDER.seal(draft(log, FOUNDER.key, "revoke", {"content": "x"})))
    assert later.meaning is None
    assert later.body == {"content": "x"}


def test_the_name_of_an_operation_says_what_it_is() -> None:
    genesis = found(FOUNDER)
    name = parse_operation(genesis.name)
    assert name is not None
    assert (name.author, name.seq, name.id) == (FOUNDER.key, 0, genesis.id)


def test_operations_are_equal_by_their_id() -> None:
    one, same, other = found(FOUNDER), found(FOUNDER), found(MEMBER)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != one.id


def test_a_space_is_founded_by_a_genesis_only() -> None:
    log = Log.founded_by(found(FOUNDER))
    add = parse(FOUNDER.seal(draft(log, FOUNDER.key, "add", add_body(sample_contribution(0)))))
    with pytest.raises(WrongSpaceError):
        Log.founded_by(add)


@pytest.mark.parametrize(
    "time",
    ["", "2026-01-02T03:04:05Z", "2026-12-31T23:59:59.999999999-11:30", "2024-02-30T00:00:00Z"],
)
def test_times_that_are_taken(time: str) -> None:
    log = Log.founded_by(found(FOUNDER))
    draft(log, FOUNDER.key, "add", add_body(sample_contribution(0), time=time))


@pytest.mark.parametrize(
    "time",
    [
        "now",
        "2026-01-02",
        "2026-01-02 03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-00-02T03:04:05Z",
        "2026-01-32T03:04:05Z",
        "2026-01-02T24:04:05Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05.Z",
        "٢026-01-02T03:04:05Z",
        None,
        0,
    ],
)
def test_times_that_are_refused(time: object) -> None:
    log = Log.founded_by(found(FOUNDER))
    with pytest.raises(MalformedOperationError):
        draft(log, FOUNDER.key, "add", {**add_body(sample_contribution(0)), "time": time})


@pytest.mark.parametrize("code", [0x00, 0x1B, 0x7F, 0x85, 0x9F, 0x2028, 0x202E, 0x2066])
@pytest.mark.parametrize("field", ["title", "license"])
def test_control_characters_are_refused(code: int, field: str) -> None:
    log = Log.founded_by(found(FOUNDER))
    with pytest.raises(MalformedOperationError, match="control"):
        draft(log, FOUNDER.key, "add", {**add_body(sample_contribution(0)), field: f"a{chr(code)}b"})


def genesis_with(**changes: object) -> bytes:
    body = Genesis(BASE, NO_FILES, "00" * 16, "x", Policy(limits=Limits())).to_json()
    return genesis_payload(FOUNDER.key, {**body, **changes})


POLICY = Policy().to_json()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "x" * 201},
        {"name": "a\nb"},
        {"nonce": "0" * 31},
        {"nonce": "G" * 32},
        {"base": "x"},
        {"files": None},
        {"policy": {}},
        {"policy": {**POLICY, "more": 1}},
        {"policy": {**POLICY, "open": 1}},
        {"policy": {**POLICY, "retract": "anyone"}},
        {"policy": {**POLICY, "retract": ["author"]}},
        {"policy": {**POLICY, "limits": {**POLICY["limits"], "deps": 1}}},
        {"policy": {**POLICY, "limits": {**POLICY["limits"], "deps": 17}}},
        {"policy": {**POLICY, "limits": {**POLICY["limits"], "deps": True}}},
        {"policy": {**POLICY, "limits": {**POLICY["limits"], "operation_bytes": 65_537}}},
        {"policy": {**POLICY, "limits": {**POLICY["limits"], "operations_per_author": 0}}},
        {"policy": {**POLICY, "limits": {**POLICY["limits"], "operations_per_author": 1_000_001}}},
    ],
)
def test_a_genesis_outside_the_protocols_bounds_is_refused(changes: dict) -> None:
    with pytest.raises(MalformedOperationError):
        genesis_with(**changes)


def test_the_other_policies_are_taken() -> None:
    policy = Policy(open=True, retract="member", limits=Limits(2, 4096, 1))
    operation = read_payload(genesis_payload(FOUNDER.key, Genesis(BASE, NO_FILES, "00" * 16, "", policy)))
    assert isinstance(operation.meaning, Genesis)
    assert operation.meaning.policy == policy
    log = Log.founded_by(operation)
    with pytest.raises(NotPermittedError, match="limit of 1"):
        draft(log, FOUNDER.key, "add", add_body(sample_contribution(0)))


def test_a_payload_that_is_too_large_is_not_even_parsed() -> None:
    with pytest.raises(MalformedOperationError, match="65536"):
        read_payload(b"x" * 65_537)
    with pytest.raises(MalformedOperationError):
        read_payload(canonical.encode([]))
