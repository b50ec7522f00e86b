"""Ingest: the right manifest, no NaN, no changed file, nothing of a refused checkpoint visible."""

import json
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin.errors import ChangedFileError, DiskFullError, MalformedCheckpointError, NonFiniteError, ReadOnlyError
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.folder import FolderStore
from conjoin.store.fsck import fsck
from conjoin.store.ingest import ingest, ingest_files
from conjoin.store.memory import MemoryStore
from conjoin.wire.digest import LEAF_BYTES, leaf_digest
from conjoin.wire.manifest import Manifest, TensorEntry
from conjoin.wire.objects import leaf_name, manifest_name
from places import as_nobody, small_disk

ROW = 1024 * 1024


def tensors_of_all_sizes() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(7)
    return {
        "big.f32": draw.standard_normal((5, ROW // 2), np.float32),
        "exact.bf16": draw.standard_normal((2, ROW), np.float32).astype(ml_dtypes.bfloat16),
        "small.f16": draw.standard_normal(17).astype("<f2"),
        "scalar.f64": np.array(0.1),
        "empty.f32": np.zeros((0, 4), "<f4"),
        "mask": np.array([True, False, True]),
        "ids": np.arange(-3, 3),
    }


def naive(tensors: dict[str, np.ndarray]) -> Manifest:
    names = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64", "bool": "BOOL", "int64": "I64"}
    entries = []
    for name, array in tensors.items():
        data = array.tobytes()
        leaves = [leaf_digest(data[i : i + LEAF_BYTES]) for i in range(0, len(data), LEAF_BYTES)]
        entries.append(TensorEntry(name, names[array.dtype.name], array.shape, tuple(leaves)))
    return Manifest.of(entries)


def saved(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder / "model.safetensors"


class Recorder:
    def __init__(self, at_first_advance=lambda: None) -> None:
        self.stages: list[tuple[str, int]] = []
        self.done = 0
        self._then = at_first_advance

    def start(self, what: str, total_bytes: int) -> None:
        self.stages.append((what, total_bytes))

    def advance(self, done_bytes: int) -> None:
        self.done += done_bytes
        then, self._then = self._then, lambda: None
        then()


@pytest.mark.parametrize("threads", [1, 2, 3, None])
def test_the_manifest_is_that_of_the_bytes(tmp_path, threads):
    tensors = tensors_of_all_sizes()
    checkpoint = open_checkpoint(saved(tmp_path / "m", tensors))
    store, progress = FolderStore(tmp_path / "s"), Recorder()
    manifest = ingest(checkpoint, store, progress=progress, threads=threads)
    assert manifest == naive(tensors)
    assert Manifest.decode(store.get(manifest_name(manifest.digest)), manifest.digest) == manifest
    for entry in manifest.tensors:
        assert b"".join(store.get(leaf_name(leaf)) for leaf in entry.leaves) == tensors[entry.name].tobytes()
    assert progress.done == progress.stages[0][1] == manifest.size_bytes
    assert fsck(store)[2] == ()


def test_sharding_names_and_metadata_change_nothing(tmp_path):
    tensors = tensors_of_all_sizes()
    whole = ingest(open_checkpoint(saved(tmp_path / "whole", tensors)), MemoryStore())
    folder = tmp_path / "shards"
    folder.mkdir()
    weight_map = {}
    for number, name in enumerate(tensors):
        weight_map[name] = f"part-{number}.safetensors"
        save_file({name: tensors[name]}, folder / weight_map[name], {"number": str(number)})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert ingest(open_checkpoint(folder), MemoryStore()).digest == whole.digest


def test_equal_leaves_are_written_once_and_never_again(tmp_path):
    same = np.ones((3, ROW), "<f4")
    checkpoint = open_checkpoint(saved(tmp_path / "m", {"a": same, "b": same}))
    store = FolderStore(tmp_path / "s")
    manifest = ingest(checkpoint, store)
    (leaf,) = store.names("leaf/")
    assert store.bytes_written == LEAF_BYTES + len(manifest.encode())
    before = os.stat(store.root / leaf)
    ingest(checkpoint, store)
    assert os.stat(store.root / leaf) == before


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8", ml_dtypes.bfloat16])
def test_every_nan_and_inf_is_listed(tmp_path, dtype):
    clean = np.zeros(3 * ROW, dtype)
    late, early = clean.copy(), np.ones((2, 3), dtype)
    late[[2 * ROW + 5, 3 * ROW - 1]] = [np.nan, -np.inf]
    early[1, 2] = np.inf
    checkpoint = open_checkpoint(saved(tmp_path / "m", {"clean": clean, "late": late, "early": early}))
    store = FolderStore(tmp_path / "s")
    with pytest.raises(NonFiniteError) as caught:
        ingest(checkpoint, store)
    text = str(caught.value)
    assert "2 tensors hold NaN or Inf" in text
    assert "early: 1 value, the first at element 5\n" in text
    assert f"late: 2 values, the first at element {2 * ROW + 5}\n" in text
    assert "clean" not in text
    assert str(tmp_path / "m" / "model.safetensors") in text
    assert list(store.names("manifest/")) == []
    assert fsck(store)[2] == ()


@pytest.mark.parametrize("threads", [1, 4])
def test_a_refused_checkpoint_is_named_by_no_manifest_and_takes_nothing_away(tmp_path, threads):
    store = FolderStore(tmp_path / "s")
    shared = np.arange(ROW, dtype="<f4")
    first = ingest(open_checkpoint(saved(tmp_path / "first", {"a": shared})), store)
    before = set(store.names(""))
    bad = np.ones(3 * ROW, "<f4")
    bad[-1] = np.inf
    checkpoint = open_checkpoint(saved(tmp_path / "bad", {"a": shared, "b": np.zeros(2 * ROW), "c": bad}))
    with store.recording() as written, pytest.raises(NonFiniteError):
        ingest(checkpoint, store, threads=threads)
    assert set(store.names("")) == {*before, *written}
    assert all(name.startswith("leaf/") for name in written)
    assert fsck(store)[2] == ()
    assert store.get(leaf_name(first.by_name["a"].leaves[0])) == shared.tobytes()


def test_integers_of_any_pattern_are_carried(tmp_path):
    tensors = {"i": np.full(9, -1, "<i4"), "u": np.full(9, 0x7F80, "<u2"), "f": np.full(9, -0.0, "<f4")}
    manifest = ingest(open_checkpoint(saved(tmp_path, tensors)), MemoryStore())
    assert [t.name for t in manifest.tensors] == ["f", "i", "u"]


def test_bools_are_0_or_1(tmp_path):
    head = json.dumps({"mask": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes([0, 1, 2, 255]))
    with pytest.raises(MalformedCheckpointError, match="mask: 2 values, the first at element 2"):
        ingest(open_checkpoint(path), MemoryStore())


def test_a_file_that_changes_is_refused(tmp_path):
    path = saved(tmp_path / "m", {"a": np.zeros((3, ROW), "<f4")})
    content = path.read_bytes()

    def touched() -> None:
        os.utime(path, ns=(1, 1))

    def replaced() -> None:
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(path)

    def grown() -> None:
        path.write_bytes(content + b"x")

    def cut() -> None:
        os.truncate(path, len(content) - ROW)

    def linked() -> None:
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")

    for change in (touched, replaced, grown, cut, linked, path.unlink):
        for when in ("before", "meanwhile"):
            path.unlink(missing_ok=True)
            path.write_bytes(content)
            checkpoint, store = open_checkpoint(path), FolderStore(tmp_path / f"{change.__name__}-{when}")
            if when == "before":
                change()
            progress = Recorder(change) if when == "meanwhile" else Recorder()
            with pytest.raises(ChangedFileError, match=str(path)):
                ingest(checkpoint, store, progress=progress, threads=1)
            assert list(store.names("manifest/")) == []


def test_files_beside_the_weights_are_kept_as_bytes(tmp_path):
    saved(tmp_path / "m", {"a": np.zeros(1)})
    contents = {"config.json": b"{}", "tokenizer.json": bytes(range(256)) * 20_000, "README.md": b""}
    for name, data in contents.items():
        (tmp_path / "m" / name).write_bytes(data)
    store, files = MemoryStore(), open_checkpoint(tmp_path / "m").files
    manifest = ingest_files(files, store)
    assert {t.name: b"".join(store.get(leaf_name(leaf)) for leaf in t.leaves) for t in manifest.tensors} == contents
    assert {(t.dtype, t.shape) for t in manifest.tensors} == {("U8", (len(data),)) for data in contents.values()}
    (tmp_path / "m" / "config.json").write_bytes(b"[]")
    with pytest.raises(ChangedFileError, match=r"config\.json"):
        ingest_files(files, store)


def test_no_files_give_an_empty_manifest():
    store = MemoryStore()
    manifest = ingest_files((), store)
    assert Manifest.decode(store.get(manifest_name(manifest.digest)), manifest.digest).tensors == ()


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path):
    checkpoint = open_checkpoint(saved(tmp_path / "m", {"a": np.arange(3 * ROW, dtype="<i4"), "b": np.zeros(9)}))
    with small_disk(tmp_path / "disk", "size=6m") as disk:
        store = FolderStore(disk / "s")
        (disk / "ballast").write_bytes(bytes(ROW))
        with pytest.raises(DiskFullError) as caught:
            ingest(checkpoint, store)
        assert str(disk) in str(caught.value)
        assert caught.value.retryable
        assert list((disk / "s" / ".tmp").iterdir()) == []
        assert list(store.names("manifest/")) == []
        assert fsck(store)[2] == ()
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        assert ingest(checkpoint, store).digest == ingest(checkpoint, MemoryStore()).digest
        assert fsck(store)[2] == ()


def test_a_file_size_limit_is_a_full_disk(tmp_path):
    checkpoint = open_checkpoint(saved(tmp_path / "m", {"a": np.arange(3 * ROW, dtype="<i4")}))
    store = FolderStore(tmp_path / "s")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROW, hard))
    try:
        with pytest.raises(DiskFullError, match="file size limit"):
            ingest(checkpoint, store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "s" / ".tmp").iterdir()) == []
    assert fsck(store)[:1] == (0,)


