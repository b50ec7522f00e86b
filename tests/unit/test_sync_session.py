"""Live peers: what two replicas say to each other, how much of it, and that a liar achieves nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.peer_world import Line, host_of, talk
from tests.unit.sync_world import Site

import conjoin.sync.reconcile as reconcile_room
import conjoin.sync.session as session_room
from conjoin.errors import PeerRefusedError, ProtocolError, WrongSpaceError
from conjoin.log import views
from conjoin.sync import synchronise_with
from conjoin.sync.host import Host
from conjoin.sync.messages import Found, Get, Hello, Holding, Object, Offer, Put, Refused, Take, Wanted, decode, encode
from conjoin.sync.peers import Peer
from conjoin.wire.digest import Digest
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, manifest_name


@pytest.fixture
def first() -> Site:
    return Site.founding("first")


def assert_whole(site: Site) -> None:
    """Leaves came before their manifest, and operations with everything before them."""
    order = {name: index for index, name in enumerate(site.store._objects)}
    for name in order:
        if name.startswith("manifest/"):
            manifest = Manifest.decode(site.store.get(name), Digest(name[9:]))
            assert all(order[leaf_name(leaf)] < order[name] for leaf in manifest.leaf_lengths())
    for operation in site.log.operations()[1:]:
        assert all(site.log.has(parent) for parent in operation.parents)
        assert operation.name in site.events


def assert_equal(*sites: Site) -> None:
    assert len({frozenset(site.ids) for site in sites}) == 1
    assert len({views.root(site.log) for site in sites}) == 1
    for site in sites:
        assert site.holds_everything()
        assert_whole(site)


def test_a_new_replica_gets_everything_in_one_question_and_its_content(first: Site) -> None:
    contribution = first.add("one")
    second = Site.joining("second", first)
    line = Line(host_of(first))
    outcome = talk(second, line)
    assert_equal(first, second)
    assert second.log.operations()[-1].type == "add"
    assert views.visible(second.log) == (contribution,)
    assert sum(isinstance(question, Hello) for question in line.asked) == 1
    assert (outcome.operations_in, outcome.operations_out, outcome.missing, outcome.refused) == (1, 0, (), [])


def test_what_the_host_lacks_is_pushed_with_its_content(first: Site) -> None:
    second = Site.joining("second", first)
    talk(second, Line(host_of(first)))
    second.add("mine", size_bytes=9_000_000)
    first.add("theirs")
    outcome = talk(second, Line(host_of(first)))
    assert (outcome.operations_in, outcome.operations_out) == (1, 1)
    assert_equal(first, second)


def test_equal_replicas_ask_one_small_question(first: Site) -> None:
    for index in range(30):
        first.add(f"c{index}")
    second = Site.joining("second", first)
    talk(second, Line(host_of(first)))
    line = Line(host_of(first))
    talk(second, line)
    assert len(line.asked) == 1
    assert sum(map(sum, line.sizes)) < 1000


def test_ten_among_many_cost_one_round_trip_and_little(first: Site) -> None:
    """A hundred authors, ten of whom wrote since: the first answer brings all, with under 7 kB around it."""
    writers = [Site.joining(f"w{index}", first) for index in range(100)]
    for writer in writers:
        writer.write("note", {"n": writer.name})
        for other in writer.log.operations():
            first.log.offer(other)
    second = Site.joining("second", first)
    for operation in first.log.operations():
        second.log.offer(operation)
        second.store.put(operation.name, operation.envelope)
    talk(second, Line(host_of(first)))
    for writer in writers[:10]:
        first.log.offer(writer.write("note", {"n": "new"}))
    line = Line(host_of(first))
    outcome = talk(second, line, push=False)
    assert outcome.operations_in == 10
    [place] = [place for place, question in enumerate(line.asked) if isinstance(question, Hello)]
    operations = sum(len(one.envelope) for one in first.log.operations() if one.body.get("n") == "new")
    assert sum(line.sizes[place]) - operations < 7000


@pytest.mark.parametrize("whole_max", [128, 4])
def test_two_sides_with_many_authors_end_equal(first: Site, monkeypatch: pytest.MonkeyPatch, whole_max: int) -> None:
    """Among more authors than are listed at once, ranges find the few that differ."""
    monkeypatch.setattr(reconcile_room, "WHOLE_MAX", whole_max)
    monkeypatch.setattr(reconcile_room, "LISTED_MAX", 2)
    second = Site.joining("second", first)
    for index in range(60):
        writer = Site.joining(f"w{index}", first)
        operation = writer.write("note", {"n": index})
        for site in [first, second] if index % 7 else [first] if index % 2 else [second]:
            site.log.offer(operation)
            site.persist(operation)
    line = Line(host_of(first))
    outcome = talk(second, line)
    assert outcome.operations_in == 4
    assert outcome.operations_out == 5
    assert_equal(first, second)


def fork(site: Site, common: Site) -> Site:
    """Another replica with the key of `site`, which knows what `common` knows: the two will fork."""
    twin = Site.joining(site.name, common)
    for operation in common.log.operations():
        twin.log.offer(operation)
        twin.persist(operation)
    return twin


@pytest.mark.parametrize("shared", [0, 1, 5, 40])
def test_both_branches_of_a_fork_are_kept_on_both_sides(first: Site, shared: int) -> None:
    mallory = Site.joining("mallory", first)
    for index in range(shared):
        mallory.write("note", {"n": index})
    twin = fork(mallory, mallory)
    for index in range(11):
        mallory.write("note", {"left": index})
        twin.write("note", {"right": index})
    second = Site.joining("second", first)
    talk(second, Line(host_of(twin)))
    talk(first, Line(host_of(mallory)))
    talk(second, Line(host_of(first)))
    assert first.ids == second.ids
    assert len(first.ids) == 1 + shared + 22
    assert len(views.forks(first.log)) >= 1


class World:
    """Three sites that write and talk in any order."""

    def __init__(self) -> None:
        self.founder = Site.founding("founder")
        self.sites = [self.founder, *(Site.joining(f"s{index}", self.founder) for index in (1, 2))]
        self.sites += [fork(self.sites[2], self.founder)]
        self.count = 0

    def act(self, site: int, other: int, kind: int) -> None:
        actor = self.sites[site]
        self.count += 1
        if kind == 0:
            actor.add(f"c{self.count % 5}")
        elif kind == 1:
            actor.write("note", {"n": self.count})
        elif kind == 2 and views.visible(actor.log):
            mine = [one for one in views.visible(actor.log) if actor.own_adds(one)]
            if mine:
                actor.retract(mine[0])
        elif site != other:
            talk(actor, Line(host_of(self.sites[other])))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_history_with_forks_ends_equal_once_all_have_talked(actions: list[tuple[int, int, int]]) -> None:
    world = World()
    for action in actions:
        world.act(*action)
    for _ in range(2):
        for site in world.sites[1:]:
            talk(site, Line(host_of(world.founder)))
    assert_equal(*world.sites)


@pytest.mark.parametrize("waits_in", ["the log", "the offer"])
def test_what_waited_is_durable_before_it_counts(first: Site, waits_in: str) -> None:
    """Two peers offer at once; what one of them brings lets in what came by the other. Found by the simulator."""
    writer = Site.joining("writer", first)
    before, after = writer.write("note", {"n": 0}), writer.write("note", {"n": 1})
    held, other = host_of(first), host_of(first)
    early, late = (before, after) if waits_in == "the log" else (after, before)
    held.answer(Offer((early.envelope,), True))
    other.answer(Offer((late.envelope,), True))
    other.answer(Take())
    held.answer(Take())
    assert first.log.has(after.id)
    assert [name for name in first.events if name in (before.name, after.name)] == [before.name, after.name]


@given(st.integers(0, 25))
@settings(max_examples=26, deadline=None)
def test_a_line_cut_anywhere_leaves_both_valid_and_the_next_one_ends_it(cut: int) -> None:
    first = Site.founding("first")
    second = Site.joining("second", first)
    first.add("theirs", size_bytes=9_000_000)
    second.add("mine", size_bytes=9_000_000)
    second.add("more", extras={"fisher": b"f" * 100})
    try:
        talk(second, Line(host_of(first), cut_after=cut))
    except ConnectionResetError:
        for site in (first, second):
            assert_whole(site)
    talk(second, Line(host_of(first)))
    assert_equal(first, second)


def test_an_interrupted_push_asks_only_for_what_is_lacking(first: Site) -> None:
    second = Site.joining("second", first)
    second.add("mine", size_bytes=30_000_000)
    with pytest.raises(ConnectionResetError):
        talk(second, Line(host_of(first), cut_after=7))
    before = set(first.store.names("leaf/"))
    line = Line(host_of(first))
    talk(second, line)
    put = {question.name for question in line.asked if isinstance(question, Put) and question.name.startswith("leaf/")}
    assert put and not put & before
    assert_equal(first, second)


class Wire:
    """A line to a host in this process."""

    where = "the peer"
    key = "0" * 64

    def __init__(self, host: Host) -> None:
        self._host = host

    def exchange(self, frame: bytes) -> bytes:
        return self._host.exchange(frame)

    def close(self) -> None:
        pass


def test_the_driver_moves_leaves_in_several_threads_and_reports(first: Site) -> None:
    first.add("theirs", size_bytes=20_000_000)
    second = Site.joining("second", first)
    second.add("mine", size_bytes=20_000_000)
    peer = Peer(Wire(host_of(first)))
    report = synchronise_with(second.log, second.store, peer, persist_operation=second.persist)
    assert (report.operations_in, report.operations_out, report.missing, report.refused) == (1, 1, (), ())
    assert report.bytes_in > 20_000_000
    assert report.bytes_out > 20_000_000
    assert report.source == "the peer"
    assert_equal(first, second)
    again = synchronise_with(second.log, second.store, peer, persist_operation=second.persist)
    assert (again.objects_in, again.objects_out, again.bytes_in, again.bytes_out) == (0, 0, 0, 0)


def test_a_host_answers_garbage_with_a_refusal(first: Site) -> None:
    host = host_of(first)
    for frame in (b"", b"\xff" * 100, encode(Take())[:-1], encode(Refused("E500", "no"))):
        assert isinstance(decode(host.exchange(frame)), Refused)


# -------------------------------------------------------------------------------------------------------- liars
def test_another_space_is_refused(first: Site) -> None:
    stranger = Site.founding("stranger")
    with pytest.raises(PeerRefusedError, match=WrongSpaceError.code):
        talk(stranger, Line(host_of(first)))
    assert len(first.log) == 1


def test_a_host_that_lies_about_operations_and_leaves_changes_nothing(first: Site) -> None:
    first.add("one", size_bytes=9_000_000)
    second = Site.joining("second", first)

    def bend(question: object, answer: object) -> object:
        if isinstance(answer, Found):
            return Found(
                answer.root,
                answer.ranges,
                answer.holdings,
                answer.wanted,
                tuple(e[:-5] + b'AAAA"' for e in answer.operations),
            )
        return answer

    outcome = talk(second, Line(host_of(first), bend))
    assert outcome.refused and len(second.log) == 1

    def flip(question: object, answer: object) -> object:
        if isinstance(answer, Object) and answer.name.startswith("leaf/"):
            return Object(answer.name, answer.data[:-1] + bytes([answer.data[-1] ^ 1]))
        return answer

    outcome = talk(second, Line(host_of(first), flip))
    assert {refusal.code for refusal in outcome.refused} == {"E301"}
    assert outcome.missing
    assert not {manifest_name(digest) for digest in outcome.missing} & set(second.store.names("manifest/"))
    talk(second, Line(host_of(first)))
    assert_equal(first, second)


def test_a_host_that_claims_what_it_does_not_have_is_left_alone(first: Site) -> None:
    """Forged holdings cost one question more and remove nothing."""
    first.add("one")
    second = Site.joining("second", first)
    second.add("two")

    def bend(question: object, answer: object) -> object:
        if isinstance(answer, Found):
            forged = tuple(Holding(h.author, ((999_999, "0" * 16),)) for h in answer.holdings)
            return Found(answer.root, answer.ranges, (*forged, Holding("f" * 16, ((3, "1" * 16),))), (), ())
        return answer

    line = Line(host_of(first), bend)
    talk(second, line)
    assert sum(isinstance(question, Hello) for question in line.asked) <= 2
    assert len(second.log) == 2


def test_a_host_takes_only_what_it_asked_for(first: Site) -> None:
    host = host_of(first)
    second = Site.joining("second", first)
    second.add("mine")
    name = manifest_name(second.log.genesis.base)
    leaf = next(iter(second.store.names("leaf/")))
    for question in (
        Put(leaf, second.store.get(leaf)),
        Put("ops/x", b"x"),
        Put(manifest_name(Digest("a" * 64)), b"{}"),
        Get("ops/x"),
        Get("../key"),
    ):
        answer = host.answer(question)
        assert isinstance(answer, Refused), question
    assert name in first.store.names("manifest/")
    operation = second.log.operations()[-1]
    wanted = host.answer(Offer((operation.envelope,), True))
    assert isinstance(wanted, Wanted)
    assert wanted.names == (manifest_name(Digest(operation.body["contribution"]["weights"])),)
    assert isinstance(host.answer(Put(wanted.names[0], second.store.get(wanted.names[0])[:-1])), Refused)
    assert len(first.log) == 1, "what was offered is not taken before the peer says that this is all"
    host.answer(Take())
    assert len(first.log) == 2


def test_a_host_refuses_more_than_it_has_room_for(first: Site) -> None:
    second = Site.joining("second", first)
    second.add("huge", size_bytes=20_000_000)
    outcome = talk(second, Line(host_of(first, room=1_000_000)))
    assert outcome.failure is not None and "room" in outcome.failure.what
    assert len(list(first.store.names("leaf/"))) == 3
    assert len(first.log) == 1


def test_a_peer_that_is_no_member_gets_its_operations_refused() -> None:
    founder = Site.founding("founder", is_open=False)
    stranger = Site.joining("stranger", founder)
    forged = Site.founding("stranger")
    operation = forged.write("note", {"n": 1})
    answer = host_of(founder).answer(Offer((operation.envelope,), True))
    assert isinstance(answer, Wanted)
    assert answer.refused[0][0] == operation.id
    assert len(founder.log) == 1
    assert len(stranger.log) == 1


@pytest.mark.parametrize("full", [False, True])
def test_an_endless_host_is_left(first: Site, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that never runs out of valid news is left after a number of questions; what it gave is kept.

    Also if its answers always are so full that there may be more.
    """
    monkeypatch.setattr(session_room, "HELLOS_MAX", 20)
    monkeypatch.setattr(session_room, "full", lambda _: full)
    second = Site.joining("second", first)

    class Endless(Host):
        def _found(self, hello: Hello) -> Found:
            first.write("note", {"n": len(first.log)})
            found = super()._found(hello)
            return Found(
                found.root, found.ranges, (Holding("0" * 16, ((1, "2" * 16),)), *found.holdings), (), found.operations
            )

    line = Line(Endless(first.log, first.store, first.persist, lambda: 1 << 40))
    talk(second, line, push=False)
    assert len(line.asked) <= 30
    assert 2 <= len(second.log) <= 25


# -------------------------------------------------------------------------------------------------------- frames
@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_frame_is_an_error_or_another_message(data: st.DataObject) -> None:
    hello = Hello(Digest("a" * 64), "0" * 32, (), (Holding("1" * 16, ((3, "2" * 16),)),))
    frame = bytearray(encode(hello))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(ProtocolError):
        assert decode(bytes(frame)) != hello


def test_rooms_of_the_session_import_nothing_that_does_io() -> None:
    for module in ("session", "host", "messages", "reconcile", "pulling"):
        source = Path(session_room.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        for name in ("os", "time", "random", "secrets", "threading", "socket", "logging", "asyncio"):
            assert f"\nimport {name}\n" not in source and f"\nfrom {name} " not in source
