"""Grams: sums of XᵀX over what goes into the linear modules of a model while it runs."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from conjoin.errors import BadDataError
from conjoin.fitting.machine import Tensor, torch
from conjoin.fitting.models import Model

ROWS = "rows."
"""Before the name of a tensor stored as in × out, whose Gram is over its rows."""
_LISTED_MAX = 5


class Grams:
    """The Grams of a model's linear modules.

    `mask` says which tokens of the examples that run now are real; it is set before each run.
    """

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        """Grams for these tensors of a checkpoint, as far as they are weights of linear modules.

        Raises:
            BadDataError: none is.
        """
        lib = torch()
        self.mask: Tensor | None = None
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._given: dict[str, list[str]] = {}
        for name in sorted(names):
            if name in model.names:
                self._given.setdefault(model.names[name], []).append(name)
        modules = dict(model.module.named_modules())
        embedded = {
            model.tied.get(f"{name}.weight")
            for name, module in modules.items()
            if isinstance(module, lib.nn.Embedding | lib.nn.EmbeddingBag)
        }
        self._watched: dict[str, list[Any]] = {}
        self._refused: list[str] = []
        for name, module in modules.items():
            weight = model.tied.get(f"{name}.weight" if name else "weight", "")
            if weight not in self._given or not _is_linear(module):
                continue
            own = getattr(module, "groups", 1) == 1 and getattr(module, "padding_mode", "zeros") == "zeros"
            if weight in embedded or not own:
                self._refused += self._given[weight]
                continue
            self._watched.setdefault(weight, []).append(module)
        if not self._watched:
            raise BadDataError("the model has no Linear or convolution whose weight is its own", where=model.where)

    @contextmanager
    def watching(self) -> Generator[None]:
        """While this is open, whatever runs is added."""
        with ExitStack() as hooks:
            for weight, modules in self._watched.items():
                for module in modules:
                    hooks.callback(module.register_forward_pre_hook(self._hook(weight), with_kwargs=True).remove)
            yield

    def _hook(self, weight: str) -> Any:
        def add(module: Any, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            rows = _patches(module, x) if hasattr(module, "kernel_size") else self._real(x)
            rows = rows.double()
            gram = rows.T @ rows
            if weight in self._sums:
                self._sums[weight] += gram
            else:
                self._sums[weight] = gram
            self._counts[weight] = self._counts.get(weight, 0) + len(rows)

        return add

    def _real(self, x: Tensor) -> Tensor:
        """The rows (rows, in) of real tokens; all rows where the input is not one row per token."""
        flat = x.reshape(-1, x.shape[-1])
        if self.mask is not None and (
            tuple(x.shape[:-1]) == tuple(self.mask.shape) or (x.dim() == 2 and len(x) == self.mask.numel() > 1)
        ):
            return flat[self.mask.reshape(-1)]
        return flat

    def result(self) -> dict[str, Tensor]:
        """XᵀX / n by name in the side-car, float32 and exactly symmetric."""
        found: dict[str, Tensor] = {}
        for weight, total in self._sums.items():
            mean = ((total + total.T) / (2 * max(self._counts[weight], 1))).float()
            stored_in_out = _is_conv1d(self._watched[weight][0])
            for name in self._given[weight]:
                found[ROWS + name if stored_in_out else name] = mean.clone()
        return found

    def notes(self) -> tuple[str, ...]:
        """Which weights have no Gram, and why."""
        idle = [name for weight in self._watched if weight not in self._sums for name in self._given[weight]]
        return (
            *note("without a Gram, being tied to an embedding or a convolution in groups", self._refused),
            *note("without a Gram, as they never ran as a module of their own", idle),
        )


def note(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """One note on these tensors; none where there are none."""
    if not names:
        return ()
    more = f", … ({len(names)} in all)" if len(names) > _LISTED_MAX else ""
    return (f"{what}: {', '.join(sorted(names)[:_LISTED_MAX])}{more}",)


def _is_linear(module: Any) -> bool:
    lib = torch()
    return isinstance(module, lib.nn.Linear | lib.nn.Conv1d | lib.nn.Conv2d) or _is_conv1d(module)


def _is_conv1d(module: Any) -> bool:
    """Whether it is transformers' Conv1D, a Linear whose weight is stored as in × out."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def _patches(module: Any, x: Tensor) -> Tensor:
    """What a convolution multiplies its flattened kernel with: one row per place, (places, in · kernel)."""
    lib = torch()
    kernel, stride, dilation, padding = module.kernel_size, module.stride, module.dilation, module.padding
    if isinstance(padding, str):
        spread = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        sides = [side for total in reversed(spread) for side in (total // 2, total - total // 2)]
        x, padding = lib.nn.functional.pad(x, sides), tuple(0 for _ in kernel)
    if len(kernel) == 1:
        x = x.unsqueeze(-2)
        kernel, stride, dilation, padding = (1, *kernel), (1, *stride), (1, *dilation), (0, *padding)
    found = lib.nn.functional.unfold(x, kernel, dilation=dilation, padding=padding, stride=stride)
    return found.transpose(1, 2).reshape(-1, found.shape[1])
