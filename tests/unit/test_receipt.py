"""Receipts: round trip, refusal of every changed byte, and what verification names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.models import noisy, plan_of

from conjoin.errors import ConjoinError, MalformedReceiptError, VerificationError
from conjoin.executor import Receipt, check_output, execute
from conjoin.plan import Plan, Recipe
from conjoin.store.memory import MemoryStore
from conjoin.wire import canonical

SHAPES = {"a": (20, 3), "b": (20,), "c": ()}
FILES = {"config.json": b'{"torch_dtype": "bfloat16"}', "tokenizer.json": b"[]"}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Receipt, Plan]:
    store = MemoryStore()
    models = [noisy(SHAPES, seed) for seed in range(3)]
    plan = plan_of(store, models[0], models[1:], Recipe.of("ties"), files=FILES, shard_size_bytes=100)
    return tmp_path / "out", execute(plan, store, tmp_path / "out"), plan


def test_round_trip(made: tuple[Path, Receipt, Plan], tmp_path: Path) -> None:
    out, receipt, plan = made
    assert Receipt.read(out) == Receipt.read(out / "conjoin.json") == receipt
    assert receipt.differences(plan) == []
    assert (out / "conjoin.json").read_bytes() == receipt.encode()
    receipt.write(tmp_path / "again.json")
    assert Receipt.read(tmp_path / "again.json") == receipt
    value = json.loads(receipt.encode())
    text = json.dumps(value)
    assert str(tmp_path) not in text
    assert receipt.output in receipt._repr_html_() or receipt.output[:16] in receipt._repr_html_()
    assert len({receipt, Receipt.read(out)}) == 1


def test_the_receipt_follows_from_one_plan_only(made: tuple[Path, Receipt, Plan]) -> None:
    _, receipt, _ = made
    models = [noisy(SHAPES, seed) for seed in range(4)]
    other = plan_of(MemoryStore(), models[0], models[2:], Recipe.of("linear"))
    assert {"root", "recipe", "recipe_digest", "seed", "contributions", "files", "side_files"} <= set(
        receipt.differences(other)
    )


@pytest.mark.parametrize("step", [1, 7])
def test_every_flipped_bit_of_a_receipt_is_refused(made: tuple[Path, Receipt, Plan], step: int) -> None:
    _, receipt, _ = made
    data = receipt.encode()
    for position in range(0, len(data), step * 3):
        for bit in (0, 5):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(MalformedReceiptError):
                Receipt.decode(bytes(damaged))


def sealed(value: dict[str, Any]) -> bytes:
    """Receipt bytes with a digest that fits whatever the rest says."""
    from conjoin.wire.digest import tagged

    rest = {name: item for name, item in value.items() if name != "digest"}
    return canonical.encode({**rest, "digest": tagged("conjoin/receipt/1", canonical.encode(rest))})


@pytest.mark.parametrize(
    "change",
    [
        {"format": "conjoin/receipt/2"},
        {"output": "abc"},
        {"space": None},
        {"files": 5},
        {"contributions": {}},
        {"contributions": [{"digest": "00" * 32}]},
        {"warnings": "none"},
        {"version": 1},
        {"tensors": {"../x": "00" * 32}},
        {"side_files": {"config.json": "00"}},
        {"numerics": 2},
        {"recipe_digest": "00" * 32},
        {"recipe": {"strategy": "ties"}},
        {"recipe": {"strategy": "nothing"}},
        {"more": 1},
    ],
)
def test_malformed_receipts_are_refused(made: tuple[Path, Receipt, Plan], change: dict[str, Any]) -> None:
    _, receipt, _ = made
    assert Receipt.decode(sealed(receipt.to_json())) == receipt
    with pytest.raises(MalformedReceiptError):
        Receipt.decode(sealed({**receipt.to_json(), **change}))


@pytest.mark.parametrize("data", [None, b"", b"{}", b"[]", b"nothing"])
def test_folders_without_a_receipt(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "conjoin.json").write_bytes(data)
    with pytest.raises(MalformedReceiptError) as caught:
        Receipt.read(tmp_path)
    assert "conjoin.json" in str(caught.value)


def test_verification_names_what_differs(made: tuple[Path, Receipt, Plan]) -> None:
    out, receipt, plan = made
    check_output(out, receipt, plan)
    check_output(out, receipt)
    shard = next(shard for shard in plan.shards if "b" in shard.offsets)
    data = bytearray((out / shard.name).read_bytes())
    data[shard.offsets["b"]] ^= 1
    (out / shard.name).write_bytes(data)
    (out / "tokenizer.json").write_bytes(b"{}")
    (out / "config.json").unlink()
    with pytest.raises(VerificationError) as caught:
        check_output(out, receipt, plan)
    for part in ("tensor `b`", "tokenizer.json", "config.json is missing", receipt.output):
        assert part in str(caught.value)
    assert "tensor `a`" not in str(caught.value)


def test_every_flipped_byte_of_the_output_is_found(made: tuple[Path, Receipt, Plan]) -> None:
    out, receipt, plan = made
    for path in sorted(out.iterdir()):
        data = path.read_bytes()
        for position in range(0, len(data), 11):
            damaged = bytearray(data)
            damaged[position] ^= 1 << (position % 8)
            path.write_bytes(damaged)
            with pytest.raises(ConjoinError):
                check_output(out, Receipt.read(out), plan)
        path.write_bytes(data)
    check_output(out, receipt, plan)


def test_a_checkpoint_written_again_with_other_tensors_differs(made: tuple[Path, Receipt, Plan]) -> None:
    from safetensors.numpy import save_file

    out, receipt, plan = made
    for path in out.glob("model*"):
        path.unlink()
    save_file({"a": np.zeros(3, np.float32), "d": np.zeros(3, np.float32)}, out / "model.safetensors", {"format": "pt"})
    with pytest.raises(VerificationError) as caught:
        check_output(out, receipt, plan)
    for part in ("`b` is missing", "`d` is not in the receipt", "`a` is F32 (3,), not BF16 (20, 3)"):
        assert part in str(caught.value)
    (out / "model.safetensors").unlink()
    with pytest.raises(VerificationError):
        check_output(out, receipt)
