"""Tasks: what a contribution was tuned for, as examples, a model and a head of its own; reads no replica."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conjoin.errors import BadDataError
from conjoin.fitting.data import Batch, Data
from conjoin.fitting.machine import Tensor
from conjoin.fitting.models import Model, read_tensors
from conjoin.store.checkpoint import open_checkpoint


@dataclass(frozen=True)
class Task:
    """One contribution's task.

    Attributes:
        contribution: digest of the contribution.
        data: its examples; `data.digest` names them.
        model: what runs; several tasks may share it.
        head: tensors that take the place of the merged ones in this task only, by name.
    """

    contribution: str
    data: Data
    model: Model
    head: Mapping[str, Tensor] = field(default_factory=dict)

    def forward(self, tensors: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The logits of a batch under `tensors` and this task's head; see `Model.forward`."""
        return self.model.forward({**tensors, **self.head}, batch)

    def features(self, tensors: Mapping[str, Tensor], batch: Batch, name: str = "") -> Tensor:
        """The last representation of a batch under `tensors` and this task's head; see `Model.features`."""
        return self.model.features({**tensors, **self.head}, batch, name)

    def batch(self, indices: Sequence[int]) -> Batch:
        """These examples, in this order."""
        return self.data.take(indices)


def read_head(path: str | os.PathLike[str], model: Model) -> dict[str, Tensor]:
    """The tensors of a task's head, from a safetensors file.

    Raises:
        BadDataError: the model has no tensor of that name.
        InputError: it is no safetensors file.
    """
    head = read_tensors(open_checkpoint(Path(path)))
    strange = sorted(name for name in head if name not in model.names and name not in model.missing)
    if strange:
        raise BadDataError(
            f"the model has no tensor called {', '.join(map(repr, strange[:20]))}",
            where=os.fspath(path),
            hint="a head's tensors have the names that they have in the model, such as classifier.weight",
        )
    return head
