"""Whatever a remote says or withholds, nothing false is kept, nothing false is sent on, and each lie is named."""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sync_world import EndlessRemote, LyingRemote, Site, keep_content

import conjoin.sync.visit as visit_room
from conjoin.errors import EmptySourceError, RemoteError, SeveralSpacesError, WrongSpaceError
from conjoin.log import Log, draft, parse, views
from conjoin.sync import choose_space, discover_spaces
from conjoin.sync.pulling import Outcome
from conjoin.sync.remotes import MemoryRemote
from conjoin.sync.requests import Fetch, Held, ListNames, Read
from conjoin.sync.visit import visit
from conjoin.wire import canonical
from conjoin.wire.contribution import Contribution
from conjoin.wire.digest import Digest, sha256
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import manifest_name, operation_name


@pytest.fixture
def first() -> Site:
    site = Site.founding("first")
    site.add("a", size_bytes=3000, extras={"fisher": b"f" * 10})
    site.add("b", size_bytes=2000)
    return site


@pytest.fixture
def place(first: Site) -> MemoryRemote:
    place = MemoryRemote()
    first.sync(place)
    return place


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def codes(report) -> set[str]:
    return {refusal.code for refusal in report.refused}


def undamaged(site: Site) -> bool:
    return all(site.store.get(name) is not None for name in site.store.names(""))


@pytest.mark.parametrize("kind", ["leaf/", "manifest/", "ops/"])
@pytest.mark.parametrize("bend", [flip, lambda data: b"", lambda data: data + b"x", lambda data: b"\xff" * 70])
def test_corrupted_objects_are_named_and_healed_elsewhere(first: Site, place: MemoryRemote, kind, bend) -> None:
    second = Site.joining("second", first)
    liar = LyingRemote(place, lambda name, data: bend(data) if name.startswith(kind) else data)
    report = second.sync(liar)
    assert {refusal.name for refusal in report.refused} <= {name for name in place.objects if name.startswith(kind)}
    assert report.refused
    assert undamaged(second)
    if kind == "ops/":
        assert report.operations_in == 0
    else:
        assert report.missing
        assert report.operations_in == 2, "operations are kept although their content could not be had"
    healed = second.sync(place)
    assert (healed.refused, healed.missing) == ((), ())
    assert second.ids == first.ids
    assert second.holds_everything()


def test_one_bad_leaf_costs_one_leaf(first: Site, place: MemoryRemote) -> None:
    bad = next(name for name in place.objects if name.startswith("leaf/") and len(place.objects[name]) == 3000)
    second = Site.joining("second", first)
    report = second.sync(LyingRemote(place, lambda name, data: flip(data) if name == bad else data))
    assert [refusal.name for refusal in report.refused] == [bad]
    assert len(report.missing) == 1
    assert second.sync(place).bytes_in == 3000 + len(place.objects[manifest_name(report.missing[0])])


class PiecemealRemote(MemoryRemote):
    """Gives objects in pieces of a few bytes, and of each as many more as it likes."""

    def __init__(self, place: MemoryRemote, surplus: bytes = b"") -> None:
        super().__init__()
        self.objects = place.objects
        self._surplus = surplus

    def pieces(self, name: str, size_bytes_max: int) -> Iterator[bytes]:
        data = self.get(name, size_bytes_max) + self._surplus
        yield from (data[start : start + 7] for start in range(0, len(data), 7))


def test_leaves_come_in_pieces_and_none_that_is_too_long_is_kept(first: Site, place: MemoryRemote) -> None:
    second = Site.joining("second", first)
    report = second.sync(PiecemealRemote(place, b"and more"))
    assert {refusal.name for refusal in report.refused} == {name for name in place.objects if name.startswith("leaf/")}
    assert list(second.store.names("leaf/")) == []
    assert len(report.missing) == 5
    healed = second.sync(PiecemealRemote(place))
    assert (healed.refused, healed.missing) == ((), ())
    assert second.holds_everything()
    assert undamaged(second)


