"""Real files in every float format: read and written as the safetensors library does, merged, and loaded."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Family
from conjoin import Replica
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.ingest import ingest
from conjoin.store.memory import MemoryStore
from conjoin.wire.digest import Digest
from conjoin.wire.safetensors import encode_header, parse_header

pytestmark = pytest.mark.compat


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not outlive its test: models are large."""
    yield tmp_path
    for child in tmp_path.iterdir():
        shutil.rmtree(child)


def digest_of(path: Path) -> Digest:
    return ingest(open_checkpoint(path), MemoryStore()).digest


def assert_read_alike(path: Path) -> None:
    """Our header reader and the library's see the same tensors, shapes, dtypes and bytes."""
    import safetensors

    data = path.read_bytes()
    ours = parse_header(data, len(data), path.name)
    theirs = dict(safetensors.deserialize(data))
    assert {slot.name for slot in ours.slots} == set(theirs)
    for slot in ours.slots:
        entry = theirs[slot.name]
        assert (slot.dtype, list(slot.shape)) == (str(entry["dtype"]), list(entry["shape"]))
        assert data[slot.start : slot.stop] == bytes(entry["data"]), slot.name


def assert_written_alike(path: Path) -> None:
    """The library, given these tensors, writes exactly this file; and our header writer agrees."""
    import safetensors.torch

    data = path.read_bytes()
    header = parse_header(data, len(data), path.name)
    assert safetensors.torch.save(safetensors.torch.load(data), header.metadata or None) == data
    tensors = [(slot.name, slot.dtype, slot.shape) for slot in header.slots]
    head, offsets, file_bytes = encode_header(tensors, header.metadata or None)
    assert data.startswith(head)
    assert offsets == {slot.name: slot.start for slot in header.slots}
    assert file_bytes == len(data)


def test_the_library_reads_the_base_and_the_fine_tunes_as_we_do(family: Family) -> None:
    for path in (family.base, *family.tuned.values()):
        assert_read_alike(path / "model.safetensors")


def test_resharding_does_not_change_a_fine_tune(family: Family, folder: Path) -> None:
    from transformers import BertModel

    model = BertModel.from_pretrained(family.tuned["medicine"])
    model.save_pretrained(folder / "one")
    model.save_pretrained(folder / "many", max_shard_size="25MB")
    shards = sorted((folder / "many").glob("*.safetensors"))
    assert len(shards) >= 3
    for shard in shards:
        assert_read_alike(shard)
    assert digest_of(folder / "one") == digest_of(folder / "many")
    assert digest_of(folder / "one") != digest_of(family.tuned["medicine"]), "one buffer fewer is another checkpoint"


def cast(source: Path, target: Path, dtype: str) -> Path:
    """A copy of a checkpoint folder with its float tensors in another dtype."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    tensors = load_file(target / "model.safetensors")
    tensors = {n: t.to(getattr(torch, dtype)) if t.is_floating_point() else t for n, t in tensors.items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.mark.parametrize(
    ("dtype", "name", "strategy"),
    [
        ("bfloat16", "BF16", "weight_average"),
        ("bfloat16", "BF16", "ties"),
        ("float16", "F16", "dare"),
        ("float16", "F16", "slerp"),
    ],
)
def test_half_precision_goes_through(dtype: str, name: str, strategy: str, halves, folder: Path) -> None:
    import torch
    from transformers import AutoModel

    replica: Replica = halves[dtype]
    receipt = replica.resolve(strategy, out=folder / "merged")
    assert_read_alike(folder / "merged" / "model.safetensors")
    assert_written_alike(folder / "merged" / "model.safetensors")
    assert digest_of(folder / "merged") == receipt.output
    data = (folder / "merged" / "model.safetensors").read_bytes()
    dtypes = {slot.dtype for slot in parse_header(data, len(data), "merged").slots}
    assert dtypes == {name, "I64"}
    model = AutoModel.from_pretrained(folder / "merged", dtype=getattr(torch, dtype))
    assert model.dtype == getattr(torch, dtype)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.fixture(scope="module")
def halves(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Replica]]:
    """A replica per half-precision dtype with two fine-tunes, referenced in place."""
    root = tmp_path_factory.mktemp("halves")
    replicas = {}
    for dtype in ("bfloat16", "float16"):
        base = cast(family.base, root / dtype / "base", dtype)
        replicas[dtype] = Replica.init(root / dtype / "replica", base=base, in_place=True)
        for topic in ("medicine", "weather"):
            replicas[dtype].add(cast(family.tuned[topic], root / dtype / topic, dtype), title=topic, in_place=True)
    yield replicas
    shutil.rmtree(root)


def test_output_in_another_dtype(halves, folder: Path) -> None:
    """A bf16 space can be merged into F32: every sum that bf16 would round is kept."""
    replica: Replica = halves["bfloat16"]
    replica.resolve(replica.recipe("weight_average", out_dtype="F32"), out=folder / "wide")
    path = folder / "wide" / "model.safetensors"
    data = path.read_bytes()
    assert {slot.dtype for slot in parse_header(data, len(data), "wide").slots} == {"F32", "I64"}
    assert_written_alike(path)
