"""docs/threats.md names tests that are there; what it says is not protected is shown here, so that it stays true."""

from __future__ import annotations

import ast
import re
import shutil
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import conjoin.store.checkpoint as checkpoint_room
import conjoin.store.ingest as ingest_room
from conjoin.errors import MismatchedTensorsError, MissingObjectError, RecomputedDiffersError
from conjoin.executor import Receipt
from conjoin.replica import Replica
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.memory import MemoryStore
from conjoin.verification import verify
from conjoin.wire.contribution import Contribution

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "threats.md").read_text(encoding="utf-8")


def model(path: Path, value: float, shape: tuple[int, ...] = (4, 4)) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    save_file({"w": np.full(shape, value, np.float32)}, path)
    return path


@pytest.fixture
def founder(tmp_path: Path) -> Replica:
    """A space with one contribution."""
    made = Replica.init(tmp_path / "founder", model(tmp_path / "base" / "model.safetensors", 0.0).parent)
    made.add(model(tmp_path / "good.safetensors", 1.0))
    return made


@pytest.fixture
def member(founder: Replica, tmp_path: Path) -> Replica:
    return Replica.clone(founder.path, tmp_path / "member")


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 70
    for path, name in named:
        functions = {node.name for node in ast.walk(ast.parse((TOP / path).read_text(encoding="utf-8")))
                     if isinstance(node, ast.FunctionDef)}  # fmt: skip
        assert name in functions, f"{path}::{name}"


def test_every_line_of_cannot_names_a_test() -> None:
    tables = [table for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE) if "| held by |" in table]
    assert len(tables) == 4
    rows = [row for table in tables for row in table.splitlines()[2:]]
    assert len(rows) > 30
    assert [row for row in rows if "::test_" not in row.split("|")[3]] == []


def test_a_member_can_stop_merges_until_an_admin_retracts(founder: Replica, member: Replica, tmp_path: Path) -> None:
    withheld = Contribution(weights=founder.space, base=member.base, weight="1", extras={})
    with member._signing():
        member._sign("add", {"contribution": withheld.to_json(), "license": "", "time": "", "title": ""})
    member._require_fit = lambda *_, **__: None  # type: ignore[method-assign]
    ill = member.add(model(tmp_path / "ill.safetensors", 1.0, (2, 2)))
    founder.sync(member.path)
    with pytest.raises(MissingObjectError):
        founder.resolve("weight_average", tmp_path / "out")
    founder.retract(withheld.digest)
    with pytest.raises(MismatchedTensorsError):
        founder.resolve("weight_average", tmp_path / "out")
    founder.retract(ill.contribution)
    founder.resolve("weight_average", tmp_path / "out")


def test_a_member_can_add_what_is_not_finite(
    founder: Replica, member: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_room, "_refused_values", lambda *_: (0, 0))
    member.add(model(tmp_path / "nan.safetensors", np.nan))
    monkeypatch.undo()
    assert founder.sync(member.path).refused == ()
    assert founder.fsck().damage == ()
    founder.resolve("weight_average", tmp_path / "out")
    assert np.isnan(load_file(tmp_path / "out" / "model.safetensors")["w"]).all()


def test_a_founder_puts_no_program_beside_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = model(tmp_path / "base" / "model.safetensors", 0.0).parent
    (base / "modeling.py").write_text("print('run by whoever trusts it')")
    (base / "config.json").write_text("{}")
    monkeypatch.setattr(checkpoint_room, "goes_beside", lambda _: True)
    founder = Replica.init(tmp_path / "founder", base)
    monkeypatch.undo()
    assert "modeling.py" in founder.inventory.manifest(founder.inventory.files).by_name
    other = Replica.clone(founder.path, tmp_path / "other")
    other.add(model(tmp_path / "good.safetensors", 1.0))
    other.resolve("weight_average", tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()
    assert not (tmp_path / "out" / "modeling.py").exists()


def test_a_forged_merge_is_found_by_recomputing_only(founder: Replica, tmp_path: Path) -> None:
    true = founder.resolve("weight_average", tmp_path / "out")
    forged = shutil.copytree(tmp_path / "out", tmp_path / "forged")
    file = forged / "model.safetensors"
    head = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    file.write_bytes(file.read_bytes()[:head] + np.full((4, 4), 666, np.float32).tobytes())
    manifest = ingest_room.ingest(open_checkpoint(file), MemoryStore())
    roots = {tensor.name: tensor.root for tensor in manifest.tensors}
    replace(true, output=manifest.digest, tensors=roots).write(forged)
    assert verify(forged, founder).output == manifest.digest
    with pytest.raises(RecomputedDiffersError):
        verify(forged, founder, recompute=True)


def test_a_receipt_names_neither_time_nor_host_nor_path(founder: Replica, tmp_path: Path) -> None:
    founder.resolve("weight_average", tmp_path / "out")
    text = (tmp_path / "out" / "conjoin.json").read_text(encoding="utf-8")
    assert Receipt.read(tmp_path / "out").to_json().keys().isdisjoint({"time", "host", "path"})
    for word in (str(tmp_path), socket.gethostname(), time.strftime("%Y-")):
        assert word not in text
