"""Laws of the log over reachable histories of four replicas: same operations, same meaning, whatever the way."""

import random
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from conjoin.crdt import MergeState
from conjoin.log import Log, Operation, forks, members, merge_state, root, visible
from conjoin.log.admission import admit
from conjoin.log.genesis import Genesis
from conjoin.log.operation import Member
from conjoin.testing.histories import (
    Site,
    Step,
    World,
    add_body,
    live_elements,
    play,
    sample_contribution,
    scripts,
)
from conjoin.wire import canonical
from conjoin.wire.digest import Digest


def told(space: Digest, operations: Iterable[Operation | bytes]) -> Log:
    log = Log(space)
    for operation in operations:
        log.offer(operation)
    return log


def meaning(log: Log) -> tuple[object, ...]:
    return visible(log), root(log), merge_state(log), members(log), forks(log), log.operations(), log.heads()


class Closure:
    """The ancestors of an operation as a plain set: admission's question answered the slow, obvious way."""

    def __init__(self, log: Log, parents: Iterable[Digest]) -> None:
        self.ancestors: dict[Digest, Operation] = {}
        pending = list(parents)
        while pending:
            operation = log.get(pending.pop())
            if operation.id not in self.ancestors:
                self.ancestors[operation.id] = operation
                pending.extend(operation.parents)
        self.founder, self.genesis = log.founder, log.genesis

    def find(self, operation: Digest) -> Operation | None:
        return self.ancestors.get(operation)

    def let_in(self, key: str, role: str) -> bool:
        return any(
            isinstance(operation.meaning, Member) and (operation.meaning.key, operation.meaning.role) == (key, role)
            for operation in self.ancestors.values()
        )


@given(scripts(forks=True), st.booleans())
def test_equal_operations_give_equal_meaning(script: list[Step], lying: bool) -> None:
    world = World()
    play(world, [step for step in script if lying or step.name != "fork"])
    world.settle()
    first = meaning(world.sites[0].log)
    for site in world.sites[1:]:
        assert meaning(site.log) == first
        assert site.log.waiting() == ()
        assert site.log.wanted() == ()
    assert bool(forks(world.sites[0].log)) <= world.forked


@given(scripts(forks=True, steps_max=16), st.integers(0, 2**16))
def test_arrival_order_and_duplicates_do_not_matter(script: list[Step], seed: int) -> None:
    world = World()
    play(world, script)
    world.settle()
    log = world.sites[0].log
    chance = random.Random(seed)
    for _ in range(3):
        order: list[Operation | bytes] = [*log.operations(), *log.operations()]
        chance.shuffle(order)
        other = told(log.space, order)
        assert meaning(other) == meaning(log)
        assert [operation.envelope for operation in other.operations()] == [o.envelope for o in log.operations()]


@given(scripts(forks=True, steps_max=16))
def test_visible_is_what_the_definition_says(script: list[Step]) -> None:
    world = World()
    play(world, script)
    for site in world.sites:
        assert visible(site.log) == live_elements(site.log.operations())


@given(scripts(), st.sampled_from(["member", "author"]), st.booleans())
def test_the_log_means_what_the_or_set_alone_would(script: list[Step], policy: str, is_open: bool) -> None:
    world = World(retract=policy, open=is_open)
    play(world, script)
    for site in world.sites:
        assert merge_state(site.log) == site.state
    world.settle()
    for site in world.sites:
        assert merge_state(site.log) == site.state == world.sites[0].state


@given(scripts(), st.integers(0, 2**16))
def test_joining_logs_is_joining_states(script: list[Step], seed: int) -> None:
    world = World()
    play(world, script)
    a, b = (merge_state(site.log) for site in world.sites[:2])
    world.sync(0, 1, seed)
    assert merge_state(world.sites[0].log) == a | b or world.partition
    assert a <= merge_state(world.sites[0].log)


@given(scripts(forks=True))
def test_old_copies_never_change_anything(script: list[Step]) -> None:
    world = World()
    play(world, script)
    world.settle()
    for site in world.sites:
        before = meaning(site.log)
        for other in world.sites:
            for backup in other.backups:
                assert all(site.log.offer(operation.envelope).status == "known" for operation in backup[-2:])
                world.deliver(site, backup)
        assert meaning(site.log) == before


