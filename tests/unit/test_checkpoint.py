"""The gate at the path: which files and folders are opened, and what is refused before it is."""

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin.errors import (
    ConjoinError,
    MalformedCheckpointError,
    MissingFileError,
    NotACheckpointError,
    RefusedFormatError,
    UnsafePathError,
    UnsupportedDtypeError,
)
from conjoin.store.checkpoint import SIDE_FILE_BYTES_MAX, open_checkpoint
from conjoin.store.folder_index import INDEX

TENSORS = {"a.weight": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.ones(5, "<f2"), "n": np.array(7, "<i8")}


def refused(path: Path, kind: type[ConjoinError], *words: str) -> str:
    with pytest.raises(kind) as caught:
        open_checkpoint(path)
    text = str(caught.value)
    for word in words:
        assert word in text
    assert caught.value.hint
    assert caught.value.where
    return text


def sharded(folder: Path, weight_map: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({"a.weight": TENSORS["a.weight"]}, folder / "model-1.safetensors")
    save_file({"b": TENSORS["b"], "n": TENSORS["n"]}, folder / "model-2.safetensors")
    parts = {"a.weight": "model-1.safetensors", "b": "model-2.safetensors", "n": "model-2.safetensors"}
    index = {"metadata": {"total_size": 42.5}, "weight_map": parts if weight_map is None else weight_map}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def one_file(folder: Path, name: str = "model.safetensors") -> Path:
    folder.mkdir(exist_ok=True)
    save_file(TENSORS, folder / name)
    return folder / name


def bytes_of(checkpoint) -> dict[str, bytes]:
    return {t.name: t.file.path.read_bytes()[t.offset : t.offset + t.size_bytes] for t in checkpoint.tensors}


def test_file_folder_and_shards_hold_the_same_tensors(tmp_path):
    expected = {name: array.tobytes() for name, array in TENSORS.items()}
    single = one_file(tmp_path / "single")
    other = one_file(tmp_path / "other", "any-name.safetensors")
    for path in (single, single.parent, other.parent, sharded(tmp_path / "sharded")):
        checkpoint = open_checkpoint(path)
        assert bytes_of(checkpoint) == expected
        assert [(t.name, t.dtype, t.shape) for t in checkpoint.tensors] == [
            ("a.weight", "F32", (2, 3)),
            ("b", "F16", (5,)),
            ("n", "I64", ()),
        ]
        assert checkpoint.size_bytes == 24 + 10 + 8
        assert checkpoint.path == path


def test_the_path_itself_may_be_a_symlink_or_a_string(tmp_path):
    single = one_file(tmp_path / "real")
    (tmp_path / "folder").symlink_to(single.parent)
    (tmp_path / "file.safetensors").symlink_to(single)
    assert len(open_checkpoint(tmp_path / "folder").tensors) == 3
    assert len(open_checkpoint(str(tmp_path / "file.safetensors")).tensors) == 3


def test_model_safetensors_wins_over_other_files(tmp_path):
    one_file(tmp_path)
    save_file({"x": np.zeros(1)}, tmp_path / "optimizer.safetensors")
    assert len(open_checkpoint(tmp_path).tensors) == 3


def test_refuses_what_is_not_there(tmp_path):
    refused(tmp_path / "nothing", MissingFileError, "nothing")
    refused(one_file(tmp_path) / "below", MissingFileError)


def test_refuses_an_empty_folder_and_a_text(tmp_path):
    refused(tmp_path, NotACheckpointError, "no safetensors file", str(tmp_path))
    (tmp_path / "a.txt").write_text("some words, not weights")
    refused(tmp_path / "a.txt", MalformedCheckpointError, "not a safetensors file", "a.txt")


def test_refuses_several_files_without_an_index(tmp_path):
    one_file(tmp_path, "one.safetensors")
    one_file(tmp_path, "two.safetensors")
    refused(tmp_path, NotACheckpointError, "one.safetensors", "two.safetensors")


def test_refuses_a_checkpoint_without_tensors(tmp_path):
    save_file({}, tmp_path / "model.safetensors")
    refused(tmp_path, NotACheckpointError, "no tensor")


def test_refuses_an_adapter(tmp_path):
    one_file(tmp_path, "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, NotACheckpointError, "PEFT adapter", "merge_and_unload")


def test_refuses_two_answers_to_which_model(tmp_path):
    sharded(tmp_path)
    one_file(tmp_path)
    refused(tmp_path, NotACheckpointError, "model.safetensors", INDEX)


PICKLED = pickle.dumps({"weights": [1.0]})


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "m.pt",
        "m.pth",
        "m.ckpt",
        "m.pkl",
        "m.npy",
        "m.npz",
        "m.h5",
        "m.gguf",
        "m.zip",
        "m.7z",
        "M.BIN",
    ],
)
def test_refuses_other_formats_by_name(tmp_path, name):
    one_file(tmp_path).rename(tmp_path / name)  # even when it is a safetensors file inside
    refused(tmp_path / name, RefusedFormatError, name)
    refused(tmp_path, RefusedFormatError, name)


