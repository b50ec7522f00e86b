"""Statistics: what a model's examples say about its tensors, as side-cars for strategies; merges nothing.

Examples run one by one, so that no result depends on how many are run at once.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from conjoin.errors import BadDataError, MissingFileError, NonFiniteError, OutputExistsError
from conjoin.fitting.data import Batch, Data, read_data
from conjoin.fitting.grams import Grams, note
from conjoin.fitting.machine import Tensor, deterministic, torch
from conjoin.fitting.models import Model, open_model, read_tensors
from conjoin.fitting.tasks import read_head
from conjoin.kernels import draw_key, draws
from conjoin.progress import SILENT, Progress
from conjoin.store.checkpoint import open_checkpoint
from conjoin.store.files import sync_directory, translated_os_errors, write_durably
from conjoin.wire.safetensors import encode_header

Labels = Literal["model", "given"]
"""Whose labels the loss is of: what the model itself predicts, or what the data says."""
CLASSES_MAX = 10
"""Up to so many classes an expectation over labels is exact; beyond, one label is drawn per row of logits."""
EXAMPLES = 256
FORMAT = "conjoin/statistic/1"


@dataclass(frozen=True)
class Statistic:
    """A side-car to be written.

    Attributes:
        kind: the side-car it is: fisher, gram, importance or features.
        tensors: float32, by their names in the side-car.
        facts: how it was made; goes into the file's metadata.
        notes: what the user should know, such as tensors that the model does not use.
    """

    kind: str
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A model, its tensors and examples to run them on.

    Attributes:
        model: what runs.
        tensors: the checkpoint's tensors by name.
        data: the examples.
        head: tensors of a task's own head, by name; they get no statistics.
        examples: how many are used, from the first on; all if there are fewer.
        labels: whose labels the loss is of.
        progress: told about the examples; one byte stands for one.
    """

    model: Model
    tensors: Mapping[str, Tensor]
    data: Data
    head: Mapping[str, Tensor] = field(default_factory=dict)
    examples: int = EXAMPLES
    labels: Labels = "model"
    progress: Progress = SILENT

    @property
    def count(self) -> int:
        """How many examples are used."""
        return min(self.examples, len(self.data))

    def singly(self, what: str) -> Iterator[Batch]:
        """The examples one by one."""
        self.progress.start(what, self.count)
        for batch in self.data.batches(1, self.count):
            yield batch
            self.progress.advance(1)

    def facts(self, kind: str, **more: str) -> dict[str, str]:
        """How a statistic was made."""
        return {"kind": kind, "data": self.data.digest, "examples": str(self.count), **more}


def open_run(
    checkpoint: Path,
    data: Path,
    *,
    factory: str | None = None,
    head: Path | None = None,
    examples: int = EXAMPLES,
    labels: Labels = "model",
    progress: Progress = SILENT,
) -> Run:
    """Open a model and its examples.

    Args:
        checkpoint: a Hugging Face folder, or with `factory` a safetensors file.
        data: the examples; see `read_data`. Text is read with the checkpoint folder's tokenizer.
        factory: `package.module:function` that makes the module.
        head: a safetensors file of tensors that the checkpoint lacks.
        examples: how many are used at most.
        labels: whose labels the loss is of.
        progress: told about the examples.

    Raises:
        InputError: something cannot be used; which one says what.
        MissingExtraError: torch or transformers is not installed.
    """
    opened = open_checkpoint(checkpoint)
    model = open_model(opened, factory)
    read = read_data(data, checkpoint if checkpoint.is_dir() else None)
    own = read_head(head, model) if head is not None else {}
    return Run(model, read_tensors(opened), read, own, examples, labels, progress)


