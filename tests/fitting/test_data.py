"""Examples from files: order, digest, filling up, and what is refused with its line or tensor."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conjoin.errors import BadDataError, MalformedCheckpointError, MissingFileError
from conjoin.fitting.data import read_data
from tests.fitting.nets import lines, save

pytest.importorskip("torch")


def test_tensors_come_in_order_with_the_digest_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "x.safetensors", x=np.arange(10, dtype=np.float64).reshape(5, 2), labels=np.arange(5))
    data = read_data(path)
    assert data.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(data) == 5
    batches = list(data.batches(2, limit=3))
    assert [batch.indices for batch in batches] == [(0, 1), (2,)]
    assert batches[0].inputs["x"].tolist() == [[0, 1], [2, 3]]
    assert str(batches[0].inputs["x"].dtype) == "torch.float32"
    assert batches[1].labels is not None
    assert batches[1].labels.tolist() == [2]
    assert data.take([4, 0, 4]).inputs["x"].tolist() == [[8, 9], [0, 1], [8, 9]]


def test_text_is_filled_up_to_the_longest_of_a_batch(bert: Path, tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"text": "the cat", "label": 2}, {"text": "a " * 40, "label": 0})
    data = read_data(path, bert)
    batch = data.take([0, 1])
    assert batch.inputs["input_ids"].shape == (2, 16), "cut at the tokenizer's limit"
    assert batch.inputs["input_ids"][0].tolist() == [2, 5, 7, 3] + [0] * 12
    assert batch.mask is not None
    assert batch.mask[0].tolist() == [True] * 4 + [False] * 12
    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 0]
    assert data.take([0]).inputs["input_ids"].shape == (1, 4)


BAD_LINES: list[tuple[str, str, str]] = [
    ('{"text": "a"}\n{"text": \n', "it is not JSON", "line 2"),
    ('\n{"label": 1}\n', "not an object with a `text`", "line 2"),
    ("[1]\n", "not an object with a `text`", "line 1"),
    ('{"text": "a", "label": "x"}\n', "the label 'x' is not a whole number", "line 1"),
    ('{"text": "a", "label": true}\n', "the label True", "line 1"),
    ('{"text": "a", "label": -1}\n', "the label -1", "line 1"),
    ('{"text": "a", "label": 1}\n{"text": "b"}\n', "some lines have a label and some have none", "line 2"),
    ('{"text": "a"}\n{"text": "b", "label": 1}\n', "some lines have a label and some have none", "line 2"),
    ("\n\n", "holds no example", ""),
    ('{"text": "' + "a" * 1_100_000 + '"}\n', "over the limit of 1048576 bytes", "line 1"),
    ("\xff\n", "it is not JSON", "line 1"),
]


@pytest.mark.parametrize(("text", "what", "at"), BAD_LINES, ids=[what for _, what, _ in BAD_LINES])
def test_lines_that_are_refused(tmp_path: Path, text: str, what: str, at: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadDataError, match=what) as refused:
        read_data(path, "anywhere")
    assert refused.value.where == (f"{path}: {at}" if at else str(path))


def test_text_needs_a_tokenizer(tmp_path: Path, gpt2: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"text": "a"})
    with pytest.raises(BadDataError, match="text needs a tokenizer"):
        read_data(path)
    for folder in (gpt2, tmp_path / "nowhere"):
        with pytest.raises(BadDataError, match="the folder has no tokenizer"):
            read_data(path, folder)
    (tmp_path / "broken").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "broken" / name).write_text("{")
    with pytest.raises(BadDataError, match="the folder's tokenizer cannot be used"):
        read_data(path, tmp_path / "broken")


BAD_TENSORS: list[tuple[dict[str, Any], str, str]] = [
    ({"labels": np.arange(2)}, "holds no input", ""),
    ({"x": np.zeros((2, 3), np.float32), "y": np.zeros(3, np.float32)}, "number of examples: x 2, y 3", ""),
    ({"x": np.zeros((2, 3), np.float32), "labels": np.zeros(2, np.float32)}, "whole numbers", "tensor 'labels'"),
    ({"x": np.array([[1, np.nan]], np.float32)}, "NaN or Inf", "tensor 'x'"),
    ({"x": np.float32(1)}, "has no examples", "tensor 'x'"),
    ({"x": np.zeros((0, 3), np.float32)}, "has no examples", "tensor 'x'"),
    ({"x": np.zeros(3, np.uint64)}, "dtype U64 is not one of", "tensor 'x'"),
]


@pytest.mark.parametrize(("tensors", "what", "at"), BAD_TENSORS, ids=[what for _, what, _ in BAD_TENSORS])
def test_tensors_that_are_refused(tmp_path: Path, tensors: dict[str, Any], what: str, at: str) -> None:
    path = save(tmp_path / "x.safetensors", **tensors)
    with pytest.raises(BadDataError, match=what) as refused:
        read_data(path)
    assert refused.value.where == (f"{path}: {at}" if at else str(path))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_data(tmp_path / "none.jsonl")
    with pytest.raises(BadDataError, match="cannot be read: a directory"):
        read_data(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"PK\x03\x04 and more of it")
    with pytest.raises(MalformedCheckpointError):
        read_data(tmp_path / "x.safetensors")