def test_withheld_leaves_are_missing_not_refused(first: Site, place: MemoryRemote) -> None:
    withholding = MemoryRemote()
    withholding.objects = {name: data for name, data in place.objects.items() if not name.startswith("leaf/")}
    second = Site.joining("second", first)
    report = second.sync(withholding, push=False)
    assert report.refused == ()
    assert len(report.missing) == 5, "base, files, a, its extra, b"
    assert list(second.store.names("manifest/")) == []
    assert second.ids == first.ids
    third = Site.joining("third", first)
    third.sync(withholding)
    first.sync(withholding)
    assert third.sync(withholding).missing == ()


def test_a_partial_copy_is_completed_by_whoever_has_the_rest(first: Site, place: MemoryRemote) -> None:
    names = sorted(place.objects)
    for left_out in names:
        partial = MemoryRemote()
        partial.objects = {name: place.objects[name] for name in names if name != left_out}
        second = Site.joining("second", first)
        second.sync(partial)
        first.sync(partial)
        assert partial.objects == place.objects, left_out
        second.sync(partial)
        assert second.holds_everything()


def test_listed_but_unreadable(first: Site, place: MemoryRemote) -> None:
    def fail(name: str, data: bytes) -> bytes:
        raise RemoteError("connection reset", where=name)

    second = Site.joining("second", first)
    report = second.sync(LyingRemote(place, fail), push=False)
    assert codes(report) == {"E500"}
    assert report.operations_in == 0


def test_an_object_under_another_operations_name(first: Site, place: MemoryRemote) -> None:
    names = [name for name in sorted(place.objects) if name.startswith("ops/")]
    swapped = dict(zip(names, [*names[1:], names[0]], strict=True))
    second = Site.joining("second", first)
    report = second.sync(LyingRemote(place, lambda name, data: place.objects[swapped.get(name, name)]))
    assert codes(report) == {"E301"}
    assert report.operations_in == 0


def test_operations_of_another_space_are_refused_and_not_forwarded(first: Site, place: MemoryRemote) -> None:
    stranger = Site.founding("stranger")
    stranger.add("x")
    place.objects |= {o.name: o.envelope for o in stranger.log.operations()}
    second = Site.joining("second", first)
    report = second.sync(place)
    assert {refusal.name for refusal in report.refused} == {o.name for o in stranger.log.operations()}
    assert codes(report) == {"E402"}
    onward = MemoryRemote()
    second.sync(onward)
    assert not any(o.name in onward.objects for o in stranger.log.operations())


def test_a_place_of_another_space_is_left_alone(place: MemoryRemote) -> None:
    stranger = Site.founding("stranger")
    before = dict(place.objects)
    with pytest.raises(WrongSpaceError):
        stranger.sync(place)
    assert place.objects == before


def test_many_first_operations_are_not_fetched_at_once(first: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit_room, "BATCH", 2)
    listing = [f"ops/{number:064x}/0000000000-{number:064x}" for number in range(9)]
    fetched: list[int] = []
    steps, answer = visit(first.log, Outcome(), push=False), None
    with suppress(StopIteration):
        while True:
            match steps.send(answer):
                case ListNames(prefix):
                    answer = [name for name in listing if name.startswith(prefix)]
                case Fetch(names):
                    fetched.append(len(names))
                    answer = [b"x"] * len(names)
                case Held(names):
                    answer = frozenset(names)
                case Read(name):
                    answer = first.store.get(name)
                case _:
                    answer = None
    assert sum(fetched) == 18
    assert max(fetched) == 2


def test_a_forged_signature_is_refused_until_the_true_one_comes(first: Site, place: MemoryRemote) -> None:
    def forge(name: str, data: bytes) -> bytes:
        if not name.startswith("ops/"):
            return data
        envelope = json.loads(data)
        signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
        signature[3] ^= 1
        envelope["signatures"][0]["sig"] = base64.b64encode(bytes(signature)).decode()
        return canonical.encode(envelope)

    second = Site.joining("second", first)
    report = second.sync(LyingRemote(place, forge), push=False)
    assert codes(report) == {"E404"}
    assert second.sync(place).operations_in == 2


