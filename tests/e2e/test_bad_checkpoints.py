"""Every bad checkpoint is refused by name, with a next step, and leaves the replica as it was."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from conjoin.apps.cli import run
from tests.e2e.refusal import check_refused, contents
from tests.e2e.shell import InProcess

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TWO = bytes(8)


@pytest.fixture(scope="module")
def replica(models: Path) -> Path:
    made = models / "replica"
    assert run(["-q", "init", str(made), "--base", str(models / "base")]) == 0
    return made


def _file(path: Path, header: Any, data: bytes = TWO, *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def _refused(here: InProcess, replica: Path, checkpoint: Path, code: str, *words: str) -> None:
    before = contents(replica)
    result = here.run("-C", replica, "add", checkpoint)
    check_refused(result, code, checkpoint.name, *words)
    assert contents(replica) == before
    new = replica.parent / "founded-on-it"
    check_refused(here.run("init", new, "--base", checkpoint), code, *words)
    assert not new.exists()


HEADERS: dict[str, tuple[Any, bytes, tuple[str, ...]]] = {
    "duplicate names": (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        TWO,
        ("a",),
    ),
    "overlapping": ({"a": F32, "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, TWO, ("b",)),
    "out of range": ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, TWO, ("a",)),
    "a hole": (
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {**F32, "data_offsets": [8, 16]}},
        bytes(16),
        ("b",),
    ),
    "bytes after the last tensor": ({"a": F32}, bytes(12), ()),
    "huge dims": ({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}}, TWO, ("a",)),
    "rank over 8": ({"a": {"dtype": "F32", "shape": [1] * 8 + [2], "data_offsets": [0, 8]}}, TWO, ("a", "9")),
    "offsets that do not fit the shape": ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, TWO, ("a",)),
    "a name with ..": ({"a..b": F32}, TWO, ("a..b",)),
    "a name with a slash": ({"../a": F32}, TWO, ("../a",)),
    "a name with NUL": ({"a\0b": F32}, TWO, ()),
    "a name with an escape character": ({"a\x1b[31m": F32}, TWO, ()),
    "over 20,000 tensors": (
        {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_001)},
        b"",
        ("20000", "20001"),
    ),
    "not an object": ([1, 2], TWO, ()),
    "a number for a shape": ({"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}, TWO, ("a",)),
}


@pytest.mark.parametrize("name", HEADERS)
def test_malformed_header(here: InProcess, replica: Path, tmp_path: Path, name: str) -> None:
    header, data, words = HEADERS[name]
    result_file = _file(tmp_path / "bad.safetensors", header, data)
    before = contents(replica)
    result = here.run("-C", replica, "add", result_file)
    check_refused(result, "E202", "bad.safetensors")
    flat = result.stderr.replace(",", "")
    assert all(word in flat for word in words), result.stderr
    assert not any(ord(c) < 32 and c != "\n" for c in result.stderr)
    assert contents(replica) == before


def test_header_over_8_mib(here: InProcess, replica: Path, tmp_path: Path) -> None:
    path = _file(tmp_path / "bad.safetensors", b"{}" + b" " * ((8 << 20) - 1))
    _refused(here, replica, path, "E202")


def test_truncated(here: InProcess, replica: Path, models: Path, tmp_path: Path) -> None:
    whole = (models / "north.safetensors").read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        path = tmp_path / "short.safetensors"
        path.write_bytes(whole[:size])
        before = contents(replica)
        check_refused(here.run("-C", replica, "add", path), "E202", "short.safetensors")
        assert contents(replica) == before


def test_not_a_safetensors_file(here: InProcess, replica: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("this is a letter to my aunt, and not a model at all\n" * 20)
    _refused(here, replica, path, "E202")


def test_not_there(here: InProcess, replica: Path, tmp_path: Path) -> None:
    _refused(here, replica, tmp_path / "nowhere.safetensors", "E209")


def test_folder_without_a_model(here: InProcess, replica: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _refused(here, replica, tmp_path / "empty", "E201")


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.ckpt", "model.pth", "model.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_never_opened(here: InProcess, replica: Path, tmp_path: Path, name: str, *, zipped: bool) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
            return (os.mkdir, (str(tmp_path / "executed"),))

    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    if zipped:
        (tmp_path / "inside").mkdir()
        shutil.move(path, tmp_path / "inside" / "data.pkl")
        shutil.move(shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path / "inside"), path)
    before = contents(replica)
    check_refused(here.run("-C", replica, "add", path), "E203", name)
    assert contents(replica) == before
    assert not (tmp_path / "executed").exists()


def test_a_folder_of_pickles(here: InProcess, replica: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torch-model"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    _refused(here, replica, folder, "E203", "pytorch_model.bin")


def _sharded(models: Path, folder: Path, shard: str = "model-00001-of-00001.safetensors") -> Path:
    folder.mkdir()
    tensors = load_file(models / "north.safetensors")
    save_file(tensors, folder / "model-00001-of-00001.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_index_that_points_outside(here: InProcess, replica: Path, models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "north.safetensors", tmp_path / "outside.safetensors")
    for shard in ("../outside.safetensors", str(tmp_path / "outside.safetensors"), "sub/../../outside.safetensors"):
        folder = _sharded(models, tmp_path / "model", shard)
        _refused(here, replica, folder, "E206", "model.safetensors.index.json")
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["symlink", "FIFO", "device"])
def test_index_that_points_at_something_else(
    here: InProcess, replica: Path, models: Path, tmp_path: Path, kind: str
) -> None:
    folder = _sharded(models, tmp_path / "model")
    shard = folder / "model-00001-of-00001.safetensors"
    if kind == "symlink":
        shard.rename(tmp_path / "real.safetensors")
        shard.symlink_to(tmp_path / "real.safetensors")
    elif kind == "FIFO":
        shard.unlink()
        os.mkfifo(shard)
    else:
        shard.unlink()
        try:
            os.mknod(shard, 0o600 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root makes devices")
    before = contents(replica)
    check_refused(here.run("-C", replica, "add", folder), "E206", shard.name)
    assert contents(replica) == before


def test_missing_shard(here: InProcess, replica: Path, models: Path, tmp_path: Path) -> None:
    folder = _sharded(models, tmp_path / "model", "model-00002-of-00002.safetensors")
    _refused(here, replica, folder, "E209", "model-00002-of-00002.safetensors")


def test_index_that_is_no_index(here: InProcess, replica: Path, models: Path, tmp_path: Path) -> None:
    folder = _sharded(models, tmp_path / "model")
    for text in ("{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 1}}'):
        (folder / "model.safetensors.index.json").write_text(text)
        _refused(here, replica, folder, "E202", "model.safetensors.index.json")


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")])
def test_not_finite(here: InProcess, replica: Path, models: Path, tmp_path: Path, value: float, word: str) -> None:
    tensors = {name: tensor.copy() for name, tensor in load_file(models / "north.safetensors").items()}
    tensors["fc2.weight"][3, 5] = value
    save_file(tensors, tmp_path / "poison.safetensors")
    before = contents(replica)
    result = here.run("-C", replica, "add", tmp_path / "poison.safetensors")
    check_refused(result, "E205", "poison.safetensors", "fc2.weight", word)
    left = contents(replica).keys() - before.keys()
    assert all(name.startswith(".conjoin/leaf/") for name in left)
    assert "nothing is damaged" in here.ok("-C", replica, "fsck")
    check_refused(here.run("init", tmp_path / "new", "--base", tmp_path / "poison.safetensors"), "E205", "fc2.weight")
    assert not (tmp_path / "new").exists()


def test_every_difference_from_the_base_is_listed_at_once(
    here: InProcess, replica: Path, models: Path, tmp_path: Path
) -> None:
    tensors = {name: tensor.copy() for name, tensor in load_file(models / "north.safetensors").items()}
    tensors["fc1.weight"] = np.zeros((128, 65), np.float32)
    tensors["fc2.bias"] = tensors["fc2.bias"].astype(np.float16)
    tensors["fc4.bias"] = tensors.pop("fc3.bias")
    save_file(tensors, tmp_path / "other.safetensors")
    before = contents(replica)
    result = here.run("-C", replica, "add", tmp_path / "other.safetensors")
    check_refused(result, "E204", "other.safetensors", "fc1.weight", "128, 65", "128, 64", "fc2.bias", "F16", "F32")
    assert "fc3.bias" in result.stderr
    assert "fc4.bias" in result.stderr
    assert contents(replica) == before


def test_unknown_dtype(here: InProcess, replica: Path, tmp_path: Path) -> None:
    path = _file(tmp_path / "eight.safetensors", {"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}})
    _refused(here, replica, path, "E207", "F8_E4M3", "a")
