"""The log: verdicts, the waiting room and its bounds, descendants of refused operations, drafts with many heads."""

import random

import pytest

from conjoin.errors import BrokenChainError, NotAMemberError, UnknownDigestError, WaitingForAncestorsError
from conjoin.log import Log, Operation, draft, forks, parse, root, visible
from conjoin.log.clock import Clock
from conjoin.testing.histories import Signer, add_body, found, sample_contribution
from conjoin.wire import canonical
from conjoin.wire.digest import sha256

FOUNDER, MEMBER, STRANGER = (Signer(label) for label in ("founder", "member", "stranger"))


def chain(length: int, signer: Signer = FOUNDER) -> tuple[Operation, list[Operation]]:
    """A genesis of an open space and a chain of adds after it."""
    genesis = found(FOUNDER, open=True)
    log = Log.founded_by(genesis)
    for number in range(length):
        log.offer(signer.seal(draft(log, signer.key, "add", add_body(sample_contribution(number)))))
    return genesis, list(log.operations()[1:])


def test_verdicts() -> None:
    genesis, (first, second) = chain(2)
    log = Log(genesis.id)
    waiting = log.offer(second.envelope)
    assert (waiting.status, waiting.admitted) == ("waiting", ())
    assert isinstance(waiting.error, WaitingForAncestorsError)
    assert log.offer(second).status == "waiting"
    assert log.offer(first).status == "waiting"
    assert log.waiting() == (second, first)
    assert log.wanted() == (genesis.id,)
    verdict = log.offer(genesis.envelope)
    assert verdict.status == "admitted"
    assert verdict.admitted == (genesis, first, second)
    assert log.waiting() == ()
    assert log.offer(first).status == "known"
    assert len(log) == 3
    assert log.get(first.id) == first
    assert log.heads() == (second.id,)
    assert log.head_of(FOUNDER.key) == second
    assert log.head_of(STRANGER.key) is None


def test_before_the_genesis_arrives_there_is_nothing() -> None:
    log = Log(found(FOUNDER).id)
    assert len(log) == 0
    assert log.operations() == ()
    assert visible(log) == ()
    assert root(log) == sha256(b"")
    for ask in (lambda: log.genesis, lambda: log.founder, lambda: log.get(log.space)):
        with pytest.raises(UnknownDigestError):
            ask()


@pytest.mark.parametrize("junk", [b"", b"{}", b"\xff" * 100, b"x" * 200_000])
def test_junk_is_refused_and_never_raises(junk: bytes) -> None:
    log = Log.founded_by(found(FOUNDER))
    verdict = log.offer(junk)
    assert verdict.status == "refused"
    assert verdict.operation is None
    assert verdict.error is not None


def test_descendants_of_a_refused_operation_are_refused_however_they_come() -> None:
    closed = found(FOUNDER)
    log = Log.founded_by(closed)

    def stranger(seq: int, prev: str | None, deps: list[str]) -> Operation:
        fields = {"author": STRANGER.key, "body": {}, "deps": deps, "prev": prev, "seq": seq}
        fields |= {"space": closed.id, "type": "note", "version": 1}
        return parse(STRANGER.seal(canonical.encode(fields)))

    first = stranger(0, None, [closed.id])
    second = stranger(1, first.id, [])
    third = stranger(2, second.id, [])
    assert log.offer(third).status == "waiting"
    assert log.offer(second).status == "waiting"
    verdict = log.offer(first)
    assert verdict.status == "refused"
    assert isinstance(verdict.error, NotAMemberError)
    assert [refusal.operation for refusal in verdict.refused] == [second, third]
    assert all(isinstance(refusal.error, BrokenChainError) for refusal in verdict.refused)
    assert log.waiting() == ()
    again = Log.founded_by(closed)
    assert [type(again.offer(operation).error) for operation in (first, second, third)] == [
        NotAMemberError,
        BrokenChainError,
        BrokenChainError,
    ]


