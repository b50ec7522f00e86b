"""Views: what a log means, and that metadata, forks and unknown types change no more than they should."""

from conjoin.crdt import Dot
from conjoin.log import Log, Operation, contributions, draft, forks, members, merge_state, parse, policy, root, visible
from conjoin.testing.histories import Signer, add_body, found, sample_contribution
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution

FOUNDER, MEMBER, OTHER = (Signer(label) for label in ("founder", "member", "other"))


def space() -> Log:
    log = Log.founded_by(found(FOUNDER))
    for signer, role in ((MEMBER, "member"), (OTHER, "member"), (OTHER, "admin")):
        write(log, FOUNDER, "member", {"key": signer.key, "role": role})
    return log


def write(log: Log, signer: Signer, kind: str, body: canonical.Json) -> Operation:
    operation = parse(signer.seal(draft(log, signer.key, kind, body)))
    assert log.offer(operation).status == "admitted"
    return operation


def add(log: Log, signer: Signer, contribution: Contribution, title: str = "") -> Operation:
    return write(log, signer, "add", add_body(contribution, title))


def test_members_and_policy() -> None:
    log = space()
    assert members(log) == {FOUNDER.key: "admin", MEMBER.key: "member", OTHER.key: "admin"}
    write(log, FOUNDER, "member", {"key": OTHER.key, "role": "member"})
    write(log, FOUNDER, "member", {"key": FOUNDER.key, "role": "member"})
    assert members(log)[OTHER.key] == "admin"
    assert members(log)[FOUNDER.key] == "admin"
    assert not policy(log).open
    assert policy(log).retract == "author"


def test_contributions_with_their_adds() -> None:
    log = space()
    one, two = sample_contribution(1), sample_contribution(2)
    first = add(log, MEMBER, one, "first")
    second = add(log, OTHER, one, "second")
    other = add(log, MEMBER, two)
    views = contributions(log)
    assert list(views) == sorted([one.digest, two.digest])
    assert views[one.digest].adds == (first, second)
    assert views[one.digest].contribution == one
    write(log, MEMBER, "retract", {"adds": [first.id]})
    assert contributions(log)[one.digest].visible
    assert contributions(log)[one.digest].live == (second,)
    write(log, OTHER, "retract", {"adds": sorted([second.id, other.id])})
    views = contributions(log)
    assert [view.visible for view in views.values()] == [False, False]
    assert views[one.digest].adds == (first, second)
    assert visible(log) == ()


def test_the_dots_of_a_log() -> None:
    log = space()
    first = add(log, MEMBER, sample_contribution(1))
    gone = write(log, MEMBER, "retract", {"adds": [first.id]})
    state = merge_state(log)
    assert dict(state.adds) == {Dot(MEMBER.key, 0): sample_contribution(1).digest}
    assert dict(state.tombstones) == {Dot(MEMBER.key, gone.seq): frozenset({Dot(MEMBER.key, 0)})}
    assert state.context.vector == {FOUNDER.key: 4, MEMBER.key: 2}


def test_titles_licences_and_times_do_not_matter() -> None:
    one, other = space(), space()
    for number in range(3):
        write(one, MEMBER, "add", add_body(sample_contribution(number), "a", "MIT", "2026-01-01T00:00:00Z"))
        write(other, MEMBER, "add", add_body(sample_contribution(number), "b", "Apache-2.0"))
    assert one.heads() != other.heads()
    assert root(one) == root(other)
    assert merge_state(one) == merge_state(other)


def test_weight_and_extras_do() -> None:
    log = space()
    before = root(log)
    add(log, MEMBER, sample_contribution(1))
    after = root(log)
    add(log, MEMBER, sample_contribution(1, "2"))
    assert len({before, after, root(log)}) == 3


def test_both_branches_of_a_fork_count_and_have_dots_of_their_own() -> None:
    log, twin = space(), space()
    left, right = add(log, MEMBER, sample_contribution(1)), add(twin, MEMBER, sample_contribution(2))
    log.offer(right)
    [fork] = forks(log)
    assert (fork.author, fork.seq, set(fork.operations)) == (MEMBER.key, 0, {left.id, right.id})
    state = merge_state(log)
    assert set(state.adds) == {Dot(f"{MEMBER.key}#{left.id}", 0), Dot(f"{MEMBER.key}#{right.id}", 0)}
    assert len(visible(log)) == 2
    write(log, OTHER, "retract", {"adds": [left.id]})
    assert visible(log) == (sample_contribution(2).digest,)
    assert forks(twin) == ()


def test_unknown_types_change_nothing_but_the_context() -> None:
    log = space()
    add(log, MEMBER, sample_contribution(1))
    before = merge_state(log)
    write(log, MEMBER, "revoke", {"contribution": sample_contribution(1).digest})
    after = merge_state(log)
    assert (after.adds, after.tombstones, after.root()) == (before.adds, before.tombstones, before.root())
    assert Dot(MEMBER.key, 1) in after.context
    assert list(contributions(log)) == [sample_contribution(1).digest]


def test_looking_changes_nothing() -> None:
    log = space()
    add(log, MEMBER, sample_contribution(1))
    before = (log.operations(), log.heads(), len(log))
    for view in (merge_state, contributions, visible, root, members, policy, forks):
        assert view(log) == view(log)
    assert (log.operations(), log.heads(), len(log)) == before