@given(scripts(), st.integers(0, 7))
def test_a_retraction_survives_the_wire_and_adding_again_shows_again(script: list[Step], what: int) -> None:
    world = World()
    play(world, script)
    element = sample_contribution(what % 5).digest
    copies = [world.sites[i].log.operations() for i in range(4)]
    world.settle()
    world.add(1, what)
    world.settle()
    seen = visible(world.sites[0].log)
    assert element in seen
    world.retract(0, seen.index(element))
    there = told(world.sites[0].log.space, [o.envelope for o in world.sites[0].log.operations()])
    assert element not in visible(there)
    for copy in copies:
        for operation in copy:
            there.offer(operation.envelope)
        assert element not in visible(there)
    world.settle()
    assert all(element not in visible(site.log) for site in world.sites)
    world.add(2, what)
    world.settle()
    assert all(element in visible(site.log) for site in world.sites)


@given(scripts(), st.integers(0, 7))
def test_a_concurrent_add_survives_a_retraction(script: list[Step], what: int) -> None:
    world = World()
    play(world, script)
    element = sample_contribution(what % 5).digest
    world.settle()
    world.add(0, what)
    world.settle()
    world.retract(0, visible(world.sites[0].log).index(element))
    world.add(3, what)
    assert element not in visible(world.sites[0].log)
    world.settle()
    assert all(element in visible(site.log) for site in world.sites)


@given(scripts(steps_max=16))
def test_metadata_never_changes_the_root(script: list[Step]) -> None:
    one, other = World(said="one"), World(said="other title")
    for world in (one, other):
        play(world, script)
    for left, right in zip(one.sites, other.sites, strict=True):
        assert root(left.log) == root(right.log)
        assert merge_state(left.log).adds == merge_state(right.log).adds
    site = one.sites[0]
    if visible(site.log):
        before = root(site.log)
        again = next(c for c in map(sample_contribution, range(5)) if c.digest in visible(site.log))
        write(site, "add", add_body(again, "quite another title", "Apache-2.0", "2026-01-02T03:04:05Z"))
        assert root(site.log) == before


def write(site: Site, kind: str, body: canonical.Json) -> None:
    from conjoin.log import draft

    assert site.log.offer(site.signer.seal(draft(site.log, site.key, kind, body))).status == "admitted"


@given(scripts(forks=True))
def test_root_changes_exactly_when_visible_changes(script: list[Step]) -> None:
    world = World()
    known: dict[Digest, tuple[Digest, ...]] = {}
    seen: dict[tuple[Digest, ...], Digest] = {}
    for step in script:
        play(world, [step])
        for site in world.sites:
            now = visible(site.log)
            assert known.setdefault(root(site.log), now) == now
            assert seen.setdefault(now, root(site.log)) == root(site.log)


@given(scripts(), st.integers(0, 2**16))
def test_a_late_replica_hears_everything_in_any_order(script: list[Step], seed: int) -> None:
    world = World()
    play(world, script)
    world.settle(seed)
    order = [operation.envelope for operation in world.sites[1].log.operations()]
    random.Random(seed).shuffle(order)
    log = told(world.sites[0].log.space, order)
    assert meaning(log) == meaning(world.sites[0].log)


@given(scripts(forks=True, steps_max=20))
@settings(max_examples=25)
def test_clocks_know_the_ancestors(script: list[Step]) -> None:
    world = World()
    play(world, script)
    world.settle()
    log = world.sites[0].log
    for operation in log.operations():
        closure = Closure(log, operation.parents)
        past = log.past_of(operation.parents)
        for other in log.operations():
            assert (past.find(other.id) is not None) == (other.id in closure.ancestors)
            for role in ("member", "admin"):
                assert past.let_in(other.author, role) == closure.let_in(other.author, role)
        if operation.space is not None:
            admit(operation, closure)
        else:
            assert isinstance(operation.meaning, Genesis)


@given(scripts(forks=True))
def test_operations_come_after_their_ancestors(script: list[Step]) -> None:
    world = World()
    play(world, script)
    for site in world.sites:
        seen: set[Digest] = set()
        for operation in site.log.operations():
            assert seen.issuperset(operation.parents)
            seen.add(operation.id)
        named = {parent for operation in site.log.operations() for parent in operation.parents}
        assert set(site.log.heads()) == seen - named


@given(scripts(forks=True))
def test_what_was_refused_or_lost_leaves_no_trace(script: list[Step]) -> None:
    """A replica that hears only some operations means exactly what the closed part of them means."""
    world = World()
    play(world, script)
    world.settle()
    everything = world.sites[0].log.operations()
    half = everything[::2]
    log = told(world.sites[0].log.space, half)
    admitted = {operation.id for operation in log.operations()}
    heard = {operation.id: operation for operation in half}
    closed: set[Digest] = set()
    for operation in everything:
        if operation.id in heard and closed.issuperset(operation.parents):
            closed.add(operation.id)
    assert admitted == closed
    assert {operation.id for operation in log.waiting()} == heard.keys() - closed
    assert isinstance(merge_state(log), MergeState)