def test_a_strangers_operation_in_a_closed_space_is_refused() -> None:
    first = Site.founding("first", is_open=False)
    stranger = Site.joining("stranger", first)
    contribution = Contribution(first.log.genesis.base, first.log.genesis.base, "1", {})
    payload = canonical.encode(
        {
            "author": stranger.author,
            "body": {"contribution": contribution.to_json(), "license": "", "time": "", "title": ""},
            "deps": [first.log.space],
            "prev": None,
            "seq": 0,
            "space": first.log.space,
            "type": "add",
            "version": 1,
        }
    )
    place = MemoryRemote()
    first.sync(place)
    operation = parse(stranger.sign(payload))
    place.put(operation.name, operation.envelope)
    report = first.sync(place)
    assert [(refusal.name, refusal.code) for refusal in report.refused] == [(operation.name, "E406")]
    assert views.visible(first.log) == ()


def test_a_gap_waits_and_is_filled_from_another_remote(first: Site, place: MemoryRemote) -> None:
    early, late = (o for o in first.log.operations() if o.type == "add")
    gapped = MemoryRemote("gapped")
    gapped.objects = {name: data for name, data in place.objects.items() if name != early.name}
    second = Site.joining("second", first)
    report = second.sync(gapped, push=False)
    assert (report.operations_in, report.waiting) == (0, 1)
    assert list(second.store.names("ops/")) == [], "what waits is not kept"
    rest = MemoryRemote("rest")
    rest.objects = {early.name: early.envelope}
    report = second.sync(rest, push=False)
    assert (report.operations_in, report.waiting) == (2, 0)
    assert second.events == [early.name, late.name]


def test_unknown_types_are_kept_and_forwarded(first: Site) -> None:
    future = first.write("attest", {"anything": ["goes", 1]})
    place = MemoryRemote()
    first.sync(place)
    second = Site.joining("second", first)
    second.sync(place)
    onward = MemoryRemote()
    second.sync(onward)
    assert onward.objects[future.name] == future.envelope


def test_a_fork_travels_whole(first: Site, place: MemoryRemote) -> None:
    """Two operations of one author and seq are both kept: they are the proof."""
    left = first.write("note", {"n": 1})
    payload = json.loads(left.payload) | {"body": {"n": 2}}
    right = parse(first.sign(canonical.encode(payload)))
    first.sync(place)
    place.put(right.name, right.envelope)
    second = Site.joining("second", first)
    second.sync(place)
    assert {left.id, right.id} <= second.ids
    assert len(views.forks(second.log)) == 1


def test_oversize_objects_are_not_taken(first: Site, place: MemoryRemote) -> None:
    big = LyingRemote(place, lambda name, data: data)
    big.get = lambda name, size_bytes_max: MemoryRemote.get(big, name, size_bytes_max)
    for name in big.objects:
        if not name.startswith("manifest/"):
            big.objects[name] += b"\0" * (8 << 20)
    second = Site.joining("second", first)
    report = second.sync(big, push=False)
    assert codes(report) == {"E500"}
    assert report.bytes_in < sum(len(d) for n, d in place.objects.items())


def test_an_endless_listing_is_cut_off(first: Site, place: MemoryRemote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit_room, "NAMES_MAX", 5000)
    endless = EndlessRemote("endless")
    endless.objects = dict(place.objects)
    second = Site.joining("second", first)
    report = second.sync(endless)
    assert {refusal.name for refusal in report.refused} == {"fork/", "ops/", "seg/", "manifest/", "leaf/"}
    assert second.ids == first.ids
    assert second.holds_everything()


def test_garbage_names_are_passed_over(first: Site, place: MemoryRemote) -> None:
    junk = ["ops/", "ops/x", f"ops/{'a' * 64}/1-{'b' * 64}", f"leaf/aa/{'b' * 64}", "manifest/" + "A" * 64, "../etc"]
    place.objects |= dict.fromkeys(junk, b"junk")
    second = Site.joining("second", first)
    assert second.sync(place).refused == ()
    assert second.holds_everything()


def test_content_of_a_contribution_that_is_no_manifest(first: Site, place: MemoryRemote) -> None:
    """A member adds a contribution whose content is nowhere; everybody else goes on."""
    ghost = Contribution(sha256(b"nothing"), first.log.genesis.base, "1", {})
    first.write("add", {"contribution": ghost.to_json(), "license": "", "time": "", "title": ""})
    first.sync(place)
    second = Site.joining("second", first)
    report = second.sync(place)
    assert report.missing == (ghost.weights,)
    assert second.ids == first.ids