def of_base(run: Run, base: Path) -> Run:
    """The same run with the tensors of the base.

    Raises:
        BadDataError: the base has other tensors than the fine-tune.
        InputError: it is no checkpoint.
    """
    tensors = read_tensors(open_checkpoint(base))
    differ = sorted(
        name
        for name in {*tensors, *run.tensors}
        if name not in tensors or name not in run.tensors or tensors[name].shape != run.tensors[name].shape
    )
    if differ:
        raise BadDataError(
            f"base and fine-tune differ in {len(differ)} tensors' names or shapes: {', '.join(differ[:20])}",
            where=str(base),
            hint="give the base that the fine-tune was made from",
        )
    return replace(run, tensors=tensors)


def fisher(run: Run) -> Statistic:
    """The diagonal of the Fisher information of every float tensor.

    F = mean over examples x of E_{y~p(y|x)} [(∂ log p(y|x) / ∂θ)²]   (Matena and Raffel, 2022, section 3)

    The expectation is exact for one row of at most 10 classes. Otherwise one label per row (token) is drawn, named by
    the digest of the data and the example; log p is then the sum over the rows. With `labels="given"` y is the label
    that the data gives, the empirical Fisher. A tensor that the logits do not depend on has F = 0.

    Raises:
        BadDataError: the model cannot be run on the data, or labels are asked for and missing.
    """
    with deterministic() as lib:
        wanted = _Gradients(run)
        total = {name: lib.zeros(tensor.shape, dtype=lib.float64) for name, tensor in wanted.leaves.items()}
        for batch in run.singly("fisher"):
            for share, gradient in _outcomes(run, wanted, batch, exact=True):
                for name, value in gradient.items():
                    wide = value.double()
                    total[name].addcmul_(wide, wide, value=share)
        tensors = wanted.spread({name: (value / run.count).float() for name, value in total.items()})
    return Statistic("fisher", tensors, run.facts("fisher", labels=run.labels), wanted.notes())


def importance(tuned: Run, base: Run) -> Statistic:
    """SNIP scores of every float tensor, of a fine-tune and of its base: `tuned.NAME` and `base.NAME`.

    I = mean over examples of |θ ⊙ ∂L/∂θ|, L = −log p(y|x)   (Lee et al., 2019; as LED-Merging uses it)

    y is the label the data gives, or with `labels="model"` one drawn from what each model predicts.

    Raises:
        BadDataError: the models cannot be run on the data, or labels are asked for and missing.
    """
    found: dict[str, Tensor] = {}
    notes: tuple[str, ...] = ()
    for side, run in (("base", base), ("tuned", tuned)):
        with deterministic() as lib:
            wanted = _Gradients(run)
            total = {name: lib.zeros(tensor.shape, dtype=lib.float64) for name, tensor in wanted.leaves.items()}
            for batch in run.singly(f"importance, {side}"):
                for share, gradient in _outcomes(run, wanted, batch, exact=False):
                    for name, value in gradient.items():
                        total[name] += share * (value.double() * wanted.leaves[name].detach().double()).abs()
            scores = wanted.spread({name: (value / run.count).float() for name, value in total.items()})
            found |= {f"{side}.{name}": score for name, score in scores.items()}
            notes = wanted.notes()
    return Statistic("importance", found, tuned.facts("importance", labels=tuned.labels), notes)


def gram(run: Run) -> Statistic:
    """G = XᵀX / n of what goes into every Linear and convolution, n rows X over all real tokens of all examples.

    A tensor stored as out × in has its Gram, (in, in) or of the flattened kernel, under its own name; of a Hugging Face
    Conv1D (in × out) it is called `rows.NAME`. A weight that is tied to an embedding has none.

    Raises:
        BadDataError: the model cannot be run on the data, or has no such module.
    """
    with deterministic() as lib, lib.no_grad():
        grams = Grams(run.model, [name for name, tensor in run.tensors.items() if tensor.is_floating_point()])
        with grams.watching():
            for batch in run.singly("gram"):
                grams.mask = batch.mask
                run.model.run({**run.tensors, **run.head}, batch)
        tensors = grams.result()
    return Statistic("gram", tensors, run.facts("gram"), grams.notes())


