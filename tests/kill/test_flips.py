"""A flipped bit anywhere in what is stored or written out is always found and never used."""

import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conjoin.errors import ConjoinError
from conjoin.log import parse
from conjoin.replica import Replica
from conjoin.store.base import Store
from conjoin.store.checkpoint import open_checkpoint
from conjoin.verification import verify
from conjoin.wire.digest import LEAF_BYTES
from conjoin.wire.objects import leaf_name

SMALL_BYTES = 64 * 1024
PLACES_IN_LARGE = 1_000


def flip(path: Path, position: int, bit: int) -> None:
    """Flip one bit of a file in place."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


def places(size: int, seed: int) -> list[tuple[int, int]]:
    """Every byte of a small file, a thousand places of a large one, each with some bit."""
    chance = random.Random(seed)
    positions = range(size) if size <= SMALL_BYTES else sorted(chance.sample(range(size), PLACES_IN_LARGE))
    return [(position, chance.randrange(8)) for position in positions]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica of models that are small enough to flip every byte of every file, with one resolved checkpoint."""
    top = tmp_path_factory.mktemp("flips")
    chance = np.random.default_rng(5)
    for name in ("base", "one", "two"):
        (top / name).mkdir()
        tensors = {"w": chance.normal(size=(12, 8)).astype(np.float32), "b": chance.normal(size=8).astype(np.float16)}
        save_file(tensors, top / name / "model.safetensors", metadata={"format": "pt"})
        (top / name / "config.json").write_text('{"model_type": "test"}')
    with Replica.init(top / "replica", top / "base") as replica:
        replica.add(top / "one")
        replica.add(top / "two")
        replica.resolve("weight_average", top / "out")
    return top


def read(store: Store, name: str) -> None:
    """Read an object the way the product does: operations are admitted, so their signature counts too."""
    data = store.get(name)
    if name.startswith("ops/"):
        parse(data)


def objects(replica: Path) -> list[Path]:
    """Every immutable object of a replica."""
    home = replica / ".conjoin"
    return sorted(path for kind in ("leaf", "manifest", "ops") for path in (home / kind).rglob("*") if path.is_file())


def test_every_flipped_byte_of_every_stored_object_is_refused(small: Path) -> None:
    store = Replica.open(small / "replica").store
    home = small / "replica" / ".conjoin"
    checked = 0
    for path in objects(small / "replica"):
        name = path.relative_to(home).as_posix()
        for position, bit in places(path.stat().st_size, 1):
            flip(path, position, bit)
            with pytest.raises(ConjoinError):
                read(store, name)
            flip(path, position, bit)
            checked += 1
        read(store, name)
    assert checked > 3_000


def test_fsck_names_each_damaged_object_and_resolve_uses_none(small: Path, tmp_path: Path) -> None:
    home = small / "replica" / ".conjoin"
    for path in objects(small / "replica"):
        if path.name.startswith("0000000000-"):
            continue  # without the genesis there is no space to open; that error is tested with the command line
        flip(path, path.stat().st_size // 2, 3)
        with Replica.open(small / "replica") as replica:
            assert [item.name for item in replica.fsck().damage] == [path.relative_to(home).as_posix()]
            if path.parts[-3] == "leaf" or path.parent.name == "manifest":
                base_files = path.parent.name == "manifest"
                try:
                    receipt = replica.resolve("weight_average", tmp_path / path.name)
                except ConjoinError:
                    pass
                else:  # only what the merge does not read may be damaged without stopping it
                    assert not base_files or receipt.output
                    with Replica.open(small / "replica") as clean:
                        assert receipt.output == verify(small / "out", clean).output
        flip(path, path.stat().st_size // 2, 3)


def test_every_flipped_byte_of_a_merged_checkpoint_fails_verification(small: Path) -> None:
    with Replica.open(small / "replica") as replica:
        for path in sorted((small / "out").iterdir()):
            for position, bit in places(path.stat().st_size, 2):
                flip(path, position, bit)
                with pytest.raises(ConjoinError):
                    verify(small / "out", replica)
                flip(path, position, bit)
        verify(small / "out", replica)


def test_a_thousand_places_of_large_leaves_and_of_files_added_in_place(space: Path, tmp_path: Path) -> None:
    with Replica.init(tmp_path / "placed", space / "models" / "base", in_place=True) as replica:
        model = space / "models" / "base" / "model.safetensors"
        for position, bit in places(model.stat().st_size, 3)[::50]:
            flip(model, position, bit)
            damaged = replica.fsck().damage
            flip(model, position, bit)
            in_header = position < int.from_bytes(model.read_bytes()[:8], "little") + 8
            assert bool(damaged) != in_header  # the header is not part of the content; every tensor byte is
        large = next(tensor for tensor in open_checkpoint(model.parent).tensors if tensor.name == "large")
        leaves = replica.inventory.manifest(replica.base).by_name["large"].leaves
        for position, bit in places(large.size_bytes, 6):
            flip(model, large.offset + position, bit)
            with pytest.raises(ConjoinError):
                read(replica.store, leaf_name(leaves[position // LEAF_BYTES]))
            flip(model, large.offset + position, bit)
    store = Replica.open(space / "a").store
    home = space / "a" / ".conjoin"
    large = [path for path in objects(space / "a") if path.stat().st_size > SMALL_BYTES]
    for path in large[:2]:
        name = path.relative_to(home).as_posix()
        for position, bit in places(path.stat().st_size, 4):
            flip(path, position, bit)
            with pytest.raises(ConjoinError):
                read(store, name)
            flip(path, position, bit)
