"""Segments: runs of one author's chain as one object, as bytes, in a place, in a replica's own folder."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sync_world import Site

from conjoin import Replica
from conjoin.errors import ConjoinError, DamagedObjectError
from conjoin.log import Log, draft, parse, views
from conjoin.log.segments import members, pack, pieces, read_segment, runs, segment_of
from conjoin.store.base import check_object, is_object, size_limit
from conjoin.store.keyuse import KeyUse, write_key_use
from conjoin.store.memory import MemoryStore
from conjoin.sync.remotes import MemoryRemote
from conjoin.testing.histories import World
from conjoin.wire.envelope import seal
from conjoin.wire.objects import SegmentName, fork_name, parse_operation, parse_segment
from conjoin.wire.segment import SEGMENT_BYTES_MAX, SEGMENT_OPERATIONS_MAX


def busy(name: str, count: int, *, open_to: Site | None = None) -> Site:
    """A site that has written `count` operations of a type nobody knows, which need no content."""
    site = Site.founding(name) if open_to is None else Site.joining(name, open_to)
    for number in range(count):
        site.write("note", {"number": number})
    return site


def chain(site: Site) -> list:
    return [operation for operation in site.log.operations() if operation.author == site.author and operation.space]


@pytest.fixture(scope="module")
def writer() -> Site:
    return busy("writer", 40)


# ------------------------------------------------------------------------------------------------ names and bytes
def test_a_segment_is_an_object_of_its_own_kind(writer):
    packed = segment_of(chain(writer))
    parts = parse_segment(packed.name)
    assert packed.name == f"seg/{writer.author}/0000000001-0000000040-{chain(writer)[-1].id}"
    assert parts == SegmentName(writer.author, 1, 40, chain(writer)[-1].id)
    assert is_object(packed.name)
    assert size_limit(packed.name) == SEGMENT_BYTES_MAX == 4 * 2**20
    assert packed.data == b"".join(operation.envelope + b"\n" for operation in chain(writer))
    assert read_segment(packed.name, packed.data) == chain(writer)
    check_object(packed.name, packed.data)
    assert members(writer.log, parts) == chain(writer)


@pytest.mark.parametrize(
    "name",
    ["seg/a/1-2-b", f"seg/{'a' * 64}/0000000002-0000000001-{'b' * 64}", f"seg/{'a' * 64}/0000000001-{'b' * 64}", "seg"],
)
def test_other_names_are_none(name):
    assert parse_segment(name) is None
    assert not is_object(name)


def bent(writer: Site) -> dict[str, tuple[str, bytes]]:
    """Segments that are not what their names say, by what is wrong with them."""
    operations = chain(writer)
    good = segment_of(operations)
    parts = parse_segment(good.name)
    assert parts is not None
    other = chain(busy("other", 40, open_to=writer))
    lines = good.data.splitlines(keepends=True)
    genesis = writer.log.get(writer.log.space)
    with_genesis = segment_of([genesis, *operations])
    return {
        "one operation missing": (good.name, b"".join(lines[:-1])),
        "one left out in the middle": (good.name, b"".join(lines[:7] + lines[8:])),
        "two in another order": (good.name, b"".join([lines[1], lines[0], *lines[2:]])),
        "no newline at the end": (good.name, good.data[:-1]),
        "one newline more": (good.name, good.data + b"\n"),
        "another last operation": (str(SegmentName(parts.author, 1, 40, operations[3].id)), good.data),
        "another author in the name": (str(SegmentName(other[0].author, 1, 40, parts.id)), good.data),
        "seqs that are not those": (str(SegmentName(parts.author, 2, 41, parts.id)), good.data),
        "an operation of another": (good.name, b"".join([*lines[:-1], other[39].envelope + b"\n"])),
        "a genesis": (with_genesis.name, with_genesis.data),
        "garbage": (good.name, b"\n" * 40),
        "a changed byte": (good.name, good.data[:900] + bytes([good.data[900] ^ 1]) + good.data[901:]),
        "too many": (str(SegmentName(parts.author, 1, 2000, parts.id)), lines[0] * 2000),
    }


def test_what_is_not_what_its_name_says_is_refused_as_bytes_and_by_a_visit(writer):
    for what, (name, data) in bent(writer).items():
        with pytest.raises(DamagedObjectError):
            check_object(name, data)
        with pytest.raises(ConjoinError):
            read_segment(name, data)
        place = MemoryRemote()
        genesis = writer.log.get(writer.log.space)
        place.objects = {genesis.name: genesis.envelope, name: data}
        reader = Site.joining("reader", writer)
        report = reader.sync(place, push=False)
        assert [refusal.name for refusal in report.refused] == [name], what
        assert len(reader.log) == 1, what


def test_a_signature_that_does_not_verify_refuses_the_segment(writer):
    good = segment_of(chain(writer))
    lines = good.data.splitlines()
    first, second = (line.split(b'"sig":"') for line in lines[:2])
    lines[0] = first[0] + b'"sig":"' + second[1]
    data = b"\n".join(lines) + b"\n"
    check_object(good.name, data)  # who signed is not the store's business
    with pytest.raises(ConjoinError, match="signature"):
        read_segment(good.name, data)


# ------------------------------------------------------------------------------------------------ runs
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(0, 40), forks=st.booleans())
def test_runs_are_a_causal_order_of_linear_chains(seed, steps, forks):
    chance = random.Random(seed)
    world = World(4)
    for _ in range(steps):
        site = chance.randrange(4)
        if forks and chance.random() < 0.15:
            world.fork(chance.randrange(5))
        elif chance.random() < 0.6:
            world.add(site, chance.randrange(5))
        else:
            world.sync(site, chance.randrange(4), chance.randrange(100))
    for site in world.sites:
        operations = list(site.log.operations())
        chosen = [operation for operation in operations if chance.random() < 0.8]
        chance.shuffle(chosen)
        found = list(runs(chosen))
        assert sorted(one.id for run in found for one in run) == sorted(one.id for one in chosen)
        seen = set()
        for run in found:
            assert [one.prev for one in run[1:]] == [one.id for one in run[:-1]]
            assert len({one.author for one in run}) == 1
            assert all(one.space for one in run) or len(run) == 1
            for one in run:
                assert {parent for parent in one.parents if parent in {c.id for c in chosen}} <= seen
                seen.add(one.id)
        for packed in pack(chosen, least=2):
            check_object(packed.name, packed.data)


def test_a_run_of_one_author_is_one_run(writer):
    assert [len(run) for run in runs(writer.log.operations())] == [1, 40]
    assert [len(packed.operations) for packed in pack(writer.log.operations())] == [1, 40]
    assert [len(packed.operations) for packed in pack(chain(writer)[:15])] == [1] * 15


def test_pieces_keep_the_limits():
    site = busy("large", 0)
    long = [site.write("note", {"text": "x" * 40_000}) for _ in range(90)]
    cut = list(pieces(long))
    assert [one for piece in cut for one in piece] == long
    assert all(len(segment_of(piece).data) <= SEGMENT_BYTES_MAX for piece in cut)
    assert len(cut) == 2
    many = chain(busy("many", SEGMENT_OPERATIONS_MAX + 5))
    assert [len(piece) for piece in pieces(many)] == [SEGMENT_OPERATIONS_MAX, 5]


# ------------------------------------------------------------------------------------------------ places
def kinds(place: MemoryRemote) -> list[str]:
    return sorted(name.partition("/")[0] for name in place.objects if name[:3] in ("ops", "seg"))


def test_many_operations_travel_as_a_segment_and_few_by_themselves(writer):
    place = MemoryRemote()
    report = writer.sync(place)
    assert report.operations_out == 41
    assert kinds(place) == ["ops", "seg"]
    reader = Site.joining("reader", writer)
    report = reader.sync(place)
    assert (report.operations_in, report.operations_out, report.refused) == (40, 0, ())
    assert reader.ids == writer.ids
    assert [name for name in reader.store.names("seg/")] == [name for name in place.names("seg/")]
    assert reader.sync(place).bytes_in == writer.sync(place).bytes_in == 0


def test_segments_may_overlap(writer):
    operations = chain(writer)
    genesis = writer.log.get(writer.log.space)
    place = MemoryRemote()
    place.objects = {genesis.name: genesis.envelope}
    for start, stop in ((0, 20), (10, 30), (15, 25), (38, 40)):
        packed = segment_of(operations[start:stop])
        place.objects[packed.name] = packed.data
    place.objects[operations[31].name] = operations[31].envelope
    reader = Site.joining("reader", writer)
    assert reader.sync(place, push=False).operations_in == 30
    assert len(reader.log.waiting()) == 3
    before = set(place.objects)
    assert writer.sync(place).operations_out == 7
    assert {parts.seq for name in set(place.objects) - before if (parts := parse_operation(name))} == {
        31,
        *range(33, 39),
    }
    assert reader.sync(place, push=False).operations_in == 10
    assert reader.ids == writer.ids


def test_a_segment_that_pretends_to_hold_more_is_not_taken_as_holding_it(writer):
    """A name whose last operation is known, with a run that the chain does not have."""
    operations = chain(writer)
    genesis = writer.log.get(writer.log.space)
    place = MemoryRemote()
    lie = str(SegmentName(writer.author, 0, 30, operations[39].id))
    place.objects = {genesis.name: genesis.envelope, lie: b"nothing"}
    assert writer.sync(place).operations_out == 40


def test_operations_of_many_authors_that_wait_for_one_another_come_in_segments():
    everyone = [Site.founding("first")]
    everyone += [Site.joining(f"site-{number}", everyone[0]) for number in range(4)]
    place = MemoryRemote()
    chance = random.Random(3)
    for _ in range(25):
        site = chance.choice(everyone)
        site.sync(place)
        for number in range(chance.randrange(25)):
            site.write("note", {"number": number})
        site.sync(place)
    for site in everyone:
        site.sync(place)
    assert len({frozenset(site.ids) for site in everyone}) == 1
    assert kinds(place).count("seg") > 3
    late = Site.joining("late", everyone[0])
    report = late.sync(place)
    assert (late.ids, report.waiting, report.refused) == (everyone[0].ids, 0, ())
    assert list(late.store.names("seg/"))


def test_more_operations_than_may_wait_come_in_segments(monkeypatch):
    """Segments of two authors who took turns: much of each waits for the other."""
    first = Site.founding("first")
    second = Site.joining("second", first)
    for turn in range(60):
        writer, other = (first, second) if turn % 2 else (second, first)
        operation = writer.write("note", {"turn": turn})
        other.log.offer(operation)
    place = MemoryRemote()
    genesis = first.log.get(first.log.space)
    place.objects = {genesis.name: genesis.envelope}
    for site in (first, second):
        packed = segment_of(chain(site))
        place.objects[packed.name] = packed.data
    monkeypatch.setattr("conjoin.log.log.OPERATIONS_MAX", 2)
    reader = Site.joining("reader", first)
    report = reader.sync(place)
    assert report.operations_in == 60
    assert reader.ids == first.ids


# ----------------------------------------------------------------------------------------------- a replica's own folder
def checkpoint(folder: Path, seed: int) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({"a": np.random.default_rng(seed).standard_normal(4, np.float32)}, folder / "model.safetensors")
    return folder


def written(replica: Replica, count: int) -> None:
    """Let a replica write operations of a type nobody knows."""
    key = replica._own_key.load()
    with replica._writing():
        for number in range(count):
            operation = parse(seal(draft(replica.log, key.public, "note", {"number": number}), key.public, key.sign))
            assert replica.log.offer(operation).status == "admitted"
            (path := replica.path / ".conjoin" / operation.name).parent.mkdir(exist_ok=True)
            path.write_bytes(operation.envelope)
    head = replica.log.head_of(key.public)
    write_key_use(replica._home.key_use, KeyUse(key.public, head.seq + 1, head.id))


@pytest.fixture
def north(tmp_path) -> Replica:
    replica = Replica.init(tmp_path / "north", checkpoint(tmp_path / "base", 0))
    written(replica, 400)
    return replica


def files(replica: Replica, kind: str) -> list[str]:
    home = replica.path / ".conjoin"
    return sorted(path.relative_to(home).as_posix() for path in (home / kind).rglob("*") if path.is_file())


def test_gc_packs_long_runs_and_a_log_of_both_is_the_same(north):
    before = [operation.id for operation in north.log.operations()]
    assert north.gc(dry_run=True).packed == 400 - 64
    assert len(files(north, "ops")) == 401
    report = north.gc()
    assert report.packed == 400 - 64
    assert len(files(north, "seg")) == 1
    assert len(files(north, "ops")) == 1 + 64
    north = Replica.open(north.path)
    assert [operation.id for operation in north.log.operations()] == before
    assert north.damaged == ()
    assert north.fsck().damage == ()
    assert north.gc().packed == 0
    assert north.status().operations == 401


def test_a_packed_replica_syncs_like_any_other(north, tmp_path):
    north.gc()
    (tmp_path / "meeting").mkdir()
    assert north.sync(tmp_path / "meeting").operations_out == 401
    clone = Replica.clone(tmp_path / "meeting", tmp_path / "clone")
    assert {operation.id for operation in clone.operations()} == {operation.id for operation in north.operations()}
    other = Replica.clone(north.path, tmp_path / "other")
    assert len(other.log) == len(north.log) + 1  # the one that lets it in
    assert clone.fsck().damage == other.fsck().damage == ()


def test_a_damaged_segment_is_named_keeps_the_rest_and_is_mended_by_a_sync(north, tmp_path):
    (tmp_path / "meeting").mkdir()
    north.sync(tmp_path / "meeting")
    north.gc()
    name = files(north, "seg")[0]
    path = north.path / ".conjoin" / name
    whole = path.read_bytes()
    data = bytearray(whole)
    data[len(data) // 2] ^= 2
    path.write_bytes(data)
    north = Replica.open(north.path)
    assert north.damaged == (name,)
    assert [item.name for item in north.fsck().damage] == [name]
    assert len(north.log) + len(north.log.waiting()) == 400
    with pytest.raises(DamagedObjectError, match="damaged"):
        north.add(checkpoint(tmp_path / "one", 1))
    with pytest.raises(DamagedObjectError):
        north.gc()
    report = north.sync(tmp_path / "meeting")
    assert (report.missing, report.key_used_elsewhere) == ((), None)
    assert north.damaged == ()
    assert path.read_bytes() == whole
    assert Replica.open(north.path).fsck().damage == ()
    north.add(tmp_path / "one")


@pytest.mark.parametrize("same", [False, True])
def test_a_segment_is_repaired_from_a_replica_that_has_its_operations(north, tmp_path, same):
    north.gc()
    clone = Replica.clone(north.path, tmp_path / "clone")
    source = Replica.clone(clone.path, tmp_path / "source").path if same else north.path
    (name,) = files(clone, "seg")
    assert (source / ".conjoin" / name).exists() == same
    path = clone.path / ".conjoin" / name
    path.write_bytes(path.read_bytes()[:-10])
    clone = Replica.open(clone.path)
    assert clone.damaged == (name,)
    assert clone.fsck(repair_from=source).repaired == (name,)
    assert clone.fsck().damage == ()
    assert Replica.open(clone.path).damaged == ()


def forked(north: Replica) -> Replica:
    """The replica with a second operation of an early seq of its key, and with the evidence of that."""
    key = north._own_key.load()
    other = Log.founded_by(north.log.get(north.log.space))
    twin = parse(seal(draft(other, key.public, "note", {"twin": True}), key.public, key.sign))
    (north.path / ".conjoin" / twin.name).write_bytes(twin.envelope)
    for one in (twin, north.log.get(north.log.chains()[key.public][1][0])):
        north.store.put(fork_name(one.author, one.seq, one.id), one.envelope)
    return Replica.open(north.path)


def test_forked_authors_are_not_packed(north):
    north = forked(north)
    assert len(views.forks(north.log)) == 1
    assert north.gc().packed == 0
    assert len(files(north, "fork")) == 2
    assert north.fsck().damage == ()


def test_damaged_objects_of_operations_that_are_known_from_others_are_written_again(north, tmp_path):
    (tmp_path / "meeting").mkdir()
    north = forked(north)
    evidence = files(north, "fork")[0]
    operation = f"ops/{evidence.removeprefix('fork/')}"
    for name in (evidence, operation):
        path = north.path / ".conjoin" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + b"!")
        north = Replica.open(north.path)
        assert north.damaged == (name,)
        assert [item.name for item in north.fsck().damage] == [name]
        north.sync(tmp_path / "meeting")
        assert path.read_bytes() == whole
        assert north.fsck().damage == ()
    assert Replica.open(north.path).damaged == ()


def test_a_retraction_that_came_in_a_segment_begins_the_grace(tmp_path):
    north = Replica.init(tmp_path / "north", checkpoint(tmp_path / "base", 0))
    south = Replica.clone(north.path, tmp_path / "south")
    added = south.add(checkpoint(tmp_path / "one", 1))
    north.sync(south.path)
    for path in (north.path / ".conjoin").rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    south.retract(added.contribution)
    written(south, 20)
    north.sync(south.path)
    assert len(files(north, "seg")) == 1
    assert north.gc().freed == ()
    assert len(north.gc(grace_seconds=0).freed) == 1


def test_a_store_in_memory_holds_segments_too(writer):
    packed = segment_of(chain(writer))
    store = MemoryStore()
    store.put(packed.name, packed.data)
    assert store.get(packed.name) == packed.data
    assert list(store.names("seg/")) == [packed.name]