def features(run: Run, name: str = "") -> Statistic:
    """`features`: what goes into a module, by default the last Linear that runs; one row per example or real token.

    Args:
        run: what to run.
        name: the module.

    Raises:
        BadDataError: the model cannot be run on the data, or there is no such module.
    """
    rows: list[Tensor] = []
    with deterministic() as lib, lib.no_grad():
        for batch in run.singly("features"):
            rows.append(_real(run.model.features({**run.tensors, **run.head}, batch, name), batch).float())
        tensor = lib.cat(rows)
    return Statistic("features", {"features": tensor}, run.facts("features", module=name, rows=str(len(tensor))))


def write(statistic: Statistic, out: Path) -> None:
    """Write a side-car as a safetensors file, which appears whole or not at all.

    Raises:
        NonFiniteError: a tensor holds NaN or Inf.
        OutputExistsError: something is at `out`.
        StoreError: it cannot be written.
    """
    lib = torch()
    wild = sorted(name for name, tensor in statistic.tensors.items() if not bool(lib.isfinite(tensor).all()))
    if wild:
        raise NonFiniteError(
            f"the {statistic.kind} of {len(wild)} tensors holds NaN or Inf: {', '.join(wild[:20])}",
            where=str(out),
            hint="nothing was written; check that the model gives finite logits on these examples",
        )
    head, places, size = encode_header(
        [(name, "F32", tuple(tensor.shape)) for name, tensor in statistic.tensors.items()],
        {"format": FORMAT, **statistic.facts},
    )
    content = bytearray(size)
    content[: len(head)] = head
    for name, tensor in statistic.tensors.items():
        data = tensor.contiguous().numpy().astype("<f4").tobytes()
        content[places[name] : places[name] + len(data)] = data
    require_absent(out)
    with translated_os_errors(out):
        write_durably(out.parent, out, content)
        sync_directory(out.parent)


def require_absent(out: Path) -> None:
    """Refuse an output that exists, or whose folder does not.

    Raises:
        OutputExistsError: a file, folder or symlink is there.
        MissingFileError: its folder is not there.
    """
    if os.path.lexists(out):
        raise OutputExistsError(
            "the output exists, and conjoin never overwrites", where=str(out), hint="name another one, or remove it"
        )
    if not out.parent.is_dir():
        raise MissingFileError("there is no such folder to write to", where=str(out.parent), hint="make it first")