def test_forgetting_a_refusal_changes_no_verdict() -> None:
    closed = found(FOUNDER)
    log = Log(closed.id, refused_max=1)
    log.offer(closed)
    fields = {"author": STRANGER.key, "body": {}, "deps": [closed.id], "prev": None, "seq": 0}
    fields |= {"space": closed.id, "version": 1}
    bad = [parse(STRANGER.seal(canonical.encode({**fields, "type": kind}))) for kind in ("one", "two", "three")]
    for operation in [*bad, *bad]:
        assert isinstance(log.offer(operation).error, NotAMemberError)
    assert len(log) == 1


def test_a_waiting_operation_that_turns_out_bad_is_refused_with_what_waits_for_it() -> None:
    closed = found(FOUNDER)
    log = Log.founded_by(closed)
    note = {"body": {}, "space": closed.id, "type": "note", "version": 1}
    mine = parse(FOUNDER.seal(draft(log, FOUNDER.key, "note", {})))
    fields = {**note, "author": STRANGER.key, "deps": [mine.id], "prev": None, "seq": 0}
    bad = parse(STRANGER.seal(canonical.encode(fields)))
    child = parse(
        FOUNDER.seal(canonical.encode({**note, "author": FOUNDER.key, "deps": [bad.id], "prev": mine.id, "seq": 2}))
    )
    assert log.offer(child).status == "waiting"
    assert log.offer(bad).status == "waiting"
    verdict = log.offer(mine)
    assert verdict.status == "admitted"
    assert verdict.admitted == (mine,)
    assert {refusal.operation for refusal in verdict.refused} == {bad, child}


def test_a_badly_signed_envelope_does_not_poison_the_id() -> None:
    genesis, (first,) = chain(1)
    log = Log.founded_by(genesis)
    forged = first.envelope.replace(first.envelope[-20:-10], b"AAAAAAAAAA")
    assert log.offer(forged).status == "refused"
    assert log.offer(first.envelope).status == "admitted"


def test_the_waiting_room_is_bounded_in_number() -> None:
    genesis, operations = chain(6)
    log = Log(genesis.id, waiting_operations_max=3)
    verdicts = [log.offer(operation) for operation in reversed(operations)]
    assert [verdict.status for verdict in verdicts] == ["waiting"] * 3 + ["dropped"] * 3
    assert isinstance(verdicts[-1].error, WaitingForAncestorsError)
    assert log.offer(operations[5]).status == "waiting"
    assert len(log.offer(genesis).admitted) == 1
    for operation in operations:
        log.offer(operation)
    assert len(log) == 7
    assert log.waiting() == ()


def test_the_waiting_room_is_bounded_in_bytes() -> None:
    genesis, operations = chain(4)
    log = Log(genesis.id, waiting_bytes_max=2 * max(len(operation.envelope) for operation in operations))
    assert [log.offer(operation).status for operation in reversed(operations)] == ["waiting"] * 2 + ["dropped"] * 2
    log.offer(genesis)
    log.offer(operations[0])
    assert len(log.offer(operations[1]).admitted) == 3


def test_the_order_is_causal_and_the_same_for_everybody() -> None:
    genesis, operations = chain(5)
    for seed in range(5):
        order = [genesis, *operations]
        random.Random(seed).shuffle(order)
        log = Log(genesis.id)
        for operation in order:
            log.offer(operation)
        assert log.operations() == (genesis, *operations)


