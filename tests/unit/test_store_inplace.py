"""In place: leaves stay in the user's files, are verified at every read, and a changed file is an error."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin.errors import ChangedFileError, DamagedObjectError, MissingObjectError, UnsafePathError
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.fsck import fsck
from conjoin.store.ingest import ingest
from conjoin.store.inplace import References, ReplicaStore
from conjoin.wire.digest import LEAF_BYTES
from conjoin.wire.manifest import Manifest
from conjoin.wire.objects import leaf_name, manifest_name

TENSORS = {"big": np.arange(1_500_000, dtype="<i4"), "small.w": np.ones(5, "<f4"), "same": np.ones(5, "<f4")}


def replica_store(home: Path) -> ReplicaStore:
    return ReplicaStore(home, home / "local" / "tmp", References(home / "local" / "inplace"))


def added(tmp_path: Path, name: str = "m.safetensors") -> tuple[ReplicaStore, Manifest, Path]:
    path = tmp_path / name
    save_file(TENSORS, path)
    store = replica_store(tmp_path / ".conjoin")
    manifest = ingest(open_checkpoint(path), store, in_place=True, references=store.references)
    return store, manifest, path


def contents(store: ReplicaStore, manifest: Manifest) -> dict[str, bytes]:
    return {t.name: b"".join(store.get(leaf_name(leaf)) for leaf in t.leaves) for t in manifest.tensors}


def test_nothing_is_copied_and_everything_is_read(tmp_path):
    store, manifest, _ = added(tmp_path)
    assert [p.name for p in (tmp_path / ".conjoin").iterdir() if p.name in {"leaf", "manifest"}] == ["manifest"]
    assert contents(store, manifest) == {name: array.tobytes() for name, array in TENSORS.items()}
    buffer = memoryview(bytearray(LEAF_BYTES))
    big = manifest.by_name["big"]
    assert [store.read_leaf(leaf, buffer) for leaf in big.leaves] == big.leaf_sizes()
    leaves = sorted(leaf_name(leaf) for leaf in manifest.leaf_lengths())
    assert list(store.names("leaf/")) == leaves
    assert list(store.names("")) == [*leaves, manifest_name(manifest.digest)]
    assert all(store.has(name) for name in leaves)
    assert fsck(store)[2] == ()


def test_another_process_sees_it(tmp_path):
    before = replica_store(tmp_path / ".conjoin")
    assert before.references.leaves() == []
    _, manifest, _ = added(tmp_path)
    assert contents(before, manifest)["big"] == TENSORS["big"].tobytes()
    assert contents(replica_store(tmp_path / ".conjoin"), manifest)["big"] == TENSORS["big"].tobytes()


@pytest.mark.parametrize("change", ["byte", "cut", "gone", "symlink", "other"])
def test_a_changed_file_is_an_error_that_names_it(tmp_path, change):
    store, manifest, path = added(tmp_path)
    if change == "byte":
        data = bytearray(path.read_bytes())
        data[-10] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(0, 0))
    elif change == "cut":
        os.truncate(path, 200)
    elif change == "other":
        save_file({"x": np.zeros(9)}, path)
    else:
        path.rename(tmp_path / "moved")
        if change == "symlink":
            path.symlink_to(tmp_path / "moved")
    wrong = 0
    for entry in manifest.tensors:
        for leaf in entry.leaves:
            for read in (lambda leaf: store.get(leaf_name(leaf)), trusted_read(store)):
                try:
                    read(leaf)
                except ChangedFileError as error:
                    wrong += 1
                    assert str(path) in str(error)
                    assert "tensor `" in str(error)
                    assert error.hint
    assert wrong >= 2
    damage = fsck(store)[2]
    assert damage
    assert all(str(path) in item.name for item in damage)


def trusted_read(store: ReplicaStore):
    """Reading as trusted verifies files outside the store all the same."""
    return lambda leaf: store.read_leaf(leaf, memoryview(bytearray(LEAF_BYTES)), trusted=True)


def test_a_second_file_or_a_copy_serves_when_the_first_is_gone(tmp_path):
    store, manifest, path = added(tmp_path)
    other = tmp_path / "other"
    save_file({"big": TENSORS["big"]}, other)
    second = ingest(open_checkpoint(other), store, in_place=True, references=store.references)
    path.unlink()
    assert store.get(leaf_name(second.by_name["big"].leaves[0])) == TENSORS["big"].tobytes()[:LEAF_BYTES]
    small = leaf_name(manifest.by_name["same"].leaves[0])
    with pytest.raises(ChangedFileError):
        store.get(small)
    store.put(small, TENSORS["same"].tobytes())
    assert store.get(small) == TENSORS["same"].tobytes()
    assert list(store.names("leaf/")).count(small) == 1


def test_dropped_references_are_missing(tmp_path):
    store, manifest, _ = added(tmp_path)
    store.references.drop(manifest.digest)
    store.references.drop(manifest.digest)
    name = leaf_name(manifest.by_name["same"].leaves[0])
    assert not store.has(name)
    with pytest.raises(MissingObjectError, match=name):
        store.get(name)
    assert fsck(store)[2]


def test_any_flipped_byte_of_a_note_is_found(tmp_path):
    store, manifest, _ = added(tmp_path)
    (note,) = (tmp_path / ".conjoin" / "local" / "inplace").iterdir()
    data = note.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        note.write_bytes(changed)
        references = References(note.parent)
        assert references.damaged() == [str(note)]
        assert references.leaves() == []
    again = replica_store(tmp_path / ".conjoin")
    assert str(note) in {item.name for item in fsck(again)[2]}
    note.write_bytes(data)
    assert References(note.parent).damaged() == []
    assert json.loads(data)["body"]["format"] == "conjoin/inplace/1"
    assert contents(store, manifest)


def test_a_damaged_copy_is_not_hidden_by_a_file(tmp_path):
    store, manifest, _ = added(tmp_path)
    name = leaf_name(manifest.by_name["same"].leaves[0])
    store.put(name, b"x" * 20)
    with pytest.raises(DamagedObjectError):
        store.get(name)


def test_sweep_removes_unfinished_notes(tmp_path):
    store, manifest, _ = added(tmp_path)
    (tmp_path / ".conjoin" / "local" / "inplace" / "1-abc").write_bytes(b"half")
    assert store.sweep() == 1
    assert contents(store, manifest)


def test_paths_that_are_no_text_are_refused(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    save_file(TENSORS, tmp_path / "m.safetensors")
    os.rename(tmp_path / "m.safetensors", folder + b"/m.safetensors")
    store = replica_store(tmp_path / ".conjoin")
    checkpoint = open_checkpoint(os.fsdecode(folder + b"/m.safetensors"))
    with pytest.raises(UnsafePathError, match="not UTF-8"):
        ingest(checkpoint, store, in_place=True, references=store.references)
    assert list(store.names("")) == []
    ingest(checkpoint, store)
