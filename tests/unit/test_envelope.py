"""Envelopes: every vector of docs/spec, a bit flipped at every byte, and the one pinned verifier."""

import json
from pathlib import Path

import pytest

from conjoin.errors import BadKeyError, BadSignatureError, ConjoinError, MalformedOperationError
from conjoin.log import Log, draft, parse
from conjoin.testing.histories import Signer, add_body, found, sample_contribution
from conjoin.wire import canonical
from conjoin.wire.digest import sha256
from conjoin.wire.envelope import (
    ENVELOPE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    pre_authentication_encoding,
    seal,
    unseal,
    verify,
)

FOLDER = Path(__file__).parents[2] / "docs/spec/vectors"
VECTORS = json.loads((FOLDER / "envelopes.json").read_text("ascii"))
KEYS = json.loads((FOLDER / "keys.json").read_text("ascii"))
SIGNER = Signer("envelope")
FOUNDER = Signer("founder")


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda v: v["why"])
def test_good(vector: dict) -> None:
    operation = parse(vector["envelope"].encode("ascii"))
    assert operation.id == vector["id"]
    assert operation.name == vector["name"]
    assert operation.type == vector["type"]
    payload, author, _ = unseal(operation.envelope)
    assert (operation.payload, operation.author) == (payload, author)
    assert sha256(payload) == operation.id


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda v: v["why"][:60])
def test_bad(vector: dict) -> None:
    data = vector["envelope"].encode("ascii")
    with pytest.raises(ConjoinError) as caught:
        parse(data)
    assert caught.value.code == vector["code"]
    genesis = found(FOUNDER, name="vectors", open=True)
    verdict = Log.founded_by(genesis).offer(data)
    assert verdict.status == "refused"
    assert verdict.error is not None
    assert verdict.error.code == vector["code"]


def test_the_corpus_is_large_and_names_each_case_once() -> None:
    whys = [vector["why"] for vector in VECTORS["bad"]]
    assert len(whys) == len(set(whys)) > 90
    assert {vector["code"] for vector in VECTORS["bad"]} == {"E401", "E403", "E404", "E104"}


@pytest.mark.parametrize("vector", KEYS["bad"], ids=lambda v: v["key"][:8] + v["key"][-2:])
def test_no_envelope_is_signed_by_a_bad_key(vector: dict) -> None:
    with pytest.raises(BadKeyError):
        seal(b"{}", vector["key"], SIGNER.sign)
    with pytest.raises(BadKeyError):
        verify(b"{}", vector["key"], bytes(64))


def genesis_envelope() -> bytes:
    return found(FOUNDER, name="flip").envelope


def test_a_bit_flipped_at_any_byte_is_never_admitted() -> None:
    envelope = genesis_envelope()
    space = parse(envelope).id
    for place in range(len(envelope)):
        for bit in range(8):
            flipped = bytearray(envelope)
            flipped[place] ^= 1 << bit
            log = Log(space)
            assert log.offer(bytes(flipped)).status == "refused"
            assert len(log) == 0


def test_a_bit_flipped_in_a_members_operation_is_never_admitted_or_remembered() -> None:
    genesis = found(FOUNDER, open=True)
    log = Log.founded_by(genesis)
    envelope = SIGNER.seal(draft(log, SIGNER.key, "add", add_body(sample_contribution(0), "title", "MIT")))
    for place in range(len(envelope)):
        flipped = bytearray(envelope)
        flipped[place] ^= 1 << (place % 8)
        assert log.offer(bytes(flipped)).status == "refused"
    assert len(log) == 1
    assert log.waiting() == ()
    assert log.offer(envelope).status == "admitted"


def test_an_envelope_cut_short_or_made_longer_is_refused() -> None:
    envelope = genesis_envelope()
    for data in [*(envelope[:n] for n in range(0, len(envelope), 7)), envelope + b" ", envelope + envelope]:
        with pytest.raises(MalformedOperationError):
            unseal(data)


def test_the_signed_bytes_are_those_of_dsse() -> None:
    kind = "application/vnd.conjoin.operation.v1+json"
    assert pre_authentication_encoding(b"hello") == f"DSSEv1 {len(kind)} {kind} 5 hello".encode()


def test_a_signer_that_lies_is_caught_before_anything_is_sent() -> None:
    with pytest.raises(BadSignatureError):
        seal(b"{}", SIGNER.key, lambda _: bytes(64))
    with pytest.raises(BadSignatureError):
        seal(b"{}", SIGNER.key, Signer("another").sign)


def test_the_limits_are_exact() -> None:
    body = {"x": ""}
    fields = canonical.decode(found(FOUNDER).payload) | {"space": sha256(b"s"), "deps": [sha256(b"s")], "type": "note"}
    room = PAYLOAD_BYTES_MAX - len(canonical.encode({**fields, "body": body}))
    full = FOUNDER.seal(canonical.encode({**fields, "body": {"x": "x" * room}}))
    assert len(full) == ENVELOPE_BYTES_MAX
    assert len(parse(full).payload) == PAYLOAD_BYTES_MAX
    with pytest.raises(MalformedOperationError, match="limit"):
        parse(FOUNDER.seal(canonical.encode({**fields, "body": {"x": "x" * (room + 1)}})))
