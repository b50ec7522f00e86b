"""docs/spec/vectors/segments.json, read from the page's text alone and by the library, as bytes and in a place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.spec_reader import Refused, is_segment
from tests.unit.spec_reader import read_segment as read_by_the_page

from conjoin.errors import ConjoinError, DamagedObjectError
from conjoin.log import Log, parse
from conjoin.log.segments import SEGMENT_OPERATIONS_MIN, pack, read_segment, salvage, segment_of
from conjoin.store.base import check_object, is_object
from conjoin.store.memory import MemoryStore
from conjoin.sync import synchronise
from conjoin.sync.remotes import MemoryRemote
from conjoin.testing.histories import Signer, found
from conjoin.wire import canonical
from conjoin.wire.digest import sha256
from conjoin.wire.objects import parse_segment
from conjoin.wire.segment import SEGMENT_BYTES_MAX, SEGMENT_OPERATIONS_MAX

TOP = Path(__file__).parents[2]
VECTORS = json.loads((TOP / "docs/spec/vectors/segments.json").read_text("ascii"))
PAGE = (TOP / "docs/spec/sync.md").read_text("utf-8")
GENESIS = found(Signer("founder"), open=True, name="segments")
GOOD, BAD = (
    pytest.mark.parametrize("vector", VECTORS[kind], ids=lambda vector: vector["why"]) for kind in ("good", "bad")
)


@GOOD
def test_a_reader_of_the_page_and_the_library_read_the_same(vector: dict) -> None:
    name, data = vector["name"], vector["text"].encode("ascii")
    assert is_segment(name)
    assert read_by_the_page(name, data) == vector["operations"]
    operations = read_segment(name, data)
    assert [operation.id for operation in operations] == vector["operations"]
    check_object(name, data)
    packed = segment_of(operations)
    assert (packed.name, packed.data) == (name, data)


@GOOD
def test_what_is_packed_is_the_segment(vector: dict) -> None:
    name, data = vector["name"], vector["text"].encode("ascii")
    packed = list(pack(reversed(read_segment(name, data)), least=1))
    assert [(one.name, one.data) for one in packed] == [(name, data)]


@BAD
def test_a_reader_of_the_page_and_the_library_refuse_the_same(vector: dict) -> None:
    name, data = vector["name"], vector["text"].encode("ascii") * vector["times"]
    assert is_segment(name)
    assert is_object(name)
    with pytest.raises(Refused) as refused:
        read_by_the_page(name, data)
    assert refused.value.code == vector["code"]
    with pytest.raises(ConjoinError) as caught:
        read_segment(name, data)
    assert caught.value.code == vector["code"]


@BAD
def test_a_replica_finds_what_is_damaged_of_its_own_by_the_bytes_alone(vector: dict) -> None:
    """All but who signed, which it asked when the operation came."""
    name, data = vector["name"], vector["text"].encode("ascii") * vector["times"]
    if vector["code"] == "E404":
        check_object(name, data)
    else:
        with pytest.raises(DamagedObjectError):
            check_object(name, data)
    lines = set(data.split(b"\n"))
    assert {operation.envelope for operation in salvage(data)} <= lines


def visited(objects: dict[str, bytes]) -> tuple[Log, dict[str, str]]:
    """The log of whoever visits a place with these objects, and what it refused there."""
    log, place = Log.founded_by(GENESIS), MemoryRemote()
    place.objects = {GENESIS.name: GENESIS.envelope, **objects}
    report = synchronise(log, MemoryStore(), place, persist_operation=lambda _: None, push=False)
    return log, {refusal.name: refusal.code for refusal in report.refused}


@BAD
def test_a_visit_takes_nothing_out_of_it(vector: dict) -> None:
    name, data = vector["name"], vector["text"].encode("ascii") * vector["times"]
    log, refused = visited({name: data})
    if not name.endswith(GENESIS.id):  # that is known, and nothing is fetched for it
        assert refused == {name: "E500" if len(data) > SEGMENT_BYTES_MAX else vector["code"]}
    assert list(log.operations()) == [GENESIS]
    assert not log.waiting()


def test_a_visit_takes_what_is_whole() -> None:
    log, refused = visited({vector["name"]: vector["text"].encode("ascii") for vector in VECTORS["good"]})
    assert not refused
    wanted = {operation for vector in VECTORS["good"] for operation in vector["operations"]}
    assert wanted <= {operation.id for operation in (*log.operations(), *log.waiting())}


@pytest.mark.parametrize("name", VECTORS["no_names"])
def test_other_names_are_passed_over(name: str) -> None:
    assert not is_segment(name)
    assert parse_segment(name) is None
    log, refused = visited({name: VECTORS["good"][0]["text"].encode("ascii")})
    assert not refused
    assert len(log) == 1


@pytest.mark.parametrize("count", [SEGMENT_OPERATIONS_MAX, SEGMENT_OPERATIONS_MAX + 1])
def test_a_segment_has_at_most_so_many_operations(count: int) -> None:
    """Too long for a vector."""
    writer, prev = Signer("member"), None
    envelopes: list[bytes] = []
    for seq in range(count):
        fields = {
            "author": writer.key,
            "body": {},
            "deps": [] if seq else [GENESIS.id],
            "prev": prev,
            "seq": seq,
            "space": GENESIS.id,
            "type": "note",
            "version": 1,
        }
        payload = canonical.encode(fields)
        prev = sha256(payload)
        envelopes.append(writer.seal(payload))
    data = b"".join(envelope + b"\n" for envelope in envelopes)
    name = f"seg/{writer.key}/0000000000-{count - 1:010d}-{prev}"
    if count == SEGMENT_OPERATIONS_MAX:
        assert read_by_the_page(name, data) == [operation.id for operation in read_segment(name, data)]
        check_object(name, data)
        return
    with pytest.raises(Refused) as refused:
        read_by_the_page(name, data)
    for check in (read_segment, check_object):
        with pytest.raises(DamagedObjectError) as caught:
            check(name, data)
        assert caught.value.code == refused.value.code


def test_limits_are_those_of_the_page() -> None:
    assert f"{SEGMENT_OPERATIONS_MAX:,} operations" in PAGE
    assert f"{SEGMENT_BYTES_MAX:,} bytes" in PAGE
    assert f"Runs of {SEGMENT_OPERATIONS_MIN} or more become segments" in PAGE


def test_the_corpus_holds_each_case_once_and_no_line_break_in_an_envelope() -> None:
    whys = [vector["why"] for kind in ("good", "bad") for vector in VECTORS[kind]]
    assert len(set(whys)) == len(whys) > 25
    assert {vector["code"] for vector in VECTORS["bad"]} == {"E301", "E401", "E404"}
    for vector in VECTORS["good"]:
        for line in vector["text"].splitlines():
            assert parse(line.encode("ascii")).envelope.decode("ascii") == line