def torch_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLED)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        *((pickle.dumps([1], protocol), "pickle") for protocol in (2, 3, 4, 5)),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "pickle"),
        (b"PK\x03\x04" + bytes(30), "zip"),
        (b"PK\x05\x06" + bytes(18), "zip"),
        (b"GGUF" + bytes(20), "GGUF"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "archive"),
        (b"\x93NUMPY\x01\x00" + bytes(20), "NumPy"),
        (b"\x1f\x8b\x08" + bytes(20), "archive"),
        (bytes(257) + b"ustar\x0000" + bytes(300), "archive"),
    ],
)
def test_refuses_other_formats_under_a_false_name(tmp_path, start, words):
    (tmp_path / "model.safetensors").write_bytes(start)
    refused(tmp_path, RefusedFormatError, words, "model.safetensors")


def test_refuses_a_torch_archive_under_a_false_name(tmp_path):
    torch_zip(tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", RefusedFormatError, "zip")


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0x4B50])
def test_a_header_length_that_looks_like_magic_is_no_pickle(tmp_path, length):
    head = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode().ljust(length)
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + head + b"x")
    assert open_checkpoint(tmp_path).tensors[0].name == "a"


def test_pickles_beside_the_weights_are_left_alone(tmp_path):
    one_file(tmp_path)
    (tmp_path / "training_args.bin").write_bytes(PICKLED)
    assert len(open_checkpoint(tmp_path).tensors) == 3
    assert open_checkpoint(tmp_path).files == ()


def test_refuses_symlinked_shards_and_says_how_to_copy(tmp_path):
    blobs = one_file(tmp_path / "blobs", "abc123")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "model.safetensors").symlink_to(blobs)
    refused(snapshot, UnsafePathError, "a symlink", "cp -rL")


