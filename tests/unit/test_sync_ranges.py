"""More than a thousand authors under the real limits: ranges find the few that differ, a newcomer gets them all."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.unit.peer_world import Line, host_of, talk
from tests.unit.sync_world import Site

from conjoin.log import Operation, views
from conjoin.sync import messages, reconcile, session
from conjoin.sync.messages import Hello, Holding
from conjoin.sync.reconcile import WHOLE_MAX, Comparison

AUTHORS = 1_200


@pytest.fixture(scope="module")
def founder() -> Site:
    return Site.founding("founder")


@pytest.fixture(scope="module")
def notes(founder: Site) -> list[Operation]:
    """One operation of each author."""
    return [Site.joining(f"author {n}", founder).write("note", {"n": n}) for n in range(AUTHORS)]


def knowing(name: str, founder: Site, operations: Iterable[Operation]) -> Site:
    """A replica that has these operations, and the content that the space begins with."""
    site = Site.joining(name, founder)
    for object_name in founder.store.names(""):
        site.store.put(object_name, founder.store.get(object_name))
    for operation in operations:
        assert site.log.offer(operation).status == "admitted"
    return site


def hellos(line: Line) -> list[int]:
    """Bytes of each hello and its answer."""
    return [sum(size) for question, size in zip(line.asked, line.sizes, strict=True) if isinstance(question, Hello)]


def assert_equal(here: Site, there: Site, operations: int) -> None:
    assert here.ids == there.ids
    assert len(here.ids) == operations
    assert views.root(here.log) == views.root(there.log)


def test_ranges_find_what_differs_among_more_than_a_thousand_authors(founder: Site, notes: list[Operation]) -> None:
    here = knowing("here", founder, (o for n, o in enumerate(notes) if n % 300 != 7))
    there = knowing("there", founder, (o for n, o in enumerate(notes) if n % 400 != 11))
    opening = Comparison(here.log, "0" * 32).opening()
    assert len(here.log) > 9 * WHOLE_MAX
    assert all(one.fingerprint is not None and not one.holdings for one in opening)
    line = Line(host_of(there))
    outcome = talk(here, line)
    assert (outcome.operations_in, outcome.operations_out, outcome.refused) == (4, 3, [])
    assert_equal(here, there, 1 + AUTHORS)
    whole = sum(len(holding.author) + len(str(holding.points)) for holding in _listed(there))
    assert 2 <= len(hellos(line)) <= 5
    assert sum(hellos(line)) < whole / 2
    again = Line(host_of(there))
    outcome = talk(here, again)
    assert (len(again.asked), outcome.operations_in, outcome.operations_out) == (1, 0, 0)
    assert sum(hellos(again)) < 4_000


def _listed(site: Site) -> list[Holding]:
    comparison = Comparison(site.log, "0" * 32)
    return [comparison.holding(author) for author in comparison._order]


@pytest.mark.parametrize("asks", ["the newcomer", "the other"])
def test_a_newcomer_gets_the_operations_of_a_thousand_authors(asks: str, founder: Site, notes: list[Operation]) -> None:
    newcomer, other = knowing("newcomer", founder, ()), knowing("other", founder, notes)
    sides = (newcomer, other) if asks == "the newcomer" else (other, newcomer)
    line = Line(host_of(sides[1]))
    assert talk(sides[0], line).refused == []
    assert len(hellos(line)) == 1
    assert_equal(newcomer, other, 1 + AUTHORS)


def test_more_authors_than_one_message_has_room_for_come_in_one_sync(
    founder: Site, notes: list[Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first answer leaves out is compared again; a thirteenth of the room makes that cheap to see."""
    monkeypatch.setattr(reconcile, "AUTHORS_MAX", 315)
    monkeypatch.setattr(session, "OPERATIONS_MAX", 315)
    newcomer, other = knowing("newcomer", founder, ()), knowing("other", founder, notes)
    line = Line(host_of(other))
    assert talk(newcomer, line, push=False).refused == []
    assert_equal(newcomer, other, 1 + AUTHORS)
    assert len(hellos(line)) <= 12


def test_what_differs_almost_everywhere_is_asked_about_in_messages_that_can_be_read(
    founder: Site, notes: list[Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As among 40,000 authors of whom the two sides have different ones, at a 32nd of the size."""
    monkeypatch.setattr(messages, "HEADER_BYTES_MAX", messages.HEADER_BYTES_MAX // 32)
    monkeypatch.setattr(reconcile, "ASKED_MAX", reconcile.ASKED_MAX // 32)
    monkeypatch.setattr(reconcile, "MESSAGE_MAX", reconcile.MESSAGE_MAX // 32)
    here, there = knowing("here", founder, notes[::2]), knowing("there", founder, notes[1::2])
    line = Line(host_of(there))
    assert talk(here, line).refused == []
    assert_equal(here, there, 1 + AUTHORS)
    assert len(hellos(line)) <= 80