def test_a_manifest_that_states_a_wrong_length(first: Site, place: MemoryRemote) -> None:
    """A leaf of the right digest but not of the length that its manifest states is not kept."""
    leaf = next(name for name in place.objects if name.startswith("leaf/") and len(place.objects[name]) == 3000)
    digest = leaf[-64:]
    author = Site.joining("author", first)
    author.sync(place)
    manifest = Manifest.of([TensorEntry("w", "U8", (2999,), (Digest(digest),))])
    contribution = Contribution(manifest.digest, first.log.genesis.base, "1", {})
    author.write("add", {"contribution": contribution.to_json(), "license": "", "time": "", "title": ""})
    lying = MemoryRemote()
    lying.objects = {o.name: o.envelope for o in author.log.operations()}
    lying.objects |= {leaf: place.objects[leaf], manifest_name(manifest.digest): manifest.encode()}
    second = Site.joining("second", first)
    report = second.sync(lying, push=False)
    assert (leaf, "E500") in {(r.name, r.code) for r in report.refused} or "E301" in codes(report)
    assert manifest.digest in report.missing
    assert not second.store.has(leaf)


def test_a_remote_that_cannot_be_written_fails_after_the_pull(first: Site, place: MemoryRemote) -> None:
    class Full(MemoryRemote):
        def put(self, name: str, data: bytes) -> None:
            raise RemoteError("the disk is full")

    full = Full()
    full.objects = dict(place.objects)
    second = Site.joining("second", first)
    second.add("c")
    report = second.sync(full)
    assert isinstance(report.failure, RemoteError)
    assert report.operations_in == 2
    assert report.operations_out == 0
    assert second.holds_everything()


def test_damage_in_the_own_store_is_not_sent_on(first: Site) -> None:
    leaf = next(name for name in first.store.names("leaf/") if len(first.store.get(name)) == 3000)
    first.store._objects[leaf] = flip(first.store._objects[leaf])
    place = MemoryRemote()
    report = first.sync(place)
    assert [refusal.name for refusal in report.refused] == [leaf]
    assert report.refused[0].what.startswith("in this replica: ")
    assert leaf not in place.objects
    assert report.operations_out == 3


def test_a_flood_of_operations_that_wait_stays_bounded(first: Site, place: MemoryRemote, monkeypatch) -> None:
    """Rooms that overflow are asked again as long as that gets anywhere, so order of arrival does not matter."""
    for i in range(40):
        first.write("note", {"n": i})
    first.sync(place)
    monkeypatch.setattr(visit_room, "_place", lambda name: (0, name[::-1]))
    second = Site.joining("second", first)
    second.log = Log(second.log.space, waiting_operations_max=3)
    second.log.offer(first.log.get(first.log.space))
    report = second.sync(place)
    assert second.ids == first.ids
    assert report.waiting == 0


def test_discovering_and_choosing_a_space(first: Site, place: MemoryRemote) -> None:
    assert [g.id for g in discover_spaces(place)] == [first.log.space]
    assert choose_space(discover_spaces(place)).id == first.log.space
    with pytest.raises(EmptySourceError):
        choose_space(discover_spaces(MemoryRemote()))
    stranger = Site.founding("stranger")
    genesis = stranger.log.get(stranger.log.space)
    place.put(genesis.name, genesis.envelope)
    place.put(operation_name("a" * 64, 0, Digest("b" * 64)), b"junk")
    spaces = discover_spaces(place)
    assert [g.id for g in spaces] == sorted([first.log.space, stranger.log.space])
    with pytest.raises(SeveralSpacesError):
        choose_space(spaces)
    assert choose_space(spaces, stranger.log.space[:10]).id == stranger.log.space
    with pytest.raises(EmptySourceError):
        choose_space(spaces, "0" * 64)


def test_keep_content_helper_splits_leaves() -> None:
    site = Site.founding("x")
    digest = keep_content(site.store, {"w": b"a" * (4 * 1024 * 1024 + 1)})
    assert len(list(site.store.names("leaf/"))) == 5
    assert site.store.has(manifest_name(digest))
    assert draft(site.log, site.author, "note", {})