def test_a_read_only_disk_is_named(tmp_path):
    checkpoint = open_checkpoint(saved(tmp_path / "m", {"a": np.zeros(9)}))
    with small_disk(tmp_path / "disk", "ro") as disk, pytest.raises(ReadOnlyError, match="read-only"):
        ingest(checkpoint, FolderStore(disk / "s"))


def test_a_folder_of_somebody_else_is_named():
    with as_nobody() as folder:
        store = FolderStore(folder)
        with pytest.raises(ReadOnlyError, match="permission denied") as caught:
            store.put(leaf_name(leaf_digest(b"x")), b"x")
        assert str(folder) in str(caught.value)
        assert list(store.names("")) == []


KILLED = """
import os, sys
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.folder import FolderStore
from conjoin.store.ingest import ingest
class Die:
    def start(self, what, total): pass
    def advance(self, done): os.kill(os.getpid(), 9)
ingest(open_checkpoint(sys.argv[1]), FolderStore(sys.argv[2]), progress=Die(), threads=1)
"""


def test_a_killed_ingest_leaves_nothing_visible(tmp_path):
    path = saved(tmp_path / "m", {"a": np.arange(3 * ROW, dtype="<i4")})
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), str(tmp_path / "s")], check=False)
    assert killed.returncode == -9
    store = FolderStore(tmp_path / "s")
    assert len(list(store.names("leaf/"))) == 1
    assert list(store.names("manifest/")) == []
    assert fsck(store)[2] == ()
    manifest = ingest(open_checkpoint(path), store)
    assert store.has(manifest_name(manifest.digest))