def test_a_draft_links_all_heads_when_they_fit_and_else_what_it_needs_first() -> None:
    genesis = found(FOUNDER, retract="member")
    log = Log.founded_by(genesis)
    signers = [Signer(f"crowd {i}") for i in range(24)]
    lettings = []
    for signer in signers:
        verdict = log.offer(FOUNDER.seal(draft(log, FOUNDER.key, "member", {"key": signer.key, "role": "member"})))
        lettings.append(verdict.operation)
    seen = log.operations()
    adds = []
    for number, signer in enumerate(signers[:22]):
        own = Log(log.space)
        for operation in seen:
            own.offer(operation)
        adds.append(parse(signer.seal(draft(own, signer.key, "add", add_body(sample_contribution(number))))))
    for add in adds:
        log.offer(add)
    assert len(log.heads()) == 22
    late = signers[23]
    wanted = sorted(add.id for add in adds[:3])
    body = {"adds": wanted}
    retract = parse(late.seal(draft(log, late.key, "retract", body)))
    assert len(retract.deps) == 16
    assert set(wanted) <= set(retract.deps)
    assert log.offer(retract).status == "admitted"
    assert set(visible(log)) == {sample_contribution(n).digest for n in range(3, 22)}
    crowded = parse(signers[0].seal(draft(log, signers[0].key, "note", {})))
    assert crowded.prev == adds[0].id
    assert crowded.deps == log.heads()
    assert len(crowded.deps) == 7
    too_many = {"adds": sorted(add.id for add in adds)}
    fresh = Log(log.space)
    for operation in [*seen, *adds]:
        fresh.offer(operation)
    note = parse(signers[0].seal(draft(fresh, signers[0].key, "note", {})))
    assert len(note.deps) == 16
    assert not set(note.deps) & {letting.id for letting in lettings}
    with pytest.raises(BrokenChainError, match="links"):
        draft(fresh, late.key, "retract", too_many)
    while len(log.heads()) > 1:
        log.offer(FOUNDER.seal(draft(log, FOUNDER.key, "note", {})))
    assert log.offer(late.seal(draft(log, late.key, "retract", too_many))).status == "admitted"
    assert visible(log) == ()


def test_a_forked_author_goes_on_from_its_longest_branch() -> None:
    genesis = found(FOUNDER, open=True)
    one, other = Log.founded_by(genesis), Log.founded_by(genesis)
    for number, log in enumerate((one, other)):
        log.offer(MEMBER.seal(draft(log, MEMBER.key, "add", add_body(sample_contribution(number)))))
    longer = MEMBER.seal(draft(one, MEMBER.key, "add", add_body(sample_contribution(2))))
    one.offer(longer)
    for operation in other.operations():
        one.offer(operation)
    assert len(forks(one)) == 1
    following = parse(MEMBER.seal(draft(one, MEMBER.key, "add", add_body(sample_contribution(3)))))
    assert following.prev == parse(longer).id
    assert len(following.deps) == 1
    assert one.offer(following).status == "admitted"
    assert len(one.heads()) == 1
    assert len(visible(one)) == 4


def test_old_adds_are_retracted_one_by_one() -> None:
    genesis = found(FOUNDER, open=True)
    log = Log.founded_by(genesis)
    adds = []
    for number in range(300):
        adds.append(parse(MEMBER.seal(draft(log, MEMBER.key, "add", add_body(sample_contribution(number))))))
        log.offer(adds[-1])
    for add in adds:
        log.offer(FOUNDER.seal(draft(log, FOUNDER.key, "retract", {"adds": [add.id]})))
    assert visible(log) == ()
    assert all(log.ancestry.reaches(log.heads(), add.id) for add in adds)
    assert not any(log.ancestry.reaches([genesis.id], add.id) for add in adds)


def test_clocks_hold_many_branches() -> None:
    chance = random.Random(3)
    clocks, plain = [Clock()], [dict[int, int]()]
    for _ in range(400):
        i, j = chance.randrange(len(clocks)), chance.randrange(len(clocks))
        joined, counts = (
            clocks[i] | clocks[j],
            {k: max(plain[i].get(k, 0), plain[j].get(k, 0)) for k in plain[i] | plain[j]},
        )
        branch = chance.choice([3, 7, 8, 63, 64, 500, 4096, chance.randrange(5000)])
        count = counts.get(branch, 0) + 1
        clocks.append(joined.advanced(branch, count))
        plain.append({**counts, branch: count})
    for clock, counts in zip(clocks, plain, strict=True):
        for branch in [*counts, 0, 9, 4999, 10**6]:
            assert clock.count(branch) == counts.get(branch, 0)
        assert clock | Clock() is clock
        assert clock | clock is clock
