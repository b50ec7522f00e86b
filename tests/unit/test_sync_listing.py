"""Visits of replicas that know much: they list only what came since, and nobody misses a fork below what is known."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_world import Site

import conjoin.sync.visit as visit_room
from conjoin.log import views
from conjoin.log.segments import segment_of
from conjoin.sync.remotes import MemoryRemote
from conjoin.wire.objects import fork_name, parse_fork, parse_operation


class CountingRemote(MemoryRemote):
    """Counts the names that it lists; hides the latest `lag` objects from listings."""

    def __init__(self) -> None:
        super().__init__("counting")
        self.listed = 0
        self.lag = 0

    def _visible(self) -> list[str]:
        return list(self.objects)[: len(self.objects) - self.lag if self.lag else None]

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        for name in self._visible():
            if name.startswith(prefix) and name > after:
                self.listed += 1
                yield name

    def folders(self, prefix: str) -> Iterator[str]:
        found = {name[len(prefix) :].partition("/")[0] for name in self._visible() if name.startswith(prefix)}
        return iter(sorted(found))

    def listed_by(self, site: Site, **options: bool) -> int:
        self.listed = 0
        site.sync(self, **options)
        return self.listed


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every visit lists only what came since."""
    monkeypatch.setattr(visit_room, "WHOLE_LISTING_MAX", 0)


def notes(site: Site, count: int, place: MemoryRemote | None = None) -> None:
    """Write operations that need no content; with a place each goes there by itself."""
    for number in range(count):
        site.write("note", {"number": number})
        if place is not None:
            site.sync(place)


def test_a_replica_that_knows_much_lists_what_came_since(eager):
    place = CountingRemote()
    first = Site.founding("first")
    notes(first, 40, place)
    second = Site.joining("second", first)
    assert place.listed_by(second) > 40
    content = sum(1 for name in place.objects if name.startswith(("leaf/", "manifest/")))
    assert place.listed_by(second) == place.listed_by(first) == content + 1  # the last operation
    notes(first, 3, place)
    assert place.listed_by(second) == content + 1 + 3
    assert second.ids == first.ids
    assert place.listed_by(second, full=True) > 40


def test_few_operations_are_listed_whole():
    place = CountingRemote()
    first = Site.founding("first")
    notes(first, 20, place)
    assert place.listed_by(first) > 20


def test_what_the_place_lacks_of_a_known_author_is_sent(eager):
    """The replica knows more of a chain than the place does, from elsewhere."""
    place, elsewhere = CountingRemote(), MemoryRemote()
    first = Site.founding("first")
    notes(first, 10, place)
    first.sync(elsewhere)
    notes(first, 30, elsewhere)
    second = Site.joining("second", first)
    second.sync(elsewhere)
    assert second.sync(place).operations_out == 30
    third = Site.joining("third", first)
    third.sync(place)
    assert third.ids == first.ids


def test_new_operations_in_a_segment_that_overlaps_are_found(eager):
    place = CountingRemote()
    first = Site.founding("first")
    notes(first, 10, place)
    second = Site.joining("second", first)
    second.sync(place)
    notes(first, 30)
    chain = [operation for operation in first.log.operations() if operation.space]
    packed = segment_of(chain[4:])
    place.objects[packed.name] = packed.data
    second.sync(place)
    assert second.ids == first.ids
    assert place.listed_by(second) < 15


def test_ancestors_below_what_is_known_are_looked_for_when_something_waits(eager):
    """Two branches of one author, one of which reaches further: its beginning lies below what the other knows."""
    place = CountingRemote()
    first = Site.founding("first")
    liar, twin = Site.joining("liar", first), Site.joining("liar", first)
    first.sync(place)
    notes(liar, 8, place)
    reader = Site.joining("reader", first)
    reader.sync(place)
    twin.write("note", {"twin": 0})
    notes(twin, 10)
    for operation in twin.log.operations():
        place.objects[operation.name] = operation.envelope
    report = reader.sync(place)
    assert (report.waiting, report.refused) == (0, ())
    assert reader.ids == liar.ids | twin.ids


def test_a_late_fork_below_what_is_known_is_found_by_its_evidence(eager):
    place = CountingRemote()
    first = Site.founding("first")
    liar, twin = Site.joining("liar", first), Site.joining("liar", first)
    notes(liar, 8, place)
    reader = Site.joining("reader", first)
    reader.sync(place)
    late = twin.write("note", {"twin": True})
    place.objects[late.name] = late.envelope
    assert reader.sync(place).operations_in == 0  # below what it knows, and nobody has said so yet
    newcomer = Site.joining("newcomer", first)
    newcomer.sync(place)
    evidence = {name for name in place.objects if parse_fork(name)}
    both = newcomer.log.chains()[liar.author][0]
    assert evidence == {fork_name(liar.author, 0, one) for one in both}
    assert {newcomer.store.get(name) for name in evidence} == {newcomer.log.get(one).envelope for one in both}
    report = reader.sync(place)
    assert (report.operations_in, report.refused) == (1, ())
    assert reader.ids == newcomer.ids
    assert len(views.forks(reader.log)) == 1
    assert reader.sync(place).bytes_in == 0


def test_evidence_that_is_not_what_its_name_says_is_refused(eager):
    place = CountingRemote()
    first = Site.founding("first")
    notes(first, 3, place)
    parts = [parse_operation(name) for name in place.objects if name.startswith("ops/")]
    other = next(one for one in parts if one is not None and one.seq == 2)
    place.objects[fork_name(first.author, 1, other.id)] = first.log.get(other.id).envelope
    reader = Site.joining("reader", first)
    place.objects.pop(first.log.get(other.id).name)
    report = reader.sync(place, push=False)
    assert [refusal.code for refusal in report.refused] == ["E301"]


def test_listings_stay_bounded(eager, monkeypatch):
    monkeypatch.setattr(visit_room, "NAMES_MAX", 50)
    place = CountingRemote()
    first = Site.founding("first")
    first.sync(place)
    for number in range(60):
        place.objects[f"ops/{number:064x}/{0:010d}-{'0' * 64}"] = b"junk"
    report = first.sync(place)
    assert "ops/" in {refusal.name for refusal in report.refused}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), steps=st.integers(1, 45), lagging=st.booleans())
def test_replicas_that_share_one_place_end_with_equal_sets_under_forks(seed, steps, lagging):
    """Three honest sites and three that sign with one key, each visit listing only what came since."""
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visit_room, "WHOLE_LISTING_MAX", 0)
        first = Site.founding("first")
        honest = [first, *(Site.joining(f"site-{number}", first) for number in range(2))]
        liars = [Site.joining("liar", first) for _ in range(3)]
        place = CountingRemote()
        serial = 0
        for _ in range(steps):
            site = chance.choice([*honest, *liars])
            for _ in range(chance.choice([0, 0, 1, 1, 2, 20])):
                serial += 1
                site.write("note", {"number": serial})
            if chance.random() < 0.7:
                place.lag = chance.randrange(8) if lagging else 0
                site.sync(place, push=chance.random() < 0.9)
        place.lag = 0
        for _ in range(3):
            for site in chance.sample([*honest, *liars], 6):
                site.sync(place)
        everyone = [*honest, *liars]
        assert len({frozenset(site.ids) for site in everyone}) == 1
        assert len({views.root(site.log) for site in everyone}) == 1
        assert all(not site.log.waiting() for site in everyone)
        reader = Site.joining("reader", first)
        reader.sync(place)
        assert reader.ids == first.ids