class _Gradients:
    """The tensors that gradients are wanted of; of tied names the first stands for all."""

    def __init__(self, run: Run) -> None:
        self.run = run
        floats = {name: tensor for name, tensor in run.tensors.items() if tensor.is_floating_point()}
        first: dict[str, str] = {}
        for name in sorted(floats):
            first.setdefault(run.model.names.get(name, name), name)
        self._first = {name: first[run.model.names.get(name, name)] for name in sorted(floats)}
        self.leaves = {name: floats[name].detach().requires_grad_() for name in first.values()}
        self.idle = set(self.leaves)

    def logits(self, batch: Batch) -> Tensor:
        """The logits of one example."""
        rest = {name: tensor for name, tensor in self.run.tensors.items() if name not in self._first}
        return self.run.model.forward({**rest, **self.leaves, **self.run.head}, batch)

    def of(self, loss: Tensor, *, again: bool) -> dict[str, Tensor]:
        """∂ loss / ∂ θ of the tensors that the loss depends on; `again` keeps what the next call needs."""
        if not loss.requires_grad:
            return {}
        found = torch().autograd.grad(loss, list(self.leaves.values()), retain_graph=again, allow_unused=True)
        named = {name: value for name, value in zip(self.leaves, found, strict=True) if value is not None}
        self.idle -= named.keys()
        return named

    def spread(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same for every name, tied ones included."""
        return {name: found[first].clone() for name, first in self._first.items()}

    def notes(self) -> tuple[str, ...]:
        """Which tensors got nothing."""
        return note("zero, as nothing the model says depends on them", sorted(self.idle))


def _outcomes(
    run: Run, wanted: _Gradients, batch: Batch, *, exact: bool
) -> Iterator[tuple[float, Mapping[str, Tensor]]]:
    """Gradients of log p(y|x) for one example, each with its share in the expectation over y."""
    lib = torch()
    logits = wanted.logits(batch)
    rows, truth = _rows(run, logits, batch)
    if rows.shape[1] < 2:
        raise BadDataError(
            "the logits have one class, so they say nothing about a distribution",
            where=run.model.where,
            hint="a model that classifies is needed, with a logit for each class",
        )
    logp = rows.log_softmax(-1)
    if run.labels == "model" and exact and logits.dim() == 2 and rows.shape[1] <= CLASSES_MAX:
        shares = logp[0].detach().double().exp().tolist()
        for label, share in enumerate(shares):
            yield share, wanted.of(logp[0, label], again=label < len(shares) - 1)
        return
    if run.labels == "model":
        truth = _drawn(logp.detach(), run.data.digest, batch.start)
    if len(logp):
        yield 1.0, wanted.of(logp.gather(1, lib.as_tensor(truth)[:, None]).sum(), again=False)


def _rows(run: Run, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """The rows of logits that count, (rows, classes), and the labels the data gives for them if they are asked for."""
    if logits.dim() == 2:
        labels = _given(run, batch, (1,)) if run.labels == "given" else None
        keep = None if labels is None else labels >= 0
    elif run.model.causal:
        # position t predicts token t + 1, which must be there
        mask = batch.mask
        logits = logits[0, :-1]
        keep = None if mask is None else mask[0, :-1] & mask[0, 1:]
        labels = None
        if run.labels == "given":
            words = batch.labels if batch.labels is not None else batch.inputs.get("input_ids")
            labels = _checked(words, (1, len(logits) + 1), run)[0, 1:]
    else:
        mask = batch.mask
        keep = None if mask is None else mask[0]
        logits = logits[0]
        labels = _given(run, batch, (1, len(logits)))[0] if run.labels == "given" else None
    if labels is not None:
        keep = labels >= 0 if keep is None else keep & (labels >= 0)
        labels = labels[keep]
        if len(labels) and int(labels.max()) >= logits.shape[1]:
            raise BadDataError(
                f"the label {int(labels.max())} is not one of the model's {logits.shape[1]} classes",
                where=f"{run.data.where}: example {batch.start}",
            )
    return (logits if keep is None else logits[keep]), labels


def _given(run: Run, batch: Batch, shape: tuple[int, ...]) -> Tensor:
    if batch.labels is None:
        raise BadDataError(
            "the data has no labels",
            where=run.data.where,
            hint="add `labels` (`label` in lines of text), or take the model's own: `--labels model`",
        )
    return _checked(batch.labels, shape, run)


def _checked(labels: Tensor | None, shape: tuple[int, ...], run: Run) -> Tensor:
    if labels is None or tuple(labels.shape) != shape:
        found = "missing" if labels is None else f"of shape {tuple(labels.shape)[1:]} per example"
        raise BadDataError(
            f"the labels are {found}; the model's logits need {shape[1:] or 'one'} per example",
            where=run.data.where,
            hint="labels below zero are left out",
        )
    return labels


def _drawn(logp: Tensor, digest: str, example: int) -> Tensor:
    """One label per row from the model's distribution; the draws are named by the data and the example."""
    lib = torch()
    key = draw_key(bytes.fromhex(digest), "labels", str(example), digest)
    words = lib.from_numpy(draws(key, 0, len(logp)).astype("int64"))
    ends = logp.double().exp().cumsum(-1)
    places = (words.double() + 0.5) / 2**32 * ends[:, -1]
    return lib.searchsorted(ends, places[:, None])[:, 0].clamp(max=logp.shape[1] - 1)


def _real(found: Any, batch: Batch) -> Tensor:
    """The rows of real tokens, or of the example."""
    mask = batch.mask
    flat = found.reshape(-1, found.shape[-1])
    if mask is not None and found.dim() == 3 and tuple(found.shape[:2]) == tuple(mask.shape):
        return flat[mask.reshape(-1)]
    return flat