def test_refuses_pipes_devices_and_folders(tmp_path):
    for kind, make in {
        "a pipe": lambda path: os.mkfifo(path),
        "a directory": lambda path: path.mkdir(),
    }.items():
        folder = tmp_path / kind
        folder.mkdir()
        make(folder / "model.safetensors")
        refused(folder, UnsafePathError, kind, "model.safetensors")
    os.mkfifo(tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", UnsafePathError, "a pipe")
    refused(Path("/dev/zero"), UnsafePathError, "a device")
    (tmp_path / "dev").mkdir()
    if os.geteuid() == 0:
        try:
            os.mknod(tmp_path / "dev" / "model.safetensors", 0o20666, os.makedev(1, 5))
        except OSError:
            return
        refused(tmp_path / "dev", UnsafePathError, "a device")


@pytest.mark.parametrize("special", [INDEX, "model-2.safetensors"])
@pytest.mark.parametrize("kind", ["a symlink", "a pipe", "a directory"])
def test_refuses_special_files_in_a_sharded_folder(tmp_path, special, kind):
    target = sharded(tmp_path) / special
    if kind == "a symlink":
        target.rename(tmp_path / "moved")
        target.symlink_to("moved")
    else:
        target.unlink()
        os.mkfifo(target) if kind == "a pipe" else target.mkdir()
    refused(tmp_path, UnsafePathError, kind, special)


@pytest.mark.parametrize(
    "shard",
    ["../model-2.safetensors", "/etc/passwd", "sub/model-2.safetensors", "..", "", "model-2.safetensors\0",
     ".hidden.safetensors", "model-2.txt", "a\\b.safetensors", "~.safetensors"],
)  # fmt: skip
def test_refuses_an_index_that_points_elsewhere(tmp_path, shard):
    (tmp_path / "outside").mkdir()
    sharded(tmp_path / "folder", {"a.weight": "model-1.safetensors", "b": shard, "n": shard})
    refused(tmp_path / "folder", UnsafePathError, "plain name", INDEX)


def test_refuses_an_index_that_names_a_pickle_or_a_missing_shard(tmp_path):
    parts = {"a.weight": "model-1.safetensors", "b": "pytorch_model.bin"}
    refused(sharded(tmp_path, parts), RefusedFormatError, "pytorch_model.bin")
    parts["b"] = "model-3.safetensors"
    refused(sharded(tmp_path, parts), MissingFileError, "model-3.safetensors")


def test_refuses_an_index_that_disagrees_with_its_shards(tmp_path):
    parts = {"a.weight": "model-2.safetensors", "b": "model-2.safetensors", "ghost": "model-1.safetensors"}
    text = refused(sharded(tmp_path, parts), MalformedCheckpointError, "does not match its shards")
    for line in (
        "a.weight is not in model-2.safetensors",
        "ghost is not in model-1.safetensors",
        "a.weight is in model-1.safetensors and not in the index",
        "n is in model-2.safetensors and not in the index",
    ):
        assert line in text


def test_refuses_a_tensor_in_two_shards(tmp_path):
    sharded(tmp_path)
    save_file(TENSORS, tmp_path / "model-2.safetensors")
    refused(tmp_path, MalformedCheckpointError, "a.weight is in model-2.safetensors and not in the index")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}", '{"weight_map":[]}', '{"weight_map":{}}', '{"weight_map":{"a":1}}', "[" * 100_000, "\xff",
     '{"weight_map":{"a":"m.safetensors","a":"n.safetensors"}}',
     '{"weight_map":{"a":"m.safetensors"},"weight_map":{}}'],
)  # fmt: skip
def test_refuses_an_index_that_is_no_index(tmp_path, text):
    sharded(tmp_path)
    (tmp_path / INDEX).write_text(text, encoding="latin-1")
    refused(tmp_path, MalformedCheckpointError, INDEX)


def test_refuses_a_huge_index(tmp_path):
    sharded(tmp_path)
    os.truncate(tmp_path / INDEX, 17 * 1024 * 1024)
    refused(tmp_path, MalformedCheckpointError, "over the limit")


def test_errors_in_a_shard_name_the_shard(tmp_path):
    sharded(tmp_path)
    path = tmp_path / "model-2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(tmp_path, MalformedCheckpointError, "cut off", str(path))


def test_refuses_a_dtype_by_name(tmp_path):
    head = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    refused(tmp_path, UnsupportedDtypeError, "F8_E4M3", "'w'")


def test_files_beside_the_weights(tmp_path):
    sharded(tmp_path)
    kept = [
        "LICENSE",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "spiece.model",
        "tokenizer.json",
    ]
    left = ["modeling.py", ".hidden.json", "conjoin.json", "pytorch_model.bin.index.json", "a.bin", "x.safetensors.bak",
            "two words.json", "events.out", "run.sh"]  # fmt: skip
    for name in kept + left:
        (tmp_path / name).write_text(name)
    (tmp_path / "sub.json").mkdir()
    refused_files(tmp_path, UnsafePathError, "sub.json")
    (tmp_path / "sub.json").rmdir()
    files = open_checkpoint(tmp_path).files
    assert [file.name for file in files] == kept
    assert [file.size_bytes for file in files] == [len(name) for name in kept]
    assert open_checkpoint(one_file(tmp_path / "single")).files == ()


def refused_files(path: Path, kind: type[ConjoinError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        _ = open_checkpoint(path).files
    assert all(word in str(caught.value) for word in words)


def test_refuses_symlinked_and_huge_files_beside_the_weights(tmp_path):
    one_file(tmp_path)
    (tmp_path / "config.json").symlink_to("/etc/hostname")
    refused_files(tmp_path, UnsafePathError, "a symlink", "config.json")
    (tmp_path / "config.json").unlink()
    (tmp_path / "tokenizer.json").touch()
    os.truncate(tmp_path / "tokenizer.json", SIDE_FILE_BYTES_MAX + 1)
    refused_files(tmp_path, MalformedCheckpointError, "tokenizer.json", "over the limit")


def test_refuses_a_file_it_may_not_read(tmp_path):
    path = one_file(tmp_path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user can read everything")
    refused(path, NotACheckpointError, "permission denied")
