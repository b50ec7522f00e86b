"""Operations that break the rules, lying in a meeting place: named, refused, never taken and never passed on."""

import base64
import json
from pathlib import Path

import pytest

from conjoin.apps.cli import run
from conjoin.log import draft, parse
from conjoin.replica import Replica
from conjoin.store.keys import SigningKey, create_key, load_key
from conjoin.wire import canonical
from conjoin.wire.digest import sha256
from conjoin.wire.envelope import seal
from conjoin.wire.objects import operation_name
from tests.e2e.refusal import contents
from tests.e2e.shell import InProcess


@pytest.fixture(scope="module")
def made(models: Path) -> Path:
    """`alice`, and `bob`, who has one operation that alice has not heard of."""
    alice, bob = str(models / "alice"), str(models / "bob")
    for command in (
        ["init", alice, "--base", str(models / "base")],
        ["clone", alice, bob],
        ["-C", bob, "add", str(models / "north.safetensors")],
    ):
        assert run(["-q", *command]) == 0
    return models


@pytest.fixture
def bob(made: Path) -> tuple[SigningKey, dict[str, object]]:
    """Bob's key, and the payload of the operation that he would sign next."""
    key = load_key(made / "bob" / ".conjoin" / "local" / "key")
    with Replica.open(made / "bob") as replica:
        [added] = [operation for operation in replica.log.operations() if operation.type == "add"]
        return key, canonical.decode(draft(replica.log, key.public, "retract", {"adds": [added.id]}))


def _envelope(payload: bytes, key: SigningKey) -> bytes:
    return seal(payload, key.public, key.sign)


def _put(folder: Path, envelope: bytes, author: str, seq: int) -> str:
    """Lay an envelope into a meeting place under the name that its payload has."""
    payload = base64.b64decode(json.loads(envelope)["payload"])
    name = operation_name(author, seq, sha256(payload))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(envelope)
    return name


def _check(here: InProcess, made: Path, meeting: Path, name: str, code: str, *, taken: int = 1) -> None:
    """Alice takes what is good in the folder, refuses `name`, and passes it on to nobody."""
    result = here.run("-C", made / "alice", "sync", meeting)
    assert f"error[{code}]: " in result.stderr, result
    assert name in result.stderr
    assert "hint: it was not taken" in result.stderr
    assert result.status == 5
    with Replica.open(made / "alice") as alice:
        assert alice.damaged == ()
        assert sum(operation.type == "add" for operation in alice.operations()) == taken
    assert not any(Path(name).name in path for path in contents(made / "alice"))
    elsewhere = meeting.parent / "elsewhere"
    elsewhere.mkdir()
    here.ok("-C", made / "alice", "sync", elsewhere)
    assert not any(Path(name).name in path for path in contents(elsewhere))
    said = json.loads(here.run("-C", made / "alice", "sync", meeting, "--json").stdout)
    assert [refusal["code"] for refusal in said["sources"][0]["refused"]] == [code]


@pytest.fixture
def meeting(here: InProcess, made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "meeting"
    folder.mkdir()
    here.ok("-C", made / "bob", "sync", folder)
    return folder


def test_broken_signature(
    here: InProcess, made: Path, meeting: Path, bob: tuple[SigningKey, dict[str, object]]
) -> None:
    key, payload = bob
    envelope = json.loads(_envelope(canonical.encode(payload), key))
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[7] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    name = _put(meeting, canonical.encode(envelope), key.public, int(str(payload["seq"])))
    _check(here, made, meeting, name, "E404")
    cloned = here.run("clone", meeting, meeting.parent / "carol")
    assert (cloned.status, "error[E404]" in cloned.stderr, name in cloned.stderr) == (5, True, True)
    assert Replica.open(meeting.parent / "carol").status().missing == (), "it is made of the rest"


def test_wrong_space(here: InProcess, made: Path, meeting: Path, bob: tuple[SigningKey, dict[str, object]]) -> None:
    key, payload = bob
    name = _put(
        meeting, _envelope(canonical.encode(payload | {"space": "5" * 64}), key), key.public, int(str(payload["seq"]))
    )
    result = here.run("-C", made / "alice", "sync", meeting)
    assert (result.status, "error[E402]" in result.stderr, name in result.stderr) == (5, True, True)


def test_not_canonical(here: InProcess, made: Path, meeting: Path, bob: tuple[SigningKey, dict[str, object]]) -> None:
    key, payload = bob
    spaced = json.dumps(payload).encode()
    name = _put(meeting, _envelope(spaced, key), key.public, int(str(payload["seq"])))
    _check(here, made, meeting, name, "E401")


def test_a_gap_in_seq(here: InProcess, made: Path, meeting: Path, bob: tuple[SigningKey, dict[str, object]]) -> None:
    key, payload = bob
    seq = int(str(payload["seq"])) + 1
    name = _put(meeting, _envelope(canonical.encode(payload | {"seq": seq}), key), key.public, seq)
    _check(here, made, meeting, name, "E405")


def test_unknown_member(
    here: InProcess, made: Path, meeting: Path, tmp_path: Path, bob: tuple[SigningKey, dict[str, object]]
) -> None:
    _, payload = bob
    mallory = create_key(tmp_path / "mallory")
    links = {"author": mallory.public, "seq": 0, "prev": None, "deps": sorted([*payload["deps"], payload["prev"]])}  # type: ignore[misc]
    name = _put(meeting, _envelope(canonical.encode(payload | links), mallory), mallory.public, 0)
    _check(here, made, meeting, name, "E406")


def test_a_good_operation_under_another_name(
    here: InProcess, made: Path, meeting: Path, bob: tuple[SigningKey, dict[str, object]]
) -> None:
    """A good operation under another operation's name is not what was asked for."""
    key, payload = bob
    good = _envelope(canonical.encode(payload), key)
    name = operation_name(key.public, int(str(payload["seq"])), "0" * 64)  # type: ignore[arg-type]
    (meeting / name).write_bytes(good)
    result = here.run("-C", made / "alice", "sync", meeting)
    assert result.status in (4, 5), result
    assert name in result.stderr
    with Replica.open(made / "alice") as alice:
        assert parse(good).id not in {operation.id for operation in alice.operations()}


def test_missing_ancestors_wait(
    here: InProcess, made: Path, meeting: Path, bob: tuple[SigningKey, dict[str, object]]
) -> None:
    key, payload = bob
    later = payload | {"deps": sorted([*payload["deps"], "7" * 64])}  # type: ignore[misc]
    _put(meeting, _envelope(canonical.encode(later), key), key.public, int(str(payload["seq"])))
    result = here.run("-C", made / "alice", "sync", meeting)
    assert (result.status, result.stderr) == (0, "")
    assert "1 operation waiting for ancestors" in result.stdout
