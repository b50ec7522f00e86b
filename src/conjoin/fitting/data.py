"""Examples that models are run on: tensors in a safetensors file, or lines of text; named by digest, in order."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from conjoin.errors import BadDataError, MissingFileError
from conjoin.fitting.machine import Tensor, quiet, torch, transformers
from conjoin.store.files import NotRegularError, read_whole, reason
from conjoin.wire import canonical
from conjoin.wire.safetensors import parse_header

DATA_BYTES_MAX = 4 * 1024 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024
LABELS = "labels"
MASK = "attention_mask"
_KINDS = {"BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_TEXT_FORM = 'write one JSON object per line: {"text": "…", "label": 0}; the label may be left out in all lines'
_NO_TOKENIZER = "copy the base's tokenizer files into the folder, or give the inputs as a safetensors file"
_UNBOUNDED_TOKENS = 1 << 20
"""Tokenizers without a limit of their own state one beyond this."""


@dataclass(frozen=True)
class Batch:
    """Some examples as torch tensors.

    Attributes:
        indices: which examples, by their place in the data.
        inputs: the model's keyword inputs; the first dimension runs over the examples.
        labels: int64 (n,) or (n, tokens), or None where the data has none.
    """

    indices: tuple[int, ...]
    inputs: Mapping[str, Tensor]
    labels: Tensor | None

    @property
    def start(self) -> int:
        """The first example."""
        return self.indices[0]

    @property
    def stop(self) -> int:
        """One after the last example."""
        return self.indices[-1] + 1

    @property
    def mask(self) -> Tensor | None:
        """(n, tokens) bool: which tokens are real; None where the inputs do not say."""
        found = self.inputs.get(MASK)
        return None if found is None or found.dim() != 2 else found != 0


@dataclass(frozen=True)
class Data:
    """Examples in the order of their file.

    Attributes:
        where: the file.
        digest: SHA-256 of its bytes.
        columns: per keyword input one array per example.
        labels: one label or row of labels per example; None where there are none.
        fill: value that a shorter row is filled up with, per input that is text.
    """

    where: str
    digest: str
    columns: Mapping[str, Sequence[npt.NDArray[Any]]]
    labels: Sequence[npt.NDArray[Any]] | None
    fill: Mapping[str, int]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, indices: Sequence[int]) -> Batch:
        """These examples, in this order; texts are filled up to the longest of them."""
        lib = torch()
        inputs = {
            name: lib.from_numpy(_stacked([rows[i] for i in indices], self.fill.get(name)))
            for name, rows in self.columns.items()
        }
        labels = None
        if self.labels is not None:
            labels = lib.from_numpy(_stacked([self.labels[i] for i in indices], None)).to(lib.int64)
        return Batch(tuple(indices), inputs, labels)

    def batches(self, size: int, limit: int | None = None) -> Iterator[Batch]:
        """The first `limit` examples (all of them by default), `size` at a time, in order."""
        count = len(self) if limit is None else min(limit, len(self))
        for start in range(0, count, size):
            yield self.take(range(start, min(start + size, count)))


def read_data(path: str | os.PathLike[str], tokenizer: str | os.PathLike[str] | None = None) -> Data:
    """Read examples.

    Args:
        path: a safetensors file whose tensors are the model's keyword inputs, first dimension = examples, and maybe
            `labels`; or a JSONL file (`.jsonl`) with `text` and maybe `label` in each line.
        tokenizer: the Hugging Face folder whose tokenizer turns text into inputs.

    Raises:
        BadDataError: it is neither, empty, or its lines or tensors do not fit together; the line or tensor is named.
        MissingFileError: there is no such file.
        MissingExtraError: text is given and transformers is not installed.
    """
    where = os.fspath(path)
    content = _bytes_of(Path(path))
    digest = hashlib.sha256(content).hexdigest()
    if Path(path).suffix in (".jsonl", ".ndjson"):
        return _read_lines(content, digest, where, tokenizer)
    return _read_tensors(content, digest, where)


def _bytes_of(path: Path) -> bytes:
    try:
        content = read_whole(path.resolve(), DATA_BYTES_MAX)
    except FileNotFoundError as cause:
        raise MissingFileError("there is no such file", where=str(path), hint="check `--data`") from cause
    except (NotRegularError, OSError) as cause:
        raise BadDataError(f"the data cannot be read: {reason(cause)}", where=str(path)) from cause
    if content is None:
        _refuse(f"the data is over the limit of {DATA_BYTES_MAX} bytes", str(path), "give fewer examples")
    return content


def _read_tensors(content: bytes, digest: str, where: str) -> Data:
    """Examples from a safetensors file."""
    columns: dict[str, npt.NDArray[Any]] = {}
    for slot in parse_header(content, len(content), where).slots:
        at = f"{where}: tensor {slot.name!r:.90}"
        kinds = {**_KINDS, **_FLOATS}
        if slot.dtype not in kinds:
            _refuse(f"its dtype {slot.dtype} is not one of {', '.join(kinds)}", at)
        if not slot.shape or not slot.shape[0]:
            _refuse(f"its shape {slot.shape} has no examples", at, "the first dimension runs over the examples")
        values = np.frombuffer(
            content, kinds[slot.dtype], offset=slot.start, count=slot.size_bytes // _size(slot.dtype)
        )
        if slot.dtype in _FLOATS and not np.isfinite(values).all():
            _refuse("it holds NaN or Inf", at)
        wide = values.astype(np.float32) if slot.dtype in _FLOATS else values
        columns[slot.name] = wide.reshape(slot.shape).copy()
    labels = columns.pop(LABELS, None)
    if not columns:
        _refuse("the file holds no input", where, "its tensors are the model's keyword inputs, and maybe `labels`")
    counts = {name: len(column) for name, column in columns.items()} | ({} if labels is None else {LABELS: len(labels)})
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        _refuse(f"the tensors differ in the number of examples: {said}", where)
    if labels is not None and labels.dtype.kind not in "iu":
        _refuse("labels are whole numbers", f"{where}: tensor '{LABELS}'", "write them as I64")
    return Data(where, digest, columns, labels, {})  # type: ignore[arg-type]  (an array is a sequence of its rows)


def _size(dtype: str) -> int:
    return np.dtype({**_KINDS, **_FLOATS}[dtype]).itemsize


def _read_lines(content: bytes, digest: str, where: str, tokenizer: str | os.PathLike[str] | None) -> Data:
    """Examples from lines of JSON."""
    texts: list[str] = []
    labels: list[int] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        text, label = _read_line(line, f"{where}: line {number}")
        if (label is None) != (not labels) and texts:
            _refuse("some lines have a label and some have none", f"{where}: line {number}", _TEXT_FORM)
        texts.append(text)
        labels += [] if label is None else [label]
    if not texts:
        _refuse("the file holds no example", where, _TEXT_FORM)
    if tokenizer is None:
        _refuse("text needs a tokenizer, and the checkpoint is no Hugging Face folder", where)
    columns, fill = _tokens(texts, where, tokenizer)
    found = [np.array(label, np.int64) for label in labels] if labels else None
    return Data(where, digest, columns, found, fill)


def _read_line(line: bytes, at: str) -> tuple[str, int | None]:
    if len(line) > LINE_BYTES_MAX:
        _refuse(f"the line is over the limit of {LINE_BYTES_MAX} bytes", at)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as cause:
        raise BadDataError(f"it is not JSON: {canonical.unread(cause)}", where=at, hint=_TEXT_FORM) from cause
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        _refuse("it is not an object with a `text`", at, _TEXT_FORM)
    label = value.get("label")
    if label is not None and (type(label) is not int or not 0 <= label < 2**31):
        _refuse(f"the label {label!r:.40} is not a whole number from 0", at, _TEXT_FORM)
    return value["text"], label


def _tokens(
    texts: Sequence[str], where: str, folder: str | os.PathLike[str]
) -> tuple[dict[str, list[npt.NDArray[Any]]], dict[str, int]]:
    """Per input one row of token numbers per text, cut at the tokenizer's limit; and what fills up shorter rows."""
    hf = transformers()
    if not any(
        name.startswith(("tokenizer.", "vocab.")) or name.endswith((".model", ".spm")) for name in _names(folder)
    ):
        _refuse("the folder has no tokenizer, so the text cannot be read", os.fspath(folder), _NO_TOKENIZER)
    try:
        with quiet(hf):
            reader = hf.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as cause:  # transformers raises many kinds
        raise BadDataError(
            f"the folder's tokenizer cannot be used: {(str(cause).strip().splitlines() or [''])[0]}",
            where=os.fspath(folder),
            hint=_NO_TOKENIZER,
        ) from cause
    longest = int(reader.model_max_length)
    bounded = longest < _UNBOUNDED_TOKENS
    columns: dict[str, list[npt.NDArray[Any]]] = {}
    for number, text in enumerate(texts, 1):
        found = reader(text, truncation=bounded, max_length=longest if bounded else None, return_attention_mask=True)
        if not found["input_ids"]:
            _refuse("the text gives no token", f"{where}: example {number}")
        for name, row in found.items():
            columns.setdefault(name, []).append(np.array(row, np.int64))
    return columns, {name: reader.pad_token_id or 0 if name == "input_ids" else 0 for name in columns}


def _names(folder: str | os.PathLike[str]) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _stacked(rows: Sequence[npt.NDArray[Any]], fill: int | None) -> npt.NDArray[Any]:
    """Rows as one array; with `fill`, shorter rows are filled up at the end."""
    if fill is None:
        return np.stack(rows)
    whole = np.full((len(rows), max(len(row) for row in rows)), fill, np.int64)
    for row, to in zip(rows, whole, strict=True):
        to[: len(row)] = row
    return whole


def _refuse(what: str, where: str, hint: str | None = None) -> NoReturn:
    raise BadDataError(what, where=where, hint=hint)
