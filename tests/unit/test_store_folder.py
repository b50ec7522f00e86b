"""The folder store: durable and atomic writes, special files, sweeping, and what fsck finds."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin.errors import DamagedObjectError, DeviceError, DiskFullError, ReadOnlyError
from conjoin.store import files
from conjoin.store.base import batch
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.folder import FolderStore
from conjoin.store.fsck import fsck
from conjoin.store.ingest import ingest
from conjoin.testing.store_suite import a_leaf, a_manifest, an_operation, some_objects
from conjoin.wire.digest import LEAF_BYTES, leaf_digest
from conjoin.wire.objects import leaf_name, parse_leaf


def filled(root: Path) -> FolderStore:
    store = FolderStore(root)
    for name, data in dict([*some_objects().items(), a_leaf(b"x")]).items():
        store.put(name, data)
    return store


def test_the_layout_is_the_names(tmp_path):
    store = filled(tmp_path)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == set(store.names(""))
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_unfinished_files_stand_where_they_were_told(tmp_path):
    store = FolderStore(tmp_path / "s", tmp_path / "elsewhere")
    store.put(*a_leaf(b"x"))
    assert (tmp_path / "elsewhere").is_dir()
    assert not (tmp_path / "s" / ".tmp").exists()


def test_sweep_removes_only_old_unfinished_files(tmp_path):
    store = filled(tmp_path)
    (tmp_path / ".tmp" / "123-abc").write_bytes(b"half")
    assert store.sweep(older_than_s=3600) == 0
    assert store.sweep() == 1
    assert store.sweep() == 0
    assert FolderStore(tmp_path / "nothing").sweep() == 0
    assert fsck(store)[2] == ()


def test_what_was_swept_before_it_was_marked_is_written_again(tmp_path, monkeypatch):
    name, data = a_leaf(b"x")
    mark, times = files._hold, [lambda: FolderStore(tmp_path).sweep()]

    def late(descriptor: int, *, wait: bool) -> bool:
        if wait and times:
            assert times.pop()() == 1
        return mark(descriptor, wait=wait)

    monkeypatch.setattr(files, "_hold", late)
    FolderStore(tmp_path).put(name, data)
    assert FolderStore(tmp_path).get(name) == data
    assert times == []


@pytest.mark.parametrize("folder", [".tmp", "leaf", "leaf/{digest}", "ops"])
def test_nothing_is_written_or_removed_through_a_symlink(tmp_path, folder):
    outside, root = tmp_path / "outside", tmp_path / "s"
    outside.mkdir()
    for name in ("thesis.txt", "1-ab"):
        (outside / name).write_text("mine")
        os.utime(outside / name, (1, 1))
    leaf, data = a_leaf(b"x")
    link = root / folder.format(digest=leaf.split("/")[1])
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    store = FolderStore(root)
    assert store.sweep() == 0
    name, content = an_operation(1) if folder == "ops" else (leaf, data)
    with pytest.raises(DeviceError, match="symlink") as caught:
        store.put(name, content)
    assert str(link) in str(caught.value)
    assert sorted(os.listdir(outside)) == ["1-ab", "thesis.txt"]


def test_sweep_leaves_files_of_other_names(tmp_path):
    store = filled(tmp_path)
    (tmp_path / ".tmp" / "notes.txt").write_bytes(b"somebody's")
    assert store.sweep() == 0


def test_names_of_folders_that_others_made_become_durable_too(tmp_path, monkeypatch):
    name, data = a_leaf(b"x")
    (tmp_path / name).parent.mkdir(parents=True)
    synced: set[str] = set()
    monkeypatch.setattr("conjoin.store.folder.sync_directory", lambda path: synced.add(str(path)))
    FolderStore(tmp_path).put(name, data)
    assert {str(tmp_path), str(tmp_path / "leaf"), str((tmp_path / name).parent)} <= synced


def test_a_folder_whose_names_could_not_be_made_durable_is_tried_again(tmp_path, monkeypatch):
    synced: list[str] = []

    def fails(path: Path) -> None:
        raise OSError(5, "input/output error", str(path))

    store = FolderStore(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("conjoin.store.folder.sync_directory", fails)
        with pytest.raises(DeviceError):
            store.put(*a_leaf(b"x"))
    monkeypatch.setattr("conjoin.store.folder.sync_directory", lambda path: synced.append(str(path)))
    store.put(*a_leaf(b"y"))
    assert str((tmp_path / a_leaf(b"x")[0]).parent) in synced


def test_replace_mends_a_damaged_object(tmp_path):
    store = filled(tmp_path)
    name, data = a_leaf(b"x")
    (tmp_path / name).write_bytes(b"y")
    store.put(name, data)  # does not look inside
    with pytest.raises(DamagedObjectError):
        store.get(name)
    store.replace(name, data)
    assert store.get(name) == data


@pytest.mark.parametrize("kind", ["symlink", "pipe", "folder"])
def test_special_files_are_never_read(tmp_path, kind):
    store = filled(tmp_path)
    name, data = a_leaf(b"x")
    (tmp_path / name).unlink()
    if kind == "symlink":
        (tmp_path / "real").write_bytes(data)
        (tmp_path / name).symlink_to(tmp_path / "real")
    else:
        os.mkfifo(tmp_path / name) if kind == "pipe" else (tmp_path / name).mkdir()
    assert not store.has(name)
    assert name not in store.names("")
    with pytest.raises(DamagedObjectError, match="not a regular file"):
        store.get(name)
    with pytest.raises(DamagedObjectError, match="not a regular file"):
        store.read_leaf(leaf_digest(data), memoryview(bytearray(9)))


def test_an_object_over_its_limit_is_not_read(tmp_path):
    store = filled(tmp_path)
    for name in (a_leaf(b"x")[0], an_operation(1)[0]):
        os.truncate(tmp_path / name, LEAF_BYTES + 1)
        with pytest.raises(DamagedObjectError, match="over the limit"):
            store.get(name)


def test_folders_removed_behind_its_back_are_made_again(tmp_path):
    store = filled(tmp_path / "s")
    for path in sorted((tmp_path / "s").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    store.put(*a_leaf(b"again"))
    assert list(store.names("")) == [a_leaf(b"again")[0]]


@pytest.mark.parametrize("place", ["/dev/shm", None])
@pytest.mark.parametrize("size", [LEAF_BYTES, LEAF_BYTES - 4096, 256 * 1024, 256 * 1024 - 4096, LEAF_BYTES - 3, 1, 0])
def test_writes_past_the_page_cache_are_the_same_bytes(tmp_path, place, size):
    folder = Path(place) / f"conjoin-{os.getpid()}-{size}" if place and os.path.isdir(place) else tmp_path
    folder.mkdir(exist_ok=True)
    buffer = files.aligned_buffer(LEAF_BYTES)
    buffer[:] = random.Random(size).randbytes(LEAF_BYTES)
    try:
        for shift in (0, 2):  # aligned and not
            data = buffer[shift : shift + size]
            files.write_durably(folder, folder / "x", data)
            assert (folder / "x").read_bytes() == bytes(data)
    finally:
        (folder / "x").unlink()
        if folder != tmp_path:
            folder.rmdir()


def test_system_errors_become_ours(tmp_path):
    for number, kind in (
        (28, DiskFullError),
        (122, DiskFullError),
        (30, ReadOnlyError),
        (13, ReadOnlyError),
        (5, DeviceError),
    ):
        with pytest.raises(kind) as caught, files.translated_os_errors(tmp_path):
            raise OSError(number, "x")
        assert str(tmp_path) in str(caught.value)
        assert caught.value.hint
    with pytest.raises(DeviceError, match="file in the way"), files.translated_os_errors(tmp_path):
        raise OSError(17, "x", "file in the way")


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "leaf").write_bytes(b"in the way")
    with pytest.raises(DeviceError, match=str(tmp_path / "leaf")):
        FolderStore(tmp_path).put(*a_leaf(b"x"))


def test_leaves_of_a_batch_come_before_what_names_them(tmp_path):
    """Outside of kills this shows as: an object that is no leaf ends the wait of the leaves before it."""
    store = FolderStore(tmp_path)
    with batch(store):
        store.put(*a_leaf(b"x"))
        assert store._unsynced
        store.put(*a_manifest("a"))
        assert not store._unsynced
    store.put(*a_leaf(b"y"))
    assert not store._unsynced


def test_fsck_finds_nothing_wrong_with_a_good_store(tmp_path):
    store = filled(tmp_path)
    objects, size_bytes, damage = fsck(store)
    assert damage == ()
    assert objects == len(list(store.names("")))
    assert size_bytes == sum((tmp_path / name).stat().st_size for name in store.names(""))


def test_fsck_finds_any_flipped_bit_of_small_objects(tmp_path):
    store = filled(tmp_path)
    for name in store.names(""):
        path = tmp_path / name
        data = path.read_bytes()
        for place in range(0, len(data), max(1, len(data) // 40)):
            changed = bytearray(data)
            changed[place] ^= 1 << (place % 8)
            path.write_bytes(changed)
            assert [item.name for item in fsck(store)[2]] == [name]
        path.write_bytes(data)
    assert fsck(store)[2] == ()


def test_fsck_finds_a_flipped_bit_anywhere_in_a_large_leaf(tmp_path):
    save_file({"w": np.random.default_rng(1).standard_normal(700_000)}, tmp_path / "m.safetensors")
    store = FolderStore(tmp_path / "s")
    ingest(open_checkpoint(tmp_path / "m.safetensors"), store)
    draw = random.Random(2)
    leaves = list(store.names("leaf/"))
    buffer = memoryview(bytearray(LEAF_BYTES))
    for _ in range(100):
        name = draw.choice(leaves)
        place, bit = draw.randrange((store.root / name).stat().st_size), draw.randrange(8)
        with open(store.root / name, "r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << bit]))
        digest = parse_leaf(name)
        assert digest is not None
        with pytest.raises(DamagedObjectError):
            store.read_leaf(digest, buffer)
        if _ % 10 == 0:
            assert [item.name for item in fsck(store)[2]] == [name]
        with open(store.root / name, "r+b") as file:
            file.seek(place)
            file.write(bytes([byte]))
    assert fsck(store)[2] == ()


def test_fsck_names_missing_leaves_foreign_files_and_special_files(tmp_path):
    store = filled(tmp_path)
    leaf = a_leaf(b"x")[0]
    (tmp_path / leaf).unlink()
    manifest = a_manifest("a")[0]
    (tmp_path / manifest).unlink()
    (tmp_path / manifest).symlink_to("/etc/hostname")
    (tmp_path / "leaf" / "README").write_text("hello")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "anything").write_text("not looked at")
    damage = {item.name: item for item in fsck(store)[2]}
    assert set(damage) == {leaf, manifest, "leaf/README", "notes.txt"}
    assert "missing" in damage[leaf].what
    assert "regular file" in damage[manifest].what
    assert "not an object" in damage["notes.txt"].what
    assert all(item.hint for item in damage.values())


def test_fsck_checks_signatures_and_seq(tmp_path):
    store = FolderStore(tmp_path)
    name, data = an_operation(1)
    store.put(name, data)
    at = data.index(b'"sig":"') + 10
    forged = data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :]
    (tmp_path / name).write_bytes(forged)
    assert [item.name for item in fsck(store)[2]] == [name]
    wrong = name.replace("0000000001-", "0000000002-")
    (tmp_path / name).write_bytes(data)
    (tmp_path / name).rename(tmp_path / wrong)
    (item,) = fsck(store)[2]
    assert (item.name, "seq is 1" in item.what) == (wrong, True)


def test_fsck_of_nothing(tmp_path):
    assert fsck(FolderStore(tmp_path / "nothing")) == (0, 0, ())
    assert leaf_name(leaf_digest(b"")).startswith("leaf/")


def test_a_file_that_is_being_written_is_not_swept(tmp_path, monkeypatch):
    store = FolderStore(tmp_path)
    other = FolderStore(tmp_path)
    swept: list[int] = []
    write = os.write

    def write_slowly(descriptor: int, data: bytes) -> int:
        swept.append(other.sweep())
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", write_slowly)
    data = b"x" * 100
    store.put(leaf_name(leaf_digest(data)), data)
    assert swept == [0]
    (tmp_path / ".tmp" / "123-abcdef").write_bytes(b"left by a killed one")
    monkeypatch.undo()
    assert other.sweep() == 1
